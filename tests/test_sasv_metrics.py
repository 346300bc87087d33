"""Tests of the spoofing-aware metrics, their files and the command line of tuneThreshold.py.

The expected numbers come from direct loops, from published packages, and from cases that are
computed by hand.
"""

import inspect
import json
import math
import re
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
from metrics import score_options
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


# ---------------------------------------------------------------------- direct computations
# These functions count one trial at a time and compute with exact fractions.
def share(scores, kinds, counted, threshold):
    """Returns the accepted share of the trials of the counted kinds."""
    selected = [score for score, kind in zip(scores, kinds, strict=True) if kind in counted]
    return Fraction(sum(score >= threshold for score in selected), len(selected))


def thresholds(scores):
    """Returns all thresholds that differ in their decisions."""
    return [*sorted(set(scores)), math.inf]


def slow_eer(scores, kinds, others):
    """Returns the EER of target trials against the other kinds, in per cent."""
    selected = []
    for score, kind in zip(scores, kinds, strict=True):
        if kind == "target" or kind in others:
            selected.append(score)
    points = []
    for t in thresholds(selected):
        p_miss = 1 - share(scores, kinds, ["target"], t)
        points.append((p_miss, share(scores, kinds, others, t)))
    return 100 * crossing(points)


def slow_a_dcf(scores, kinds, threshold, p_spoof, p_nontarget, c_miss, c_fa_nontarget, c_fa_spoof):
    """Returns the normalised a-DCF at one threshold."""
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
    cost = sum(weight * rate for weight, rate in zip(weights, rates, strict=True))
    return cost / min(weights[0], weights[1] + weights[2])


def slow_t_dcf(asv, cm, kinds):
    """Returns the t-DCF of the 2019 evaluation plan, as a function of the CM threshold.

    Returns None where the t-DCF is not defined.
    """
    real = thresholds(score for score, kind in zip(asv, kinds, strict=True) if kind != "spoof")

    def distance_from_eer(t):
        return abs(1 - share(asv, kinds, ["target"], t) - share(asv, kinds, ["nontarget"], t))

    best = min(real, key=distance_from_eer)
    at = max([t for t in real if t < best], default=best)
    p_hit = share(asv, kinds, ["target"], at)
    p_fa = share(asv, kinds, ["nontarget"], at)
    c1 = Fraction("0.9405") * p_hit - Fraction("0.095") * p_fa
    c2 = Fraction("0.5") * share(asv, kinds, ["spoof"], at)
    if c1 <= 0 or c2 <= 0:
        return None

    def cost(t):
        p_miss_cm = 1 - share(cm, kinds, ["target", "nontarget"], t)
        return (c1 * p_miss_cm + c2 * share(cm, kinds, ["spoof"], t)) / min(c1, c2)

    return cost


def slow_tandem(asv, cm, kinds, asv_threshold, cm_threshold):
    """Returns three rates of the tandem system at a pair of thresholds.

    The rates are misses, false accepts of non-target trials, and false accepts of spoof trials.
    """
    real = share(cm, kinds, ["target", "nontarget"], cm_threshold)
    return (
        1 - share(asv, kinds, ["target"], asv_threshold) * real,
        share(asv, kinds, ["nontarget"], asv_threshold) * real,
        share(asv, kinds, ["spoof"], asv_threshold) * share(cm, kinds, ["spoof"], cm_threshold),
    )


def slow_t_eer(asv, cm, kinds, prevalence):
    """Returns the t-EER in per cent; without a prevalence, the concurrent t-EER."""
    weight = Fraction(1, 2) if prevalence is None else prevalence

    def accepts(rates):
        return (1 - weight) * rates[1] + weight * rates[2]

    def distance_from_eer(rates):
        return abs(accepts(rates) - rates[0])

    path = []
    for t in thresholds(asv):
        alone = [share(asv, kinds, [kind], t) for kind in TRIAL_KINDS]
        if accepts(alone) >= 1 - alone[0]:
            tandems = [slow_tandem(asv, cm, kinds, t, s) for s in thresholds(cm)]
            path.append(min(tandems, key=distance_from_eer))
    values = [(rates[0] + accepts(rates)) / 2 for rates in path]
    if prevalence is not None:
        return 100 * min(values)
    apart = [abs(rates[1] - rates[2]) for rates in path]
    return 100 * values[apart.index(min(apart))]


