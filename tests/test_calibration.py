"""Calibration, fusion, quality measures and the metrics of log-likelihood ratios: against slow independent versions, known maps, cases done by hand."""

import json
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression
from test_metrics import costs_of_errors, priors, trial_lists

import tuneThreshold
from common.errors import InputError
from metrics.calibration import Calibration, load, train
from metrics.llr import act_dcf, cllr, effective_prior, llr_metrics, min_cllr
from metrics.qualities import calibration_inputs, read_qualities, write_qualities
from metrics.rates import error_rates, min_dcf
from metrics.scores import read_scores, write_scores


# ---------------------------------------------------------------------- metrics
def slow_pav(scores, labels):
    """Pool adjacent violators, in fractions: {score: share of targets}, rising."""
    blocks = []
    for score in sorted(set(scores)):
        own = [label for s, label in zip(scores, labels, strict=True) if s == score]
        blocks.append([[score], Fraction(sum(own)), len(own)])
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][2] >= blocks[-1][1] / blocks[-1][2]:
            last = blocks.pop()
            blocks[-1] = [part + more for part, more in zip(blocks[-1], last, strict=True)]
    return {score: hits / size for values, hits, size in blocks for score in values}


def slow_cllr(llrs, labels):
    # log2(1 + e^x)
    def bits(x):
        return 0.0 if x == -math.inf else math.log2(1 + math.exp(x)) if x < 700 else x / math.log(2)

    targets = [bits(-x) for x, label in zip(llrs, labels, strict=True) if label]
    others = [bits(x) for x, label in zip(llrs, labels, strict=True) if not label]
    return (sum(targets) / len(targets) + sum(others) / len(others)) / 2


def log_odds(p):
    return -math.inf if p == 0 else math.inf if p == 1 else math.log(p / (1 - p))


@given(trial_lists, priors, costs_of_errors)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_against_direct_computations(trials, p_target, costs):
    scores, labels = [score / 4 for score, _ in trials], [label for _, label in trials]
    c_miss, c_fa = costs
    rates = error_rates(scores, labels)
    targets, others = sum(labels), len(labels) - sum(labels)

    bayes = math.log(c_fa * (1 - p_target) / (c_miss * p_target))
    misses = (
        sum(label and score < bayes for score, label in zip(scores, labels, strict=True)) / targets
    )
    accepts = (
        sum(not label and score >= bayes for score, label in zip(scores, labels, strict=True))
        / others
    )
    value, at = act_dcf(*rates, p_target, c_miss, c_fa)
    assert at == pytest.approx(bayes)
    assert value == pytest.approx(
        (c_miss * p_target * misses + c_fa * (1 - p_target) * accepts)
        / min(c_miss * p_target, c_fa * (1 - p_target))
    )
    assert value >= min_dcf(*rates, p_target, c_miss, c_fa)[0] - 1e-12

    assert cllr(np.array(scores), np.array(labels)) == pytest.approx(slow_cllr(scores, labels))
    best = slow_pav(scores, labels)
    llrs = [log_odds(best[score]) - math.log(targets / others) for score in scores]
    assert min_cllr(*rates[1:]) == pytest.approx(slow_cllr(llrs, labels))
    assert min_cllr(*rates[1:]) <= cllr(np.array(scores), np.array(labels)) + 1e-12


def test_min_cllr_equals_scikit_learns():
    draw = np.random.default_rng(0)
    labels = draw.random(20_000) < 0.2
    # with ties
    scores = np.round(draw.standard_normal(20_000) + 2 * labels, 2)
    p = IsotonicRegression(y_min=0, y_max=1).fit_transform(scores, labels)
    with np.errstate(divide="ignore"):
        llrs = np.log(p) - np.log1p(-p) - np.log(labels.sum() / (~labels).sum())
    assert min_cllr(*error_rates(scores, labels)[1:]) == pytest.approx(cllr(llrs, labels))


