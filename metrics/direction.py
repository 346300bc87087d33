"""Scores with the wrong direction: targets score lower than other trials, as distances do."""

import logging

from metrics.rates import interpolated_eer
from metrics.summary import SasvSummary, Summary

log = logging.getLogger(__name__)
# Rounding does not count as an EER above 50 %.
CHANCE = 50 + 1e-9
OF_SCORES = (
    "Are these distances? Then change the sign of every score. Otherwise check the labels of the "
    "trials."
)
OF_NETWORK = (
    "Check the labels of the trials, and the options of the network. After few updates it can be "
    "chance."
)


def warn_of_direction(place: object, summary: Summary | SasvSummary, remedy: str) -> None:
    """Warns if the EER is above 50 %, whatever its definition.

    place: the scores. remedy: OF_SCORES, or OF_NETWORK for scores that a network has computed.
    """
    rates = summary.rates
    if isinstance(summary, SasvSummary):
        # Spoofed speech may score higher than targets. Other speakers should not.
        rates = summary.all_rates.get("SV-EER", rates)
    value, _ = interpolated_eer(*rates)
    if value > CHANCE:
        log.warning(
            "warning: %s: targets score lower than non-targets (EER %.2f %%). %s",
            place,
            value,
            remedy,
        )
