"""Tests of calibration, fusion, quality measures and the metrics of log-likelihood ratios.

The expected numbers come from slow independent computations, from known affine maps, and from cases
that are computed by hand.
"""

import json
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from test_metrics import costs_of_errors, priors, rate, trial_lists

import tuneThreshold
from common.errors import InputError
from metrics.calibration import Calibration, load_calibration, train
from metrics.llr import act_dcf, cllr, effective_prior, llr_metrics, min_cllr
from metrics.qualities import calibration_inputs, read_qualities, write_qualities
from metrics.rates import error_rates, min_dcf
from metrics.scores import read_scores, write_scores


# ---------------------------------------------------------------------- metrics
def slow_pav(scores, labels):
    """Pools adjacent violators, with exact fractions.

    Returns {score: share of target trials}. The share rises with the score. A block is a list
    [scores, number of targets, number of trials].
    """
    blocks = []
    for score in sorted(set(scores)):
        own = [label for s, label in zip(scores, labels, strict=True) if s == score]
        blocks.append([[score], Fraction(sum(own)), len(own)])
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][2] >= blocks[-1][1] / blocks[-1][2]:
            last = blocks.pop()
            blocks[-1] = [part + more for part, more in zip(blocks[-1], last, strict=True)]
    shares = {}
    for values, targets, size in blocks:
        for score in values:
            shares[score] = targets / size
    return shares


def bits(x):
    """Returns log2(1 + e^x), without overflow."""
    if x == -math.inf:
        return 0.0
    if x >= 700:
        return x / math.log(2)
    return math.log2(1 + math.exp(x))


def slow_cllr(llrs, labels):
    """Returns Cllr in bits, computed one trial at a time."""
    targets = [bits(-x) for x, label in zip(llrs, labels, strict=True) if label]
    others = [bits(x) for x, label in zip(llrs, labels, strict=True) if not label]
    return (sum(targets) / len(targets) + sum(others) / len(others)) / 2


def log_odds(p):
    if p == 0:
        return -math.inf
    if p == 1:
        return math.inf
    return math.log(p / (1 - p))


@given(trial_lists, priors, costs_of_errors)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_against_direct_computations(trials, p_target, costs):
    scores = [score / 4 for score, _ in trials]
    labels = [label for _, label in trials]
    c_miss, c_fa = costs
    rates = error_rates(scores, labels)
    targets = sum(labels)
    others = len(labels) - targets

    bayes = math.log(c_fa * (1 - p_target) / (c_miss * p_target))
    p_miss, p_fa = rate(scores, labels, bayes)
    cost = c_miss * p_target * p_miss + c_fa * (1 - p_target) * p_fa
    value, threshold = act_dcf(*rates, p_target, c_miss, c_fa)
    assert threshold == pytest.approx(bayes)
    assert value == pytest.approx(cost / min(c_miss * p_target, c_fa * (1 - p_target)))
    assert value >= min_dcf(*rates, p_target, c_miss, c_fa)[0] - 1e-12

    assert cllr(np.array(scores), np.array(labels)) == pytest.approx(slow_cllr(scores, labels))
    best = slow_pav(scores, labels)
    llrs = [log_odds(best[score]) - math.log(targets / others) for score in scores]
    assert min_cllr(*rates[1:]) == pytest.approx(slow_cllr(llrs, labels))
    assert min_cllr(*rates[1:]) <= cllr(np.array(scores), np.array(labels)) + 1e-12


def test_min_cllr_equals_scikit_learns():
    draw = np.random.default_rng(0)
    labels = draw.random(20_000) < 0.2
    # Rounded scores contain ties.
    scores = np.round(draw.standard_normal(20_000) + 2 * labels, 2)
    p = IsotonicRegression(y_min=0, y_max=1).fit_transform(scores, labels)
    with np.errstate(divide="ignore"):
        llrs = np.log(p) - np.log1p(-p) - np.log(labels.sum() / (~labels).sum())
    assert min_cllr(*error_rates(scores, labels)[1:]) == pytest.approx(cllr(llrs, labels))


