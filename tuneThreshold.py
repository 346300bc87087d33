"""Error rates, EER, minDCF and DET plots of speaker-verification scores. numpy only, and runs alone on scores files.

python tuneThreshold.py exps/demo/result/scores.txt              prints the metrics, draws scores_det.png beside the file
python tuneThreshold.py before.txt after.txt --det both.png      several systems in one plot          (--help: all options)
A line of a scores file is `1|0 file file score`. A trial is accepted where its score is at or above the threshold.
"""
import argparse
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from report.det import plot_det

log = logging.getLogger("tuneThreshold")
EERS = ("interpolated", "corner", "grid")                                                     # definitions of eer()


class Cost(NamedTuple):
    """minDCF at one prior, and the threshold that has it."""
    p_target: float
    value: float
    threshold: float


class Point(NamedTuple):
    """One operating point; rates are fractions."""
    threshold: float
    p_fa: float
    p_miss: float


@dataclass(frozen=True)
class Summary:
    """What is told about a scored trial list. EER in per cent, `costs` one minDCF for each prior, `points` the chosen false-accept rates."""
    targets: int
    nontargets: int
    eer: float
    eer_threshold: float
    costs: tuple[Cost, ...]
    points: tuple[Point, ...]
    rates: tuple[np.ndarray, np.ndarray, np.ndarray] = field(repr=False, compare=False)       # of error_rates

    @property
    def min_dcf(self):
        return self.costs[0].value

    @property
    def curves(self):
        """What report.det.plot_det draws of it."""
        return {"EER": (self.eer, *turning_points(self.rates))}

    def __str__(self):
        names = ["EER", *(f"minDCF({cost.p_target:g})" for cost in self.costs)]
        values = [f"{self.eer:.2f} %", *(f"{cost.value:.4f}" for cost in self.costs)]
        at = [self.eer_threshold, *(cost.threshold for cost in self.costs)]
        lines = [f"{self.targets + self.nontargets:,} trials: {self.targets:,} target, {self.nontargets:,} non-target"]
        lines += [f"{name:14s}{value:>10s}   at threshold {t:.5g}" for name, value, t in zip(names, values, at, strict=True)]
        if self.points:
            lines += ["false accepts    misses   threshold"]
            lines += [f"{100 * p.p_fa:11.3f} % {100 * p.p_miss:7.2f} % {p.threshold:11.5g}" for p in self.points]
        return "\n".join(lines)


# ---------------------------------------------------------------------- rates
def error_rates(scores, labels):
    """Miss and false-accept rates at every threshold that makes a difference.

    scores [n] finite; labels [n] true (1) for target trials. Returns threshold, p_miss, p_fa, each [k + 1] for k distinct scores, threshold
    ascending: from the least score (accepts all) over every distinct score (equal scores are one threshold) to infinity (rejects all).
    Raises ValueError where there is nothing to measure: a score that is not finite, trials of one kind only.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"want one score and one label a trial, got shapes {scores.shape} and {labels.shape}")
    if labels.dtype != bool:
        if not np.isin(labels, (0, 1)).all():
            raise ValueError(f"labels: want 1 (target) and 0 (non-target) only, got {np.unique(labels)[:5].tolist()}")
        labels = labels.astype(bool)
    if not np.isfinite(scores).all():
        bad = int(np.argmin(np.isfinite(scores)))
        raise ValueError(f"trial {bad + 1}: want a finite score, got {scores[bad]} ({np.count_nonzero(~np.isfinite(scores)):,} such trials)")
    targets = np.count_nonzero(labels)
    nontargets = len(labels) - targets
    if not targets or not nontargets:
        missing, only = ("non-target (0)", "target") if targets else ("target (1)", "non-target")
        raise ValueError(f"no {missing} trials, all {len(labels):,} are {only}: error rates need both kinds")
    order = np.argsort(scores)
    scores, labels = scores[order], labels[order]
    first = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))        # of each run of equal scores
    rejected = np.append(first, len(scores))                                  # trials below each threshold
    missed = np.append(0, np.cumsum(labels))[rejected]
    threshold = np.append(scores[first].astype(float), np.inf)
    hits, accepts = targets - missed, nontargets - (rejected - missed)
    return threshold, 1 - hits / targets, accepts / nontargets                # "1 -" rounds as scikit-learn's roc_curve: ties in eer fall alike


def between(threshold, i):
    """A threshold halfway between score i - 1 and score i: same rates on these trials as score i, but safest for new ones."""
    if i == 0:
        return float(threshold[0])
    middle = float(threshold[i - 1] / 2 + threshold[i] / 2)
    return middle if middle > threshold[i - 1] else float(threshold[i])       # neighbouring floats have no middle


def corners(p_miss, p_fa):
    """Indices where the curve turns, ends included. Runs of equal steps are dropped: scikit-learn's roc_curve(drop_intermediate=True)."""
    turns = (np.abs(np.diff(p_miss, 2)) > 1e-9) | (np.abs(np.diff(p_fa, 2)) > 1e-9)
    return np.flatnonzero(np.concatenate([[True], turns, [True]]))