def test_metrics_by_hand():
    labels = np.array([False, True])
    # nothing said: a bit
    assert cllr(np.zeros(2), labels) == pytest.approx(1)
    # all said, without overflow
    assert cllr(np.array([-1000.0, 1000.0]), labels) == 0
    assert cllr(np.array([1000.0, 1000.0]), labels) == pytest.approx(500 / math.log(2))
    # can be told apart
    assert min_cllr(*error_rates([-3, 7], labels)[1:]) == 0
    # the wrong way round: a rising map says nothing
    assert min_cllr(*error_rates([7, -3], labels)[1:]) == pytest.approx(1)
    # tied
    assert min_cllr(*error_rates([1, 1], labels)[1:]) == pytest.approx(1)
    # at the threshold is accepted
    assert act_dcf(*error_rates([math.log(3), 5], labels), 0.25) == (
        pytest.approx(3),
        pytest.approx(math.log(3)),
    )
    # rejects all
    assert act_dcf(*error_rates([-1, 1], labels), 0.05)[0] == 1
    # accepts all
    assert act_dcf(*error_rates([5, 6], labels), 0.05)[0] == pytest.approx(19)
    assert effective_prior(0.1, 9, 1) == pytest.approx(0.5) and effective_prior(
        0.01, 10, 1
    ) == pytest.approx(0.1 / 1.09)
    found = llr_metrics(np.array([-1.0, 1.0]), labels, error_rates([-1, 1], labels), (0.05, 0.5))
    assert (
        list(found) == ["actDCF(0.05)", "actDCF(0.5)", "Cllr", "minCllr"]
        and found["actDCF(0.5)"][0] == 0
    )


# ---------------------------------------------------------------------- training
def gaussians(trials, seed, shift=4.0):
    """True log-likelihood ratios of N(shift/2, shift) against N(-shift/2, shift), a quarter of them targets."""
    draw = np.random.default_rng(seed)
    labels = np.arange(trials) % 4 == 0
    return draw.standard_normal(trials) * math.sqrt(shift) + np.where(
        labels, shift / 2, -shift / 2
    ), labels


@pytest.mark.parametrize("prior", [0.05, 0.5])
def test_known_affine_map_is_found(prior):
    llrs, labels = gaussians(40_000, 0)
    # llr = 10 score - 3
    made = train({"score": 0.1 * llrs + 0.3}, labels, prior)
    assert made.weights == pytest.approx([10], rel=0.04) and made.offset == pytest.approx(
        -3, abs=0.15
    )
    # the same information in other units
    again = train({"score": 1000 * llrs - 7}, labels, prior)
    np.testing.assert_allclose(
        again.llrs({"score": 1000 * llrs - 7}), made.llrs({"score": 0.1 * llrs + 0.3}), atol=1e-6
    )


def test_it_is_the_minimum_of_the_weighted_loss():
    """Against a search that knows nothing of scikit-learn."""
    llrs, labels = gaussians(500, 1)
    made = train({"score": llrs}, labels, 0.05)

    def loss(weight, offset):
        odds = weight * llrs + offset + math.log(0.05 / 0.95)
        return (
            0.05 * np.logaddexp(0, -odds[labels]).mean()
            + 0.95 * np.logaddexp(0, odds[~labels]).mean()
        )

    least = loss(made.weights[0], made.offset)
    for d_weight, d_offset in (
        (0.02, 0),
        (-0.02, 0),
        (0, 0.03),
        (0, -0.03),
        (0.02, -0.03),
        (-0.02, 0.03),
    ):
        assert loss(made.weights[0] + d_weight, made.offset + d_offset) > least


def test_applying_is_monotone_and_lowers_held_out_costs():
    (dev, dev_labels), (test, labels) = gaussians(4000, 2), gaussians(4000, 3)
    made = train({"score": 0.05 * dev + 0.4}, dev_labels, 0.05)
    raw = 0.05 * test + 0.4
    llrs = made.llrs({"score": raw})
    np.testing.assert_array_equal(np.argsort(llrs, kind="stable"), np.argsort(raw, kind="stable"))
    before, after = (llr_metrics(s, labels, error_rates(s, labels)) for s in (raw, llrs))
    assert (
        after["actDCF(0.05)"][0] < before["actDCF(0.05)"][0]
        and after["Cllr"][0] < before["Cllr"][0]
    )
    assert after["minCllr"][0] == pytest.approx(before["minCllr"][0])
    assert after["Cllr"][0] < after["minCllr"][0] + 0.02


