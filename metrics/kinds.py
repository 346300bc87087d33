"""The kinds of trials in scores, and the equal error rates that they have.

Plain trials have one EER. Trials with spoofed speech have the three EERs of metrics/sasv.py.
"""

from collections.abc import Mapping

import numpy as np

from common.trial_kinds import SPOOF
from metrics.rates import rates_from_counts
from metrics.sasv import groups_of, sasv_rates_from_counts
from metrics.scores import Scores
from metrics.summary import Rates


def groups_of_scores(read: Scores) -> dict[str, np.ndarray]:
    """Returns {kind of trial: bool [n]}, which has a kind "spoof" only with spoofed speech."""
    if read.kinds is None:
        return {"target": read.labels, "nontarget": ~read.labels}
    return groups_of(read.kinds)


def rates_of_eers(threshold: np.ndarray, counts: Mapping[str, np.ndarray]) -> dict[str, Rates]:
    """Returns {name of an EER: its rates}.

    The arguments are the results of accepted_counts() for the groups of groups_of_scores().
    """
    if SPOOF in counts:
        return sasv_rates_from_counts(threshold, counts)
    return {"EER": rates_from_counts(threshold, counts["target"], counts["nontarget"])}
