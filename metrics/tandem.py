"""Metrics of a verification and a countermeasure with separate scores: min t-DCF and t-EER.

docs/metrics.md has the definitions and the papers. This module needs numpy only.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from common.trial_kinds import TRIAL_KINDS
from metrics.rates import accepted_counts, changes_counts, error_rates, halfway_threshold
from metrics.sasv import NotDefined, groups_of, p_target_of
from metrics.summary import Rates

# Rates that differ by less are equal.
ROUNDING = 1e-12


# ---------------------------------------------------------------------- t-DCF
class VerificationErrors(NamedTuple):
    """Rates of the verification at one threshold, as fractions."""

    p_miss: float
    p_fa: float
    p_fa_spoof: float


def errors_at_eer_point(
    asv_scores: ArrayLike, groups: Mapping[str, np.ndarray]
) -> VerificationErrors:
    """Returns the rates of the verification at its EER point for min_t_dcf()."""
    _, counts = accepted_counts(asv_scores, groups)
    selected = changes_counts(counts["target"], counts["nontarget"])
    targets, nontargets, spoofs = (counts[kind][selected] for kind in TRIAL_KINDS)
    # This is p_miss - p_fa in whole numbers, so that rounding cannot decide ties.
    balance = (targets[0] - targets) * nontargets[0] - nontargets * targets[0]
    # The reference takes the highest rejected score there as the threshold. We keep that.
    i = max(int(np.argmin(np.abs(balance))) - 1, 0)
    return VerificationErrors(
        p_miss=1 - targets[i] / targets[0],
        p_fa=nontargets[i] / nontargets[0],
        p_fa_spoof=spoofs[i] / np.count_nonzero(groups["spoof"]),
    )


def min_t_dcf(
    asv_scores: ArrayLike,
    cm_scores: ArrayLike,
    kinds: ArrayLike,
    *,
    p_spoof: float = 0.05,
    p_nontarget: float = 0.0095,
    c_miss_asv: float = 1.0,
    c_fa_asv: float = 10.0,
    c_miss_cm: float = 1.0,
    c_fa_cm: float = 10.0,
) -> tuple[float, float]:
    """Returns the minimum of the tandem detection cost of ASVspoof 2019 and its threshold.

    The minimum is over the threshold of the countermeasure, which is the second result. The
    verification works at its EER point. For the countermeasure, non-targets are bona fide.
    `asv_scores`, `cm_scores` and `kinds` are [n], one value for each trial.

    Sources: Kinnunen et al. 2018, arXiv:1804.09618, and the evaluation plan of the challenge. The
    priors of the plan are p_spoof 0.05, and 0.01 of the rest for p_nontarget.

    Raises NotDefined if a kind is missing. Raises NotDefined too if the countermeasure has nothing
    to gain or to lose at the EER point of the verification. Raises ValueError if the lists, priors
    or costs are wrong.
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
    asv = errors_at_eer_point(asv_scores, groups)
    c1 = p_target * (c_miss_cm - c_miss_asv * asv.p_miss) - p_nontarget * c_fa_asv * asv.p_fa
    c2 = c_fa_cm * p_spoof * asv.p_fa_spoof
    if c2 <= 0:
        raise NotDefined(
            "the verification rejects all spoofed trials at its EER point, so a countermeasure "
            "has nothing to do."
        )
    if c1 <= 0:
        raise NotDefined(
            "the verification has too many errors at its EER point, "
            f"{100 * asv.p_miss:.2f} % misses and {100 * asv.p_fa:.2f} % false accepts."
        )
    threshold, p_miss, p_fa = error_rates(cm_scores, ~groups["spoof"])
    cost = c1 * p_miss + c2 * p_fa
    i = int(np.argmin(cost))
    return float(cost[i] / min(c1, c2)), halfway_threshold(threshold, i)


# ---------------------------------------------------------------------- t-EER
class TandemEer(NamedTuple):
    """Tandem EER in per cent, with its thresholds of the verification and countermeasure scores."""

    value: float
    asv_threshold: float
    cm_threshold: float


