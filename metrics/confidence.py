"""Confidence of error rates: bootstrap over speakers, intervals, bands of DET curves, and paired comparison of two systems.

Trials that share a speaker are not independent. So speakers are drawn with replacement, as many as there are, and a trial counts as often as the product
of its two speakers' draws; one of a single speaker as often as that one is drawn. This is the pigeonhole bootstrap (Owen, Annals of Applied Statistics
1(2), 2007) for pairs out of one population (Davezies, D'Haultfoeuille and Guyonvarch, Annals of Statistics 49(2), 2021).
"""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from metrics.rates import probit

NORMAL = NormalDist()
REPEATS = 1000
BAND_POINTS = 200


class TooFew(ValueError):
    """Too few speakers to resample."""


class Resamples(NamedTuple):
    """What was measured of R resamples: values {name: [R]}; misses {EER's name: P_miss [R, G] at the gaps}. speakers: their number."""

    values: dict[str, np.ndarray]
    misses: dict[str, np.ndarray]
    speakers: int


def add_options(parser):
    group = parser.add_argument_group(
        "confidence",
        "speakers, not trials, are drawn with replacement; bands of the DET plot are pointwise",
    )
    group.add_argument(
        "--bootstrap", type=int, metavar="R", help=f"intervals from R resamples, e.g. {REPEATS}"
    )
    group.add_argument(
        "--confidence",
        type=float,
        default=0.95,
        metavar="C",
        help="of the intervals and bands (%(default)s)",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="another seed, other resamples (%(default)s)",
    )
    group.add_argument(
        "--compare",
        nargs=2,
        metavar="FILE",
        help="instead of scores: two scores files of the same trials in any order, which are told "
        f"as usual, and their differences with intervals and p-values under the same resamples (--bootstrap {REPEATS} unless given)",
    )


def check_options(args):
    if args.compare and args.bootstrap is None:
        args.bootstrap = REPEATS
    if args.bootstrap is not None and args.bootstrap < 2:
        raise ValueError(f"--bootstrap: want 2 resamples or more, got {args.bootstrap}")
    if not 0 < args.confidence < 1:
        raise ValueError(f"--confidence: want a share between 0 and 1, got {args.confidence:g}")
    if args.seed < 0:
        raise ValueError(f"--seed: want 0 or more, got {args.seed}")


def bootstrap(scores, groups, sides, measure, gaps, repeats=REPEATS, seed=0) -> Resamples:
    """Measures resamples of the trials, each as if the drawn speakers' trials stood in a list as often as they count.

    scores [n]; groups {kind: bool [n]}; who int [n, 2], the speakers of a trial, the second -1 where there is one. measure(threshold, {kind: trials
    accepted there}) -> {EER's name: (threshold, p_miss, p_fa)}, {name: value}. gaps {EER's name: [G]}, see spread(). Scores are sorted once; weights
    take the place of copies, a cumulative sum that of counting, resample after resample: a row of trials stays in the cache, a block of rows would not.
    The draws depend on speakers, number and seed alone: two systems' resamples are pairs. Raises TooFew where half of them lack trials of a kind.
    """
    from tqdm import tqdm

    # the first is nobody
    speakers, sides = np.unique(np.append(sides, -1), return_inverse=True)
    sides, speakers = sides[:-1].reshape(-1, 2) - 1, len(speakers) - 1
    distinct, rank = np.unique(scores, return_inverse=True)
    threshold = np.append(distinct, np.inf)
    parts = {}
    for kind, group in groups.items():
        order = np.flatnonzero(group)[np.argsort(rank[group])]
        parts[kind] = rank[order], *np.ascontiguousarray(sides[order].T)
    draw, found = np.random.default_rng(seed), []
    for _ in tqdm(range(repeats), desc="bootstrap", disable=None, leave=False):
        # the last is nobody's
        counts = np.append(draw.multinomial(speakers, np.full(speakers, 1 / speakers)), 1.0)
        of = {
            kind: above(at, counts[first] * counts[second], len(distinct))
            for kind, (at, first, second) in parts.items()
        }
        if all(of[kind][0] for kind, (at, *_) in parts.items() if len(at)):
            rates, values = measure(threshold, of)
            found.append(
                (
                    values,
                    {
                        name: np.interp(gap, rates[name][1] - rates[name][2], rates[name][1])
                        for name, gap in gaps.items()
                    },
                )
            )
    if len(found) <= repeats / 2:
        raise TooFew(
            f"only {len(found)} of {repeats} resamples of {speakers} speakers have trials of all kinds: too few speakers for intervals"
        )
    values, misses = (
        {name: np.array([one[name] for one in some]) for name in some[0]}
        for some in zip(*found, strict=True)
    )
    return Resamples(values, misses, speakers)


