"""Score normalisation with a cohort: a set of files of other speakers.

A normalised score counts standard deviations above the mean score of the same enrolment or test
file against the cohort. The mean and deviation use all cohort scores. Only "asnorm" uses the top_n
highest cohort scores of each side: the speakers that are most easily confused with this side. This
is the adaptive S-norm 1 of Matejka et al., Interspeech 2017. The idea is from Sturim & Reynolds,
ICASSP 2005.

Deviations are population deviations, sqrt(mean (x - mu)^2). ska-tdnn uses unbiased deviations,
which make all scores smaller by the factor sqrt((n - 1) / n).
"""

import numpy as np

from common.errors import InputError

# Weights of the enrolment side and of the test side.
NORMS = {
    # (s - mu_e) / sigma_e. Li & Porter, ICASSP 1988.
    "znorm": (1.0, 0.0),
    # (s - mu_t) / sigma_t. Auckenthaler et al., DSP 2000.
    "tnorm": (0.0, 1.0),
    # The mean of both. Kenny, Odyssey 2010.
    "snorm": (0.5, 0.5),
    # The mean of both, from the highest cohort scores of each side.
    "asnorm": (0.5, 0.5),
}


def normalise_scores(
    scores: np.ndarray, mean: np.ndarray, std: np.ndarray, norm: str
) -> np.ndarray:
    """Returns the normalised scores [n].

    `scores` is [n]. `mean` and `std` are [n, 2]: of the cohort scores against the enrolment and
    against the test file of each trial. `norm` is a key of NORMS. Raises InputError if a side with
    a weight has the same score against every file of the cohort.
    """
    weights = np.array(NORMS[norm])
    flat = (std == 0) & (weights > 0)
    if flat.any():
        trial = int(flat.any(1).argmax()) + 1
        raise InputError(
            f"--score_norm {norm}: trial {trial} has the same score, {mean[flat][0]:g}, against "
            "every file of the cohort. Use a cohort of different files."
        )
    deviations = np.divide(scores[:, None] - mean, std, out=np.zeros(std.shape), where=std > 0)
    return (deviations * weights).sum(1)