class TandemRates(NamedTuple):
    """Accepted shares of both systems alone, from which the rates of the tandem follow.

    asv_target, asv_nontarget, asv_spoof: [P], at P verification thresholds.
    cm_real, cm_spoof: [K + 1], at the countermeasure thresholds.
    spoof_weight: weight of the spoofs in the false accepts, between 0 and 1.
    """

    asv_target: np.ndarray
    asv_nontarget: np.ndarray
    asv_spoof: np.ndarray
    cm_real: np.ndarray
    cm_spoof: np.ndarray
    spoof_weight: float

    def rates(self, cm: np.ndarray) -> Rates:
        """Returns P_miss, P_fa,nontarget and P_fa,spoof of the tandem, each [P].

        `cm` [P] holds an index of a countermeasure threshold for each verification threshold.
        """
        p_miss = 1 - self.asv_target * self.cm_real[cm]
        p_fa_nontarget = self.asv_nontarget * self.cm_real[cm]
        p_fa_spoof = self.asv_spoof * self.cm_spoof[cm]
        return p_miss, p_fa_nontarget, p_fa_spoof

    def excess(self, cm: np.ndarray) -> np.ndarray:
        """Returns false accepts minus misses [P]. It falls with `cm`, from 0 or more to -1."""
        p_miss, p_fa_nontarget, p_fa_spoof = self.rates(cm)
        weight = self.spoof_weight
        return (1 - weight) * p_fa_nontarget + weight * p_fa_spoof - p_miss

    def mean_error(self, cm: np.ndarray) -> np.ndarray:
        """Returns the mean of misses and false accepts [P]."""
        p_miss, p_fa_nontarget, p_fa_spoof = self.rates(cm)
        weight = self.spoof_weight
        return (p_miss + (1 - weight) * p_fa_nontarget + weight * p_fa_spoof) / 2

    def closest(self) -> np.ndarray:
        """Returns the countermeasure thresholds where misses and false accepts are closest.

        The result is [P] indices. Of equally close thresholds the lower one counts. A binary search
        runs for all verification thresholds at once.
        """
        low: np.ndarray = np.zeros(len(self.asv_target), int)
        high: np.ndarray = np.full(len(self.asv_target), len(self.cm_real) - 1)
        while (high - low > 1).any():
            middle = (low + high) // 2
            above = self.excess(middle) >= 0
            low = np.where(above, middle, low)
            high = np.where(above, high, middle)
        low_is_closer = np.abs(self.excess(low)) <= np.abs(self.excess(high)) + ROUNDING
        return np.where(low_is_closer, low, high)


def t_eer(
    asv_scores: ArrayLike,
    cm_scores: ArrayLike,
    kinds: ArrayLike,
    prevalence: float | None = None,
) -> TandemEer:
    """Returns the tandem EER of a verification and a countermeasure, which must both accept.

    Source: Kinnunen et al., TPAMI 2023, arXiv:2309.12237. `asv_scores`, `cm_scores` and `kinds` are
    [n], one value for each trial. `prevalence` is the share of spoofs among the trials to reject.

    Each verification threshold gets the countermeasure threshold that brings misses and false
    accepts of the tandem closest (of equally close ones the lower). The t-EER is the lowest mean of
    the two rates. The concurrent t-EER needs no prevalence: it is the mean where the false-accept
    rates of non-targets and of spoofs are also closest to each other. Verification thresholds that
    alone miss more than they falsely accept do not count.

    Raises NotDefined if a kind is missing, ValueError if the lists or the prevalence are wrong.
    """
    if prevalence is not None and not 0 <= prevalence <= 1:
        raise ValueError(f"--prevalence: expected a number between 0 and 1, found {prevalence:g}.")
    groups = groups_of(kinds, asv_scores, cm_scores, needed=TRIAL_KINDS)
    asv_threshold, counts = accepted_counts(asv_scores, groups)
    asv = {kind: count / count[0] for kind, count in counts.items()}
    cm_groups = {"real": ~groups["spoof"], "spoof": groups["spoof"]}
    cm_threshold, counts = accepted_counts(cm_scores, cm_groups)
    cm_share = {kind: count / count[0] for kind, count in counts.items()}
    weight = 0.5 if prevalence is None else prevalence
    false_accepts = (1 - weight) * asv["nontarget"] + weight * asv["spoof"]
    # The verification thresholds up to the one where misses exceed false accepts.
    length = np.count_nonzero(false_accepts >= 1 - asv["target"] - ROUNDING)
    tandem = TandemRates(
        asv_target=asv["target"][:length],
        asv_nontarget=asv["nontarget"][:length],
        asv_spoof=asv["spoof"][:length],
        cm_real=cm_share["real"],
        cm_spoof=cm_share["spoof"],
        spoof_weight=weight,
    )
    cm = tandem.closest()
    value = tandem.mean_error(cm)
    criterion = value
    if prevalence is None:
        _, p_fa_nontarget, p_fa_spoof = tandem.rates(cm)
        criterion = np.abs(p_fa_nontarget - p_fa_spoof)
    # Of equally good verification thresholds the lowest counts.
    i = int(np.argmax(criterion <= criterion.min() + ROUNDING))
    return TandemEer(
        value=float(100 * value[i]),
        asv_threshold=halfway_threshold(asv_threshold, i),
        cm_threshold=halfway_threshold(cm_threshold, cm[i]),
    )