def above(at, weights, ranks):
    """Sum of the weights of the trials at or above every rank -> [ranks + 1], exact, as they are whole numbers."""
    return np.append(np.cumsum(np.bincount(at, weights, ranks)[::-1])[::-1], 0.0)


def below(values, at):
    """Share of the values [R, ...] below `at` [...], equal ones by half; never 0 or 1, as `at` itself counts as one of them."""
    return (
        np.count_nonzero(values < at, axis=0) + np.count_nonzero(values == at, axis=0) / 2 + 0.5
    ) / (len(values) + 1)


def interval(values, observed, confidence=0.95):
    """values [R, ...] of resamples, observed [...] of the trials as they are -> low, high [2, ...].

    Bias-corrected percentile interval (Efron, Canadian Journal of Statistics 9(2), 1981): a minimum over thresholds gets the lower the fewer different
    trials there are, and resamples have fewer than their list; plain percentiles of minDCF would be far too low.
    """
    bias, reach = probit(below(values, observed)), NORMAL.inv_cdf((1 + confidence) / 2)
    levels = np.vectorize(NORMAL.cdf, otypes=[float])(
        [2 * bias - reach, 2 * bias + reach]
    )  # [2, ...]
    columns = [
        np.quantile(column, level)
        for column, level in zip(
            values.reshape(len(values), -1).T, levels.reshape(2, -1).T, strict=True
        )
    ]
    return np.transpose(columns).reshape(levels.shape)


def intervals(resamples, observed, confidence=0.95):
    """Resamples, {name: value} of the trials as they are -> {name: (low, high)}."""
    return {
        name: tuple(interval(values, observed[name], confidence).tolist())
        for name, values in resamples.values.items()
    }


# ---------------------------------------------------------------------- bands
def spread(p_miss, p_fa):
    """Points of a DET curve, as far from one to the next in the plot as can be -> their P_miss - P_fa [G], ascending.

    A resample's curve crosses each line of constant P_miss - P_fa once; the line of 0 is that of the EER, so that there the band is its interval.
    """
    across = probit(p_miss) - probit(p_fa)
    at = np.searchsorted(across, np.linspace(across[0], across[-1], BAND_POINTS))
    return np.unique((p_miss - p_fa)[np.minimum(at, len(p_miss) - 1)])


def bands(resamples, gaps, curves, confidence=0.95):
    """curves: {EER's name: (EER, rates)} as for plot_det -> {EER's name: (p_miss [2, G], p_fa [2, G])}, lower and upper edge."""
    edges = {}
    for name, misses in resamples.misses.items():
        _, p_miss, p_fa = curves[name][1]
        edges[name] = interval(misses, np.interp(gaps[name], p_miss - p_fa, p_miss), confidence)
    return {name: (p_miss, p_miss - gaps[name]) for name, p_miss in edges.items()}


# ---------------------------------------------------------------------- comparison
class Difference(NamedTuple):
    """Interval of a difference, and the p-value of there being none."""

    low: float
    high: float
    p: float


def difference(values, observed, confidence=0.95) -> Difference:
    """Differences of two systems, values [R] under the same resamples, observed of the trials as they are -> what is known of it.

    p (two-sided): 1 - the highest confidence at which the interval leaves out 0.
    """
    tail = NORMAL.cdf(float(probit(below(values, 0)) - 2 * probit(below(values, observed))))
    return Difference(*interval(values, observed, confidence).tolist(), 2 * min(tail, 1 - tail))


def comparison(a, b, of_a, of_b, confidence=0.95):
    """values {name: value} of two systems, their Resamples -> the lines of a table."""
    lines = [
        f"{'':14s}{'first':>10s}{'second':>10s}{'difference':>13s}   {f'{100 * confidence:g} % interval':20s}{'p':>6s}"
    ]
    for name in a:
        low, high, p = difference(
            of_a.values[name] - of_b.values[name], a[name] - b[name], confidence
        )
        digits, unit = (2, " %") if "EER" in name else (4, "")
        first, second, between = (
            f"{value:{sign}.{digits}f}{unit}"
            for value, sign in ((a[name], ""), (b[name], ""), (a[name] - b[name], "+"))
        )
        lines += [
            f"{name:14s}{first:>10s}{second:>10s}{between:>13s}   {f'[{low:+.{digits}f}, {high:+.{digits}f}]':20s}{p:6.3f}"
        ]
    return "\n".join(lines)