def test_metrics_by_hand():
    labels = np.array([False, True])
    # Ratios of 0 contain no information: the cost is one bit.
    assert cllr(np.zeros(2), labels) == pytest.approx(1)
    # The largest correct ratios cost nothing, and the exponential function does not overflow.
    assert cllr(np.array([-1000.0, 1000.0]), labels) == 0
    assert cllr(np.array([1000.0, 1000.0]), labels) == pytest.approx(500 / math.log(2))
    # A threshold separates the two kinds of trials.
    assert min_cllr(*error_rates([-3, 7], labels)[1:]) == 0
    # The target trial has the lower score, so no rising map separates the trials.
    assert min_cllr(*error_rates([7, -3], labels)[1:]) == pytest.approx(1)
    # Both scores are equal.
    assert min_cllr(*error_rates([1, 1], labels)[1:]) == pytest.approx(1)
    # A score at the threshold is accepted.
    assert act_dcf(*error_rates([math.log(3), 5], labels), 0.25) == (
        pytest.approx(3),
        pytest.approx(math.log(3)),
    )
    # The decision rejects all trials.
    assert act_dcf(*error_rates([-1, 1], labels), 0.05)[0] == 1
    # The decision accepts all trials.
    assert act_dcf(*error_rates([5, 6], labels), 0.05)[0] == pytest.approx(19)
    assert effective_prior(0.1, 9, 1) == pytest.approx(0.5)
    assert effective_prior(0.01, 10, 1) == pytest.approx(0.1 / 1.09)
    found = llr_metrics(np.array([-1.0, 1.0]), labels, error_rates([-1, 1], labels), (0.05, 0.5))
    assert list(found) == ["actDCF(0.05)", "actDCF(0.5)", "Cllr", "minCllr"]
    assert found["actDCF(0.5)"][0] == 0


# ---------------------------------------------------------------------- training
def gaussians(trials, seed, shift=4.0):
    """Returns (scores, labels). The scores are true log-likelihood ratios.

    Target trials have the distribution N(shift/2, shift), and other trials have N(-shift/2, shift).
    The second number is the variance. A quarter of the trials are target trials.
    """
    draw = np.random.default_rng(seed)
    labels = np.arange(trials) % 4 == 0
    means = np.where(labels, shift / 2, -shift / 2)
    return draw.standard_normal(trials) * math.sqrt(shift) + means, labels


@pytest.mark.parametrize("prior", [0.05, 0.5])
def test_known_affine_map_is_found(prior):
    llrs, labels = gaussians(40_000, 0)
    # The true map is llr = 10 score - 3.
    scores = 0.1 * llrs + 0.3
    calibration = train({"score": scores}, labels, prior)
    assert calibration.weights == pytest.approx([10], rel=0.04)
    assert calibration.offset == pytest.approx(-3, abs=0.15)
    # Scores in other units contain the same information.
    scaled = 1000 * llrs - 7
    other = train({"score": scaled}, labels, prior)
    np.testing.assert_allclose(
        other.llrs({"score": scaled}), calibration.llrs({"score": scores}), atol=1e-6
    )


def test_it_is_the_minimum_of_the_weighted_loss():
    """Every small change of the trained map increases the loss. scikit-learn is not involved."""
    llrs, labels = gaussians(500, 1)
    calibration = train({"score": llrs}, labels, 0.05)

    def loss(weight, offset):
        odds = weight * llrs + offset + math.log(0.05 / 0.95)
        target_loss = np.logaddexp(0, -odds[labels]).mean()
        other_loss = np.logaddexp(0, odds[~labels]).mean()
        return 0.05 * target_loss + 0.95 * other_loss

    weight = calibration.weights[0]
    offset = calibration.offset
    least = loss(weight, offset)
    for d_weight, d_offset in (
        (0.02, 0),
        (-0.02, 0),
        (0, 0.03),
        (0, -0.03),
        (0.02, -0.03),
        (-0.02, 0.03),
    ):
        assert loss(weight + d_weight, offset + d_offset) > least


