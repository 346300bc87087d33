"""Metrics of spoofing-aware verification: SASV-EERs, a-DCF, min t-DCF and t-EER. numpy only; definitions and papers: docs/metrics.md."""

import math
from typing import NamedTuple

import numpy as np

from common.trial_kinds import TRIAL_KINDS
from metrics.rates import accepted, between, eer, error_rates, rates_between, steps, thresholds_at
from metrics.summary import Cost, SasvSummary

# rates that differ by less are equal
ROUNDING = 1e-12


class NotDefined(ValueError):
    """A metric that has no value on these trials."""


class TandemEer(NamedTuple):
    """Tandem EER in per cent, and the thresholds of the verification and of the countermeasure scores that have it."""

    value: float
    asv_threshold: float
    cm_threshold: float


def groups_of(kinds, *scores, needed=()):
    """kinds [n] of TRIAL_KINDS -> {kind: bool [n]}. ValueError where `scores` are not [n] or a kind is another word, NotDefined where a needed one is missing."""
    kinds = np.asarray(kinds)
    if kinds.ndim != 1 or any(np.shape(s) != kinds.shape for s in scores):
        raise ValueError(
            f"want one score and one kind a trial, got shapes {', '.join(str(np.shape(s)) for s in (*scores, kinds))}"
        )
    groups = {kind: kinds == kind for kind in TRIAL_KINDS}
    unknown = ~np.logical_or.reduce([*groups.values()])
    if unknown.any():
        raise ValueError(
            f"trial {int(np.argmax(unknown)) + 1}: want a kind of {', '.join(TRIAL_KINDS)}, got '{kinds[np.argmax(unknown)]}'"
        )
    missing = [kind for kind in needed if not groups[kind].any()]
    if missing:
        raise NotDefined(
            f"no {' and no '.join(missing)} trials among {len(kinds):,}: want {', '.join(needed)}"
        )
    return groups


def sasv_rates(scores, kinds):
    """scores [n], kinds [n] of TRIAL_KINDS -> {"SASV-EER": rates of targets against all others, "SV-EER": against other speakers, "SPF-EER": against
    spoofed speech}, each as of error_rates. Without other speakers or without spoofs those rates are left out."""
    groups = groups_of(kinds, scores, needed=("target",))
    if groups["target"].all():
        raise ValueError(
            f"no nontarget or spoof trials, all {len(kinds):,} are target: error rates need both"
        )
    return rates_of(*accepted(scores, groups))


def rates_of(threshold, of):
    """What accepted() says of TRIAL_KINDS -> rates under the names of sasv_rates."""
    against = {
        "SASV-EER": of["nontarget"] + of["spoof"],
        "SV-EER": of["nontarget"],
        "SPF-EER": of["spoof"],
    }
    return {
        name: rates_between(threshold, of["target"], accepts)
        for name, accepts in against.items()
        if accepts[0]
    }


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
    if not (
        p_spoof >= 0
        and p_nontarget >= 0
        and 0 < p_target < 1
        and all(0 < cost < math.inf for cost in costs.values())
    ):
        got = ", ".join(
            f"{key} {value:g}"
            for key, value in {"p_spoof": p_spoof, "p_nontarget": p_nontarget, **costs}.items()
        )
        raise ValueError(
            f"{name}: want priors of 0 or more that leave some to targets, not all, and costs above 0; got {got}"
        )
    return p_target


def a_dcf(
    scores,
    kinds,
    *,
    p_spoof=0.05,
    p_nontarget=0.05,
    c_miss=1.0,
    c_fa_nontarget=10.0,
    c_fa_spoof=20.0,
):
    """Minimum of the architecture-agnostic detection cost -> (value, threshold); Shim et al., Odyssey 2024, arXiv:2403.01355.

    c_miss p_target p_miss + c_fa_nontarget p_nontarget p_fa,nontarget + c_fa_spoof p_spoof p_fa,spoof, divided by the cost of the better trivial
    system (accept all or reject all, both among the thresholds). Of equal minima the lowest threshold. NotDefined unless all three kinds are there.
    """
    weights = adcf_weights(p_spoof, p_nontarget, c_miss, c_fa_nontarget, c_fa_spoof)
    return least_cost(*accepted(scores, groups_of(kinds, scores, needed=TRIAL_KINDS)), *weights)


def adcf_weights(p_spoof, p_nontarget, c_miss, c_fa_nontarget, c_fa_spoof):
    """-> what P_miss and the two false-accept rates weigh in the a-DCF."""
    p_target = p_target_of(
        "a-DCF",
        p_spoof,
        p_nontarget,
        c_miss=c_miss,
        c_fa_nontarget=c_fa_nontarget,
        c_fa_spoof=c_fa_spoof,
    )
    return c_miss * p_target, c_fa_nontarget * p_nontarget, c_fa_spoof * p_spoof


def least_cost(threshold, of, miss, nontarget, spoof):
    """What accepted() says of TRIAL_KINDS, and adcf_weights -> a-DCF, threshold."""
    rate = {kind: count / count[0] for kind, count in of.items()}
    cost = miss * (1 - rate["target"]) + nontarget * rate["nontarget"] + spoof * rate["spoof"]
    i = int(np.argmin(cost))
    return float(cost[i] / min(miss, nontarget + spoof)), between(threshold, i)


