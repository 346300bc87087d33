"""Score normalisation: a score is told in standard deviations above what the same enrolment or test file scores against strangers, the cohort.

Which cohort scores go into mean and deviation: all of them, or with asnorm for each side the top_n highest ones against it, the strangers it is most
easily taken for (adaptive S-norm 1 of Matejka et al., Interspeech 2017; the idea: Sturim & Reynolds, ICASSP 2005). Deviations are of the population,
sqrt(mean (x - mu)^2); ska-tdnn's unbiased ones make all scores smaller by the factor sqrt((n - 1) / n).
"""

import numpy as np

from common.errors import InputError

# weights of the enrolment's and of the test file's side
NORMS = {
    # (s - mu_e) / sigma_e; Li & Porter, ICASSP 1988
    "znorm": (1.0, 0.0),
    # (s - mu_t) / sigma_t; Auckenthaler et al., DSP 2000
    "tnorm": (0.0, 1.0),
    # mean of both; Kenny, Odyssey 2010
    "snorm": (0.5, 0.5),
    # the same over the highest cohort scores of each side
    "asnorm": (0.5, 0.5),
}


def normalise_scores(scores, mean, std, norm):
    """scores [n]; mean, std [n, 2] of the cohort's scores against the enrolment and against the test file of each trial; norm: one of NORMS -> [n].
    InputError where a side that counts scores the same against all of the cohort."""
    weights = np.array(NORMS[norm])
    flat = (std == 0) & (weights > 0)
    if flat.any():
        raise InputError(
            f"--score_norm {norm}: trial {int(flat.any(1).argmax()) + 1} scores the same against every file of the cohort, {mean[flat][0]:g}; "
            "want a cohort of different files"
        )
    return (
        np.divide(scores[:, None] - mean, std, out=np.zeros(std.shape), where=std > 0) * weights
    ).sum(1)
