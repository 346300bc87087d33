"""The spoofing-aware metrics of tuneThreshold.py against direct loops, published packages' numbers and cases done by hand; their files and command."""

import inspect
import json
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from test_metrics import crossing

import tuneThreshold
from common.trial_kinds import TRIAL_KINDS
from metrics.rates import eer, error_rates, min_dcf, summarize
from metrics.sasv import (
    NotDefined,
    a_dcf,
    sasv_eers,
    sasv_rates,
    spf_eers,
    summarize_sasv,
)
from metrics.scores import read_cm_scores, read_scores
from metrics.tandem import min_t_dcf, t_eer
from report.det import COLOURS

TANDEM = np.load(Path(__file__).parent / "reference" / "metric_tandem.npz")
COSTS = json.loads(str(TANDEM["hparams_json"]))


# ---------------------------------------------------------------------- direct computations: one trial at a time, in fractions
def share(scores, kinds, wanted, threshold):
    """Accepted part of the trials of the wanted kinds."""
    of = [score for score, kind in zip(scores, kinds, strict=True) if kind in wanted]
    return Fraction(sum(score >= threshold for score in of), len(of))


def thresholds(scores):
    return [*sorted(set(scores)), math.inf]


def slow_eer(scores, kinds, others):
    used = [score for score, kind in zip(scores, kinds, strict=True) if kind in ("target", *others)]
    return 100 * crossing(
        [
            (1 - share(scores, kinds, ["target"], t), share(scores, kinds, others, t))
            for t in thresholds(used)
        ]
    )


def slow_a_dcf(scores, kinds, threshold, p_spoof, p_nontarget, c_miss, c_fa_nontarget, c_fa_spoof):
    weights = [
        c_miss * (1 - p_spoof - p_nontarget),
        c_fa_nontarget * p_nontarget,
        c_fa_spoof * p_spoof,
    ]
    rates = [
        1 - share(scores, kinds, ["target"], threshold),
        share(scores, kinds, ["nontarget"], threshold),
        share(scores, kinds, ["spoof"], threshold),
    ]
    return sum(weight * rate for weight, rate in zip(weights, rates, strict=True)) / min(
        weights[0], weights[1] + weights[2]
    )


def slow_t_dcf(asv, cm, kinds):
    """Countermeasure threshold -> t-DCF, by the 2019 evaluation plan; None where it is not defined."""
    real = thresholds(score for score, kind in zip(asv, kinds, strict=True) if kind != "spoof")
    best = min(
        real,
        key=lambda t: abs(
            1 - share(asv, kinds, ["target"], t) - share(asv, kinds, ["nontarget"], t)
        ),
    )
    at = max([t for t in real if t < best], default=best)
    c1 = Fraction("0.9405") * share(asv, kinds, ["target"], at) - Fraction("0.095") * share(
        asv, kinds, ["nontarget"], at
    )
    c2 = Fraction("0.5") * share(asv, kinds, ["spoof"], at)
    if c1 <= 0 or c2 <= 0:
        return None
    return lambda t: (
        c1 * (1 - share(cm, kinds, ["target", "nontarget"], t))
        + c2 * share(cm, kinds, ["spoof"], t)
    ) / min(c1, c2)


def slow_tandem(asv, cm, kinds, asv_threshold, cm_threshold):
    """Misses, false accepts of non-targets and of spoofs at a pair of thresholds."""
    real = share(cm, kinds, ["target", "nontarget"], cm_threshold)
    return (
        1 - share(asv, kinds, ["target"], asv_threshold) * real,
        share(asv, kinds, ["nontarget"], asv_threshold) * real,
        share(asv, kinds, ["spoof"], asv_threshold) * share(cm, kinds, ["spoof"], cm_threshold),
    )


def slow_t_eer(asv, cm, kinds, prevalence):
    weight = Fraction(1, 2) if prevalence is None else prevalence

    def accepts(rates):
        return (1 - weight) * rates[1] + weight * rates[2]

    path = []
    for t in thresholds(asv):
        alone = [share(asv, kinds, [kind], t) for kind in TRIAL_KINDS]
        if accepts(alone) >= 1 - alone[0]:
            path.append(
                min(
                    (slow_tandem(asv, cm, kinds, t, s) for s in thresholds(cm)),
                    key=lambda rates: abs(accepts(rates) - rates[0]),
                )
            )
    values = [(rates[0] + accepts(rates)) / 2 for rates in path]
    if prevalence is not None:
        return 100 * min(values)
    apart = [abs(rates[1] - rates[2]) for rates in path]
    return 100 * values[apart.index(min(apart))]


def lists_of(*more):
    """Lists of (verification score, kind, ...) with ties and all three kinds."""
    trial = st.tuples(st.integers(-4, 4), st.sampled_from(TRIAL_KINDS), *more)
    return st.lists(trial, min_size=3, max_size=24).filter(
        lambda trials: len({kind for _, kind, *_ in trials}) == 3
    )