def test_fusion_beats_both_parts():
    truth, labels = gaussians(8000, 4)
    draw = np.random.default_rng(5)
    parts = {f"score_{i}": truth + 2 * draw.standard_normal(len(truth)) for i in (1, 2)}
    dev, test = slice(0, 4000), slice(4000, None)
    fused = train({name: x[dev] for name, x in parts.items()}, labels[dev], 0.5).llrs(
        {name: x[test] for name, x in parts.items()}
    )
    for x in parts.values():
        alone = train({"score": x[dev]}, labels[dev], 0.5).llrs({"score": x[test]})
        assert cllr(fused, labels[test]) < cllr(alone, labels[test]) - 0.02


def test_a_quality_measure_helps_where_it_says_something():
    """Scores of short files lie lower, of targets and of others."""
    truth, labels = gaussians(40_000, 6)
    seconds = np.random.default_rng(7).uniform(1, 10, (40_000, 2))
    scores = truth + 3 * np.log(seconds.min(1))
    measures = calibration_inputs({"duration": seconds})
    with_it, without = (
        train({"score": scores} | measures, labels, 0.5),
        train({"score": scores}, labels, 0.5),
    )
    assert with_it.inputs == ["score", "duration_min", "duration_max"]
    assert with_it.weights == pytest.approx([1, -3, 0], abs=0.2)
    assert (
        cllr(with_it.llrs({"score": scores} | measures), labels)
        < cllr(without.llrs({"score": scores}), labels) - 0.05
    )


def test_separated_trials_and_measures_that_say_nothing_stay_finite():
    scores, labels = np.linspace(0, 1, 50), np.arange(50) >= 25
    made = train(
        {"score": scores, "norm_min": np.full(50, 0.1), "cohort_min": np.zeros(50)}, labels, 0.05
    )
    assert (
        made.weights[0] > 10
        and abs(made.weights[1]) < 1e-9
        and np.isfinite(made.llrs(dict.fromkeys(made.inputs, scores))).all()
    )


@pytest.mark.parametrize(
    "inputs, labels, prior, message",
    [
        ({"score": [0.1, 0.2]}, [True, True], 0.05, "got 2 and 0"),
        ({"score": [0.1, 0.2]}, [False, False], 0.05, "got 0 and 2"),
        ({"score": [0.5, 0.5]}, [False, True], 0.05, "score is the same for all 2 trials"),
        ({"score": [0.1, 0.2]}, [False, True], 1.0, "effective_prior.*got 1"),
        ({"score": [0.1, 0.2]}, [False, True], 0.0, "effective_prior.*got 0"),
    ],
)
def test_what_cannot_be_trained(inputs, labels, prior, message):
    with pytest.raises(InputError, match=message):
        train({name: np.array(x) for name, x in inputs.items()}, np.array(labels), prior)