def lists_of(*more):
    """Returns a strategy for lists of (verification score, kind, ...).

    The lists have equal scores and all three kinds of trials.
    """
    trial = st.tuples(st.integers(-4, 4), st.sampled_from(TRIAL_KINDS), *more)

    def has_all_kinds(trials):
        return len({kind for _, kind, *_ in trials}) == 3

    return st.lists(trial, min_size=3, max_size=24).filter(has_all_kinds)


@given(lists_of(st.sampled_from(["A07", "A08", "A19"])))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_eers_against_a_direct_loop(trials):
    scores, kinds, attacks = zip(*trials, strict=True)
    found = sasv_eers(scores, kinds)
    others = {"SASV-EER": ["nontarget", "spoof"], "SV-EER": ["nontarget"], "SPF-EER": ["spoof"]}
    known = {name: float(slow_eer(scores, kinds, against)) for name, against in others.items()}
    assert found == pytest.approx(known)
    # The function sorts all scores once. The rates equal those without the third kind.
    targets = np.array(kinds) == "target"
    for name, rates in sasv_rates(scores, kinds).items():
        selected = [kind in ("target", *others[name]) for kind in kinds]
        expected = error_rates(np.array(scores)[selected], targets[selected])
        np.testing.assert_array_equal(rates, expected)
    named = []
    for kind, attack in zip(kinds, attacks, strict=True):
        named.append(attack if kind == "spoof" else kind)
    known = {}
    for attack in sorted({*named} - {*TRIAL_KINDS}):
        known[attack] = float(slow_eer(scores, named, [attack]))
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
    least = min(slow_a_dcf(scores, kinds, t, *costs) for t in thresholds(scores))
    assert value == pytest.approx(least)
    assert value <= 1 + 1e-12
    assert slow_a_dcf(scores, kinds, threshold, *costs) == pytest.approx(value)
    # If the prior of spoofs is 0, the a-DCF is the minDCF of the other trials.
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
    assert value == pytest.approx(float(min(map(cost, thresholds(cm)))))
    assert float(cost(threshold)) == pytest.approx(value)
    assert value <= 1 + 1e-12


@given(
    lists_of(st.integers(-4, 4)),
    st.sampled_from(
        [None, Fraction(0), Fraction(1, 10), Fraction(1, 2), Fraction(3, 4), Fraction(1)]
    ),
)
# Two points of this example are equally close, except for rounding.
@example([(1, "target", 0), (0, "nontarget", 3), (0, "spoof", 2), (3, "nontarget", 2)], None)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_t_eer_against_a_direct_loop(trials, prevalence):
    asv, kinds, cm = zip(*trials, strict=True)
    found = t_eer(asv, cm, kinds, None if prevalence is None else float(prevalence))
    assert found.value == pytest.approx(float(slow_t_eer(asv, cm, kinds, prevalence)))
    misses, *accepts = slow_tandem(asv, cm, kinds, found.asv_threshold, found.cm_threshold)
    weight = 0.5 if prevalence is None else prevalence
    false_accepts = (1 - weight) * accepts[0] + weight * accepts[1]
    assert found.value == pytest.approx(float(50 * (misses + false_accepts)))


