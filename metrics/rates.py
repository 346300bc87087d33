"""Error rates of scores at every threshold, and the numbers that they give.

The numbers are the equal error rate (EER), the minimum detection cost (minDCF) and thresholds for
chosen false-accept rates. docs/metrics.md has the definitions. This module needs numpy only.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from metrics.summary import Cost, Point, Rates, Summary

# Definitions of eer().
EERS = ("interpolated", "corner", "grid")


def accepted_counts(
    scores: ArrayLike, groups: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Counts the trials of each group that each threshold accepts.

    `scores` is [n] and finite. `groups` maps names to bool [n]. A trial is accepted if its score is
    at or above the threshold.

    Returns the thresholds [k + 1] in ascending order, for k distinct scores, and {name: int64
    [k + 1]}. The first threshold is the lowest score, which accepts all trials. Every distinct
    score follows (equal scores are one threshold). The last threshold is infinity, which rejects
    all trials. Raises ValueError if a score is not finite.
    """
    scores = np.asarray(scores)
    finite = np.isfinite(scores)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise ValueError(
            f"trial {bad + 1}: expected a finite score, found {scores[bad]} "
            f"(not finite in {np.count_nonzero(~finite):,} trials)."
        )
    order = np.argsort(scores)
    scores = scores[order]
    # The first trial of each run of equal scores.
    first = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))
    # The number of trials below each threshold.
    rejected = np.append(first, len(scores))
    threshold = np.append(scores[first].astype(float), np.inf)
    counts = {}
    for name, group in groups.items():
        rejected_of_group = np.append(0, np.cumsum(group[order]))[rejected]
        counts[name] = np.count_nonzero(group) - rejected_of_group
    return threshold, counts


def error_rates(scores: ArrayLike, labels: ArrayLike) -> Rates:
    """Returns the miss and false-accept rates (fractions) at every threshold.

    `scores` is [n] and finite. `labels` is [n], true (1) for target trials. Returns threshold,
    p_miss and p_fa, each [k + 1] for k distinct scores. The thresholds are those that
    accepted_counts() describes. Raises ValueError if a score is not finite, if the shapes or labels
    are wrong, or if all trials have one kind.
    """
    scores = np.asarray(scores)
    labels = np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            "expected one score and one label for each trial, "
            f"found the shapes {scores.shape} and {labels.shape}."
        )
    if labels.dtype != bool:
        if not np.isin(labels, (0, 1)).all():
            raise ValueError(
                "expected the labels 1 (target) and 0 (non-target), "
                f"found {np.unique(labels)[:5].tolist()}."
            )
        labels = labels.astype(bool)
    targets = np.count_nonzero(labels)
    if targets in (0, len(labels)):
        missing, only = ("non-target (0)", "target") if targets else ("target (1)", "non-target")
        raise ValueError(
            f"found no {missing} trials, all {len(labels):,} are {only}. Error rates need trials "
            "of both kinds."
        )
    threshold, counts = accepted_counts(scores, {"target": labels, "other": ~labels})
    p_miss, p_fa = miss_and_fa_rates(counts["target"], counts["other"])
    return threshold, p_miss, p_fa