def turning_points(rates):
    """Rates of error_rates -> (p_miss, p_fa) of its corners alone: the same line in fewer points."""
    _, p_miss, p_fa = rates
    kept = corners(p_miss, p_fa)
    return p_miss[kept], p_fa[kept]


def eer(threshold, p_miss, p_fa, definition="interpolated"):
    """Equal error rate -> (per cent, threshold), from error_rates(...).

    interpolated: where the two rates meet when the curve is drawn with straight lines between its points. The threshold lies halfway between
    two scores, on the side of the crossing where the rates differ less.
    corner: tuneThresholdfromScore of voxceleb_trainer. Of the curve's corners the one with the smallest |p_miss - p_fa| (the highest
    threshold of several), and the larger of its rates; never below the first, and far above it for few or heavily tied trials.
    grid: the double-attention trainer's, for cosines. The mean of the rates at the last of the thresholds -1, -0.99, ..., 0.99 before they
    cross; 50 where they do not.
    """
    gap = p_miss - p_fa                                                       # rises from -1 to 1, strictly
    if definition == "grid":
        grid = np.arange(-100, 100) / 100
        i = np.searchsorted(threshold, grid)                                  # rates of "accepted at or above"
        miss, accepted = np.round(100 * p_miss[i], 4), np.round(100 * p_fa[i], 4)
        crossing = np.flatnonzero(np.diff(np.sign(accepted - miss)))
        if not len(crossing):
            return 50.0, math.inf
        return float(np.round((accepted + miss)[crossing[0]] / 2, 4)), float(grid[crossing[0]])
    if definition == "interpolated":
        i = int(np.searchsorted(gap, 0))
        weight = -gap[i - 1] / (gap[i] - gap[i - 1])
        value = p_miss[i - 1] + weight * (p_miss[i] - p_miss[i - 1])
        return float(100 * value), between(threshold, i if gap[i] < -gap[i - 1] else i - 1)
    kept = np.append(corners(p_miss[:-1], p_fa[:-1]), len(gap) - 1)[::-1]     # the end "reject all" is added to the corners, as there
    i = kept[np.argmin(np.abs(gap[kept]))]
    return float(100 * max(p_miss[i], p_fa[i])), between(threshold, i)


def sasv_eers(scores, kinds):
    """scores [n], kinds [n] of "target", "nontarget", "spoof" -> EERs in per cent of targets against all others (SASV), against other speakers
    (SV) and against spoofed speech (SPF), interpolated; SASV challenge 2022 (Jung et al., arXiv:2203.14732)."""
    scores, kinds = np.asarray(scores), np.asarray(kinds)
    others = {"SASV-EER": ("nontarget", "spoof"), "SV-EER": ("nontarget",), "SPF-EER": ("spoof",)}
    used = {name: np.isin(kinds, ("target", *kind)) for name, kind in others.items()}
    return {name: eer(*error_rates(scores[rows], kinds[rows] == "target"))[0] for name, rows in used.items()}