# ---------------------------------------------------------------------- published numbers
def tandem_case(name):
    """Returns verification scores, countermeasure scores and kinds of a reference case."""
    asv = [TANDEM[f"{name}/asv_{kind}"] for kind in TRIAL_KINDS]
    cm = [TANDEM[f"{name}/cm_{kind}"] for kind in TRIAL_KINDS]
    kinds = np.repeat(TRIAL_KINDS, [len(scores) for scores in asv])
    return np.concatenate(asv), np.concatenate(cm), kinds


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
    # In case2, rounding makes most of the equal scores different.
    scores = 0.7 * asv + 0.3 * cm
    options = {names[name]: value for name, value in COSTS[costs].items() if name != "Ptrg"}
    value, threshold = a_dcf(scores, kinds, **options)
    known, highest_rejected = TANDEM[f"{case}/{costs}"]
    assert value == pytest.approx(known, rel=1e-9)
    if case != "case2":
        assert np.count_nonzero(scores < threshold) == np.count_nonzero(scores <= highest_rejected)


@pytest.mark.parametrize("case", ["case0", "case1", "case2"])
def test_t_dcf_of_asvspoof_2019(case):
    assert min_t_dcf(*tandem_case(case))[0] == pytest.approx(
        TANDEM[f"{case}/min_t_dcf_2019"][0], **NEAR.get(case, {"abs": 0.005})
    )


# ---------------------------------------------------------------------- named priors and costs
def printed_a_dcf(capsys, *words):
    """Returns the a-DCF that tuneThreshold.py prints, with four digits."""
    assert tuneThreshold.main([*map(str, words)]) == 0
    return float(re.search(r"^a-DCF +(\S+)", capsys.readouterr().out, re.MULTILINE)[1])


def test_named_priors_and_costs(tmp_path, capsys):
    """ASVspoof 5: priors 0.05 and 0.0095, costs 1, 10 and 10. Single options replace a part.

    The reference case a_dcf_3 has the costs of ASVspoof 5 and the prior 0.01 of non-targets.
    """
    asv, cm, kinds = tandem_case("case1")
    scores = 0.7 * asv + 0.3 * cm
    path = tmp_path / "s.txt"
    lines = [f"s f{i} {kind} {scores[i]:.12g}\n" for i, kind in enumerate(kinds)]
    path.write_text("".join(lines))
    named = (path, "--adcf", "asvspoof5")
    found = printed_a_dcf(capsys, *named, "--adcf_p_nontarget", 0.01)
    assert found == pytest.approx(TANDEM["case1/a_dcf_3"][0], abs=5e-5)

    at = [slow_a_dcf(scores, kinds, t, 0.05, 0.0095, 1, 10, 10) for t in thresholds(scores)]
    assert printed_a_dcf(capsys, *named) == pytest.approx(min(at), abs=5e-5)
    assert abs(min(at) - TANDEM["case1/a_dcf_3"][0]) > 1e-4
    default = pytest.approx(TANDEM["case1/a_dcf_1"][0], abs=5e-5)
    assert printed_a_dcf(capsys, path) == default
    assert printed_a_dcf(capsys, path, "--adcf", "default") == default


def test_named_costs_have_no_effect_on_plain_scores(tmp_path, capsys):
    plain = tmp_path / "plain.txt"
    plain.write_text("1 a b 1\n0 a c 0\n")
    assert tuneThreshold.main([str(plain), "--adcf", "asvspoof5"]) == 0
    assert capsys.readouterr().err == "warning: --adcf has no effect on '1|0' scores.\n"


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
    # Verification alone accepts the spoof trials.
    asv = [2, 0, 2.5, 3, 2.1]
    cm = [1, 2, -1, 3, -2]
    joint = [2, 0, -1, 3, 1]
    summary = summarize_sasv(joint, kinds, ["-", "-", "A01", "-", "A02"])
    assert set(summary.eers.values()) == {0}
    assert set(summary.attack_eers.values()) == {0}
    assert summary.a_dcf.value == 0
    assert summary.eer_threshold == 1.5
    assert min_t_dcf(asv, cm, kinds) == (0, 0)
    assert [t_eer(asv, cm, kinds, p).value for p in (None, 0, 0.5, 1)] == [0] * 4
    assert t_eer(asv, cm, kinds) == (0, 1, 0)


