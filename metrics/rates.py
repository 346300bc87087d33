"""Error rates of scores at every threshold, and what is read off them: EER, minDCF, thresholds. numpy only; definitions: docs/metrics.md."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from metrics.summary import Cost, Point, Summary

# definitions of eer()
EERS = ("interpolated", "corner", "grid")


def accepted(scores, groups):
    """Trials of each group at or above every threshold that makes a difference.

    scores [n] finite; groups {name: bool [n]}. Returns threshold [k + 1] ascending, for k distinct scores: from the least score (accepts all)
    over every distinct score (equal scores are one threshold) to infinity (rejects all); and {name: int64 [k + 1]}.
    Raises ValueError at a score that is not finite.
    """
    scores = np.asarray(scores)
    if not np.isfinite(scores).all():
        bad = int(np.argmin(np.isfinite(scores)))
        raise ValueError(
            f"trial {bad + 1}: want a finite score, got {scores[bad]} ({np.count_nonzero(~np.isfinite(scores)):,} such trials)"
        )
    order = np.argsort(scores)
    scores = scores[order]
    # of each run of equal scores
    first = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
    # trials below each threshold
    rejected = np.append(first, len(scores))
    threshold = np.append(scores[first].astype(float), np.inf)
    return threshold, {
        name: np.count_nonzero(group) - np.append(0, np.cumsum(group[order]))[rejected]
        for name, group in groups.items()
    }


def error_rates(scores, labels):
    """Miss and false-accept rates at every threshold that makes a difference.

    scores [n] finite; labels [n] true (1) for target trials. Returns threshold, p_miss, p_fa, each [k + 1] for k distinct scores, thresholds
    as of accepted(). Raises ValueError where there is nothing to measure: a score that is not finite, trials of one kind only.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"want one score and one label a trial, got shapes {scores.shape} and {labels.shape}"
        )
    if labels.dtype != bool:
        if not np.isin(labels, (0, 1)).all():
            raise ValueError(
                f"labels: want 1 (target) and 0 (non-target) only, got {np.unique(labels)[:5].tolist()}"
            )
        labels = labels.astype(bool)
    targets = np.count_nonzero(labels)
    if targets in (0, len(labels)):
        missing, only = ("non-target (0)", "target") if targets else ("target (1)", "non-target")
        raise ValueError(
            f"no {missing} trials, all {len(labels):,} are {only}: error rates need both kinds"
        )
    threshold, of = accepted(scores, {"target": labels, "other": ~labels})
    return threshold, *shares(of["target"], of["other"])


def shares(hits, accepts):
    """Accepted targets and others at every threshold, the first of which accepts all -> p_miss, p_fa."""
    # "1 -" rounds as scikit-learn's roc_curve: ties in eer fall alike
    return 1 - hits / hits[0], accepts / accepts[0]


def steps(hits, accepts):
    """Which of the thresholds of accepted() are scores of these two groups, or infinity: the others change nothing for them -> bool [k + 1]."""
    return np.append((np.diff(hits) != 0) | (np.diff(accepts) != 0), True)


def rates_between(threshold, hits, accepts):
    """What accepted() says of targets and of others -> rates as of error_rates of these two alone."""
    used = steps(hits, accepts)
    return threshold[used], *shares(hits[used], accepts[used])


def between(threshold, i):
    """A threshold halfway between score i - 1 and score i: same rates on these trials as score i, but safest for new ones."""
    if i == 0:
        return float(threshold[0])
    middle = float(threshold[i - 1] / 2 + threshold[i] / 2)
    # neighbouring floats have no middle
    return middle if middle > threshold[i - 1] else float(threshold[i])


