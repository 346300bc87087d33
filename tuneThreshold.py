"""Error rates, EER, minDCF, SASV-EERs, a-DCF, t-DCF and t-EER of speaker-verification scores. numpy only, and runs alone on scores files.

python tuneThreshold.py exps/demo/result/scores.txt              prints the metrics, draws scores_det.png beside the file
python tuneThreshold.py before.txt after.txt --det both.png      several systems in one plot; with --compare before them: is the difference chance?
python tuneThreshold.py --plot exps/demo                         draws losses and EERs of runs by epoch, curves.png and curves.svg in the first
python tuneThreshold.py --calibrate dev.txt --output c.json      learns log-likelihood ratios from scores; of several files their fusion
python tuneThreshold.py --apply c.json scores.txt                writes scores_calibrated.txt and tells how well calibrated it is
python tuneThreshold.py --report exps/demo --output report.html  all about several runs or scores files in one HTML page
A line of a scores file is `1|0 file file score`, or `speaker file bonafide|attack target|nontarget|spoof score` where some speech is spoofed;
the attack may be left out. A trial is accepted where its score is at or above the threshold.
"""
import argparse
import contextlib
import dataclasses
import functools
import inspect
import logging
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from report import calibration, confidence, slices, speakers, worst
from report.curves import plot_curves, read_log
from report.det import corners, plot_det
from report.llr import effective_prior, llr_text
from report.page import write_report
from report.runs import read_runs
from report.scores import KINDS, in_order_of, read_cm_scores, read_scores
from report.summary import Cost, Point, SasvSummary, Summary

log = logging.getLogger("tuneThreshold")
EERS = ("interpolated", "corner", "grid")                                                     # definitions of eer()
ROUNDING = 1e-12                                                                              # rates that differ by less are equal


class NotDefined(ValueError):
    """A metric that has no value on these trials."""


class TandemEer(NamedTuple):
    """Tandem EER in per cent, and the thresholds of the verification and of the countermeasure scores that have it."""
    value: float
    asv_threshold: float
    cm_threshold: float


# ---------------------------------------------------------------------- rates
def accepted(scores, groups):
    """Trials of each group at or above every threshold that makes a difference.

    scores [n] finite; groups {name: bool [n]}. Returns threshold [k + 1] ascending, for k distinct scores: from the least score (accepts all)
    over every distinct score (equal scores are one threshold) to infinity (rejects all); and {name: int64 [k + 1]}.
    Raises ValueError at a score that is not finite.
    """
    scores = np.asarray(scores)
    if not np.isfinite(scores).all():
        bad = int(np.argmin(np.isfinite(scores)))
        raise ValueError(f"trial {bad + 1}: want a finite score, got {scores[bad]} ({np.count_nonzero(~np.isfinite(scores)):,} such trials)")
    order = np.argsort(scores)
    scores = scores[order]
    first = np.flatnonzero(np.append(True, scores[1:] != scores[:-1]))        # of each run of equal scores
    rejected = np.append(first, len(scores))                                  # trials below each threshold
    threshold = np.append(scores[first].astype(float), np.inf)
    return threshold, {name: np.count_nonzero(group) - np.append(0, np.cumsum(group[order]))[rejected] for name, group in groups.items()}