def test_equal_scores_separate_nothing():
    kinds = ["target", "nontarget", "nontarget", "spoof"]
    same = [0.5] * 4
    assert sasv_eers(same, kinds) == {"SASV-EER": 50, "SV-EER": 50, "SPF-EER": 50}
    assert a_dcf(same, kinds)[0] == pytest.approx(1)
    assert min_t_dcf(same, same, kinds)[0] == pytest.approx(1)
    assert [t_eer(same, same, kinds, p).value for p in (None, 0, 0.5, 1)] == [50] * 4


def test_verification_that_accepts_all_spoofs():
    kinds = ["target", "target", "nontarget", "nontarget", "spoof", "spoof"]
    scores = [2, 2, 0, 0, 2, 2]
    cm = [1, 1, 1, 1, -1, -1]
    assert sasv_eers(scores, kinds) == {
        "SASV-EER": pytest.approx(100 / 3),
        "SV-EER": 0,
        "SPF-EER": 50,
    }
    # Accepting the spoofs has the cost 1 before normalisation, and rejecting all trials has 0.9.
    assert a_dcf(scores, kinds) == (pytest.approx(1), math.inf)
    assert min_t_dcf(scores, cm, kinds)[0] == 0
    assert t_eer(scores, cm, kinds).value == 0
    assert t_eer(scores, [0] * 6, kinds, 0).value == 0
    assert t_eer(scores, [0] * 6, kinds, 1).value == 50


def test_t_dcf_by_hand():
    kinds = ["nontarget", "nontarget", "target", "target", "spoof", "spoof"]
    asv = [1, 2, 3, 4, 3.5, 0]
    cm = [1, 2, 3, 4, 0, 2.5]
    # The EER of verification is 0 between the scores 2 and 3, and its threshold is 2. There it
    # misses no target trial, and it accepts half of the non-target and half of the spoof trials.
    # So c1 = 0.9405 - 0.095 / 2 = 0.893 and c2 = 0.5 / 2 = 0.25. With a threshold above the spoof
    # at 0, the countermeasure misses nothing and accepts half of the spoofs: 0.25 / 2 / 0.25.
    assert min_t_dcf(asv, cm, kinds) == (pytest.approx(0.5), 0.5)

    # Here target and non-target trials have equal verification scores. Verification accepts all
    # trials except the spoof with the lower score: c1 = 0.9405 - 0.095 and c2 = 0.5 / 2. The
    # countermeasure misses one of ten trials.
    kinds = ["target", "nontarget"] * 5 + ["spoof", "spoof"]
    asv = [1] * 10 + [0, 2]
    cm = [-1] + [1] * 9 + [0, 0]
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
    assert one.eers == other.eers
    assert one.attack_eers == other.attack_eers
    assert one.a_dcf.value == other.a_dcf.value
    changed = np.exp(asv[shuffle]), 3 * cm[shuffle] - 7, kinds[shuffle]
    assert t_eer(asv, cm, kinds).value == t_eer(*changed).value
    assert min_t_dcf(asv, cm, kinds)[0] == min_t_dcf(*changed)[0]


def test_size_of_asvspoof_2019():
    """The metrics work with the numbers of trials of the logical-access evaluation protocol.

    The protocol has 13 attacks with 4,914 trials each.
    """
    draw = np.random.default_rng(0)
    kinds = draw.permutation(np.repeat(TRIAL_KINDS, (5_370, 33_327, 63_882)))
    attacks = np.full(len(kinds), "bonafide")
    attacks[kinds == "spoof"] = np.repeat([f"A{number:02d}" for number in range(7, 20)], 4_914)
    chance = summarize_sasv(draw.standard_normal(len(kinds)), kinds, attacks)
    assert (chance.targets, chance.nontargets, chance.spoofs) == (5_370, 33_327, 63_882)
    assert len(chance.attack_eers) == 13
    eers = [*chance.eers.values(), *chance.attack_eers.values()]
    assert eers == pytest.approx([50] * 16, abs=2)
    assert 0.98 < chance.a_dcf.value <= 1
    oracle = draw.random(len(kinds)) + (kinds == "target")
    found = summarize_sasv(oracle, kinds, attacks)
    assert {*found.eers.values(), *found.attack_eers.values(), found.a_dcf.value} == {0}
    asv = draw.random(len(kinds)) + (kinds != "nontarget")
    cm = draw.random(len(kinds)) + (kinds != "spoof")
    assert t_eer(asv, cm, kinds).value == 0
    assert min_t_dcf(asv, cm, kinds)[0] == 0
    assert t_eer(asv, draw.random(len(kinds)), kinds, 1).value == pytest.approx(50, abs=1)