def test_applying_is_monotone_and_lowers_held_out_costs():
    dev, dev_labels = gaussians(4000, 2)
    test, labels = gaussians(4000, 3)
    calibration = train({"score": 0.05 * dev + 0.4}, dev_labels, 0.05)
    raw = 0.05 * test + 0.4
    llrs = calibration.llrs({"score": raw})
    np.testing.assert_array_equal(np.argsort(llrs, kind="stable"), np.argsort(raw, kind="stable"))
    before = llr_metrics(raw, labels, error_rates(raw, labels))
    after = llr_metrics(llrs, labels, error_rates(llrs, labels))
    assert after["actDCF(0.05)"][0] < before["actDCF(0.05)"][0]
    assert after["Cllr"][0] < before["Cllr"][0]
    assert after["minCllr"][0] == pytest.approx(before["minCllr"][0])
    assert after["Cllr"][0] < after["minCllr"][0] + 0.02


def test_fusion_beats_both_parts():
    truth, labels = gaussians(8000, 4)
    draw = np.random.default_rng(5)
    parts = {f"score_{i}": truth + 2 * draw.standard_normal(len(truth)) for i in (1, 2)}
    dev = slice(0, 4000)
    test = slice(4000, None)
    calibration = train({name: x[dev] for name, x in parts.items()}, labels[dev], 0.5)
    fused = calibration.llrs({name: x[test] for name, x in parts.items()})
    for x in parts.values():
        alone = train({"score": x[dev]}, labels[dev], 0.5).llrs({"score": x[test]})
        assert cllr(fused, labels[test]) < cllr(alone, labels[test]) - 0.02


def test_a_quality_measure_helps_where_it_says_something():
    """Short files lower the scores of all trials. The duration corrects this."""
    truth, labels = gaussians(40_000, 6)
    seconds = np.random.default_rng(7).uniform(1, 10, (40_000, 2))
    scores = truth + 3 * np.log(seconds.min(1))
    measures = calibration_inputs({"duration": seconds})
    with_duration = train({"score": scores} | measures, labels, 0.5)
    without = train({"score": scores}, labels, 0.5)
    assert with_duration.inputs == ["score", "duration_min", "duration_max"]
    assert with_duration.weights == pytest.approx([1, -3, 0], abs=0.2)
    cllr_with = cllr(with_duration.llrs({"score": scores} | measures), labels)
    assert cllr_with < cllr(without.llrs({"score": scores}), labels) - 0.05


def test_separated_trials_and_constant_measures_stay_finite():
    scores = np.linspace(0, 1, 50)
    labels = np.arange(50) >= 25
    inputs = {"score": scores, "norm_min": np.full(50, 0.1), "cohort_min": np.zeros(50)}
    calibration = train(inputs, labels, 0.05)
    assert calibration.weights[0] > 10
    assert abs(calibration.weights[1]) < 1e-9
    assert np.isfinite(calibration.llrs(dict.fromkeys(calibration.inputs, scores))).all()


@pytest.mark.parametrize(
    "inputs, labels, prior, message",
    [
        ({"score": [0.1, 0.2]}, [True, True], 0.05, "found 2 target and 0 non-target"),
        ({"score": [0.1, 0.2]}, [False, False], 0.05, "found 0 target and 2 non-target"),
        ({"score": [0.5, 0.5]}, [False, True], 0.05, "found the same score for all 2 trials"),
        ({"score": [0.1, 0.2]}, [False, True], 1.0, "effective_prior.*found 1"),
        ({"score": [0.1, 0.2]}, [False, True], 0.0, "effective_prior.*found 0"),
    ],
)
def test_what_cannot_be_trained(inputs, labels, prior, message):
    with pytest.raises(InputError, match=message):
        train({name: np.array(x) for name, x in inputs.items()}, np.array(labels), prior)


def test_inputs_must_be_those_of_the_training():
    calibration = Calibration(["score", "norm_min"], [1.0, 2.0], 0.5, 0.05, 1, 1, ["dev.txt"])
    inputs = {"norm_min": np.array([10.0]), "score": np.array([1.0])}
    assert calibration.llrs(inputs).tolist() == [21.5]
    for inputs in (
        {"score": np.zeros(1)},
        {"score": np.zeros(1), "norm_min": np.zeros(1), "norm_max": np.zeros(1)},
    ):
        with pytest.raises(
            InputError,
            match="calibration of dev.txt expected the inputs score, norm_min, found score",
        ):
            calibration.llrs(inputs)