def min_dcf(threshold, p_miss, p_fa, p_target=0.05, c_miss=1.0, c_fa=1.0):
    """Minimum of the detection cost c_miss p_miss p_target + c_fa p_fa (1 - p_target) -> (value, threshold), from error_rates(...).

    Divided by the cost of the better trivial system (accept all or reject all). Both are among the thresholds, so the value is at most 1;
    at reject-all the threshold is infinite. Of equal minima the lowest threshold. NIST SRE evaluation plans.
    """
    if not 0 < p_target < 1 or not 0 < c_miss < math.inf or not 0 < c_fa < math.inf:
        raise ValueError(f"minDCF: want 0 < p_target < 1 and costs above 0, got p_target {p_target:g}, c_miss {c_miss:g}, c_fa {c_fa:g}")
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


def summarize(scores, labels, *, p_target: float | Sequence[float] = 0.05, c_miss=1.0, c_fa=1.0, p_fa=(0.1, 0.01, 0.001),
              definition="interpolated") -> Summary:
    """EER, minDCF for each p_target and thresholds for each p_fa of scores [n] with labels [n], sorted once. Errors as in the parts."""
    rates = error_rates(scores, labels)
    priors = (p_target,) if isinstance(p_target, (int, float)) else p_target
    targets = int(np.count_nonzero(labels))
    costs = tuple(Cost(p, *min_dcf(*rates, p, c_miss, c_fa)) for p in priors)
    return Summary(targets, len(labels) - targets, *eer(*rates, definition), costs, thresholds_at(*rates, p_fa), rates)


# ---------------------------------------------------------------------- scores file, command
def read_scores(path):
    """Scores file, lines `1|0 file file score` -> scores [n] float64, labels [n] bool. Raises ValueError naming the line."""
    scores, labels = [], []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: want a text file in UTF-8, got byte {error.object[error.start]:#04x}") from None
    for number, line in enumerate(lines, 1):
        words = line.split()
        if len(words) == 3:
            raise ValueError(f"{path}:{number}: want '1|0 <file> <file> <score>', got '{line}': without a label nothing to evaluate")
        if len(words) != 4 or words[0] not in ("0", "1"):
            raise ValueError(f"{path}:{number}: want '1|0 <file> <file> <score>', got '{line}'")
        try:
            score = float(words[3])
        except ValueError:
            raise ValueError(f"{path}:{number}: want a number as the score, got '{words[3]}'") from None
        if not math.isfinite(score):
            raise ValueError(f"{path}:{number}: want a finite score, got '{words[3]}'")
        scores.append(score)
        labels.append(words[0] == "1")
    if not scores:
        raise ValueError(f"{path}: empty: want lines '1|0 <file> <file> <score>'")
    return np.array(scores), np.array(labels)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", nargs="+", help="scores files, lines '1|0 file file score'")
    parser.add_argument("--p_target", type=float, nargs="+", default=[0.05, 0.01], metavar="P", help="priors of a target trial in minDCF (0.05 0.01)")
    parser.add_argument("--c_miss", type=float, default=1.0, help="cost of a miss (%(default)s)")
    parser.add_argument("--c_fa", type=float, default=1.0, help="cost of a false accept (%(default)s)")
    parser.add_argument("--far", type=float, nargs="+", default=[0.1, 0.01, 0.001], metavar="F", help="false-accept rates (0.1 0.01 0.001)")
    parser.add_argument("--eer", choices=EERS, default=EERS[0],
                        help="definition of the EER: interpolated, or as voxceleb_trainer (corner) or the double-attention trainer (grid) have it")
    parser.add_argument("--det", metavar="FILE", help="image of the DET curves (default: <first scores file>_det.png)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    try:
        summaries = {}
        for path in args.scores:
            scores, labels = read_scores(path)
            try:
                summaries[path] = summarize(scores, labels, p_target=args.p_target, c_miss=args.c_miss, c_fa=args.c_fa, p_fa=args.far,
                                            definition=args.eer)
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            log.info("%s\n%s\n", path, summaries[path])
        image = args.det or Path(args.scores[0]).with_name(Path(args.scores[0]).stem + "_det.png")
        plot_det(image, {path: summary.curves for path, summary in summaries.items()})
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    log.info("DET plot: %s", image)
    return 0


if __name__ == "__main__":
    sys.exit(main())