@given(lists_of(st.sampled_from(["A07", "A08", "A19"])))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_eers_against_a_direct_loop(trials):
    scores, kinds, attacks = zip(*trials, strict=True)
    found = sasv_eers(scores, kinds)
    others = {"SASV-EER": ["nontarget", "spoof"], "SV-EER": ["nontarget"], "SPF-EER": ["spoof"]}
    assert found == pytest.approx(
        {name: float(slow_eer(scores, kinds, those)) for name, those in others.items()}
    )
    # sorted once, yet as if the third kind were not there
    for name, rates in sasv_rates(scores, kinds).items():
        used = [kind in ("target", *others[name]) for kind in kinds]
        np.testing.assert_array_equal(
            rates, error_rates(np.array(scores)[used], (np.array(kinds) == "target")[used])
        )
    named = [
        attack if kind == "spoof" else kind for kind, attack in zip(kinds, attacks, strict=True)
    ]
    known = {
        attack: float(slow_eer(scores, named, [attack]))
        for attack in sorted({*named} - {*TRIAL_KINDS})
    }
    assert spf_eers(scores, kinds, attacks) == pytest.approx(known)


@given(
    lists_of(),
    st.sampled_from(
        [(0.05, 0.05, 1, 10, 20), (0.5, 0.2, 1, 1, 1), (0.01, 0.04, 10, 1, 3), (0, 0.3, 1, 2, 5)]
    ),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_dcf_against_a_direct_loop(trials, costs):
    scores, kinds = zip(*trials, strict=True)
    p_spoof, p_nontarget, c_miss, c_fa_nontarget, c_fa_spoof = costs
    value, threshold = a_dcf(
        scores,
        kinds,
        p_spoof=p_spoof,
        p_nontarget=p_nontarget,
        c_miss=c_miss,
        c_fa_nontarget=c_fa_nontarget,
        c_fa_spoof=c_fa_spoof,
    )
    assert (
        value
        == pytest.approx(min(slow_a_dcf(scores, kinds, t, *costs) for t in thresholds(scores)))
        and value <= 1 + 1e-12
    )
    assert slow_a_dcf(scores, kinds, threshold, *costs) == pytest.approx(value)
    # no spoofs expected: the detection cost of the others
    if not p_spoof:
        real = np.array(kinds) != "spoof"
        rates = error_rates(np.array(scores)[real], (np.array(kinds) == "target")[real])
        assert value == pytest.approx(min_dcf(*rates, 1 - p_nontarget, c_miss, c_fa_nontarget)[0])


@given(lists_of(st.integers(-4, 4)))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_t_dcf_against_a_direct_loop(trials):
    asv, kinds, cm = zip(*trials, strict=True)
    cost = slow_t_dcf(asv, cm, kinds)
    if cost is None:
        with pytest.raises(NotDefined, match="at its EER point"):
            min_t_dcf(asv, cm, kinds)
        return
    value, threshold = min_t_dcf(asv, cm, kinds)
    assert (
        value == pytest.approx(float(min(map(cost, thresholds(cm)))))
        and float(cost(threshold)) == pytest.approx(value)
        and value <= 1 + 1e-12
    )


@given(
    lists_of(st.integers(-4, 4)),
    st.sampled_from(
        [None, Fraction(0), Fraction(1, 10), Fraction(1, 2), Fraction(3, 4), Fraction(1)]
    ),
)
# points equally close but for rounding
@example([(1, "target", 0), (0, "nontarget", 3), (0, "spoof", 2), (3, "nontarget", 2)], None)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_t_eer_against_a_direct_loop(trials, prevalence):
    asv, kinds, cm = zip(*trials, strict=True)
    found = t_eer(asv, cm, kinds, None if prevalence is None else float(prevalence))
    assert found.value == pytest.approx(float(slow_t_eer(asv, cm, kinds, prevalence)))
    misses, *accepts = slow_tandem(asv, cm, kinds, found.asv_threshold, found.cm_threshold)
    weight = 0.5 if prevalence is None else prevalence
    assert found.value == pytest.approx(
        float(50 * (misses + (1 - weight) * accepts[0] + weight * accepts[1]))
    )


# ---------------------------------------------------------------------- the published packages' numbers
def tandem_case(name):
    """Scores of verification and countermeasure, kinds."""
    asv, cm = (
        [TANDEM[f"{name}/{system}_{kind}"] for kind in TRIAL_KINDS] for system in ("asv", "cm")
    )
    return (
        np.concatenate(asv),
        np.concatenate(cm),
        np.repeat(TRIAL_KINDS, [len(scores) for scores in asv]),
    )


# The package steps through equal scores one by one, in the order target, non-target, spoof. Here
# equal scores are one step. Only case2 has ties, and there the t-DCF differs by 0.003.
NEAR = {"case0": {"rel": 1e-9}, "case1": {"rel": 1e-9}}


@pytest.mark.parametrize("costs", ["a_dcf_1", "a_dcf_2", "a_dcf_3"])
@pytest.mark.parametrize("case", ["case0", "case1", "case2"])
def test_a_dcf_package(case, costs):
    asv, cm, kinds = tandem_case(case)
    names = {
        "Pspf": "p_spoof",
        "Pnontrg": "p_nontarget",
        "Cmiss": "c_miss",
        "Cfa_asv": "c_fa_nontarget",
        "Cfa_cm": "c_fa_spoof",
    }
    # rounding makes most of the equal ones of case2 differ
    scores = 0.7 * asv + 0.3 * cm
    value, threshold = a_dcf(
        scores,
        kinds,
        **{names[name]: value for name, value in COSTS[costs].items() if name != "Ptrg"},
    )
    known, highest_rejected = TANDEM[f"{case}/{costs}"]
    assert value == pytest.approx(known, rel=1e-9)
    if case != "case2":
        assert np.count_nonzero(scores < threshold) == np.count_nonzero(scores <= highest_rejected)


@pytest.mark.parametrize("case", ["case0", "case1", "case2"])
def test_t_dcf_of_asvspoof_2019(case):
    assert min_t_dcf(*tandem_case(case))[0] == pytest.approx(
        TANDEM[f"{case}/min_t_dcf_2019"][0], **NEAR.get(case, {"abs": 0.005})
    )


def without_ties(scores):
    """Ranks of the scores. Of equal scores the earlier one gets the lower rank."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    return ranks


@pytest.mark.parametrize("case", ["case0", "case1", "case2"])
def test_t_eer_package(case):
    asv, cm, kinds = tandem_case(case)
    if case == "case2":
        # The package steps through equal scores one by one, in the order of the trials here.
        asv = without_ties(asv)
        cm = without_ties(cm)
    found = t_eer(asv, cm, kinds)
    # The concurrent t-EER of the package depends a little on the prevalence.
    known, asv_at, cm_at = TANDEM[f"{case}/t_eer_concurrent_rho0.5"]
    assert found.value == pytest.approx(100 * known, rel=1e-9)
    if case != "case2":
        assert asv_at == pytest.approx(max(asv[asv < found.asv_threshold]))
        assert cm_at == pytest.approx(max(cm[cm < found.cm_threshold]))
    for prevalence in (0.0, 0.5, 1.0):
        value = t_eer(asv, cm, kinds, prevalence).value
        known = 100 * TANDEM[f"{case}/t_eer_min_rho{prevalence}"][0]
        if (case, prevalence) == ("case0", 0):
            # Rounding hides the EER point of the verification from the package: 30/900 < 10/300.
            assert value == pytest.approx(10 / 3)
            assert value < known < value + 0.1
        else:
            assert value == pytest.approx(known, rel=1e-9)


def brute_force_t_eer(asv, cm, kinds, prevalence):
    """Tries every pair of thresholds in fractions, where equal scores are one threshold.

    Returns the t-EER in per cent and the pair of thresholds.
    """
    weight = Fraction(1, 2) if prevalence is None else Fraction(prevalence)
    real_shares = [(t, share(cm, kinds, ["target", "nontarget"], t)) for t in thresholds(cm)]
    cm_shares = [(t, real, share(cm, kinds, ["spoof"], t)) for t, real in real_shares]
    best = None
    for asv_at in thresholds(asv):
        target, nontarget, spoof = (share(asv, kinds, [kind], asv_at) for kind in TRIAL_KINDS)
        if (1 - weight) * nontarget + weight * spoof < 1 - target:
            continue
        closest = None
        for cm_at, cm_real, cm_spoof in cm_shares:
            misses = 1 - target * cm_real
            false_accepts = (1 - weight) * nontarget * cm_real + weight * spoof * cm_spoof
            distance = abs(false_accepts - misses)
            if closest is None or distance < closest[0]:
                apart = abs(nontarget * cm_real - spoof * cm_spoof)
                closest = distance, (misses + false_accepts) / 2, apart, cm_at
        _, value, apart, cm_at = closest
        criterion = apart if prevalence is None else value
        if best is None or criterion < best[0]:
            best = criterion, value, asv_at, cm_at
    _, value, asv_at, cm_at = best
    return float(100 * value), asv_at, cm_at


@pytest.mark.parametrize("decimals", [1, 0])
@pytest.mark.parametrize("prevalence", [None, 0.0, 0.25, 0.5, 1.0])
def test_t_eer_with_ties(decimals, prevalence):
    asv, cm, kinds = tandem_case("case2")
    asv = np.round(asv, decimals)
    cm = np.round(cm, decimals)
    assert len(np.unique(asv)) < len(asv) / 10
    assert len(np.unique(cm)) < len(cm) / 10
    value, asv_at, cm_at = brute_force_t_eer(asv.tolist(), cm.tolist(), kinds, prevalence)
    found = t_eer(asv, cm, kinds, prevalence)
    assert found.value == pytest.approx(value, rel=1e-9)
    np.testing.assert_array_equal(asv >= found.asv_threshold, asv >= asv_at)
    np.testing.assert_array_equal(cm >= found.cm_threshold, cm >= cm_at)


# ---------------------------------------------------------------------- cases done by hand
def test_perfect_systems_have_no_errors():
    kinds = ["target", "nontarget", "spoof", "target", "spoof"]
    # verification takes the spoofs for targets
    asv, cm = [2, 0, 2.5, 3, 2.1], [1, 2, -1, 3, -2]
    joint = [2, 0, -1, 3, 1]
    summary = summarize_sasv(joint, kinds, ["-", "-", "A01", "-", "A02"])
    assert (
        set(summary.eers.values()) | set(summary.attack_eers.values()) | {summary.a_dcf.value}
        == {0}
        and summary.eer_threshold == 1.5
    )
    assert (
        min_t_dcf(asv, cm, kinds) == (0, 0)
        and [t_eer(asv, cm, kinds, p).value for p in (None, 0, 0.5, 1)] == [0] * 4
    )
    assert t_eer(asv, cm, kinds) == (0, 1, 0)


def test_equal_scores_tell_nothing_apart():
    kinds, same = ["target", "nontarget", "nontarget", "spoof"], [0.5] * 4
    assert sasv_eers(same, kinds) == {"SASV-EER": 50, "SV-EER": 50, "SPF-EER": 50}
    assert a_dcf(same, kinds)[0] == pytest.approx(1) and min_t_dcf(same, same, kinds)[
        0
    ] == pytest.approx(1)
    assert [t_eer(same, same, kinds, p).value for p in (None, 0, 0.5, 1)] == [50] * 4


def test_verification_that_is_blind_for_spoofs():
    kinds = ["target", "target", "nontarget", "nontarget", "spoof", "spoof"]
    scores, cm = [2, 2, 0, 0, 2, 2], [1, 1, 1, 1, -1, -1]
    assert sasv_eers(scores, kinds) == {
        "SASV-EER": pytest.approx(100 / 3),
        "SV-EER": 0,
        "SPF-EER": 50,
    }
    # to let the spoofs in costs 1, to reject everybody 0.9
    assert a_dcf(scores, kinds) == (pytest.approx(1), math.inf)
    assert min_t_dcf(scores, cm, kinds)[0] == 0 and t_eer(scores, cm, kinds).value == 0
    assert (
        t_eer(scores, [0] * 6, kinds, 0).value == 0 and t_eer(scores, [0] * 6, kinds, 1).value == 50
    )


def test_t_dcf_by_hand():
    kinds = ["nontarget", "nontarget", "target", "target", "spoof", "spoof"]
    asv, cm = [1, 2, 3, 4, 3.5, 0], [1, 2, 3, 4, 0, 2.5]
    # The EER is 0 between 2 and 3, the threshold at 2: no target missed, half of the non-targets and of the spoofs accepted.
    # c1 = 0.9405 - 0.095 / 2 = 0.893, c2 = 0.5 / 2 = 0.25; above the spoof at 0 the countermeasure misses nothing and accepts half: 0.25 / 2 / 0.25.
    assert min_t_dcf(asv, cm, kinds) == (pytest.approx(0.5), 0.5)

    # Verification that knows no difference accepts everybody, but not the spoof below: c1 = 0.9405 - 0.095, c2 = 0.5 / 2; one of ten is missed.
    kinds, asv, cm = (
        ["target", "nontarget"] * 5 + ["spoof", "spoof"],
        [1] * 10 + [0, 2],
        [-1] + [1] * 9 + [0, 0],
    )
    assert min_t_dcf(asv, cm, kinds) == (pytest.approx(0.1 * 0.8455 / 0.25), 0.5)


def test_order_and_scale_do_not_matter():
    draw = np.random.default_rng(0)
    kinds = draw.choice(TRIAL_KINDS, 600)
    asv = np.round(draw.standard_normal(600) + (kinds != "nontarget"), 1)
    cm = np.round(draw.standard_normal(600) + (kinds != "spoof"), 1)
    shuffle = draw.permutation(600)
    attacks = np.where(kinds == "spoof", "A01", "-")
    one = summarize_sasv(asv, kinds, attacks)
    other = summarize_sasv(
        asv[shuffle].astype(np.float32), kinds[shuffle].astype(object), attacks[shuffle].tolist()
    )
    assert (
        one.eers == other.eers
        and one.attack_eers == other.attack_eers
        and one.a_dcf.value == other.a_dcf.value
    )
    assert (
        t_eer(asv, cm, kinds).value
        == t_eer(np.exp(asv[shuffle]), 3 * cm[shuffle] - 7, kinds[shuffle]).value
    )
    assert (
        min_t_dcf(asv, cm, kinds)[0]
        == min_t_dcf(np.exp(asv[shuffle]), 3 * cm[shuffle] - 7, kinds[shuffle])[0]
    )


def test_size_of_asvspoof_2019():
    """Counts of the logical-access evaluation protocol; 13 attacks with 4,914 trials each."""
    draw = np.random.default_rng(0)
    kinds = draw.permutation(np.repeat(TRIAL_KINDS, (5_370, 33_327, 63_882)))
    attacks = np.full(len(kinds), "bonafide")
    attacks[kinds == "spoof"] = np.repeat([f"A{number:02d}" for number in range(7, 20)], 4_914)
    chance = summarize_sasv(draw.standard_normal(len(kinds)), kinds, attacks)
    assert (chance.targets, chance.nontargets, chance.spoofs) == (5_370, 33_327, 63_882) and len(
        chance.attack_eers
    ) == 13
    assert [*chance.eers.values(), *chance.attack_eers.values()] == pytest.approx(
        [50] * 16, abs=2
    ) and 0.98 < chance.a_dcf.value <= 1
    oracle = draw.random(len(kinds)) + (kinds == "target")
    found = summarize_sasv(oracle, kinds, attacks)
    assert {*found.eers.values(), *found.attack_eers.values(), found.a_dcf.value} == {0}
    asv, cm = (
        draw.random(len(kinds)) + (kinds != "nontarget"),
        draw.random(len(kinds)) + (kinds != "spoof"),
    )
    assert t_eer(asv, cm, kinds).value == 0 and min_t_dcf(asv, cm, kinds)[0] == 0
    assert t_eer(asv, draw.random(len(kinds)), kinds, 1).value == pytest.approx(50, abs=1)


# ---------------------------------------------------------------------- what cannot be computed
THREE = ["target", "nontarget", "spoof"]


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: a_dcf([1, 2], ["target", "spoof"]),
            NotDefined,
            "no nontarget trials among 2: want target, nontarget, spoof",
        ),
        (
            lambda: t_eer([1, 2], [1, 2], ["target", "target"]),
            NotDefined,
            "no nontarget and no spoof trials",
        ),
        (lambda: sasv_eers([1, 2], ["nontarget", "spoof"]), NotDefined, "no target trials among 2"),
        (
            lambda: sasv_eers([1, 2], ["target", "target"]),
            ValueError,
            "no nontarget or spoof trials, all 2 are target",
        ),
        (
            lambda: spf_eers([1, 2], ["nontarget", "spoof"], ["-", "A01"]),
            NotDefined,
            "no target trials",
        ),
        (
            lambda: sasv_eers([1, 2], ["target", "Spoof"]),
            ValueError,
            "trial 2: want a kind of target, nontarget, spoof, got 'Spoof'",
        ),
        (lambda: sasv_eers([1, 2], THREE), ValueError, r"shapes \(2,\), \(3,\)"),
        (
            lambda: spf_eers([1, 2, 3], THREE, ["-", "-"]),
            ValueError,
            r"shapes \(3,\), \(2,\), \(3,\)",
        ),
        (
            lambda: sasv_eers([1, 2, np.nan], THREE),
            ValueError,
            "trial 3: want a finite score, got nan",
        ),
        (
            lambda: min_t_dcf([1, 2, np.nan], [1, 2, 3], THREE),
            ValueError,
            "trial 3: want a finite score, got nan",
        ),
        (
            lambda: t_eer([1, 2, 3], [1, np.inf, 3], THREE),
            ValueError,
            "trial 2: want a finite score, got inf",
        ),
        (
            lambda: t_eer([1, 2, 3], [1, 2, 3], THREE, 1.5),
            ValueError,
            "prevalence between 0 and 1, got 1.5",
        ),
        (
            lambda: a_dcf([1, 2, 3], THREE, p_spoof=0.6, p_nontarget=0.4),
            ValueError,
            "a-DCF: want priors .* got p_spoof 0.6, p_nontarget 0.4",
        ),
        (lambda: a_dcf([1, 2, 3], THREE, p_spoof=0, p_nontarget=0), ValueError, "not all"),
        (
            lambda: a_dcf([1, 2, 3], THREE, c_fa_spoof=0),
            ValueError,
            "costs above 0; .*c_fa_spoof 0",
        ),
        (
            lambda: min_t_dcf([1, 2, 3], [1, 2, 3], THREE, c_fa_cm=-1),
            ValueError,
            "t-DCF: want .* costs above 0; .*c_fa_cm -1",
        ),
        (
            lambda: min_t_dcf([2, 1, 0], [1, 2, 0], THREE),
            NotDefined,
            "no spoof passes verification at its EER point",
        ),
        (
            lambda: min_t_dcf([1, 3, 4, 2], [1, 2, 0, 3], [*THREE, "target"], c_fa_asv=1000),
            NotDefined,
            "errs too often at its EER point",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_lists_without_a_kind():
    text = str(found := summarize_sasv([1, 2, 3], ["nontarget", "target", "target"], ["-"] * 3))
    assert (
        found.results() == {"EER": 0, "SV-EER": 0, "threshold": 1.5}
        and found.spf_eer is None
        and found.a_dcf is None
    )
    assert (
        "0 spoof" in text
        and "no spoof trials" in text
        and "needs non-target and spoof" in text
        and "None" not in text
    )
    text = str(found := summarize_sasv([1, 2, 3], ["spoof", "target", "target"], ["A07", "-", "-"]))
    assert (
        found.results() == {"EER": 0, "SPF-EER": 0, "threshold": 1.5}
        and found.sv_eer is None
        and "no non-target trials" in text
    )
    # impossible priors are told even there
    with pytest.raises(ValueError, match="a-DCF"):
        summarize_sasv([1, 2, 3], ["nontarget", "target", "target"], ["-"] * 3, p_spoof=2)


def test_summary():
    draw = np.random.default_rng(0)
    kinds = draw.choice(TRIAL_KINDS, 900)
    scores = draw.standard_normal(900) + 2 * (kinds == "target") + (kinds == "spoof")
    attacks = np.where(kinds == "spoof", draw.choice(["A07", "A10"], 900), "bonafide")
    found = summarize_sasv(scores, kinds, attacks, p_spoof=0.2, c_fa_spoof=3, p_fa=(0.05,))
    assert found.eers == sasv_eers(scores, kinds) and found.attack_eers == spf_eers(
        scores, kinds, attacks
    )
    assert found.a_dcf == (0.75, *a_dcf(scores, kinds, p_spoof=0.2, c_fa_spoof=3))
    joint = summarize(scores, kinds == "target", p_fa=(0.05,))
    assert (found.eer, found.eer_threshold, found.points) == (
        joint.eer,
        joint.eer_threshold,
        joint.points,
    )
    np.testing.assert_array_equal(found.rates, joint.rates)
    assert joint.results() == {
        "EER": joint.eer,
        "minDCF": joint.min_dcf,
        "threshold": joint.eer_threshold,
    }
    assert found.results() == {
        "EER": found.eer,
        "SV-EER": found.sv_eer,
        "SPF-EER": found.spf_eer,
        "a-DCF": found.a_dcf.value,
        "threshold": found.eer_threshold,
    }
    assert {type(value) for value in [*found.results().values(), *joint.results().values()]} == {
        float
    }
    rows = str(found).splitlines()
    assert rows[0] == "900 trials: {:,} target, {:,} non-target, {:,} spoof".format(
        *(sum(kinds == kind) for kind in TRIAL_KINDS)
    )
    assert [row.split()[0] for row in rows[1:]] == [
        "SASV-EER",
        "SV-EER",
        "SPF-EER",
        "A07",
        "A10",
        "a-DCF",
        "false",
        f"{100 * found.points[0].p_fa:.3f}",
    ]
    assert (
        len({row.index("%") for row in rows[1:6]}) == 1
        and f"{found.attack_eers['A07']:.2f} %" in rows[4]
    )
    for definition in ("corner", "grid"):
        other = summarize_sasv(scores / 10, kinds, attacks, definition=definition)
        assert (
            other.eers == sasv_eers(scores / 10, kinds, definition)
            and other.eer == eer(*other.rates, definition)[0]
        )
        assert (
            other.attack_eers
            == spf_eers(scores / 10, kinds, attacks, definition)
            != found.attack_eers
        )


# ---------------------------------------------------------------------- files and the command
def scores_file(path, trials=300, attack=True):
    """A spoofing-aware scores file and a countermeasure's scores of its tested files."""
    draw = np.random.default_rng(0)
    kinds = draw.choice(TRIAL_KINDS, trials)
    scores = draw.standard_normal(trials) + 3 * (kinds == "target") + 2 * (kinds == "spoof")
    cm = draw.standard_normal(trials) - 3 * (kinds == "spoof")
    attacks = (
        np.where(kinds == "spoof", draw.choice(["A07 ", "A10 "], trials), "bonafide ")
        if attack
        else [""] * trials
    )
    path.write_text(
        "".join(
            f"id{i % 7} utt{i} {a}{kind} {score:.7g}\n"
            for i, (a, kind, score) in enumerate(zip(attacks, kinds, scores, strict=True))
        )
    )
    return path, [f"utt{i} {score:.7g}\n" for i, score in enumerate(cm)]


def test_reader(tmp_path):
    path = tmp_path / "s.txt"
    path.write_text(
        "id1 a bonafide target 0.5\nid1\tb A07  spoof 1e-1\n7 c - nontarget -2\n7 d a00 nontarget 3\n"
    )
    read = read_scores(path)
    assert read.lines == [
        "id1 a bonafide target",
        "id1 b A07 spoof",
        "7 c - nontarget",
        "7 d a00 nontarget",
    ]
    assert read.labels.tolist() == [True, False, False, False] and read.kinds.tolist() == [
        "target",
        "spoof",
        "nontarget",
        "nontarget",
    ]
    assert read.attacks.tolist() == ["bonafide", "A07", "-", "a00"] and read.scores.tolist() == [
        0.5,
        0.1,
        -2,
        3,
    ]
    # speakers called 1, 2, 3
    path.write_text("1 a target 0.5\n2 b spoof 0.1\n3 c nontarget 0\n")
    read = read_scores(path)
    assert read.lines == ["1 a target", "2 b spoof", "3 c nontarget"] and read.attacks.tolist() == [
        "bonafide",
        "spoof",
        "bonafide",
    ]
    assert read.kinds.tolist() == ["target", "spoof", "nontarget"] and read.labels.tolist() == [
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "s a bonafide target 0.5\n1 a b 0.5\n",
            "s.txt:2: want '<speaker> <file> bonafide|<attack> target|nontarget|spoof <score>', got '1 a b 0.5'",
        ),
        (
            "s a bonafide target 0.5\ns b A07 Spoof 0.5\n",
            "s.txt:2: want '<speaker> <file> bonafide|<attack>",
        ),
        (
            "s a bonafide target 0.5\ns b A07 target 0.5\n",
            "an attack before spoof, got 'A07 target'",
        ),
        ("s a bonafide target 0.5\ns b - spoof 0.5\n", "s.txt:2: want 'bonafide', '-' or 'a00'"),
        ("s a bonafide target 0.5\ns b A07 spoof nan\n", "s.txt:2: want a finite score, got 'nan'"),
        ("s a target 0.5\ns b spoof high\n", "s.txt:2: want a number as the score, got 'high'"),
        (
            "s a target 0.5\ns b A07 spoof 0.5\n",
            "s.txt:2: want '<speaker> <file> target|nontarget|spoof <score>', got",
        ),
        ("1 a b 0.5\ns b A07 spoof 0.5\n", "s.txt:2: want '1|0 <file> <file> <score>', got"),
        (
            "s a target\n",
            "s.txt:1: want '1|0 <file> <file> <score>' or '<speaker> <file> bonafide|<attack>",
        ),
        ("s a nontarget 0.5\ns b spoof 0.1\n", "s.txt: no target trials among 2: want target"),
        (
            "s a target 0.5\ns b target 0.1\n",
            "s.txt: no nontarget or spoof trials, all 2 are target",
        ),
    ],
)
def test_bad_scores_file(text, message, tmp_path, capsys):
    path = tmp_path / "s.txt"
    path.write_text(text)
    assert tuneThreshold.main([str(path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and message in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_command(tmp_path, capsys, monkeypatch):
    path, cm = scores_file(tmp_path / "s.txt")
    (tmp_path / "cm.txt").write_text("".join(cm))
    words = [
        str(path),
        "--cm",
        str(tmp_path / "cm.txt"),
        "--prevalence",
        "0.25",
        "1",
        "--far",
        "0.2",
        "--adcf_p_spoof",
        "0.2",
        "--tdcf_c_fa_cm",
        "5",
    ]
    assert tuneThreshold.main(words) == 0
    out, err = capsys.readouterr()
    read = read_scores(path)
    assert (
        str(summarize_sasv(read.scores, read.kinds, read.attacks, p_fa=(0.2,), p_spoof=0.2)) in out
        and not err
    )
    tandem = read.scores, read_cm_scores(tmp_path / "cm.txt", read), read.kinds
    value, threshold = min_t_dcf(*tandem, c_fa_cm=5)
    assert f"min t-DCF     {value:10.4f}   at countermeasure threshold {threshold:.5g}" in out
    for name, prevalence in (("t-EER", None), ("t-EER(0.25)", 0.25), ("t-EER(1)", 1)):
        found = t_eer(*tandem, prevalence)
        assert (
            f"{name:14s}{found.value:8.2f} %   at threshold {found.asv_threshold:.5g}, countermeasure {found.cm_threshold:.5g}"
            in out
        )
    picture = imread(tmp_path / "s_det.png")
    blue = [int(COLOURS[0][at : at + 2], 16) / 255 for at in (1, 3, 5)]
    # three lines across the plot
    assert np.count_nonzero(np.abs(picture[..., :3] - blue).max(2) < 0.01) > 2000

    plain, drawn = tmp_path / "plain.txt", {}
    plain.write_text("1 a b 1\n0 a c 0\n1 a d 2\n")
    monkeypatch.setattr(
        tuneThreshold, "plot_det", lambda image, systems, **_: drawn.update(systems)
    )
    # both families in one plot
    assert tuneThreshold.main([str(path), str(plain)]) == 0
    assert {name: [*curves] for name, curves in drawn.items()} == {
        str(path): ["SASV-EER", "SV-EER", "SPF-EER"],
        str(plain): ["EER"],
    }
    assert drawn[str(path)]["SV-EER"][0] == sasv_eers(read.scores, read.kinds)["SV-EER"]


def test_verification_that_leaves_no_work(tmp_path, capsys):
    path = tmp_path / "s.txt"
    path.write_text("s a target 2\ns b nontarget 1\ns c spoof 0\n")
    assert tuneThreshold.main([str(path), "--cm", str(path)]) == 0
    out = capsys.readouterr().out
    assert (
        "min t-DCF              -   not defined: no spoof passes verification" in out
        and "t-EER             0.00 %" in out
    )


def test_options_without_effect_are_told(tmp_path, capsys):
    path, _ = scores_file(tmp_path / "s.txt")
    assert (
        tuneThreshold.main(
            [
                str(path),
                "--p_target",
                "0.1",
                "--prevalence",
                "0.5",
                "--tdcf_p_spoof",
                "0.1",
                "--adcf_c_miss",
                "2",
            ]
        )
        == 0
    )
    assert capsys.readouterr().err == (
        "warning: --p_target has no effect on spoofing-aware scores\n"
        "warning: --prevalence, --tdcf_p_spoof has no effect without --cm\n"
    )
    (tmp_path / "plain.txt").write_text("1 a b 1\n0 a c 0\n")
    assert (
        tuneThreshold.main([str(tmp_path / "plain.txt"), "--p_target", "0.1", "--adcf_c_miss", "2"])
        == 0
    )
    assert "--adcf_c_miss has" in capsys.readouterr().err


def test_countermeasure_scores(tmp_path):
    path, cm = scores_file(tmp_path / "s.txt", 40)
    trials, by_file, others = read_scores(path), tmp_path / "by_file.txt", tmp_path / "same.txt"
    known = [float(line.split()[1]) for line in cm]
    by_file.write_text("".join(cm[::-1]) + "more 1\n" + cm[3])
    assert read_cm_scores(by_file, trials).tolist() == known
    by_file.write_text("".join(line.replace(" ", " - A07 spoof ") for line in cm))
    assert read_cm_scores(by_file, trials).tolist() == known
    others.write_text("".join(f"{line} {i}\n" for i, line in enumerate(trials.lines)))
    assert read_cm_scores(others, trials).tolist() == list(range(40))
    short, _ = scores_file(tmp_path / "short.txt", 40, attack=False)
    assert read_cm_scores(by_file, read_scores(short)).tolist() == known


@pytest.mark.parametrize(
    "change, message",
    [
        (
            lambda trials, cm: trials[:5] + trials[6:],
            ":6: want the trials of the scores file in their order, here 'id5 utt5 ",
        ),
        (
            lambda trials, cm: trials[:9],
            ":10: want the trials of the scores file in their order, here 'id2 utt9 ",
        ),
        (
            lambda trials, cm: [*trials, "id1 x bonafide target 1\n"],
            ":11: want the trials of the scores file in their order, here nothing, got 'id1 x ",
        ),
        (lambda trials, cm: trials[::-1], ":8: want one score for id2, got another above"),
        (lambda trials, cm: [*cm, "utt4 7\n"], ":11: want one score for utt4, got another above"),
        (
            lambda trials, cm: cm[:4] + cm[7:],
            ": want '<file> ... <score>' for every tested file, 3 are missing, the first utt4",
        ),
        (lambda trials, cm: [*cm, "1.5\n"], ":11: want '<file> ... <score>', got '1.5'"),
        (lambda trials, cm: [*cm, "x y\n"], ":11: want a number as the score, got 'y'"),
        (lambda trials, cm: [], ": empty: want lines '<file> ... <score>'"),
    ],
)
def test_bad_countermeasure_scores(change, message, tmp_path, capsys):
    path, cm = scores_file(tmp_path / "s.txt", 10)
    bad = tmp_path / "cm.txt"
    bad.write_text("".join(change(path.read_text().splitlines(keepends=True), cm)))
    assert tuneThreshold.main([str(path), "--cm", str(bad)]) == 2
    err = capsys.readouterr().err
    assert f"{bad}{message}" in err and err.count("\n") == 1


def test_bad_words(tmp_path, capsys):
    path, _ = scores_file(tmp_path / "s.txt")
    plain = tmp_path / "plain.txt"
    plain.write_text("1 a b 1\n0 a c 0\n")
    two = tmp_path / "two.txt"
    two.write_text("s a target 2\ns c spoof 0\n")
    for words, message in (
        ([plain, "--cm", path], "--cm: want spoofing-aware scores"),
        ([path, "--adcf_p_spoof", "1"], "a-DCF: want priors"),
        ([two, "--cm", two], "no nontarget trials"),
        ([path, "--cm", path, "--tdcf_c_fa_asv", "0"], "t-DCF: want priors"),
        ([path, "--cm", path, "--prevalence", "2"], "prevalence between 0 and 1"),
        ([path, "--cm", tmp_path / "no"], "no"),
    ):
        assert tuneThreshold.main([str(word) for word in words]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ") and message in err and err.count("\n") == 1


def test_every_cost_is_an_option():
    """The command has all priors and costs of the functions."""
    for function, options in ((a_dcf, tuneThreshold.ADCF), (min_t_dcf, tuneThreshold.TDCF)):
        assert [*options] == [
            name
            for name, value in inspect.signature(function).parameters.items()
            if value.kind == value.KEYWORD_ONLY
        ]
