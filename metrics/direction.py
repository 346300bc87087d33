"""Scores with the wrong direction: targets score lower than other trials, as distances do."""

import logging
import math

from metrics.rates import interpolated_eer
from metrics.summary import SasvSummary, Summary

log = logging.getLogger(__name__)
# An EER of chance varies by this many standard deviations, but never as far as MOST.
DEVIATIONS = 2
MOST = 90.0
OF_SCORES = (
    "Are these distances? Then change the sign of every score. Otherwise check the labels of the "
    "trials."
)
OF_NETWORK = (
    "Check the labels of the trials, and the options of the network. After few updates it can be "
    "chance."
)


def warn_of_direction(place: object, summary: Summary | SasvSummary, remedy: str) -> None:
    """Warns if the EER is further above 50 % than by chance, whatever its definition.

    place: the scores. remedy: OF_SCORES, or OF_NETWORK for scores that a network has computed.
    """
    rates = summary.rates
    if isinstance(summary, SasvSummary):
        # Spoofed speech may score higher than targets. Other speakers should not.
        rates = summary.all_rates.get("SV-EER", rates)
    value, _ = interpolated_eer(*rates)
    # The standard deviation of a share of 50 % among n trials is 50 / sqrt(n).
    trials = max(1, min(summary.targets, summary.nontargets))
    if value > min(MOST, 50 + DEVIATIONS * 50 / math.sqrt(trials)):
        log.warning(
            "warning: %s: targets score lower than non-targets (EER %.2f %%). %s",
            place,
            value,
            remedy,
        )
