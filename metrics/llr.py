"""Metrics of scores that are log-likelihood ratios, natural logarithm of p(trial | same speaker) / p(trial | different speakers): whether a threshold
set in advance holds, and how much information the numbers carry. Rates are those of report.rates.error_rates."""

import math

import numpy as np


def logit(p):
    return math.log(p / (1 - p))


def effective_prior(p_target, c_miss=1.0, c_fa=1.0):
    """The prior at which equal costs lead to the same decisions: p c_miss / (p c_miss + (1 - p) c_fa). Brümmer & du Preez 2006."""
    if not 0 < p_target < 1 or not 0 < c_miss < math.inf or not 0 < c_fa < math.inf:
        raise ValueError(
            f"want 0 < p_target < 1 and costs above 0, got p_target {p_target:g}, c_miss {c_miss:g}, c_fa {c_fa:g}"
        )
    return p_target * c_miss / (p_target * c_miss + (1 - p_target) * c_fa)


def act_dcf(threshold, p_miss, p_fa, p_target=0.05, c_miss=1.0, c_fa=1.0):
    """Detection cost at the Bayes threshold ln(c_fa (1 - p_target) / (c_miss p_target)) -> (value, that threshold).

    Divided as minDCF is, by the cost of the better trivial system; above 1 it would have been better not to listen. NIST SRE evaluation plans.
    """
    bayes = -logit(effective_prior(p_target, c_miss, c_fa))
    # accepted: at or above it
    i = np.searchsorted(threshold, bayes)
    cost = c_miss * p_target * p_miss[i] + c_fa * (1 - p_target) * p_fa[i]
    return float(cost / min(c_miss * p_target, c_fa * (1 - p_target))), bayes


def cllr(llrs, labels):
    """Cost of log-likelihood ratios [n] with labels bool [n], in bits: mean over all priors of what decisions by them cost; 0 is perfect, 1 is what
    ratios of 1 get. Half the mean of log2(1 + e^-llr) of targets and half that of log2(1 + e^llr) of non-targets. Brümmer & du Preez 2006."""
    return float(
        (np.logaddexp(0, -llrs[labels]).mean() + np.logaddexp(0, llrs[~labels]).mean())
        / (2 * math.log(2))
    )


def hull(x, y):
    """Points of a curve, x falling or level, y rising or level -> indices of the corners of its lower convex hull."""
    kept = []
    for i, point in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        while len(kept) > 1:
            (_, a), (_, b) = kept[-2:]
            # b lies below the line from a to here
            if (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0]) < 0:
                break
            kept.pop()
        kept.append((i, point))
    return np.array([i for i, _ in kept])


def min_cllr(p_miss, p_fa):
    """Cllr after the best rising map of the scores, which the pool-adjacent-violators algorithm finds: what better calibration cannot mend.

    The map gives all scores of an edge of the curve's convex hull one ratio, that of the targets to the non-targets which it holds (Fawcett &
    Niculescu-Mizil 2007). Equal scores are one point of the curve. Brümmer & du Preez 2006.
    """
    corner = hull(p_fa, p_miss)
    # shares of each edge
    targets, others = np.diff(p_miss[corner]), -np.diff(p_fa[corner])
    # an edge of one kind alone costs nothing
    both = (targets > 0) & (others > 0)
    targets, others = targets[both], others[both]
    return float(
        (targets * np.log2(1 + others / targets) + others * np.log2(1 + targets / others)).sum() / 2
    )


def llr_metrics(llrs, labels, rates, p_target=(0.05,), c_miss=1.0, c_fa=1.0):
    """llrs, labels [n] and their rates -> {"actDCF(0.05)": (value, threshold), ..., "Cllr": (value, None), "minCllr": (value, None)}."""
    costs = {f"actDCF({p:g})": act_dcf(*rates, p, c_miss, c_fa) for p in p_target}
    return costs | {"Cllr": (cllr(llrs, labels), None), "minCllr": (min_cllr(*rates[1:]), None)}


def llr_text(*args):
    """llr_metrics, one line each."""
    return "\n".join(
        f"{name:14s}{value:10.4f}" + ("" if at is None else f"   at threshold {at:.5g}")
        for name, (value, at) in llr_metrics(*args).items()
    )
