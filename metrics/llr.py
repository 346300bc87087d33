"""Metrics of scores that are log-likelihood ratios (LLRs).

An LLR is the natural logarithm of p(trial | same speaker) / p(trial | different speakers). The
metrics measure whether a threshold that was set in advance holds, and how much information the LLRs
carry. Rates are results of metrics.rates.error_rates().
"""

import math
from collections.abc import Sequence

import numpy as np

from metrics.summary import Rates
from metrics.thresholds import threshold_text

# {name: (value, threshold or None)}
LlrMetrics = dict[str, tuple[float, float | None]]


def logit(p: float) -> float:
    """Returns the log odds of a probability between 0 and 1, both excluded."""
    return math.log(p / (1 - p))


def effective_prior(p_target: float, c_miss: float = 1.0, c_fa: float = 1.0) -> float:
    """Returns the prior that leads to the same decisions if both costs are equal.

    It is p c_miss / (p c_miss + (1 - p) c_fa). Source: Brümmer & du Preez 2006. Raises ValueError
    if the prior is not between 0 and 1 or a cost is not positive and finite.
    """
    if not 0 < p_target < 1 or not 0 < c_miss < math.inf or not 0 < c_fa < math.inf:
        raise ValueError(
            "--p_target, --c_miss, --c_fa: expected 0 < p_target < 1 and costs above 0, "
            f"found p_target {p_target:g}, c_miss {c_miss:g}, c_fa {c_fa:g}."
        )
    return p_target * c_miss / (p_target * c_miss + (1 - p_target) * c_fa)


def act_dcf(
    threshold: np.ndarray,
    p_miss: np.ndarray,
    p_fa: np.ndarray,
    p_target: float = 0.05,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> tuple[float, float]:
    """Returns the detection cost at the Bayes threshold, and that threshold.

    The threshold is ln(c_fa (1 - p_target) / (c_miss p_target)). The cost is divided by the cost of
    the better trivial system (accept all or reject all), as for minDCF. Above 1 the trivial system
    is better than the scores. Source: NIST SRE evaluation plans. Raises the errors of
    effective_prior().
    """
    bayes = -logit(effective_prior(p_target, c_miss, c_fa))
    # Scores at or above the Bayes threshold are accepted.
    i = np.searchsorted(threshold, bayes)
    cost = c_miss * p_target * p_miss[i] + c_fa * (1 - p_target) * p_fa[i]
    return float(cost / min(c_miss * p_target, c_fa * (1 - p_target))), bayes


def costs_of_llrs(llrs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the costs in bits of ratios [n] if the trial is a target, and if it is none."""
    return np.logaddexp(0, -llrs) / math.log(2), np.logaddexp(0, llrs) / math.log(2)


def cllr(llrs: np.ndarray, labels: np.ndarray) -> float:
    """Returns the cost of log-likelihood ratios [n] with labels bool [n], in bits.

    Cllr is the mean over all priors of the cost of decisions by these ratios. 0 is perfect. Ratios
    of 1 give 1. Cllr is half the mean of log2(1 + e^-llr) over targets, plus half the mean of
    log2(1 + e^llr) over non-targets. Source: Brümmer & du Preez 2006.
    """
    target_cost, _ = costs_of_llrs(llrs[labels])
    _, nontarget_cost = costs_of_llrs(llrs[~labels])
    return float((target_cost.mean() + nontarget_cost.mean()) / 2)


def cllr_from_counts(
    costs: tuple[np.ndarray, np.ndarray], target_counts: np.ndarray, other_counts: np.ndarray
) -> float:
    """Returns the Cllr of weighted trials.

    costs: of the k distinct ratios in ascending order, see costs_of_llrs(), [k] each. The counts
    are the accepted trials [k + 1] at every threshold, see metrics.rates.accepted_counts().
    """
    means = []
    for cost, counts in zip(costs, (target_counts, other_counts), strict=True):
        means.append(-np.diff(counts) @ cost / counts[0])
    return float(sum(means) / 2)


def hull(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Returns the indices of the corners of the lower convex hull of a curve.

    `x` [n] never rises along the curve, and `y` [n] never falls.
    """
    corners: list[int] = []
    xs = x.tolist()
    ys = y.tolist()
    for i in range(len(xs)):
        while len(corners) > 1 and not is_below_line(xs, ys, corners[-2], corners[-1], i):
            corners.pop()
        corners.append(i)
    return np.array(corners)


def is_below_line(xs: list[float], ys: list[float], start: int, middle: int, end: int) -> bool:
    """Returns whether point `middle` is below the line from point `start` to point `end`."""
    middle_x = xs[middle] - xs[start]
    middle_y = ys[middle] - ys[start]
    return middle_x * (ys[end] - ys[start]) - middle_y * (xs[end] - xs[start]) < 0


def min_cllr(p_miss: np.ndarray, p_fa: np.ndarray) -> float:
    """Returns the Cllr after the best rising map of the scores. error_rates() returns the rates.

    The pool-adjacent-violators algorithm finds this map. The value is the part of Cllr that better
    calibration cannot remove. The map gives one ratio to all scores of an edge of the convex hull
    of the curve. It is the ratio of targets to non-targets on that edge (Fawcett &
    Niculescu-Mizil 2007). Equal scores are one point of the curve. Source: Brümmer & du Preez 2006.
    """
    corner = hull(p_fa, p_miss)
    # The shares of targets and of other trials on each edge.
    targets = np.diff(p_miss[corner])
    others = -np.diff(p_fa[corner])
    # An edge with trials of one kind alone costs nothing.
    both = (targets > 0) & (others > 0)
    targets = targets[both]
    others = others[both]
    costs = targets * np.log2(1 + others / targets) + others * np.log2(1 + targets / others)
    return float(costs.sum() / 2)


def llr_metrics(
    llrs: np.ndarray,
    labels: np.ndarray,
    rates: Rates,
    p_target: Sequence[float] = (0.05,),
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> LlrMetrics:
    """Returns {"actDCF(0.05)": (value, threshold), ..., "Cllr": ..., "minCllr": ...}.

    `llrs` and `labels` are [n], and `rates` is the result of error_rates() for them. Cllr and
    minCllr have the threshold None. Raises the errors of effective_prior().
    """
    metrics: LlrMetrics = {}
    for prior in p_target:
        metrics[f"actDCF({prior:g})"] = act_dcf(*rates, prior, c_miss, c_fa)
    _, p_miss, p_fa = rates
    metrics["Cllr"] = (cllr(llrs, labels), None)
    metrics["minCllr"] = (min_cllr(p_miss, p_fa), None)
    return metrics


def llr_text(
    llrs: np.ndarray,
    labels: np.ndarray,
    rates: Rates,
    p_target: Sequence[float] = (0.05,),
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> str:
    """Formats the results of llr_metrics(), one line for each metric."""
    lines = []
    metrics = llr_metrics(llrs, labels, rates, p_target, c_miss, c_fa)
    for name, (value, threshold) in metrics.items():
        remark = "bits"
        if threshold is not None:
            remark = f"at threshold {threshold_text(threshold, rates[0])}"
        lines.append(f"{name:14s}{value:10.4f}   {remark}")
    return "\n".join(lines)