def test_inputs_are_the_wanted_ones():
    made = Calibration(["score", "norm_min"], [1.0, 2.0], 0.5, 0.05, 1, 1, ["dev.txt"])
    assert made.llrs({"norm_min": np.array([10.0]), "score": np.array([1.0])}).tolist() == [21.5]
    for inputs in (
        {"score": np.zeros(1)},
        {"score": np.zeros(1), "norm_min": np.zeros(1), "norm_max": np.zeros(1)},
    ):
        with pytest.raises(
            InputError, match="calibration of dev.txt takes score, norm_min, got score"
        ):
            made.llrs(inputs)


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
    wanted = {name: np.array([pair, pair[::-1]]) for name, pair in values.items()}
    write_qualities(path, ["1 a b", "0  a\tc"], wanted)
    found = read_qualities(path, ["1 a b", "0 a c"])
    assert list(found) == list(wanted)
    for name, x in wanted.items():
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
        ("trial\tnorm_enrol\n1 a b\t1\n", "q.txt:1: want the names"),
        ("1 a b\t1\t2\n", "q.txt:1: want the names"),
        (
            "trial\tnorm_enrol\tnorm_test\n1 a b\t1\t2\n",
            "q.txt:3: want the trials .* here '0 a c', got nothing",
        ),
        (
            "trial\tnorm_enrol\tnorm_test\n1 a b\t1\t2\n0 a x\t1\t2\n",
            "q.txt:3: want the trials .* here '0 a c', got '0 a x'",
        ),
        (
            "trial\tnorm_enrol\tnorm_test\n1 a b\t1\t2\n0 a c\t1\n",
            "q.txt:3: want 3 columns .* got 2",
        ),
        (
            "trial\tnorm_enrol\tnorm_test\n1 a b\t1\t2\n0 a c\t1\tx\n",
            "q.txt:3: want a number as norm_test, got 'x'",
        ),
        (
            "trial\tnorm_enrol\tnorm_test\n1 a b\t1\t2\n0 a c\t0\t1\n",
            "q.txt:3: want a number above 0 as norm_enrol, got '0'",
        ),
        (
            "trial\tsnr_enrol\tsnr_test\n1 a b\t-1\t2\n0 a c\tnan\t1\n",
            "q.txt:3: want a number as snr_enrol, got 'nan'",
        ),
    ],
)
def test_bad_quality_tables(text, message, tmp_path):
    (tmp_path / "q.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_qualities(tmp_path / "q.txt", ["1 a b", "0 a c"])


# ---------------------------------------------------------------------- the command
def scores_file(path, seed, gain=0.1, trials=2000):
    llrs, labels = gaussians(trials, seed)
    write_scores(
        path, [f"{int(label)} a/{i}.wav b.wav" for i, label in enumerate(labels)], gain * llrs + 0.3
    )
    return str(path)


def command(capsys, *words):
    """-> (exit code, stdout, stderr)"""
    try:
        code = tuneThreshold.main([str(word) for word in words])
    except SystemExit as exit:
        code = exit.code
    return code, *capsys.readouterr()


def told(out, name):
    return float(re.search(rf"^{re.escape(name)}\s+([\d.]+)", out, re.M)[1])


def test_calibrate_and_apply(tmp_path, capsys):
    dev, test = scores_file(tmp_path / "dev.txt", 0), scores_file(tmp_path / "test.txt", 1)
    code, out, err = command(capsys, "--calibrate", dev, "--output", tmp_path / "c.json")
    assert (
        code == 0
        and not err
        and "500 target and 1,500 non-target trials, effective prior 0.05" in out
        and told(out, "Cllr") >= told(out, "minCllr")
    )
    made = load(tmp_path / "c.json")
    assert (
        made.inputs == ["score"]
        and made.effective_prior == 0.05
        and made.trained_on == [dev]
        and json.loads((tmp_path / "c.json").read_text())
    )
    # nothing lost in JSON
    assert load(tmp_path / "c.json") == train(
        {"score": read_scores(dev).scores}, read_scores(dev).labels, 0.05, [dev]
    )

    before = command(capsys, test, "--llr")[1]
    code, out, err = command(capsys, "--apply", tmp_path / "c.json", test)
    assert (
        code == 0
        and not err
        and told(out, "actDCF(0.05)") < told(before, "actDCF(0.05)")
        and told(out, "Cllr") < told(before, "Cllr")
    )
    assert told(out, "EER") == told(before, "EER") and told(out, "minCllr") == told(
        before, "minCllr"
    )
    written = read_scores(tmp_path / "test_calibrated.txt")
    np.testing.assert_allclose(
        written.scores, made.llrs({"score": read_scores(test).scores}), rtol=1e-6
    )
    assert (
        written.lines == read_scores(test).lines and (tmp_path / "test_calibrated_det.png").exists()
    )
    assert "actDCF" not in command(capsys, test)[1]


@pytest.mark.parametrize(
    "words, prior",
    [(("--effective_prior", 0.3), 0.3), (("--p_target", 0.01, 0.5, "--c_miss", 10), 0.1 / 1.09)],
)
def test_effective_prior(words, prior, tmp_path, capsys):
    assert (
        command(
            capsys,
            "--calibrate",
            scores_file(tmp_path / "dev.txt", 0),
            "--output",
            tmp_path / "c.json",
            *words,
        )[0]
        == 0
    )
    assert load(tmp_path / "c.json").effective_prior == pytest.approx(prior)


def test_fusion_with_quality_measures(tmp_path, capsys):
    parts = [
        scores_file(tmp_path / f"{name}.txt", 0, gain) for name, gain in (("a", 0.1), ("b", 5))
    ]
    write_qualities(
        tmp_path / "q.txt",
        read_scores(parts[0]).lines,
        {"duration": np.random.default_rng(0).uniform(1, 9, (2000, 2))},
    )
    assert (
        command(
            capsys,
            "--fuse",
            *parts,
            "--quality",
            tmp_path / "q.txt",
            "--output",
            tmp_path / "c.json",
        )[0]
        == 0
    )
    assert load(tmp_path / "c.json").inputs == [
        "score_1",
        "score_2",
        "duration_min",
        "duration_max",
    ]
    code, out, _ = command(
        capsys,
        "--apply",
        tmp_path / "c.json",
        *parts,
        "--quality",
        tmp_path / "q.txt",
        "--output",
        tmp_path / "fused.txt",
    )
    assert code == 0 and len(read_scores(tmp_path / "fused.txt").lines) == 2000 and "Cllr" in out
    # any order of the others
    (tmp_path / "b.txt").write_text(
        "".join(reversed((tmp_path / "b.txt").read_text().splitlines(keepends=True)))
    )
    before = (tmp_path / "fused.txt").read_text()
    command(
        capsys,
        "--apply",
        tmp_path / "c.json",
        *parts,
        "--quality",
        tmp_path / "q.txt",
        "--output",
        tmp_path / "fused.txt",
    )
    assert (tmp_path / "fused.txt").read_text() == before
    code, _, err = command(capsys, "--apply", tmp_path / "c.json", *parts)
    assert (
        code == 2
        and "takes score_1, score_2, duration_min, duration_max, got score_1, score_2" in err
    )


def test_trials_without_labels_are_calibrated_too(tmp_path, capsys):
    (tmp_path / "c.json").write_text(
        json.dumps(Calibration(["score"], [2.0], 1.0, 0.05, 1, 1, ["dev"])._asdict())
    )
    (tmp_path / "bare.txt").write_text("a b 0.5\na c -1\n")
    code, out, err = command(capsys, "--apply", tmp_path / "c.json", tmp_path / "bare.txt")
    assert (
        code == 0
        and not err
        and "no labels" in out
        and (tmp_path / "bare_calibrated.txt").read_text() == "a b 2\na c -1\n"
    )


def test_spoofing_aware_scores(tmp_path, capsys):
    """All others are non-targets."""
    draw = np.random.default_rng(0)
    kinds = np.array(["target", "nontarget", "spoof"])[np.arange(300) % 3]
    write_scores(
        tmp_path / "s.txt",
        [
            f"id1 f{i} {'A01' if kind == 'spoof' else 'bonafide'} {kind}"
            for i, kind in enumerate(kinds)
        ],
        draw.standard_normal(300) + 2 * (kinds == "target"),
    )
    assert (
        command(capsys, "--calibrate", tmp_path / "s.txt", "--output", tmp_path / "c.json")[0] == 0
        and load(tmp_path / "c.json").nontargets == 200
    )
    code, out, err = command(
        capsys, "--apply", tmp_path / "c.json", tmp_path / "s.txt", "--p_target", 0.2
    )
    assert code == 0 and not err and "SPF-EER" in out and "actDCF(0.2)" in out


def case_of_other_trials(tmp_path):
    scores_file(tmp_path / "a.txt", 0)
    (tmp_path / "b.txt").write_text((tmp_path / "a.txt").read_text().replace("a/7.wav", "x.wav"))
    return "--fuse", tmp_path / "a.txt", tmp_path / "b.txt", "--output", tmp_path / "c.json"


@pytest.mark.parametrize(
    "words, message",
    [
        (
            case_of_other_trials,
            r"b\.txt: want the trials of the other scores file, .*, the first: 0 a/7.wav b.wav",
        ),
        (lambda p: ("--calibrate", scores_file(p / "a.txt", 0)), "--calibrate: want --output"),
        (
            lambda p: (
                "--calibrate",
                scores_file(p / "a.txt", 0),
                "--output",
                p / "c.json",
                "--effective_prior",
                1.5,
            ),
            "effective_prior.*got 1.5",
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
            "a.txt: want a calibration as tuneThreshold.py --calibrate writes",
        ),
        (lambda p: ("--apply", p / "c.json"), "want scores files"),
        (
            lambda p: ("--quality", "q", scores_file(p / "a.txt", 0)),
            "goes with --calibrate or --apply",
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
            "want scores files",
        ),
    ],
)
def test_bad_words(words, message, tmp_path, capsys):
    code, _, err = command(capsys, *words(tmp_path))
    assert (
        code == 2
        and re.search(message, err)
        and "Traceback" not in err
        and not (tmp_path / "c.json").exists()
    )


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
    (tmp_path / "c.json").write_text(
        json.dumps(Calibration(["score"], [2.0], 1.0, 0.05, 1, 1, ["dev"])._asdict() | change)
    )
    with pytest.raises(InputError, match="want a calibration"):
        load(tmp_path / "c.json")