def error_rates(scores, labels):
    """Miss and false-accept rates at every threshold that makes a difference.

    scores [n] finite; labels [n] true (1) for target trials. Returns threshold, p_miss, p_fa, each [k + 1] for k distinct scores, thresholds
    as of accepted(). Raises ValueError where there is nothing to measure: a score that is not finite, trials of one kind only.
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(f"want one score and one label a trial, got shapes {scores.shape} and {labels.shape}")
    if labels.dtype != bool:
        if not np.isin(labels, (0, 1)).all():
            raise ValueError(f"labels: want 1 (target) and 0 (non-target) only, got {np.unique(labels)[:5].tolist()}")
        labels = labels.astype(bool)
    targets = np.count_nonzero(labels)
    if targets in (0, len(labels)):
        missing, only = ("non-target (0)", "target") if targets else ("target (1)", "non-target")
        raise ValueError(f"no {missing} trials, all {len(labels):,} are {only}: error rates need both kinds")
    threshold, of = accepted(scores, {"target": labels, "other": ~labels})
    return threshold, *shares(of["target"], of["other"])


def shares(hits, accepts):
    """Accepted targets and others at every threshold, the first of which accepts all -> p_miss, p_fa."""
    return 1 - hits / hits[0], accepts / accepts[0]                           # "1 -" rounds as scikit-learn's roc_curve: ties in eer fall alike


def between(threshold, i):
    """A threshold halfway between score i - 1 and score i: same rates on these trials as score i, but safest for new ones."""
    if i == 0:
        return float(threshold[0])
    middle = float(threshold[i - 1] / 2 + threshold[i] / 2)
    return middle if middle > threshold[i - 1] else float(threshold[i])       # neighbouring floats have no middle


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
    kept = np.append(corners(p_miss[:-1], p_fa[:-1]), len(gap) - 1)[::-1]     # the end "reject all" is added to the corners, as there
    i = kept[np.argmin(np.abs(gap[kept]))]
    return float(100 * max(p_miss[i], p_fa[i])), between(threshold, i)


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


# ---------------------------------------------------------------------- spoofing-aware metrics
def groups_of(kinds, *scores, needed=()):
    """kinds [n] of KINDS -> {kind: bool [n]}. ValueError where `scores` are not [n] or a kind is another word, NotDefined where a needed one is missing."""
    kinds = np.asarray(kinds)
    if kinds.ndim != 1 or any(np.shape(s) != kinds.shape for s in scores):
        raise ValueError(f"want one score and one kind a trial, got shapes {', '.join(str(np.shape(s)) for s in (*scores, kinds))}")
    groups = {kind: kinds == kind for kind in KINDS}
    unknown = ~np.logical_or.reduce([*groups.values()])
    if unknown.any():
        raise ValueError(f"trial {int(np.argmax(unknown)) + 1}: want a kind of {', '.join(KINDS)}, got '{kinds[np.argmax(unknown)]}'")
    missing = [kind for kind in needed if not groups[kind].any()]
    if missing:
        raise NotDefined(f"no {' and no '.join(missing)} trials among {len(kinds):,}: want {', '.join(needed)}")
    return groups


def steps(hits, accepts):
    """Which of the thresholds of accepted() are scores of these two groups, or infinity: the others change nothing for them -> bool [k + 1]."""
    return np.append((np.diff(hits) != 0) | (np.diff(accepts) != 0), True)


def sasv_rates(scores, kinds):
    """scores [n], kinds [n] of KINDS -> {"SASV-EER": rates of targets against all others, "SV-EER": against other speakers, "SPF-EER": against
    spoofed speech}, each as of error_rates. Without other speakers or without spoofs those rates are left out."""
    groups = groups_of(kinds, scores, needed=("target",))
    if groups["target"].all():
        raise ValueError(f"no nontarget or spoof trials, all {len(kinds):,} are target: error rates need both")
    return rates_of(*accepted(scores, groups))


def rates_of(threshold, of):
    """What accepted() says of KINDS -> rates under the names of sasv_rates."""
    against = {"SASV-EER": of["nontarget"] + of["spoof"], "SV-EER": of["nontarget"], "SPF-EER": of["spoof"]}
    return {name: rates_between(threshold, of["target"], accepts) for name, accepts in against.items() if accepts[0]}


def rates_between(threshold, hits, accepts):
    """What accepted() says of targets and of others -> rates as of error_rates of these two alone."""
    used = steps(hits, accepts)
    return threshold[used], *shares(hits[used], accepts[used])


def sasv_eers(scores, kinds, definition="interpolated"):
    """EERs in per cent under the names of sasv_rates; SASV challenge 2022 (Jung et al., arXiv:2203.14732)."""
    return {name: eer(*rates, definition)[0] for name, rates in sasv_rates(scores, kinds).items()}


def spf_eers(scores, kinds, attacks, definition="interpolated"):
    """scores [n], kinds [n], attacks [n] -> {attack: EER in per cent of targets against its spoofed trials}, attacks in alphabetical order."""
    scores, attacks = np.asarray(scores), np.asarray(attacks)
    groups = groups_of(kinds, scores, attacks, needed=("target",))
    eers = {}
    for attack in sorted(set(attacks[groups["spoof"]].tolist())):
        used = groups["target"] | groups["spoof"] & (attacks == attack)
        eers[attack] = eer(*error_rates(scores[used], groups["target"][used]), definition)[0]
    return eers


def p_target_of(name, p_spoof, p_nontarget, **costs):
    """The prior that the two others leave to targets. Raises ValueError at impossible priors and costs."""
    p_target = 1 - p_spoof - p_nontarget
    if not (p_spoof >= 0 and p_nontarget >= 0 and 0 < p_target < 1 and all(0 < cost < math.inf for cost in costs.values())):
        got = ", ".join(f"{key} {value:g}" for key, value in {"p_spoof": p_spoof, "p_nontarget": p_nontarget, **costs}.items())
        raise ValueError(f"{name}: want priors of 0 or more that leave some to targets, not all, and costs above 0; got {got}")
    return p_target


def a_dcf(scores, kinds, *, p_spoof=0.05, p_nontarget=0.05, c_miss=1.0, c_fa_nontarget=10.0, c_fa_spoof=20.0):
    """Minimum of the architecture-agnostic detection cost -> (value, threshold); Shim et al., Odyssey 2024, arXiv:2403.01355.

    c_miss p_target p_miss + c_fa_nontarget p_nontarget p_fa,nontarget + c_fa_spoof p_spoof p_fa,spoof, divided by the cost of the better trivial
    system (accept all or reject all, both among the thresholds). Of equal minima the lowest threshold. NotDefined unless all three kinds are there.
    """
    weights = adcf_weights(p_spoof, p_nontarget, c_miss, c_fa_nontarget, c_fa_spoof)
    return least_cost(*accepted(scores, groups_of(kinds, scores, needed=KINDS)), *weights)


def adcf_weights(p_spoof, p_nontarget, c_miss, c_fa_nontarget, c_fa_spoof):
    """-> what P_miss and the two false-accept rates weigh in the a-DCF."""
    p_target = p_target_of("a-DCF", p_spoof, p_nontarget, c_miss=c_miss, c_fa_nontarget=c_fa_nontarget, c_fa_spoof=c_fa_spoof)
    return c_miss * p_target, c_fa_nontarget * p_nontarget, c_fa_spoof * p_spoof


def least_cost(threshold, of, miss, nontarget, spoof):
    """What accepted() says of KINDS, and adcf_weights -> a-DCF, threshold."""
    rate = {kind: count / count[0] for kind, count in of.items()}
    cost = miss * (1 - rate["target"]) + nontarget * rate["nontarget"] + spoof * rate["spoof"]
    i = int(np.argmin(cost))
    return float(cost[i] / min(miss, nontarget + spoof)), between(threshold, i)


def min_t_dcf(asv_scores, cm_scores, kinds, *, p_spoof=0.05, p_nontarget=0.0095, c_miss_asv=1.0, c_fa_asv=10.0, c_miss_cm=1.0, c_fa_cm=10.0):
    """Minimum of the tandem detection cost of ASVspoof 2019 over the countermeasure's threshold -> (value, that threshold).

    asv_scores, cm_scores, kinds [n]: one of each a trial. Verification works at its EER point; non-targets are bona fide to the countermeasure.
    Kinnunen et al. 2018, arXiv:1804.09618, and the challenge's evaluation plan, whose priors are p_spoof 0.05 and p_nontarget 0.01 of the rest.
    NotDefined unless all three kinds are there, and where verification at that point leaves the countermeasure nothing to gain or to lose.
    """
    p_target = p_target_of("t-DCF", p_spoof, p_nontarget, c_miss_asv=c_miss_asv, c_fa_asv=c_fa_asv, c_miss_cm=c_miss_cm, c_fa_cm=c_fa_cm)
    groups = groups_of(kinds, asv_scores, cm_scores, needed=KINDS)
    _, of = accepted(asv_scores, groups)
    used = steps(of["target"], of["nontarget"])
    hits, accepts, spoofs = (of[kind][used] for kind in KINDS)
    balance = (hits[0] - hits) * accepts[0] - accepts * hits[0]               # p_miss - p_fa in whole numbers: no rounding to decide ties
    i = max(int(np.argmin(np.abs(balance))) - 1, 0)                           # reference takes the highest score that is rejected there; kept
    p_miss, p_fa, p_fa_spoof = 1 - hits[i] / hits[0], accepts[i] / accepts[0], spoofs[i] / np.count_nonzero(groups["spoof"])
    c1 = p_target * (c_miss_cm - c_miss_asv * p_miss) - p_nontarget * c_fa_asv * p_fa
    c2 = c_fa_cm * p_spoof * p_fa_spoof
    if c1 <= 0 or c2 <= 0:
        raise NotDefined("no spoof passes verification at its EER point, a countermeasure has nothing to do" if c2 <= 0 else
                         f"verification errs too often at its EER point, {100 * p_miss:.2f} % misses and {100 * p_fa:.2f} % false accepts")
    threshold, p_miss, p_fa = error_rates(cm_scores, ~groups["spoof"])
    cost = c1 * p_miss + c2 * p_fa
    i = int(np.argmin(cost))
    return float(cost[i] / min(c1, c2)), between(threshold, i)


def t_eer(asv_scores, cm_scores, kinds, prevalence=None) -> TandemEer:
    """Tandem EER of verification and countermeasure, both of which must accept; Kinnunen et al., TPAMI 2023, arXiv:2309.12237.

    asv_scores, cm_scores, kinds [n]: one of each a trial. prevalence: share of spoofs among the trials to reject. At each verification threshold
    the countermeasure threshold is taken that brings misses and false accepts of the tandem closest (of equally close ones the lower); the
    t-EER is the mean of the two, at its least. Without a prevalence the concurrent t-EER, which needs none: where the false-accept rates of
    non-targets and of spoofs are closest to each other too. Verification thresholds that miss more than they accept falsely by themselves do not
    count. NotDefined unless all three kinds are there.
    """
    if prevalence is not None and not 0 <= prevalence <= 1:
        raise ValueError(f"t-EER: want a prevalence between 0 and 1, got {prevalence:g}")
    groups = groups_of(kinds, asv_scores, cm_scores, needed=KINDS)
    asv_threshold, of = accepted(asv_scores, groups)
    asv = {kind: count / count[0] for kind, count in of.items()}                                  # accepted shares
    cm_threshold, of = accepted(cm_scores, {"real": ~groups["spoof"], "spoof": groups["spoof"]})
    real, spoof = of["real"] / of["real"][0], of["spoof"] / of["spoof"][0]
    weight = 0.5 if prevalence is None else prevalence
    path = np.count_nonzero((1 - weight) * asv["nontarget"] + weight * asv["spoof"] >= 1 - asv["target"] - ROUNDING)      # up to that threshold
    asv_target, asv_nontarget, asv_spoof = (asv[kind][:path] for kind in KINDS)

    def rates(cm):                                                            # [path] indices of countermeasure thresholds
        return 1 - asv_target * real[cm], asv_nontarget * real[cm], asv_spoof * spoof[cm]

    def excess(cm):                                                           # false accepts over misses: falls with cm, from 0 or more to -1
        p_miss, p_fa_nontarget, p_fa_spoof = rates(cm)
        return (1 - weight) * p_fa_nontarget + weight * p_fa_spoof - p_miss

    low, high = np.zeros(path, int), np.full(path, len(cm_threshold) - 1)                         # a binary search for every point of the path
    while (high - low > 1).any():
        middle = (low + high) // 2
        above = excess(middle) >= 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    cm = np.where(np.abs(excess(low)) <= np.abs(excess(high)) + ROUNDING, low, high)
    p_miss, p_fa_nontarget, p_fa_spoof = rates(cm)
    value = (p_miss + (1 - weight) * p_fa_nontarget + weight * p_fa_spoof) / 2
    least = np.abs(p_fa_nontarget - p_fa_spoof) if prevalence is None else value
    i = int(np.argmax(least <= least.min() + ROUNDING))                       # of equally good ones the lowest verification threshold
    return TandemEer(float(100 * value[i]), between(asv_threshold, i), between(cm_threshold, cm[i]))


def summarize_sasv(scores, kinds, attacks, *, p_fa=(0.1, 0.01, 0.001), definition="interpolated", p_spoof=0.05, p_nontarget=0.05, c_miss=1.0,
                   c_fa_nontarget=10.0, c_fa_spoof=20.0) -> SasvSummary:
    """SASV-EERs, EER of each attack, a-DCF and thresholds for each p_fa of scores [n] with kinds [n] and attacks [n]. Errors as in the parts, but what
    only lacks trials of a kind is left out."""
    rates = sasv_rates(scores, kinds)
    counts = (int(np.count_nonzero(np.asarray(kinds) == kind)) for kind in KINDS)
    eers = {name: eer(*r, definition) for name, r in rates.items()}
    p_target = p_target_of("a-DCF", p_spoof, p_nontarget, c_miss=c_miss, c_fa_nontarget=c_fa_nontarget, c_fa_spoof=c_fa_spoof)
    try:
        cost = Cost(p_target, *a_dcf(scores, kinds, p_spoof=p_spoof, p_nontarget=p_nontarget, c_miss=c_miss, c_fa_nontarget=c_fa_nontarget,
                                     c_fa_spoof=c_fa_spoof))
    except NotDefined:
        cost = None
    return SasvSummary(*counts, {name: value for name, (value, _) in eers.items()}, eers["SASV-EER"][1], spf_eers(scores, kinds, attacks, definition),
                       cost, thresholds_at(*rates["SASV-EER"], p_fa), rates)


# ---------------------------------------------------------------------- command
# Options --adcf_... and --tdcf_...: parameters of the two functions, which have the defaults.
ADCF = {"p_spoof": "prior of a spoofed trial", "p_nontarget": "prior of a non-target trial, targets have the rest", "c_miss": "cost of a miss",
        "c_fa_nontarget": "cost of an accepted non-target", "c_fa_spoof": "cost of an accepted spoof"}
TDCF = {"p_spoof": "prior of a spoofed trial", "p_nontarget": "prior of a non-target trial, targets have the rest",
        "c_miss_asv": "cost of a target missed by the verification", "c_fa_asv": "cost of a non-target accepted by it",
        "c_miss_cm": "cost of real speech missed by the countermeasure", "c_fa_cm": "cost of a spoof accepted by it"}


def options_of(args, prefix, names):
    return {name: getattr(args, f"{prefix}_{name}") for name in names}


def summary_of(read, args):
    """Scores of a file -> Summary or SasvSummary."""
    if read.kinds is None:
        return summarize(read.scores, read.labels, p_target=args.p_target, c_miss=args.c_miss, c_fa=args.c_fa, p_fa=args.far, definition=args.eer)
    return summarize_sasv(read.scores, read.kinds, read.attacks, p_fa=args.far, definition=args.eer, **options_of(args, "adcf", ADCF))


def measured(threshold, of, args):
    """What accepted() says of targets and non-targets, or of KINDS -> {EER's name: rates as of error_rates}, {name: value}, named as in the summaries."""
    if "spoof" in of:
        rates, costs = rates_of(threshold, of), {}
        if all(of[kind][0] for kind in KINDS):
            costs = {"a-DCF": least_cost(threshold, of, *adcf_weights(**options_of(args, "adcf", ADCF)))[0]}
    else:
        rates = {"EER": rates_between(threshold, of["target"], of["nontarget"])}
        costs = {f"minDCF({p:g})": min_dcf(*rates["EER"], p, args.c_miss, args.c_fa)[0] for p in args.p_target}
    return rates, {name: eer(*r, args.eer)[0] for name, r in rates.items()} | costs


def with_intervals(summary, read, who, args):
    """Summary of the scores, speakers of their trials -> the same with intervals, Resamples, bands of its curves. Raises confidence.TooFew."""
    groups = {"target": read.labels, "nontarget": ~read.labels} if read.kinds is None else groups_of(read.kinds)
    gaps = {name: confidence.spread(p_miss, p_fa) for name, (_, (_, p_miss, p_fa)) in summary.curves.items()}
    resamples = confidence.bootstrap(read.scores, groups, who, functools.partial(measured, args=args), gaps, args.bootstrap, args.seed)
    summary = dataclasses.replace(summary, intervals=confidence.intervals(resamples, summary.values, args.confidence))
    return summary, resamples, confidence.bands(resamples, gaps, summary.curves, args.confidence)


def slices_text(column, parts, read, who, args):
    """Table of one column of --by; without an interval where a slice has too few speakers."""
    def evaluate(part, used):
        summary = summary_of(part, args)
        with contextlib.suppress(confidence.TooFew):
            return with_intervals(summary, part, who().who[used], args)[0] if args.bootstrap else summary
        return summary
    return slices.text_of(column, parts, read, evaluate)


def tandem_text(read, args):
    """min t-DCF, concurrent t-EER and t-EER at each prevalence of the scores with the countermeasure's, one line each."""
    if read.kinds is None:
        raise ValueError("--cm: want spoofing-aware scores, lines 'speaker file bonafide|attack target|nontarget|spoof score'")
    cm_scores = read_cm_scores(args.cm, read)
    lines = []
    for prevalence in (None, *args.prevalence):
        found = t_eer(read.scores, cm_scores, read.kinds, prevalence)
        name = "t-EER" if prevalence is None else f"t-EER({prevalence:g})"
        lines += [f"{name:14s}{found.value:8.2f} %   at threshold {found.asv_threshold:.5g}, countermeasure {found.cm_threshold:.5g}"]
    try:
        value, threshold = min_t_dcf(read.scores, cm_scores, read.kinds, **options_of(args, "tdcf", TDCF))
        lines += [f"{'min t-DCF':14s}{value:10.4f}   at countermeasure threshold {threshold:.5g}"]
    except NotDefined as error:
        lines += [f"{'min t-DCF':14s}{'-':>10s}   not defined: {error}"]
    return "\n".join(lines)


def prior_of(args):
    """The effective prior that a calibration is trained for."""
    return effective_prior(args.p_target[0], args.c_miss, args.c_fa) if args.effective_prior is None else args.effective_prior


def run_calibrate(args):
    """Learns a calibration and tells what it does on its own trials."""
    made, read, llrs = calibration.calibrate(args.calibrate, args.output, prior_of(args), args.quality)
    metrics = llr_text(llrs, read.labels, error_rates(llrs, read.labels), *operating_points(args))
    log.info("%s\n\non the same trials\n%s\n\n%s", made, metrics, args.output)


def run_apply(args):
    """Calibrates scores files -> the scores file that is written."""
    path = args.output or Path(args.scores[0]).with_name(f"{Path(args.scores[0]).stem}_calibrated.txt")
    read, _ = calibration.apply(args.apply, args.scores, path, args.quality)
    log.info("log-likelihood ratios: %s%s", path, "" if read.labels is not None else "; no labels and so no metrics")
    return [path] if read.labels is not None else []


def operating_points(args):
    return args.p_target, args.c_miss, args.c_fa


def run_report(args, argv):
    runs = read_runs(args.report, lambda scores: summary_of(scores, args))
    tandem = {run.name: tandem_text(run.scores, args) for run in runs if args.cm and run.scores}
    write_report(args.output or "report.html", runs, far=args.far, embeddings=args.embeddings, tandem=tandem, definition=args.eer,
                 command=shlex.join(["python", "tuneThreshold.py", *argv]))
    log.info("report: %s", args.output or "report.html")


def main(argv=None):
    argv = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scores", nargs="*", help="scores files, of one kind of line each")
    parser.add_argument("--plot", nargs="+", metavar="SAVE_PATH", help="instead of scores: folders of training runs, whose losses and EERs are drawn")
    parser.add_argument("--curves", metavar="FILE", help="images of --plot, without the extension (default: <first SAVE_PATH>/curves)")
    parser.add_argument("--report", nargs="+", metavar="RUN_OR_SCORES", help="instead of scores: run folders and scores files, of which one page tells all")
    parser.add_argument("--output", metavar="FILE", help="what is written: the JSON file of --calibrate, the scores file of --apply (default: <first scores "
                        "file>_calibrated.txt), the page of --report (report.html)")
    parser.add_argument("--embeddings", nargs="+", default=[], metavar="DIR",
                        help="for --report: folders that trainSpeakerNet.py --extract wrote, to draw maps of their speakers")
    parser.add_argument("--far", type=float, nargs="+", default=[0.1, 0.01, 0.001], metavar="F", help="false-accept rates (0.1 0.01 0.001)")
    parser.add_argument("--eer", choices=EERS, default=EERS[0],
                        help="definition of the EER: interpolated, or as voxceleb_trainer (corner) or the double-attention trainer (grid) have it")
    parser.add_argument("--det", metavar="FILE", help="image of the DET curves (default: <first scores file>_det.png)")
    plain = parser.add_argument_group("scores of lines '1|0 file file score'")
    plain.add_argument("--p_target", type=float, nargs="+", default=[0.05, 0.01], metavar="P", help="priors of a target trial in minDCF (0.05 0.01)")
    plain.add_argument("--c_miss", type=float, default=1.0, help="cost of a miss (%(default)s)")
    plain.add_argument("--c_fa", type=float, default=1.0, help="cost of a false accept (%(default)s)")
    aware = parser.add_argument_group("spoofing-aware scores")
    aware.add_argument("--cm", metavar="FILE", help="countermeasure scores of the same trials, for min t-DCF and t-EER: a scores file with the same trials "
                       "line by line, or lines 'file ... score' for the tested files")
    aware.add_argument("--prevalence", type=float, nargs="+", default=[], metavar="R",
                       help="t-EER also where this share of the trials to reject is spoofed (without: the concurrent t-EER, which is of no prevalence)")
    for metric, prefix, function, options in (("a-DCF", "adcf", a_dcf, ADCF), ("t-DCF", "tdcf", min_t_dcf, TDCF)):
        for name, text in options.items():
            aware.add_argument(f"--{prefix}_{name}", type=float, default=inspect.signature(function).parameters[name].default, metavar="X",
                               help=f"{metric}: {text} (%(default)s)")
    for part in (calibration, speakers, confidence, slices):
        part.add_options(parser)
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    if sum(map(bool, (args.plot, args.compare, args.calibrate, args.report, args.scores))) != 1:
        parser.error("want scores files, or --compare and two of them, or --calibrate and some, or --plot and folders of training runs, or --report and run "
                     "folders or scores files")
    stray = [name for name in (("det", "curves") if args.report else ("embeddings",)) if getattr(args, name) != parser.get_default(name)]
    if stray:
        parser.error(f"--{stray[0]}: {'has no effect with' if args.report else 'goes with'} --report")
    try:
        for part in (calibration, confidence, slices):
            part.check_options(args)
        if args.report:
            run_report(args, argv)
            return 0
        if args.calibrate:
            run_calibrate(args)
            return 0
        if args.apply:
            args.scores, args.llr = run_apply(args), True
            if not args.scores:
                return 0
        if args.plot:
            images = plot_curves(args.curves or Path(args.plot[0], "curves"), {path: read_log(path) for path in args.plot})
            log.info("curves: %s", " ".join(map(str, images)))
            return 0
        paths = args.compare or args.scores
        summaries, families, resamples, bands, first = {}, set(), {}, {}, None
        for path in paths:
            read = read_scores(path)
            if args.compare:
                first = first or read
                read = in_order_of(first, read, path)
            families.add("1|0" if read.kinds is None else "spoofing-aware")
            try:
                summaries[path] = summary_of(read, args)
                more = f"\n{llr_text(read.scores, read.labels, summaries[path].rates, *operating_points(args))}" if args.llr else ""
                more += f"\n{tandem_text(read, args)}" if args.cm else ""
                who = functools.cache(functools.partial(speakers.speakers_of, read, args))
                parts = {column: slices.slices_of(column, read, who, args) for column in args.by}
                if args.bootstrap:
                    summaries[path], resamples[path], bands[path] = with_intervals(summaries[path], read, who().who, args)
                    more += f"\nin brackets {100 * args.confidence:g} % intervals: {args.bootstrap:,} resamples of {resamples[path].speakers:,} speakers"
                more += "".join(f"\n\n{slices_text(column, part, read, who, args)}" for column, part in parts.items())
                more += f"\n\n{worst.text_of(read, who(), summaries[path].eer_threshold, args.worst)}" if args.worst else ""
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            log.info("%s\n%s%s\n", path, summaries[path], more)
        if args.compare:
            log.info("%s\n", confidence.comparison(*(summaries[path].values for path in paths), *(resamples[path] for path in paths), args.confidence))
        image = args.det or Path(paths[0]).with_name(Path(paths[0]).stem + "_det.png")
        plot_det(image, {path: summary.curves for path, summary in summaries.items()}, bands=bands)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    log.info("DET plot: %s", image)
    families |= {"1|0"} if args.llr else set()                                # whose priors and costs --llr takes
    used = {"p_target": "1|0", "c_miss": "1|0", "c_fa": "1|0", **{f"adcf_{name}": "spoofing-aware" for name in ADCF}}
    idle = [name for name, family in used.items() if family not in families]
    idle += [] if args.cm else ["prevalence", *(f"tdcf_{name}" for name in TDCF)]
    idle = [f"--{name}" for name in idle if getattr(args, name) != parser.get_default(name)]
    if idle:
        sys.stderr.write(f"warning: {', '.join(idle)} has no effect on scores of these lines{'' if args.cm else ' without --cm'}\n")
    without = {"bootstrap": ("confidence", "seed"), "by": ("table", "path", "bins")}
    for needed, names in without.items():
        idle = [f"--{name}" for name in names if getattr(args, name) != parser.get_default(name)]
        if idle and not getattr(args, needed):
            sys.stderr.write(f"warning: {', '.join(idle)} has no effect without --{needed}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