# ---------------------------------------------------------------------- files
measures = st.dictionaries(
    st.sampled_from(["duration", "norm", "cohort", "snr"]),
    st.tuples(st.floats(0.01, 1e4), st.floats(0.01, 1e4)),
    min_size=1,
)


@given(measures)
@settings(max_examples=30, deadline=None, derandomize=True)
def test_quality_table_round_trip(tmp_path_factory, values):
    path = tmp_path_factory.mktemp("quality") / "q.txt"
    written = {name: np.array([pair, pair[::-1]]) for name, pair in values.items()}
    write_qualities(path, ["1 a b", "0  a\tc"], written)
    found = read_qualities(path, ["1 a b", "0 a c"])
    assert list(found) == list(written)
    for name, x in written.items():
        np.testing.assert_allclose(found[name], x, rtol=1e-5)


def test_inputs_of_quality_measures():
    found = calibration_inputs(
        {"duration": np.array([[math.e, 1.0]]), "cohort": np.array([[-0.1, 0.2]])}
    )
    assert {name: x.tolist() for name, x in found.items()} == {
        "duration_min": [0],
        "duration_max": [1],
        "cohort_min": [-0.1],
        "cohort_max": [0.2],
    }


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "empty"),
        ("trial\tnorm_enrol\n1 a b\t1\n", "q.txt:1: expected the names"),
        ("1 a b\t1\t2\n", "q.txt:1: expected the names"),
        (
            "trial\tnorm_enrol\tnorm_test\n1 a b\t1\t2\n",
            "q.txt:3: expected the trials .* here '0 a c', found nothing",
        ),
        (
            "trial\tnorm_enrol\tnorm_test\n1 a b\t1\t2\n0 a x\t1\t2\n",
            "q.txt:3: expected the trials .* here '0 a c', found '0 a x'",
        ),
        (
            "trial\tnorm_enrol\tnorm_test\n1 a b\t1\t2\n0 a c\t1\n",
            "q.txt:3: expected 3 columns .* found 2",
        ),
        (
            "trial\tnorm_enrol\tnorm_test\n1 a b\t1\t2\n0 a c\t1\tx\n",
            "q.txt:3: expected a number as norm_test, found 'x'",
        ),
        (
            "trial\tnorm_enrol\tnorm_test\n1 a b\t1\t2\n0 a c\t0\t1\n",
            "q.txt:3: expected a number above 0 as norm_enrol, found '0'",
        ),
        (
            "trial\tsnr_enrol\tsnr_test\n1 a b\t-1\t2\n0 a c\tnan\t1\n",
            "q.txt:3: expected a number as snr_enrol, found 'nan'",
        ),
    ],
)
def test_bad_quality_tables(text, message, tmp_path):
    (tmp_path / "q.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_qualities(tmp_path / "q.txt", ["1 a b", "0 a c"])


# ---------------------------------------------------------------------- the command
def scores_file(path, seed, gain=0.1, trials=2000):
    """Writes a scores file of uncalibrated scores, and returns its path as text."""
    llrs, labels = gaussians(trials, seed)
    lines = [f"{int(label)} a/{i}.wav b.wav" for i, label in enumerate(labels)]
    write_scores(path, lines, gain * llrs + 0.3)
    return str(path)


def command(capsys, *words):
    """Runs tuneThreshold.py. Returns (exit code, stdout, stderr)."""
    try:
        code = tuneThreshold.main([str(word) for word in words])
    except SystemExit as exit:
        code = exit.code
    return code, *capsys.readouterr()


def printed(out, name):
    """Returns the value of a metric in the printed report."""
    return float(re.search(rf"^{re.escape(name)}\s+([\d.]+)", out, re.M)[1])


def test_calibrate_and_apply(tmp_path, capsys):
    dev = scores_file(tmp_path / "dev.txt", 0)
    test = scores_file(tmp_path / "test.txt", 1)
    code, out, err = command(capsys, "--calibrate", dev, "--output", tmp_path / "c.json")
    assert code == 0
    assert not err
    assert "500 target and 1,500 non-target trials, effective prior 0.05" in out
    assert printed(out, "Cllr") >= printed(out, "minCllr")
    assert re.search(r"^Cllr .* bits$", out, re.M)
    calibration = load_calibration(tmp_path / "c.json")
    assert calibration.inputs == ["score"]
    assert calibration.effective_prior == 0.05
    assert calibration.trained_on == [dev]
    assert json.loads((tmp_path / "c.json").read_text())
    # The JSON file keeps every digit.
    trials = read_scores(dev)
    assert calibration == train({"score": trials.scores}, trials.labels, 0.05, [dev])

    before = command(capsys, test, "--llr")[1]
    code, out, err = command(capsys, "--apply", tmp_path / "c.json", test)
    assert code == 0
    assert not err
    assert printed(out, "actDCF(0.05)") < printed(before, "actDCF(0.05)")
    assert printed(out, "Cllr") < printed(before, "Cllr")
    assert printed(out, "EER") == printed(before, "EER")
    assert printed(out, "minCllr") == printed(before, "minCllr")
    written = read_scores(tmp_path / "test_calibrated.txt")
    llrs = calibration.llrs({"score": read_scores(test).scores})
    np.testing.assert_allclose(written.scores, llrs, rtol=1e-6)
    assert written.lines == read_scores(test).lines
    assert (tmp_path / "test_calibrated_det.png").exists()
    assert "actDCF" not in command(capsys, test)[1]


@pytest.mark.parametrize(
    "words, prior",
    [(("--effective_prior", 0.3), 0.3), (("--p_target", 0.01, 0.5, "--c_miss", 10), 0.1 / 1.09)],
)
def test_effective_prior(words, prior, tmp_path, capsys):
    dev = scores_file(tmp_path / "dev.txt", 0)
    code, _, _ = command(capsys, "--calibrate", dev, "--output", tmp_path / "c.json", *words)
    assert code == 0
    assert load_calibration(tmp_path / "c.json").effective_prior == pytest.approx(prior)


def test_fusion_with_quality_measures(tmp_path, capsys):
    parts = [scores_file(tmp_path / "a.txt", 0, 0.1), scores_file(tmp_path / "b.txt", 0, 5)]
    seconds = np.random.default_rng(0).uniform(1, 9, (2000, 2))
    qualities = tmp_path / "q.txt"
    write_qualities(qualities, read_scores(parts[0]).lines, {"duration": seconds})
    saved = tmp_path / "c.json"
    code, _, _ = command(capsys, "--fuse", *parts, "--quality", qualities, "--output", saved)
    assert code == 0
    names = ["score_1", "score_2", "duration_min", "duration_max"]
    assert load_calibration(saved).inputs == names
    fused = tmp_path / "fused.txt"
    words = ["--apply", saved, *parts, "--quality", qualities, "--output", fused]
    code, out, _ = command(capsys, *words)
    assert code == 0
    assert len(read_scores(fused).lines) == 2000
    assert "Cllr" in out
    # The second scores file may have its trials in another order.
    lines = (tmp_path / "b.txt").read_text().splitlines(keepends=True)
    (tmp_path / "b.txt").write_text("".join(reversed(lines)))
    before = fused.read_text()
    command(capsys, *words)
    assert fused.read_text() == before
    code, _, err = command(capsys, "--apply", saved, *parts)
    assert code == 2
    assert "inputs score_1, score_2, duration_min, duration_max, found score_1, score_2." in err


def test_trials_without_labels_are_calibrated_too(tmp_path, capsys):
    calibration = Calibration(["score"], [2.0], 1.0, 0.05, 1, 1, ["dev"])
    (tmp_path / "c.json").write_text(json.dumps(calibration._asdict()))
    (tmp_path / "bare.txt").write_text("a b 0.5\na c -1\n")
    code, out, err = command(capsys, "--apply", tmp_path / "c.json", tmp_path / "bare.txt")
    assert code == 0
    assert not err
    assert "no labels" in out
    assert (tmp_path / "bare_calibrated.txt").read_text() == "a b 2\na c -1\n"


def test_spoofing_aware_scores(tmp_path, capsys):
    """Calibration counts spoof trials as non-target trials."""
    draw = np.random.default_rng(0)
    kinds = np.array(["target", "nontarget", "spoof"])[np.arange(300) % 3]
    lines = []
    for i, kind in enumerate(kinds):
        attack = "A01" if kind == "spoof" else "bonafide"
        lines.append(f"id1 f{i} {attack} {kind}")
    path = tmp_path / "s.txt"
    write_scores(path, lines, draw.standard_normal(300) + 2 * (kinds == "target"))
    code, _, _ = command(capsys, "--calibrate", path, "--output", tmp_path / "c.json")
    assert code == 0
    assert load_calibration(tmp_path / "c.json").nontargets == 200
    code, out, err = command(capsys, "--apply", tmp_path / "c.json", path, "--p_target", 0.2)
    assert code == 0
    assert not err
    assert "SPF-EER" in out
    assert "actDCF(0.2)" in out


def case_of_other_trials(tmp_path):
    """Writes two scores files that differ in one trial, and returns the options that fuse them."""
    scores_file(tmp_path / "a.txt", 0)
    (tmp_path / "b.txt").write_text((tmp_path / "a.txt").read_text().replace("a/7.wav", "x.wav"))
    return "--fuse", tmp_path / "a.txt", tmp_path / "b.txt", "--output", tmp_path / "c.json"


@pytest.mark.parametrize(
    "words, message",
    [
        (
            case_of_other_trials,
            r"b\.txt: expected the 2,000 trials of the other scores file .*first for '0 a/7.wav",
        ),
        (lambda p: ("--calibrate", scores_file(p / "a.txt", 0)), "--output: expected a value"),
        (
            lambda p: (
                "--calibrate",
                scores_file(p / "a.txt", 0),
                "--output",
                p / "c.json",
                "--effective_prior",
                1.5,
            ),
            "effective_prior.*found 1.5",
        ),
        (
            lambda p: (
                "--calibrate",
                scores_file(p / "a.txt", 0),
                "--output",
                p / "c.json",
                "--p_target",
                0,
            ),
            "0 < p_target < 1",
        ),
        (lambda p: ("--calibrate", p / "no.txt", "--output", p / "c.json"), "no.txt"),
        (lambda p: ("--apply", p / "no.json", scores_file(p / "a.txt", 0)), "no.json"),
        (
            lambda p: ("--apply", scores_file(p / "a.txt", 0), scores_file(p / "b.txt", 0)),
            "a.txt: expected a calibration that `tuneThreshold.py calibrate` wrote",
        ),
        (lambda p: ("--apply", p / "c.json"), "SCORES: expected a value, found none"),
        (
            lambda p: ("--quality", "q", scores_file(p / "a.txt", 0)),
            "It belongs to calibrate, fuse and apply",
        ),
        (
            lambda p: (
                "--calibrate",
                "a",
                "--output",
                "c",
                scores_file(p / "a.txt", 0),
                "--plot",
                "x",
            ),
            "--plot: calibrate has no such option",
        ),
    ],
)
def test_bad_words(words, message, tmp_path, capsys):
    code, _, err = command(capsys, *words(tmp_path))
    assert code == 2
    assert re.search(message, err)
    assert "Traceback" not in err
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"weights": []},
        {"weights": [1.0, 2.0]},
        {"offset": "x"},
        {"offset": math.nan},
        {"inputs": [1]},
        {"more": 1},
    ],
)
def test_spoiled_calibrations_are_refused(change, tmp_path):
    calibration = Calibration(["score"], [2.0], 1.0, 0.05, 1, 1, ["dev"])
    (tmp_path / "c.json").write_text(json.dumps(calibration._asdict() | change))
    with pytest.raises(InputError, match="expected a calibration"):
        load_calibration(tmp_path / "c.json")