# ---------------------------------------------------------------------- errors
THREE = ["target", "nontarget", "spoof"]


@pytest.mark.parametrize(
    "call, error, message",
    [
        (
            lambda: a_dcf([1, 2], ["target", "spoof"]),
            NotDefined,
            "no nontarget trials among 2. The metric needs target, nontarget, spoof trials",
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
            "trial 2: expected a kind of target, nontarget, spoof, found 'Spoof'",
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
            "trial 3: expected a finite score, found nan",
        ),
        (
            lambda: min_t_dcf([1, 2, np.nan], [1, 2, 3], THREE),
            ValueError,
            "trial 3: expected a finite score, found nan",
        ),
        (
            lambda: t_eer([1, 2, 3], [1, np.inf, 3], THREE),
            ValueError,
            "trial 2: expected a finite score, found inf",
        ),
        (
            lambda: t_eer([1, 2, 3], [1, 2, 3], THREE, 1.5),
            ValueError,
            "--prevalence: expected a number between 0 and 1, found 1.5",
        ),
        (
            lambda: a_dcf([1, 2, 3], THREE, p_spoof=0.6, p_nontarget=0.4),
            ValueError,
            "a-DCF: expected priors .* found p_spoof 0.6, p_nontarget 0.4",
        ),
        (
            lambda: a_dcf([1, 2, 3], THREE, p_spoof=0, p_nontarget=0),
            ValueError,
            "a sum above 0 and below 1",
        ),
        (
            lambda: a_dcf([1, 2, 3], THREE, c_fa_spoof=0),
            ValueError,
            "costs above 0, .*c_fa_spoof 0",
        ),
        (
            lambda: min_t_dcf([1, 2, 3], [1, 2, 3], THREE, c_fa_cm=-1),
            ValueError,
            "t-DCF: expected .* costs above 0, .*c_fa_cm -1",
        ),
        (
            lambda: min_t_dcf([2, 1, 0], [1, 2, 0], THREE),
            NotDefined,
            "rejects all spoofed trials at its EER point",
        ),
        (
            lambda: min_t_dcf([1, 3, 4, 2], [1, 2, 0, 3], [*THREE, "target"], c_fa_asv=1000),
            NotDefined,
            "too many errors at its EER point",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_lists_without_a_kind():
    found = summarize_sasv([1, 2, 3], ["nontarget", "target", "target"], ["-"] * 3)
    assert found.results() == {"EER": 0, "SV-EER": 0, "threshold": 1.5}
    assert found.spf_eer is None
    assert found.a_dcf is None
    text = str(found)
    assert "0 spoof" in text
    assert "no spoof trials" in text
    assert "needs non-target and spoof" in text
    assert "None" not in text
    found = summarize_sasv([1, 2, 3], ["spoof", "target", "target"], ["A07", "-", "-"])
    assert found.results() == {"EER": 0, "SPF-EER": 0, "threshold": 1.5}
    assert found.sv_eer is None
    assert "no non-target trials" in str(found)
    # Impossible priors raise an error even where the a-DCF is not computed.
    with pytest.raises(ValueError, match="a-DCF"):
        summarize_sasv([1, 2, 3], ["nontarget", "target", "target"], ["-"] * 3, p_spoof=2)


def test_summary():
    draw = np.random.default_rng(0)
    kinds = draw.choice(TRIAL_KINDS, 900)
    scores = draw.standard_normal(900) + 2 * (kinds == "target") + (kinds == "spoof")
    attacks = np.where(kinds == "spoof", draw.choice(["A07", "A10"], 900), "bonafide")
    found = summarize_sasv(scores, kinds, attacks, p_spoof=0.2, c_fa_spoof=3, p_fa=(0.05,))
    assert found.eers == sasv_eers(scores, kinds)
    assert found.attack_eers == spf_eers(scores, kinds, attacks)
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
    values = [*found.results().values(), *joint.results().values()]
    assert {type(value) for value in values} == {float}
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
    assert len({row.index("%") for row in rows[1:6]}) == 1
    assert f"{found.attack_eers['A07']:.2f} %" in rows[4]
    for definition in ("corner", "grid"):
        other = summarize_sasv(scores / 10, kinds, attacks, definition=definition)
        assert other.eers == sasv_eers(scores / 10, kinds, definition)
        assert other.eer == eer(*other.rates, definition)[0]
        assert other.attack_eers == spf_eers(scores / 10, kinds, attacks, definition)
        assert other.attack_eers != found.attack_eers


# ---------------------------------------------------------------------- files and the command
def scores_file(path, trials=300, attack=True):
    """Writes a spoofing-aware scores file.

    Returns its path and the lines of a countermeasure's scores file for its tested files.
    """
    draw = np.random.default_rng(0)
    kinds = draw.choice(TRIAL_KINDS, trials)
    scores = draw.standard_normal(trials) + 3 * (kinds == "target") + 2 * (kinds == "spoof")
    cm = draw.standard_normal(trials) - 3 * (kinds == "spoof")
    if attack:
        attacks = np.where(kinds == "spoof", draw.choice(["A07 ", "A10 "], trials), "bonafide ")
    else:
        attacks = [""] * trials
    lines = []
    for i, (column, kind, score) in enumerate(zip(attacks, kinds, scores, strict=True)):
        lines.append(f"id{i % 7} utt{i} {column}{kind} {score:.7g}\n")
    path.write_text("".join(lines))
    return path, [f"utt{i} {score:.7g}\n" for i, score in enumerate(cm)]


def test_reader(tmp_path):
    path = tmp_path / "s.txt"
    path.write_text(
        "id1 a bonafide target 0.5\n"
        "id1\tb A07  spoof 1e-1\n"
        "7 c - nontarget -2\n"
        "7 d a00 nontarget 3\n"
    )
    read = read_scores(path)
    assert read.lines == [
        "id1 a bonafide target",
        "id1 b A07 spoof",
        "7 c - nontarget",
        "7 d a00 nontarget",
    ]
    assert read.labels.tolist() == [True, False, False, False]
    assert read.kinds.tolist() == ["target", "spoof", "nontarget", "nontarget"]
    assert read.attacks.tolist() == ["bonafide", "A07", "-", "a00"]
    assert read.scores.tolist() == [0.5, 0.1, -2, 3]
    # The names of the speakers may be numbers.
    path.write_text("1 a target 0.5\n2 b spoof 0.1\n3 c nontarget 0\n")
    read = read_scores(path)
    assert read.lines == ["1 a target", "2 b spoof", "3 c nontarget"]
    assert read.attacks.tolist() == ["bonafide", "spoof", "bonafide"]
    assert read.kinds.tolist() == ["target", "spoof", "nontarget"]
    assert read.labels.tolist() == [True, False, False]


@pytest.mark.parametrize(
    "text, message",
    [
        (
            "s a bonafide target 0.5\n1 a b 0.5\n",
            "s.txt:2: expected '<speaker> <file> bonafide|<attack> target|nontarget|spoof "
            "<score>', found '1 a b 0.5'",
        ),
        (
            "s a bonafide target 0.5\ns b A07 Spoof 0.5\n",
            "s.txt:2: expected '<speaker> <file> bonafide|<attack>",
        ),
        (
            "s a bonafide target 0.5\ns b A07 target 0.5\n",
            "an attack before spoof, found 'A07 target'",
        ),
        (
            "s a bonafide target 0.5\ns b - spoof 0.5\n",
            "s.txt:2: expected 'bonafide', '-' or 'a00'",
        ),
        (
            "s a bonafide target 0.5\ns b A07 spoof nan\n",
            "s.txt:2: expected a finite score, found 'nan'",
        ),
        (
            "s a target 0.5\ns b spoof high\n",
            "s.txt:2: expected a number as the score, found 'high'",
        ),
        (
            "s a target 0.5\ns b A07 spoof 0.5\n",
            "s.txt:2: expected '<speaker> <file> target|nontarget|spoof <score>', found",
        ),
        ("1 a b 0.5\ns b A07 spoof 0.5\n", "s.txt:2: expected '1|0 <file> <file> <score>', found"),
        (
            "s a target\n",
            "s.txt:1: expected '1|0 <file> <file> <score>' or '<speaker> <file> bonafide|<attack>",
        ),
        (
            "s a nontarget 0.5\ns b spoof 0.1\n",
            "s.txt: found no target trials among 2. The metric needs target",
        ),
        (
            "s a target 0.5\ns b target 0.1\n",
            "s.txt: found no non-target (0) trials, all 2 are target",
        ),
    ],
)
def test_bad_scores_file(text, message, tmp_path, capsys):
    path = tmp_path / "s.txt"
    path.write_text(text)
    assert tuneThreshold.main([str(path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
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
    known = summarize_sasv(read.scores, read.kinds, read.attacks, p_fa=(0.2,), p_spoof=0.2)
    assert str(known) in out
    assert not err
    tandem = read.scores, read_cm_scores(tmp_path / "cm.txt", read), read.kinds
    value, threshold = min_t_dcf(*tandem, c_fa_cm=5)
    assert f"min t-DCF     {value:10.4f}   at countermeasure threshold {threshold:.5g}" in out
    for name, prevalence in (("t-EER", None), ("t-EER(0.25)", 0.25), ("t-EER(1)", 1)):
        found = t_eer(*tandem, prevalence)
        line = (
            f"{name:14s}{found.value:8.2f} %   at threshold {found.asv_threshold:.5g}, "
            f"countermeasure {found.cm_threshold:.5g}"
        )
        assert line in out
    picture = imread(tmp_path / "s_det.png")
    blue = [int(COLOURS[0][at : at + 2], 16) / 255 for at in (1, 3, 5)]
    # The three curves of the file cross the plot in one colour.
    assert np.count_nonzero(np.abs(picture[..., :3] - blue).max(2) < 0.01) > 2000

    drawn = {}
    plain = tmp_path / "plain.txt"
    plain.write_text("1 a b 1\n0 a c 0\n1 a d 2\n")
    monkeypatch.setattr(
        tuneThreshold, "plot_det", lambda image, systems, **_: drawn.update(systems)
    )
    # One plot shows spoofing-aware scores and plain scores.
    assert tuneThreshold.main([str(path), str(plain)]) == 0
    assert {name: [*curves] for name, curves in drawn.items()} == {
        "s": ["SASV-EER", "SV-EER", "SPF-EER"],
        "plain": ["EER"],
    }
    assert drawn["s"]["SV-EER"][0] == sasv_eers(read.scores, read.kinds)["SV-EER"]


def test_verification_that_rejects_all_spoofs(tmp_path, capsys):
    path = tmp_path / "s.txt"
    path.write_text("s a target 2\ns b nontarget 1\ns c spoof 0\n")
    assert tuneThreshold.main([str(path), "--cm", str(path)]) == 0
    out = capsys.readouterr().out
    assert (
        "min t-DCF              -   not defined: the verification rejects all spoofed trials" in out
    )
    assert "t-EER             0.00 %" in out


def test_options_without_effect_give_a_warning(tmp_path, capsys):
    path, _ = scores_file(tmp_path / "s.txt")
    words = "--p_target 0.1 --prevalence 0.5 --tdcf_p_spoof 0.1 --adcf_c_miss 2"
    assert tuneThreshold.main([str(path), *words.split()]) == 0
    assert capsys.readouterr().err == (
        "warning: --p_target has no effect on spoofing-aware scores.\n"
        "warning: --prevalence, --tdcf_p_spoof have no effect without --cm.\n"
    )
    plain = tmp_path / "plain.txt"
    plain.write_text("1 a b 1\n0 a c 0\n")
    assert tuneThreshold.main([str(plain), "--p_target", "0.1", "--adcf_c_miss", "2"]) == 0
    assert "--adcf_c_miss has" in capsys.readouterr().err


def test_countermeasure_scores(tmp_path):
    path, cm = scores_file(tmp_path / "s.txt", 40)
    trials = read_scores(path)
    by_file = tmp_path / "by_file.txt"
    others = tmp_path / "same.txt"
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
            ":6: expected the trials of the scores file in the same order, here 'id5 utt5 ",
        ),
        (
            lambda trials, cm: trials[:9],
            ":10: expected the trials of the scores file in the same order, here 'id2 utt9 ",
        ),
        (
            lambda trials, cm: [*trials, "id1 x bonafide target 1\n"],
            ":11: expected the trials of the scores file in the same order, here nothing, "
            "found 'id1 x ",
        ),
        (lambda trials, cm: trials[::-1], ":8: expected one score for id2, found another one"),
        (
            lambda trials, cm: [*cm, "utt4 7\n"],
            ":11: expected one score for utt4, found another one",
        ),
        (
            lambda trials, cm: cm[:4] + cm[7:],
            ": expected '<file> ... <score>' for every tested file, but 3 files are missing. The "
            "first one is utt4",
        ),
        (lambda trials, cm: [*cm, "1.5\n"], ":11: expected '<file> ... <score>', found '1.5'"),
        (lambda trials, cm: [*cm, "x y\n"], ":11: expected a number as the score, found 'y'"),
        (lambda trials, cm: [], ": expected lines '<file> ... <score>', found an empty file"),
    ],
)
def test_bad_countermeasure_scores(change, message, tmp_path, capsys):
    path, cm = scores_file(tmp_path / "s.txt", 10)
    bad = tmp_path / "cm.txt"
    bad.write_text("".join(change(path.read_text().splitlines(keepends=True), cm)))
    assert tuneThreshold.main([str(path), "--cm", str(bad)]) == 2
    err = capsys.readouterr().err
    assert f"{bad}{message}" in err
    assert err.count("\n") == 1


def test_bad_words(tmp_path, capsys):
    path, _ = scores_file(tmp_path / "s.txt")
    plain = tmp_path / "plain.txt"
    plain.write_text("1 a b 1\n0 a c 0\n")
    two = tmp_path / "two.txt"
    two.write_text("s a target 2\ns c spoof 0\n")
    for words, message in (
        ([plain, "--cm", path], "--cm: expected spoofing-aware scores"),
        ([path, "--adcf_p_spoof", "1"], "a-DCF: expected priors"),
        ([two, "--cm", two], "no nontarget trials"),
        ([path, "--cm", path, "--tdcf_c_fa_asv", "0"], "t-DCF: expected priors"),
        (
            [path, "--cm", path, "--prevalence", "2"],
            "--prevalence: expected a number between 0 and 1",
        ),
        ([path, "--cm", tmp_path / "no"], "no"),
    ):
        assert tuneThreshold.main([str(word) for word in words]) == 2
        err = capsys.readouterr().err
        assert err.startswith("error: ")
        assert message in err
        assert err.count("\n") == 1


def test_every_cost_is_an_option():
    """The command has an option for each prior and each cost of the functions."""
    for function, options in ((a_dcf, score_options.ADCF), (min_t_dcf, score_options.TDCF)):
        names = []
        for name, value in inspect.signature(function).parameters.items():
            if value.kind == value.KEYWORD_ONLY:
                names.append(name)
        assert [*options] == names
