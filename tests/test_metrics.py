"""Tests of the error rates, EER, minDCF and the command line of tuneThreshold.py.

The expected numbers come from the reference implementations, from a slow loop over the trials,
and from cases that are computed by hand.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread
from reference import golden

import tuneThreshold
from metrics.rates import corners, eer, error_rates, min_dcf, summarize, thresholds_at
from metrics.sasv import sasv_eers

HERE = Path(__file__).parent
CLOVA = np.load(HERE / "reference" / "metric_clova.npz")
SASV = np.load(HERE / "reference" / "metric_sasv_eers.npz")


# ---------------------------------------------------------------------- independent computations
def rate(scores, labels, threshold):
    """Returns (p_miss, p_fa) of one threshold, counted one trial at a time.

    A trial is accepted if its score is at or above the threshold.
    """
    misses = 0
    accepts = 0
    for score, label in zip(scores, labels, strict=True):
        if label and score < threshold:
            misses += 1
        if not label and score >= threshold:
            accepts += 1
    return misses / sum(labels), accepts / (len(labels) - sum(labels))


def crossing(points):
    """Returns the rate at which the polygon through the points (p_miss, p_fa) has p_miss = p_fa."""
    for (m0, f0), (m1, f1) in zip(points, points[1:], strict=False):
        if m0 <= f0 and m1 >= f1:
            part = (f0 - m0) / ((m1 - m0) - (f1 - f0))
            return m0 + part * (m1 - m0)
    raise AssertionError(points)


def has_both_labels(trials):
    labels = {label for _, label in trials}
    return len(labels) == 2


# Values of P_target.
priors = st.sampled_from([0.01, 0.05, 0.5, 0.9])
# Pairs (C_miss, C_fa).
costs_of_errors = st.sampled_from([(1, 1), (10, 1), (1, 5)])
# Lists of (score, label), with equal scores, target and non-target trials.
trial_lists = st.lists(
    st.tuples(st.integers(-6, 6), st.booleans()), min_size=2, max_size=40
).filter(has_both_labels)


@given(trial_lists, priors, costs_of_errors)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_against_a_direct_loop(trials, p_target, costs):
    scores = [score / 4 for score, _ in trials]
    labels = [label for _, label in trials]
    c_miss, c_fa = costs
    found = error_rates(scores, labels)
    known_thresholds = [*sorted(set(scores)), np.inf]
    points = [rate(scores, labels, t) for t in known_thresholds]
    np.testing.assert_array_equal(found[0], known_thresholds)
    np.testing.assert_allclose(np.transpose(found[1:]), points, atol=1e-12)

    value, threshold = eer(*found)
    assert value == pytest.approx(100 * crossing(points))
    gaps = [abs(miss - accept) for miss, accept in points]
    miss, accept = rate(scores, labels, threshold)
    # At no threshold are the two rates closer to each other.
    assert abs(miss - accept) == pytest.approx(min(gaps))
    assert eer(*found, "corner")[0] >= value - 1e-9

    def dcf(miss, accept):
        """Returns the detection cost, divided by the cost of the better trivial system."""
        cost = c_miss * p_target * miss + c_fa * (1 - p_target) * accept
        return cost / min(c_miss * p_target, c_fa * (1 - p_target))

    value, threshold = min_dcf(*found, p_target, c_miss, c_fa)
    assert value == pytest.approx(min(dcf(*point) for point in points))
    assert value <= 1 + 1e-12
    assert dcf(*rate(scores, labels, threshold)) == pytest.approx(value)

    limits = (0.3, 0.1, 0)
    for limit, point in zip(limits, thresholds_at(*found, limits), strict=True):
        assert (point.p_miss, point.p_fa) == pytest.approx(rate(scores, labels, point.threshold))
        lowest_miss = min(miss for miss, accept in points if accept <= limit)
        assert point.p_miss == pytest.approx(lowest_miss)


# ---------------------------------------------------------------------- the references' numbers
@pytest.mark.parametrize("name", json.loads(str(CLOVA["cases_json"])))
def test_voxceleb_trainer(name):
    rates = error_rates(CLOVA[f"{name}_scores"], CLOVA[f"{name}_labels"])
    assert eer(*rates, "corner")[0] == pytest.approx(float(CLOVA[f"{name}/eer"]))
    for p_target, c_miss, c_fa in ((0.05, 1, 1), (0.01, 1, 1), (0.01, 10, 1)):
        found = min_dcf(*rates, p_target, c_miss, c_fa)[0]
        known = CLOVA[f"{name}/mindcf_p{p_target}_miss{c_miss}_fa{c_fa}"][0]
        if name == "ties":
            # The reference orders equal scores as the list does, so its cost is too low.
            assert found > known
        else:
            assert found == pytest.approx(known)
    kept = corners(rates[1][:-1], rates[2][:-1])[::-1]
    np.testing.assert_allclose(rates[2][kept], CLOVA[f"{name}/roc_fpr"][1:], atol=1e-12)
    np.testing.assert_allclose(rates[1][kept], CLOVA[f"{name}/roc_fnr"][1:], atol=1e-12)


@pytest.mark.parametrize("name", json.loads(str(SASV["cases_json"])))
def test_eers_of_the_sasv_challenge(name):
    kinds = np.array(["target", "nontarget", "spoof"])[SASV[f"{name}_keys"]]
    found = sasv_eers(SASV[f"{name}_scores"], kinds)
    assert list(found) == ["SASV-EER", "SV-EER", "SPF-EER"]
    np.testing.assert_allclose(list(found.values()), SASV[f"{name}/sasv_sv_spf_eer"], atol=1e-8)


@pytest.mark.parametrize(
    "case",
    golden.load_cases(HERE / "reference" / "metric_dmha_eer.npz"),
    ids=lambda case: case.name,
)
def test_double_attention_trainer(case):
    clients, impostors = (case.inputs[f"{case.hparams['set']}_{side}"] for side in ("cl", "im"))
    rates = error_rates(
        np.append(clients, impostors), np.repeat([1, 0], [len(clients), len(impostors)])
    )
    # The reference rounds the rates before it computes the EER.
    assert eer(*rates, "grid")[0] == pytest.approx(float(case.arrays["eer"]), abs=1e-3)


# ---------------------------------------------------------------------- cases done by hand
@pytest.mark.parametrize(
    "scores, labels, expected, threshold",
    [
        # The scores are separated: the threshold is halfway between the two kinds.
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 0, 0.5),
        # The scores are separated, but target trials have the low scores.
        ([0.8, 0.9, 0.1, 0.2], [0, 0, 1, 1], 100, 0.5),
        # All scores are equal.
        ([0.5, 0.5, 0.5], [1, 0, 0], 50, 0.5),
        # There is one miss and one false accept.
        ([0.1, 0.6, 0.4, 0.9], [0, 0, 1, 1], 50, 0.5),
        ([1, 2, 3, 4, 5, 6], [0, 0, 1, 0, 1, 1], 100 / 3, 3.5),
        # The rates cross at the score 4. They are closer to each other above it.
        ([1, 2, 3, 4, 5, 6, 7], [0, 0, 0, 1, 0, 1, 1], 25, 4.5),
        # The rates cross at the score 4 again. They are closer to each other below it.
        ([1, 2, 3, 4, 5, 6, 7], [0, 0, 1, 0, 1, 1, 1], 25, 3.5),
    ],
)
def test_eer_by_hand(scores, labels, expected, threshold):
    value, at = eer(*error_rates(scores, labels))
    assert (value, at) == (pytest.approx(expected), pytest.approx(threshold))


def test_min_dcf_by_hand():
    rates = error_rates([1, 2, 3, 4], [0, 1, 0, 1])
    # The thresholds 1.5 and 3.5 have equal costs: the function returns the lowest.
    assert min_dcf(*rates, 0.5) == (pytest.approx(0.5), 1.5)
    assert min_dcf(*rates, 0.05) == (pytest.approx(0.5), 3.5)
    # The best decision is to reject all trials.
    assert min_dcf(*error_rates([1.0, 2.0], [1, 0]), 0.05) == (pytest.approx(1), np.inf)
    # The best decision is to accept all trials.
    assert min_dcf(*error_rates([1.0, 2.0], [1, 0]), 0.95) == (pytest.approx(1), 1.0)


def test_neighbouring_floats_keep_their_rates():
    low = 1.0
    high = np.nextafter(low, 2)
    assert eer(*error_rates([low, high], [0, 1])) == (0, high)


def test_order_and_type_do_not_matter():
    draw = np.random.default_rng(0)
    labels = draw.random(500) < 0.3
    scores = np.round(draw.standard_normal(500) + labels, 1).astype(np.float32)
    shuffle = draw.permutation(500)
    assert summarize(scores, labels) == summarize(
        scores[shuffle].astype(float), labels[shuffle].astype(int)
    )
    two_priors = summarize(scores, labels, p_target=(0.05, 0.01))
    one_prior = summarize(scores, labels, p_target=0.05)
    assert two_priors.min_dcf == one_prior.min_dcf


@pytest.mark.parametrize(
    "scores, labels, message",
    [
        ([1, 2], [1, 1], r"no non-target \(0\) trials, all 2 are target"),
        ([1, 2], [0, 0], r"no target \(1\) trials, all 2 are non-target"),
        (
            [1, np.nan, np.inf],
            [0, 1, 1],
            r"trial 2: expected a finite score, found nan \(not finite in 2 trials",
        ),
        ([1, 2], [0, 2], r"expected the labels 1 \(target\) and 0"),
        ([1, 2], [0, 1, 1], r"shapes \(2,\) and \(3,\)"),
    ],
)
def test_bad_trials(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        summarize(scores, labels)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"p_target": 0}, "0 < p_target < 1"),
        ({"p_target": (0.05, 1.5)}, "found p_target 1.5"),
        ({"c_miss": -1}, "costs above 0"),
        ({"c_fa": np.nan}, "costs above 0"),
        ({"p_fa": (0.1, 10)}, "--far: expected a false-accept rate between 0 and 1, found 10"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        summarize([1, 2], [0, 1], **options)


def test_half_a_million_trials_take_no_time():
    draw = np.random.default_rng(0)
    labels = draw.random(581_480) < 0.5
    scores = draw.standard_normal(581_480) + 2 * labels
    begun = time.perf_counter()
    found = summarize(scores, labels)
    # On a free core this takes 0.04 s.
    assert time.perf_counter() - begun < 1
    # The EER is the probability of a standard normal variable below -1, in per cent.
    assert found.eer == pytest.approx(15.87, abs=0.1)


# ---------------------------------------------------------------------- the command
def scores_file(path, separation, trials=400):
    """Writes a scores file with a quarter of target trials, and returns its path."""
    draw = np.random.default_rng(0)
    labels = np.arange(trials) % 4 == 0
    scores = draw.standard_normal(trials) + separation * labels
    lines = []
    for i, (label, score) in enumerate(zip(labels, scores, strict=True)):
        lines.append(f"{int(label)} a/{i}.wav b.wav {score:.7g}\n")
    path.write_text("".join(lines))
    return path


def test_command(tmp_path, capsys):
    good = scores_file(tmp_path / "good.txt", 3)
    poor = scores_file(tmp_path / "poor.txt", 0.5)
    words = [str(good), str(poor), "--far", "0.2", "--p_target", "0.05", "0.3"]
    assert tuneThreshold.main(words) == 0
    out = capsys.readouterr().out
    read = tuneThreshold.read_scores(good)
    known = summarize(read.scores, read.labels, p_target=0.3, p_fa=(0.2,))
    assert f"EER {known.eer:16.2f} %".split() == out.splitlines()[2].split()[:3]
    assert f"{known.min_dcf:.4f}" in out
    assert f"{known.points[0].threshold:.5g}" in out
    assert "400 trials: 100 target, 300 non-target" in out
    picture = imread(tmp_path / "good_det.png")
    assert min(picture.shape[:2]) > 500
    assert picture[..., :3].std() > 0.02
    assert (tmp_path / "good_det.png").stat().st_size < 200_000
    assert tuneThreshold.main([str(good), "--det", str(tmp_path / "own.png")]) == 0
    assert (tmp_path / "own.png").exists()


@pytest.mark.parametrize("separation", [100, -100, 0])
def test_plot_of_extremes(separation, tmp_path):
    assert tuneThreshold.main([str(scores_file(tmp_path / "s.txt", separation))]) == 0


def test_scores_file_is_read_exactly(tmp_path):
    (tmp_path / "s.txt").write_text("1 a b 0.25\n0 a c -1e-3\n")
    read = tuneThreshold.read_scores(tmp_path / "s.txt")
    assert read.scores.tolist() == [0.25, -0.001]
    assert read.labels.tolist() == [True, False]
    assert read.lines == ["1 a b", "0 a c"]
    assert read.kinds is None
    assert read.attacks is None


@pytest.mark.parametrize(
    "text, message",
    [
        (b"", "found an empty file"),
        (b"1 a b 1\n0 a b\n", "s.txt:2: expected '1|0 <file> <file> <score>', found '0 a b'"),
        (
            b"a b 0.5\n",
            "target|nontarget|spoof <score>', found 'a b 0.5'. Metrics need a label",
        ),
        (b"2 a b 0.5\n", "s.txt:1: expected '1|0"),
        (b"1 a b 0.5 7\n", "s.txt:1: expected '1|0"),
        (b"1 a b 0.5\n\n0 a b 0.4\n", "s.txt:2: expected '1|0"),
        (b"1 a b high\n", "s.txt:1: expected a number as the score, found 'high'"),
        (b"1 a b 0.5\n0 a b nan\n", "s.txt:2: expected a finite score, found 'nan'"),
        (b"1 a b -inf\n", "s.txt:1: expected a finite score, found '-inf'"),
        (b"1 a b 0.5\n1 a c 0.4\n", "s.txt: found no non-target (0) trials, all 2 are target"),
        (b"1 a b 0.5\n0 \xff c 0.4\n", "s.txt: expected a text file in UTF-8, found the byte 0xff"),
    ],
)
def test_bad_scores_file(text, message, tmp_path, capsys):
    path = tmp_path / "s.txt"
    path.write_bytes(text)
    assert tuneThreshold.main([str(path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_bad_words(tmp_path, capsys):
    good = scores_file(tmp_path / "good.txt", 3)
    assert tuneThreshold.main([str(tmp_path / "no.txt")]) == 2
    assert tuneThreshold.main([str(good), "--p_target", "1"]) == 2
    assert tuneThreshold.main([str(good), "--det", str(good / "det.png")]) == 2
    assert tuneThreshold.main([str(good), "--det", str(tmp_path / "det.xyz")]) == 2
    assert capsys.readouterr().err.count("error: ") == 4
    # Missing folders are made, as for every output.
    assert tuneThreshold.main([str(good), "--det", str(tmp_path / "new" / "det.png")]) == 0
    assert (tmp_path / "new" / "det.png").is_file()


def test_stands_alone(tmp_path):
    """The import loads no torch, scipy, scikit-learn, matplotlib, and no training code."""
    heavy = {"torch", "scipy", "sklearn", "matplotlib", "SpeakerNet", "DatasetLoader"}
    code = f"import sys, tuneThreshold; print(*sorted({heavy} & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=HERE.parent
    )
    assert run.stdout.strip() == ""
