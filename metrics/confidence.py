"""Confidence of error rates: intervals, bands of DET curves, and comparison of two systems.

Trials that share a speaker are not independent. So speakers are drawn with replacement, the same
number as there are. The weight of a trial is the product of the numbers of draws of its two
speakers. The weight of a trial of one speaker is the number of draws of this speaker.

This is the pigeonhole bootstrap (Owen, Annals of Applied Statistics 1(2), 2007) for pairs from one
population. Source: Davezies, D'Haultfoeuille and Guyonvarch, Annals of Statistics 49(2), 2021.
"""

from collections.abc import Callable, Mapping
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

from metrics.rates import probit

NORMAL = NormalDist()
REPEATS = 1000
BAND_POINTS = 200

# What a resample gave: {name: value}, and {name of an EER: P_miss [G] at the gaps}.
Measured = tuple[dict[str, float], dict[str, np.ndarray]]


class TooFew(ValueError):
    """There are too few speakers to resample."""


class Resamples(NamedTuple):
    """What was measured on R resamples.

    values: {name: [R]}. misses: {name of an EER: P_miss [R, G] at the gaps, see spread()}.
    speakers: their number.
    """

    values: dict[str, np.ndarray]
    misses: dict[str, np.ndarray]
    speakers: int


class TrialsOfKind(NamedTuple):
    """The trials of a kind, sorted by score.

    rank: of their scores among all distinct scores. first, second: rows of their speakers.
    """

    rank: np.ndarray
    first: np.ndarray
    second: np.ndarray


def bootstrap(
    scores: np.ndarray,
    groups: Mapping[str, np.ndarray],
    sides: np.ndarray,
    measure: Callable[..., tuple[dict, dict]],
    gaps: Mapping[str, np.ndarray],
    repeats: int = REPEATS,
    seed: int = 0,
) -> Resamples:
    """Measures resamples of the trials.

    scores: [n]. groups: {kind: bool [n]}. sides: int [n, 2], the speakers of a trial. The second is
    -1 if there is one speaker. measure(threshold, {kind: number of trials accepted there}) returns
    ({name of an EER: (threshold, p_miss, p_fa)}, {name: value}). gaps: {name of an EER: [G]}, see
    spread().

    A trial is weighted instead of copied, and the scores are sorted once. Resamples are measured
    one after the other, because one row of trials stays in the cache. The draws depend only on the
    number of speakers and the seed, so the resamples of two systems are pairs. Raises TooFew if
    there is one speaker, or if half of the resamples lack trials of a kind.
    """
    # Imported here, because only the bootstrap shows a progress bar.
    from tqdm import tqdm

    # The first of the unique rows is the -1 of trials with one speaker.
    names, inverse = np.unique(np.append(sides, -1), return_inverse=True)
    rows = inverse[:-1].reshape(-1, 2) - 1
    speakers = len(names) - 1
    if speakers < 2:
        raise TooFew(
            "expected at least two speakers for intervals, found one in all trials. Add trials of "
            "other speakers."
        )
    distinct, rank = np.unique(scores, return_inverse=True)
    threshold = np.append(distinct, np.inf)
    kinds = {kind: trials_of_kind(group, rank, rows) for kind, group in groups.items()}
    draw = np.random.default_rng(seed)
    found: list[Measured] = []
    for _ in tqdm(range(repeats), desc="bootstrap", disable=None, leave=False):
        # The last count is used by trials with one speaker.
        counts = np.append(draw.multinomial(speakers, np.full(speakers, 1 / speakers)), 1.0)
        accepted = {}
        for kind, trials in kinds.items():
            weights = counts[trials.first] * counts[trials.second]
            accepted[kind] = weights_above(trials.rank, weights, len(distinct))
        if has_all_kinds(accepted, kinds):
            rates, values = measure(threshold, accepted)
            found.append((values, misses_at_gaps(rates, gaps)))
    if len(found) <= repeats / 2:
        raise TooFew(
            f"only {len(found)} of {repeats} resamples of {speakers} speakers have trials of all "
            "kinds. There are too few speakers for intervals."
        )
    values = stack_by_name([values for values, _ in found])
    misses = stack_by_name([misses for _, misses in found])
    return Resamples(values, misses, speakers)


def has_all_kinds(accepted: Mapping[str, np.ndarray], kinds: Mapping[str, TrialsOfKind]) -> bool:
    """Whether a resample has trials of every kind that the list has."""
    for kind, trials in kinds.items():
        if len(trials.rank) and not accepted[kind][0]:
            return False
    return True


def trials_of_kind(group: np.ndarray, rank: np.ndarray, rows: np.ndarray) -> TrialsOfKind:
    """Sorts the trials of a group (bool [n]) by the rank of their scores."""
    order = np.flatnonzero(group)[np.argsort(rank[group])]
    first, second = np.ascontiguousarray(rows[order].T)
    return TrialsOfKind(rank[order], first, second)


def misses_at_gaps(rates: Mapping[str, Any], gaps: Mapping[str, np.ndarray]) -> dict:
    """Returns {name of an EER: P_miss [G] where P_miss - P_fa has the values of the gaps}."""
    misses = {}
    for name, gap in gaps.items():
        _, p_miss, p_fa = rates[name]
        misses[name] = np.interp(gap, p_miss - p_fa, p_miss)
    return misses