def miss_and_fa_rates(
    target_counts: np.ndarray, other_counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Converts accepted trials at every threshold to (p_miss, p_fa), which are fractions.

    The first threshold must accept all trials.
    """
    # scikit-learn's roc_curve rounds like "1 - share". So eer() decides ties in the same way.
    p_miss = 1 - target_counts / target_counts[0]
    p_fa = other_counts / other_counts[0]
    return p_miss, p_fa


def changes_counts(target_counts: np.ndarray, other_counts: np.ndarray) -> np.ndarray:
    """Selects the thresholds that are scores of two groups, and infinity.

    Both arguments are [k + 1], from accepted_counts(). The scores of other groups change nothing
    for the two. Returns bool [k + 1].
    """
    changes = (np.diff(target_counts) != 0) | (np.diff(other_counts) != 0)
    return np.append(changes, True)


def rates_from_counts(
    threshold: np.ndarray, target_counts: np.ndarray, other_counts: np.ndarray
) -> Rates:
    """Returns the rates that error_rates() gives for the trials of the two groups alone.

    All arguments are [k + 1], from accepted_counts() of the two groups and possibly others.
    """
    selected = changes_counts(target_counts, other_counts)
    p_miss, p_fa = miss_and_fa_rates(target_counts[selected], other_counts[selected])
    return threshold[selected], p_miss, p_fa


def halfway_threshold(threshold: np.ndarray, i: int) -> float:
    """Returns a threshold halfway between score i - 1 and score i.

    On these trials it has the same rates as score i. For new trials it is the safest choice.
    """
    if i == 0:
        return float(threshold[0])
    middle = float(threshold[i - 1] / 2 + threshold[i] / 2)
    # Neighbouring floats have no number between them.
    if middle > threshold[i - 1]:
        return middle
    return float(threshold[i])


def eer(
    threshold: np.ndarray, p_miss: np.ndarray, p_fa: np.ndarray, definition: str = "interpolated"
) -> tuple[float, float]:
    """Returns the equal error rate in per cent and its threshold. error_rates() returns the rates.

    interpolated: the point where the two rates meet if straight lines join the points of the curve.
    The threshold is halfway between two scores, on the side of the crossing where the rates
    differ less.

    corner: tuneThresholdfromScore of voxceleb_trainer. It selects the corner of the curve with the
    smallest |p_miss - p_fa| (of several, the one with the highest threshold). The EER is the larger
    rate there. It is never below `interpolated`, and far above it for few or heavily tied trials.

    grid: the definition of the double-attention trainer, for cosine scores. The thresholds are -1,
    -0.99, ..., 0.99. The EER is the mean of the two rates at the last threshold before they cross.
    It is 50 if the rates do not cross.
    """
    if definition == "grid":
        return grid_eer(threshold, p_miss, p_fa)
    if definition == "interpolated":
        return interpolated_eer(threshold, p_miss, p_fa)
    return corner_eer(threshold, p_miss, p_fa)


def interpolated_eer(
    threshold: np.ndarray, p_miss: np.ndarray, p_fa: np.ndarray
) -> tuple[float, float]:
    """The definition `interpolated` of eer()."""
    # The difference rises strictly from -1 to 1.
    gap = p_miss - p_fa
    i = int(np.searchsorted(gap, 0))
    weight = -gap[i - 1] / (gap[i] - gap[i - 1])
    value = p_miss[i - 1] + weight * (p_miss[i] - p_miss[i - 1])
    closest = i if gap[i] < -gap[i - 1] else i - 1
    return float(100 * value), halfway_threshold(threshold, closest)


def corner_eer(threshold: np.ndarray, p_miss: np.ndarray, p_fa: np.ndarray) -> tuple[float, float]:
    """The definition `corner` of eer()."""
    gap = p_miss - p_fa
    # The point "reject all" counts as a corner, as it does in voxceleb_trainer.
    candidates = np.append(corners(p_miss[:-1], p_fa[:-1]), len(gap) - 1)[::-1]
    i = int(candidates[np.argmin(np.abs(gap[candidates]))])
    return float(100 * max(p_miss[i], p_fa[i])), halfway_threshold(threshold, i)


def grid_eer(threshold: np.ndarray, p_miss: np.ndarray, p_fa: np.ndarray) -> tuple[float, float]:
    """The definition `grid` of eer()."""
    grid = np.arange(-100, 100) / 100
    # Scores at or above a threshold are accepted.
    i = np.searchsorted(threshold, grid)
    miss_percent = np.round(100 * p_miss[i], 4)
    fa_percent = np.round(100 * p_fa[i], 4)
    crossings = np.flatnonzero(np.diff(np.sign(fa_percent - miss_percent)))
    if not len(crossings):
        return 50.0, math.inf
    first = crossings[0]
    value = np.round((fa_percent + miss_percent)[first] / 2, 4)
    return float(value), float(grid[first])


def min_dcf(
    threshold: np.ndarray,
    p_miss: np.ndarray,
    p_fa: np.ndarray,
    p_target: float = 0.05,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
) -> tuple[float, float]:
    """Returns the minimum of the detection cost and its threshold. error_rates() returns the rates.

    The detection cost is c_miss p_miss p_target + c_fa p_fa (1 - p_target). It is divided by the
    cost of the better trivial system (accept all or reject all). The thresholds include both
    systems, so the value is at most 1. The threshold of "reject all" is infinite. Of equal minima
    the lowest threshold counts. Source: NIST SRE evaluation plans.

    Raises ValueError if the prior is not between 0 and 1 or a cost is not positive and finite.
    """
    if not 0 < p_target < 1 or not 0 < c_miss < math.inf or not 0 < c_fa < math.inf:
        raise ValueError(
            "--p_target, --c_miss, --c_fa: expected 0 < p_target < 1 and costs above 0, "
            f"found p_target {p_target:g}, c_miss {c_miss:g}, c_fa {c_fa:g}."
        )
    cost = c_miss * p_target * p_miss + c_fa * (1 - p_target) * p_fa
    i = int(np.argmin(cost))
    trivial_cost = min(c_miss * p_target, c_fa * (1 - p_target))
    return float(cost[i] / trivial_cost), halfway_threshold(threshold, i)


def min_dcfs(
    rates: Rates, p_target: Sequence[float], c_miss: float, c_fa: float
) -> dict[str, float]:
    """Returns {"minDCF(0.05)": minDCF, ...} for each prior, see min_dcf()."""
    return {f"minDCF({p:g})": min_dcf(*rates, p, c_miss, c_fa)[0] for p in p_target}


def thresholds_at(
    threshold: np.ndarray,
    p_miss: np.ndarray,
    p_fa: np.ndarray,
    rates: Sequence[float] = (0.1, 0.01, 0.001),
) -> tuple[Point, ...]:
    """Finds for each given false-accept rate the lowest threshold that does not exceed the rate.

    `rates` holds fractions. The other arguments are results of error_rates(). Raises ValueError if
    a rate is not between 0 and 1.
    """
    points = []
    for rate in rates:
        if not 0 <= rate <= 1:
            raise ValueError(
                f"--far: expected a false-accept rate between 0 and 1, found {rate:g}."
            )
        i = int(np.argmax(p_fa <= rate))
        points.append(Point(halfway_threshold(threshold, i), float(p_fa[i]), float(p_miss[i])))
    return tuple(points)


def summarize(
    scores: ArrayLike,
    labels: ArrayLike,
    *,
    p_target: float | Sequence[float] = 0.05,
    c_miss: float = 1.0,
    c_fa: float = 1.0,
    p_fa: Sequence[float] = (0.1, 0.01, 0.001),
    definition: str = "interpolated",
) -> Summary:
    """Returns the EER, a minDCF for each p_target and a threshold for each p_fa.

    `scores` is [n], `labels` is [n]. The scores are sorted once. Raises the errors of
    error_rates(), min_dcf() and thresholds_at().
    """
    rates = error_rates(scores, labels)
    priors = (p_target,) if isinstance(p_target, (int, float)) else p_target
    targets = int(np.count_nonzero(labels))
    costs = []
    for prior in priors:
        value, threshold = min_dcf(*rates, prior, c_miss, c_fa)
        costs.append(Cost(prior, value, threshold))
    equal_error_rate, eer_threshold = eer(*rates, definition)
    return Summary(
        targets=targets,
        nontargets=np.size(labels) - targets,
        eer=equal_error_rate,
        eer_threshold=eer_threshold,
        costs=tuple(costs),
        points=thresholds_at(*rates, p_fa),
        rates=rates,
    )


def probit(p: ArrayLike) -> np.ndarray:
    """Returns the quantiles of the standard normal distribution.

    They are the scale of a DET plot, where Gaussian scores make a straight line. Probabilities
    below 1e-9 and above 1 - 1e-9 are clipped.
    """
    return np.vectorize(NormalDist().inv_cdf, otypes=[float])(np.clip(p, 1e-9, 1 - 1e-9))


def corners(p_miss: np.ndarray, p_fa: np.ndarray) -> np.ndarray:
    """Returns the indices of the points where the curve turns, and both ends.

    Points within a run of equal steps are dropped, as scikit-learn does in
    roc_curve(drop_intermediate=True).
    """
    turns = (np.abs(np.diff(p_miss, 2)) > 1e-9) | (np.abs(np.diff(p_fa, 2)) > 1e-9)
    return np.flatnonzero(np.concatenate([[True], turns, [True]]))