def eer(threshold, p_miss, p_fa, definition="interpolated"):
    """Equal error rate -> (per cent, threshold), from error_rates(...).

    interpolated: where the two rates meet when the curve is drawn with straight lines between its points. The threshold lies halfway between
    two scores, on the side of the crossing where the rates differ less.
    corner: tuneThresholdfromScore of voxceleb_trainer. Of the curve's corners the one with the smallest |p_miss - p_fa| (the highest
    threshold of several), and the larger of its rates; never below the first, and far above it for few or heavily tied trials.
    grid: the double-attention trainer's, for cosines. The mean of the rates at the last of the thresholds -1, -0.99, ..., 0.99 before they
    cross; 50 where they do not.
    """
    # rises from -1 to 1, strictly
    gap = p_miss - p_fa
    if definition == "grid":
        grid = np.arange(-100, 100) / 100
        # rates of "accepted at or above"
        i = np.searchsorted(threshold, grid)
        miss, accept = np.round(100 * p_miss[i], 4), np.round(100 * p_fa[i], 4)
        crossing = np.flatnonzero(np.diff(np.sign(accept - miss)))
        if not len(crossing):
            return 50.0, math.inf
        return float(np.round((accept + miss)[crossing[0]] / 2, 4)), float(grid[crossing[0]])
    if definition == "interpolated":
        i = int(np.searchsorted(gap, 0))
        weight = -gap[i - 1] / (gap[i] - gap[i - 1])
        value = p_miss[i - 1] + weight * (p_miss[i] - p_miss[i - 1])
        return float(100 * value), between(threshold, i if gap[i] < -gap[i - 1] else i - 1)
    # the end "reject all" is added to the corners, as there
    kept = np.append(corners(p_miss[:-1], p_fa[:-1]), len(gap) - 1)[::-1]
    i = kept[np.argmin(np.abs(gap[kept]))]
    return float(100 * max(p_miss[i], p_fa[i])), between(threshold, i)


def min_dcf(threshold, p_miss, p_fa, p_target=0.05, c_miss=1.0, c_fa=1.0):
    """Minimum of the detection cost c_miss p_miss p_target + c_fa p_fa (1 - p_target) -> (value, threshold), from error_rates(...).

    Divided by the cost of the better trivial system (accept all or reject all). Both are among the thresholds, so the value is at most 1;
    at reject-all the threshold is infinite. Of equal minima the lowest threshold. NIST SRE evaluation plans.
    """
    if not 0 < p_target < 1 or not 0 < c_miss < math.inf or not 0 < c_fa < math.inf:
        raise ValueError(
            f"minDCF: want 0 < p_target < 1 and costs above 0, got p_target {p_target:g}, c_miss {c_miss:g}, c_fa {c_fa:g}"
        )
    cost = c_miss * p_target * p_miss + c_fa * (1 - p_target) * p_fa
    i = int(np.argmin(cost))
    return float(cost[i] / min(c_miss * p_target, c_fa * (1 - p_target))), between(threshold, i)


def thresholds_at(threshold, p_miss, p_fa, rates=(0.1, 0.01, 0.001)):
    """For each wanted false-accept rate (a fraction) the lowest threshold that does not exceed it -> tuple of Point(threshold, p_fa, p_miss)."""
    wrong = [rate for rate in rates if not 0 <= rate <= 1]
    if wrong:
        raise ValueError(f"false-accept rate: want a fraction between 0 and 1, got {wrong[0]:g}")
    index = [int(np.argmax(p_fa <= rate)) for rate in rates]
    return tuple(Point(between(threshold, i), float(p_fa[i]), float(p_miss[i])) for i in index)


def summarize(
    scores,
    labels,
    *,
    p_target: float | Sequence[float] = 0.05,
    c_miss=1.0,
    c_fa=1.0,
    p_fa=(0.1, 0.01, 0.001),
    definition="interpolated",
) -> Summary:
    """EER, minDCF for each p_target and thresholds for each p_fa of scores [n] with labels [n], sorted once. Errors as in the parts."""
    rates = error_rates(scores, labels)
    priors = (p_target,) if isinstance(p_target, (int, float)) else p_target
    targets = int(np.count_nonzero(labels))
    costs = tuple(Cost(p, *min_dcf(*rates, p, c_miss, c_fa)) for p in priors)
    return Summary(
        targets,
        len(labels) - targets,
        *eer(*rates, definition),
        costs,
        thresholds_at(*rates, p_fa),
        rates,
    )


def probit(p):
    """Quantile of the standard normal distribution, the scale of a DET plot: Gaussian scores make a straight line."""
    return np.vectorize(NormalDist().inv_cdf, otypes=[float])(np.clip(p, 1e-9, 1 - 1e-9))


def corners(p_miss, p_fa):
    """Indices where the curve turns, ends included. Runs of equal steps are dropped: scikit-learn's roc_curve(drop_intermediate=True)."""
    turns = (np.abs(np.diff(p_miss, 2)) > 1e-9) | (np.abs(np.diff(p_fa, 2)) > 1e-9)
    return np.flatnonzero(np.concatenate([[True], turns, [True]]))