def stack_by_name(results: list[dict]) -> dict[str, np.ndarray]:
    """Stacks R dicts of the same names -> {name: [R, ...]}."""
    stacked = {}
    for name in results[0]:
        stacked[name] = np.array([result[name] for result in results])
    return stacked


def weights_above(rank: np.ndarray, weights: np.ndarray, ranks: int) -> np.ndarray:
    """Sums the weights of the trials at or above every rank -> [ranks + 1].

    The sums are exact, because the weights are whole numbers.
    """
    sums = np.bincount(rank, weights, ranks)
    return np.append(np.cumsum(sums[::-1])[::-1], 0.0)


def share_below(values: np.ndarray, observed: Any) -> Any:
    """Returns the share of the values [R, ...] below `observed` [...]. Equal values count half.

    The share is never 0 or 1, because `observed` itself counts as a value.
    """
    lower = np.count_nonzero(values < observed, axis=0)
    equal = np.count_nonzero(values == observed, axis=0)
    return (lower + equal / 2 + 0.5) / (len(values) + 1)


def interval(values: np.ndarray, observed: Any, confidence: float = 0.95) -> np.ndarray:
    """Returns the interval [2, ...] (low, high) of values [R, ...] of resamples.

    observed: the value [...] of the original trials. This is the bias-corrected percentile
    interval (Efron, Canadian Journal of Statistics 9(2), 1981). Resamples have fewer different
    trials than their list, and a minimum over thresholds is lower with fewer different trials. So
    plain percentiles of minDCF would be far too low.
    """
    bias = probit(share_below(values, observed))
    reach = NORMAL.inv_cdf((1 + confidence) / 2)
    cdf = np.vectorize(NORMAL.cdf, otypes=[float])
    levels = cdf([2 * bias - reach, 2 * bias + reach])  # [2, ...]
    columns = values.reshape(len(values), -1).T
    levels_of_columns = levels.reshape(2, -1).T
    quantiles = []
    for column, level in zip(columns, levels_of_columns, strict=True):
        quantiles.append(np.quantile(column, level))
    return np.transpose(quantiles).reshape(levels.shape)


def intervals(
    resamples: Resamples, observed: Mapping[str, float], confidence: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Returns {name: (low, high)}. observed: {name: value} of the original trials."""
    found = {}
    for name, values in resamples.values.items():
        low, high = interval(values, observed[name], confidence).tolist()
        found[name] = (low, high)
    return found


# ---------------------------------------------------------------------- bands
def spread(p_miss: np.ndarray, p_fa: np.ndarray) -> np.ndarray:
    """Returns P_miss - P_fa [G], ascending, at points that are evenly spread in a DET plot.

    The curve of a resample crosses each line of constant P_miss - P_fa once. The line of 0 belongs
    to the EER, so the band there is the interval of the EER.
    """
    across = probit(p_miss) - probit(p_fa)
    index = np.searchsorted(across, np.linspace(across[0], across[-1], BAND_POINTS))
    return np.unique((p_miss - p_fa)[np.minimum(index, len(p_miss) - 1)])


def bands(
    resamples: Resamples,
    gaps: Mapping[str, np.ndarray],
    curves: Mapping[str, Any],
    confidence: float = 0.95,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns the lower and upper edge of DET curves: {name of an EER: (p_miss, p_fa) [2, G] each}.

    curves: {name of an EER: (EER, rates)} as for plot_det().
    """
    found = {}
    for name, misses in resamples.misses.items():
        _, p_miss, p_fa = curves[name][1]
        observed = np.interp(gaps[name], p_miss - p_fa, p_miss)
        edges = interval(misses, observed, confidence)
        found[name] = (edges, edges - gaps[name])
    return found


# ---------------------------------------------------------------------- comparison
class Difference(NamedTuple):
    """The interval of a difference, and the p-value of no difference."""

    low: float
    high: float
    p: float


def difference(values: np.ndarray, observed: float, confidence: float = 0.95) -> Difference:
    """Tests the difference of two systems.

    values: differences [R] on the same resamples. observed: the difference on the original trials.
    p is two-sided: 1 minus the highest confidence at which the interval excludes 0.
    """
    bias = probit(share_below(values, observed))
    tail = NORMAL.cdf(float(probit(share_below(values, 0)) - 2 * bias))
    low, high = interval(values, observed, confidence).tolist()
    return Difference(low, high, 2 * min(tail, 1 - tail))


def comparison(
    a: Mapping[str, float],
    b: Mapping[str, float],
    resamples_a: Resamples,
    resamples_b: Resamples,
    confidence: float = 0.95,
) -> str:
    """Returns a table of the differences of two systems.

    a, b: {name: value} of the original trials.
    """
    title = f"{100 * confidence:g} % interval"
    lines = [f"{'':14s}{'first':>10s}{'second':>10s}{'difference':>13s}   {title:20s}{'p':>6s}"]
    for name in a:
        values = resamples_a.values[name] - resamples_b.values[name]
        low, high, p = difference(values, a[name] - b[name], confidence)
        digits, unit = (2, " %") if "EER" in name else (4, "")
        first = f"{a[name]:.{digits}f}{unit}"
        second = f"{b[name]:.{digits}f}{unit}"
        change = f"{a[name] - b[name]:+.{digits}f}{unit}"
        bounds = f"[{low:+.{digits}f}, {high:+.{digits}f}]"
        lines.append(f"{name:14s}{first:>10s}{second:>10s}{change:>13s}   {bounds:20s}{p:6.3f}")
    return "\n".join(lines)