def min_t_dcf(
    asv_scores,
    cm_scores,
    kinds,
    *,
    p_spoof=0.05,
    p_nontarget=0.0095,
    c_miss_asv=1.0,
    c_fa_asv=10.0,
    c_miss_cm=1.0,
    c_fa_cm=10.0,
):
    """Minimum of the tandem detection cost of ASVspoof 2019 over the countermeasure's threshold -> (value, that threshold).

    asv_scores, cm_scores, kinds [n]: one of each a trial. Verification works at its EER point; non-targets are bona fide to the countermeasure.
    Kinnunen et al. 2018, arXiv:1804.09618, and the challenge's evaluation plan, whose priors are p_spoof 0.05 and p_nontarget 0.01 of the rest.
    NotDefined unless all three kinds are there, and where verification at that point leaves the countermeasure nothing to gain or to lose.
    """
    p_target = p_target_of(
        "t-DCF",
        p_spoof,
        p_nontarget,
        c_miss_asv=c_miss_asv,
        c_fa_asv=c_fa_asv,
        c_miss_cm=c_miss_cm,
        c_fa_cm=c_fa_cm,
    )
    groups = groups_of(kinds, asv_scores, cm_scores, needed=TRIAL_KINDS)
    _, of = accepted(asv_scores, groups)
    used = steps(of["target"], of["nontarget"])
    hits, accepts, spoofs = (of[kind][used] for kind in TRIAL_KINDS)
    # p_miss - p_fa in whole numbers: no rounding to decide ties
    balance = (hits[0] - hits) * accepts[0] - accepts * hits[0]
    # reference takes the highest score that is rejected there; kept
    i = max(int(np.argmin(np.abs(balance))) - 1, 0)
    p_miss, p_fa, p_fa_spoof = (
        1 - hits[i] / hits[0],
        accepts[i] / accepts[0],
        spoofs[i] / np.count_nonzero(groups["spoof"]),
    )
    c1 = p_target * (c_miss_cm - c_miss_asv * p_miss) - p_nontarget * c_fa_asv * p_fa
    c2 = c_fa_cm * p_spoof * p_fa_spoof
    if c1 <= 0 or c2 <= 0:
        raise NotDefined(
            "no spoof passes verification at its EER point, a countermeasure has nothing to do"
            if c2 <= 0
            else f"verification errs too often at its EER point, {100 * p_miss:.2f} % misses and {100 * p_fa:.2f} % false accepts"
        )
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
    groups = groups_of(kinds, asv_scores, cm_scores, needed=TRIAL_KINDS)
    asv_threshold, of = accepted(asv_scores, groups)
    # accepted shares
    asv = {kind: count / count[0] for kind, count in of.items()}
    cm_threshold, of = accepted(cm_scores, {"real": ~groups["spoof"], "spoof": groups["spoof"]})
    real, spoof = of["real"] / of["real"][0], of["spoof"] / of["spoof"][0]
    weight = 0.5 if prevalence is None else prevalence
    # up to that threshold
    path = np.count_nonzero(
        (1 - weight) * asv["nontarget"] + weight * asv["spoof"] >= 1 - asv["target"] - ROUNDING
    )
    asv_target, asv_nontarget, asv_spoof = (asv[kind][:path] for kind in TRIAL_KINDS)

    def rates(cm):  # [path] indices of countermeasure thresholds
        return 1 - asv_target * real[cm], asv_nontarget * real[cm], asv_spoof * spoof[cm]

    # false accepts over misses: falls with cm, from 0 or more to -1
    def excess(cm):
        p_miss, p_fa_nontarget, p_fa_spoof = rates(cm)
        return (1 - weight) * p_fa_nontarget + weight * p_fa_spoof - p_miss

    # a binary search for every point of the path
    low, high = np.zeros(path, int), np.full(path, len(cm_threshold) - 1)
    while (high - low > 1).any():
        middle = (low + high) // 2
        above = excess(middle) >= 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    cm = np.where(np.abs(excess(low)) <= np.abs(excess(high)) + ROUNDING, low, high)
    p_miss, p_fa_nontarget, p_fa_spoof = rates(cm)
    value = (p_miss + (1 - weight) * p_fa_nontarget + weight * p_fa_spoof) / 2
    least = np.abs(p_fa_nontarget - p_fa_spoof) if prevalence is None else value
    # of equally good ones the lowest verification threshold
    i = int(np.argmax(least <= least.min() + ROUNDING))
    return TandemEer(float(100 * value[i]), between(asv_threshold, i), between(cm_threshold, cm[i]))


def summarize_sasv(
    scores,
    kinds,
    attacks,
    *,
    p_fa=(0.1, 0.01, 0.001),
    definition="interpolated",
    p_spoof=0.05,
    p_nontarget=0.05,
    c_miss=1.0,
    c_fa_nontarget=10.0,
    c_fa_spoof=20.0,
) -> SasvSummary:
    """SASV-EERs, EER of each attack, a-DCF and thresholds for each p_fa of scores [n] with kinds [n] and attacks [n]. Errors as in the parts, but what
    only lacks trials of a kind is left out."""
    rates = sasv_rates(scores, kinds)
    counts = (int(np.count_nonzero(np.asarray(kinds) == kind)) for kind in TRIAL_KINDS)
    eers = {name: eer(*r, definition) for name, r in rates.items()}
    p_target = p_target_of(
        "a-DCF",
        p_spoof,
        p_nontarget,
        c_miss=c_miss,
        c_fa_nontarget=c_fa_nontarget,
        c_fa_spoof=c_fa_spoof,
    )
    try:
        cost = Cost(
            p_target,
            *a_dcf(
                scores,
                kinds,
                p_spoof=p_spoof,
                p_nontarget=p_nontarget,
                c_miss=c_miss,
                c_fa_nontarget=c_fa_nontarget,
                c_fa_spoof=c_fa_spoof,
            ),
        )
    except NotDefined:
        cost = None
    return SasvSummary(
        *counts,
        {name: value for name, (value, _) in eers.items()},
        eers["SASV-EER"][1],
        spf_eers(scores, kinds, attacks, definition),
        cost,
        thresholds_at(*rates["SASV-EER"], p_fa),
        rates,
    )
