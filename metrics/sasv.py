"""Metrics of spoofing-aware verification with one score per trial: SASV-EERs and a-DCF.

metrics/tandem.py has the metrics of a verification and a countermeasure with separate scores.
docs/metrics.md has the definitions and the papers. This module needs numpy only.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from common.trial_kinds import TRIAL_KINDS
from metrics.rates import (
    accepted_counts,
    eer,
    error_rates,
    halfway_threshold,
    rates_from_counts,
    thresholds_at,
)
from metrics.summary import Cost, Rates, SasvSummary


class NotDefined(ValueError):
    """The metric has no value on these trials."""


def groups_of(
    kinds: ArrayLike, *scores: ArrayLike, needed: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """Returns {kind: bool [n]} for `kinds` [n], which are words of TRIAL_KINDS.

    Raises ValueError if an array of `scores` is not [n] or a kind is another word. Raises
    NotDefined if there are no trials of a needed kind.
    """
    kinds = np.asarray(kinds)
    if kinds.ndim != 1 or any(np.shape(array) != kinds.shape for array in scores):
        shapes = ", ".join(str(np.shape(array)) for array in (*scores, kinds))
        raise ValueError(
            f"expected one score and one kind for each trial, found the shapes {shapes}."
        )
    groups = {kind: kinds == kind for kind in TRIAL_KINDS}
    unknown = ~np.logical_or.reduce([*groups.values()])
    if unknown.any():
        first = int(np.argmax(unknown))
        raise ValueError(
            f"trial {first + 1}: expected a kind of {', '.join(TRIAL_KINDS)}, "
            f"found '{kinds[first]}'."
        )
    missing = [kind for kind in needed if not groups[kind].any()]
    if missing:
        raise NotDefined(
            f"found no {' and no '.join(missing)} trials among {len(kinds):,}. "
            f"The metric needs {', '.join(needed)} trials."
        )
    return groups


def sasv_rates(scores: ArrayLike, kinds: ArrayLike) -> dict[str, Rates]:
    """Returns the rates of error_rates() for targets against three groups of trials.

    `scores` is [n], `kinds` is [n] of TRIAL_KINDS. The names are "SASV-EER" (all other trials),
    "SV-EER" (other speakers) and "SPF-EER" (spoofed speech). A name without trials is left out.
    Raises ValueError if the lists are wrong or all trials are targets, NotDefined without targets.
    """
    groups = groups_of(kinds, scores, needed=("target",))
    if groups["target"].all():
        raise ValueError(
            f"found no nontarget or spoof trials, all {len(groups['target']):,} are target. "
            "Error rates need both."
        )
    threshold, counts = accepted_counts(scores, groups)
    return sasv_rates_from_counts(threshold, counts)


def sasv_rates_from_counts(
    threshold: np.ndarray, counts: Mapping[str, np.ndarray]
) -> dict[str, Rates]:
    """Returns the rates under the names of sasv_rates().

    The arguments are the results of accepted_counts() for TRIAL_KINDS.
    """
    others = {
        "SASV-EER": counts["nontarget"] + counts["spoof"],
        "SV-EER": counts["nontarget"],
        "SPF-EER": counts["spoof"],
    }
    rates = {}
    for name, other_counts in others.items():
        if other_counts[0]:
            rates[name] = rates_from_counts(threshold, counts["target"], other_counts)
    return rates


def sasv_eers(
    scores: ArrayLike, kinds: ArrayLike, definition: str = "interpolated"
) -> dict[str, float]:
    """Returns the EERs in per cent under the names of sasv_rates().

    Source: SASV challenge 2022 (Jung et al., arXiv:2203.14732). Raises the errors of sasv_rates().
    """
    return {name: eer(*rates, definition)[0] for name, rates in sasv_rates(scores, kinds).items()}


def spf_eers(
    scores: ArrayLike, kinds: ArrayLike, attacks: ArrayLike, definition: str = "interpolated"
) -> dict[str, float]:
    """Returns {attack: EER in per cent of targets against the spoofed trials of this attack}.

    `scores`, `kinds` and `attacks` are [n]. The attacks are in alphabetical order. Raises
    ValueError if the lists are wrong, NotDefined without targets.
    """
    scores = np.asarray(scores)
    attacks = np.asarray(attacks)
    groups = groups_of(kinds, scores, attacks, needed=("target",))
    eers = {}
    for attack in sorted(set(attacks[groups["spoof"]].tolist())):
        selected = groups["target"] | groups["spoof"] & (attacks == attack)
        rates = error_rates(scores[selected], groups["target"][selected])
        eers[attack] = eer(*rates, definition)[0]
    return eers


def p_target_of(name: str, p_spoof: float, p_nontarget: float, **costs: float) -> float:
    """Returns the prior of targets, 1 - p_spoof - p_nontarget.

    `name` is the name of the metric, for the message. Raises ValueError if a prior or a cost is
    impossible.
    """
    p_target = 1 - p_spoof - p_nontarget
    valid_priors = p_spoof >= 0 and p_nontarget >= 0 and 0 < p_target < 1
    valid_costs = all(0 < cost < math.inf for cost in costs.values())
    if not (valid_priors and valid_costs):
        values = {"p_spoof": p_spoof, "p_nontarget": p_nontarget, **costs}
        found = ", ".join(f"{key} {value:g}" for key, value in values.items())
        raise ValueError(
            f"{name}: expected priors of at least 0 with a sum above 0 and below 1, "
            f"and costs above 0, found {found}."
        )
    return p_target


# ---------------------------------------------------------------------- a-DCF
# a-DCF 1 of Shim et al.: arguments of a_dcf().
A_DCF_1 = {
    "p_spoof": 0.05,
    "p_nontarget": 0.05,
    "c_miss": 1.0,
    "c_fa_nontarget": 10.0,
    "c_fa_spoof": 20.0,
}
# Named priors and costs. ASVspoof 5 has the priors of ASVspoof 2019 LA, and both false accepts have
# the same cost.
ADCF_SETS = {
    "default": A_DCF_1,
    "asvspoof5": A_DCF_1 | {"p_nontarget": 0.0095, "c_fa_spoof": 10.0},
}


def a_dcf(
    scores: ArrayLike,
    kinds: ArrayLike,
    *,
    p_spoof: float = A_DCF_1["p_spoof"],
    p_nontarget: float = A_DCF_1["p_nontarget"],
    c_miss: float = A_DCF_1["c_miss"],
    c_fa_nontarget: float = A_DCF_1["c_fa_nontarget"],
    c_fa_spoof: float = A_DCF_1["c_fa_spoof"],
) -> tuple[float, float]:
    """Returns the minimum of the architecture-agnostic detection cost and its threshold.

    Source: Shim et al., Odyssey 2024, arXiv:2403.01355. The detection cost is c_miss p_target
    p_miss + c_fa_nontarget p_nontarget p_fa,nontarget + c_fa_spoof p_spoof p_fa,spoof. It is
    divided by the cost of the better trivial system (accept all or reject all). The thresholds
    include both systems. Of equal minima the lowest threshold counts.

    `scores` is [n], `kinds` is [n] of TRIAL_KINDS. Raises NotDefined if a kind is missing,
    ValueError if the lists, priors or costs are wrong.
    """
    weights = adcf_weights(p_spoof, p_nontarget, c_miss, c_fa_nontarget, c_fa_spoof)
    groups = groups_of(kinds, scores, needed=TRIAL_KINDS)
    threshold, counts = accepted_counts(scores, groups)
    return a_dcf_from_counts(threshold, counts, *weights)


def adcf_weights(
    p_spoof: float, p_nontarget: float, c_miss: float, c_fa_nontarget: float, c_fa_spoof: float
) -> tuple[float, float, float]:
    """Returns the weights of P_miss, P_fa,nontarget and P_fa,spoof in the a-DCF.

    Raises ValueError if a prior or a cost is impossible.
    """
    p_target = p_target_of(
        "a-DCF",
        p_spoof,
        p_nontarget,
        c_miss=c_miss,
        c_fa_nontarget=c_fa_nontarget,
        c_fa_spoof=c_fa_spoof,
    )
    return c_miss * p_target, c_fa_nontarget * p_nontarget, c_fa_spoof * p_spoof


def a_dcf_from_counts(
    threshold: np.ndarray,
    counts: Mapping[str, np.ndarray],
    miss: float,
    nontarget: float,
    spoof: float,
) -> tuple[float, float]:
    """Returns the a-DCF and its threshold.

    `threshold` and `counts` are the results of accepted_counts() for TRIAL_KINDS. The other
    arguments are the weights of adcf_weights().
    """
    rate = {kind: count / count[0] for kind, count in counts.items()}
    cost = miss * (1 - rate["target"]) + nontarget * rate["nontarget"] + spoof * rate["spoof"]
    i = int(np.argmin(cost))
    return float(cost[i] / min(miss, nontarget + spoof)), halfway_threshold(threshold, i)


def a_dcf_at(threshold: float, scores: ArrayLike, kinds: ArrayLike, **costs: float) -> float:
    """Returns the a-DCF at a threshold that was set before. costs: arguments of a_dcf().

    `scores` is [n], `kinds` is [n] of TRIAL_KINDS. Above 1 accepting all or rejecting all trials is
    better. Raises the errors of a_dcf().
    """
    miss, nontarget, spoof = adcf_weights(**costs)
    groups = groups_of(kinds, scores, needed=TRIAL_KINDS)
    accepted = np.asarray(scores) >= threshold
    rate = {kind: accepted[group].mean() for kind, group in groups.items()}
    cost = miss * (1 - rate["target"]) + nontarget * rate["nontarget"] + spoof * rate["spoof"]
    return float(cost / min(miss, nontarget + spoof))


# ---------------------------------------------------------------------- summary
def summarize_sasv(
    scores: ArrayLike,
    kinds: ArrayLike,
    attacks: ArrayLike,
    *,
    p_fa: Sequence[float] = (0.1, 0.01, 0.001),
    definition: str = "interpolated",
    p_spoof: float = A_DCF_1["p_spoof"],
    p_nontarget: float = A_DCF_1["p_nontarget"],
    c_miss: float = A_DCF_1["c_miss"],
    c_fa_nontarget: float = A_DCF_1["c_fa_nontarget"],
    c_fa_spoof: float = A_DCF_1["c_fa_spoof"],
) -> SasvSummary:
    """Returns the SASV-EERs, the EER of each attack, the a-DCF and a threshold for each p_fa.

    `scores`, `kinds` and `attacks` are [n]. A metric that only lacks trials of a kind is left out.
    Otherwise the errors of the metrics are raised.
    """
    rates = sasv_rates(scores, kinds)
    eers = {}
    thresholds = {}
    for name, rates_of_name in rates.items():
        eers[name], thresholds[name] = eer(*rates_of_name, definition)
    costs = {"c_miss": c_miss, "c_fa_nontarget": c_fa_nontarget, "c_fa_spoof": c_fa_spoof}
    p_target = p_target_of("a-DCF", p_spoof, p_nontarget, **costs)
    counts = {kind: int(np.count_nonzero(np.asarray(kinds) == kind)) for kind in TRIAL_KINDS}
    cost = None
    if all(counts.values()):
        value, threshold = a_dcf(scores, kinds, p_spoof=p_spoof, p_nontarget=p_nontarget, **costs)
        cost = Cost(p_target, value, threshold)
    return SasvSummary(
        targets=counts["target"],
        nontargets=counts["nontarget"],
        spoofs=counts["spoof"],
        eers=eers,
        eer_threshold=thresholds["SASV-EER"],
        attack_eers=spf_eers(scores, kinds, attacks, definition),
        a_dcf=cost,
        points=thresholds_at(*rates["SASV-EER"], p_fa),
        all_rates=rates,
    )
