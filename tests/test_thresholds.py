"""Tests of the text of thresholds: it accepts and rejects the same trials as the number."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tuneThreshold
from metrics.rates import summarize
from metrics.sasv import summarize_sasv
from metrics.thresholds import threshold_text

# Scores that differ in the last digits, and any other scores.
close_scores = st.integers(0, 40).map(lambda number: 0.5 + number * 1e-9)
all_scores = st.floats(-1e6, 1e6) | close_scores
FAR = (0.5, 0.2, 0.1, 0.01)


def decisions(scores, threshold):
    """Returns for each score whether the threshold accepts it."""
    return [score >= threshold for score in scores]


def number_of(text):
    """Returns a threshold that decides as the text does: "> X" is the next number above X."""
    if text.startswith("> "):
        return np.nextafter(float(text[2:]), np.inf)
    return float(text)


@given(st.lists(all_scores, min_size=1, max_size=20), all_scores | st.just(np.inf))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_the_text_decides_as_the_number(scores, threshold):
    for digits in (1, 3, 5):
        text = threshold_text(threshold, sorted(scores), digits)
        assert decisions(scores, number_of(text)) == decisions(scores, threshold)


@given(st.lists(close_scores, min_size=2, max_size=20, unique=True), st.integers(0, 18))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_thresholds_between_neighbours(scores, place):
    ascending = sorted(scores)
    place = place % (len(ascending) - 1)
    threshold = (ascending[place] + ascending[place + 1]) / 2
    accepted = sum(decisions(scores, float(threshold_text(threshold, ascending))))
    assert accepted == sum(decisions(scores, threshold))


@pytest.mark.parametrize(
    "threshold, scores, text",
    [
        (0.5, [0.1, 0.9], "0.5"),
        (1 / 3, [0.1, 0.9], "0.33333"),
        (0.50000001, [0.1, 0.500000001, 0.9], "0.50000001"),
        (0.500004, [0.1, 0.500001, 0.500005], "0.500004"),
        (np.inf, [0.1, 0.9], "> 0.9"),
        (np.inf, [0.1, 0.912341, np.inf], "> 0.91235"),
        (np.inf, [0.1, 0.999999], "> 1.0000"),
        (np.inf, [-2.123456, -1.0], "> -1.0000"),
        (0.9999997, [0.1, 1.0], "1.0000"),
        (1.0, [0.1, 1.0], "1.0000"),
        (123456.0, [0.1, 123456.0], "123456"),
        (-2.5, [-3.0, 1.0], "-2.5"),
    ],
)
def test_no_more_digits_than_decide(threshold, scores, text):
    assert threshold_text(threshold, scores) == text


def test_scores_in_single_precision():
    scores = np.array([0.1, 0.7], np.float32)
    # 0.7 in single precision is 0.699999988.
    assert threshold_text(0.69999998, scores, 3) == "0.69999998"


def trials_of(numbers):
    """Returns scores near 0.5, and labels of which every third is a target's."""
    scores = 0.5 + np.array(numbers) * 1e-8
    return scores, np.arange(len(numbers)) % 3 == 0


@given(st.lists(st.integers(0, 60), min_size=9, max_size=30))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_printed_operating_points(numbers):
    scores, labels = trials_of(numbers)
    lines = str(summarize(scores, labels, p_fa=FAR)).splitlines()
    table = lines[lines.index(next(line for line in lines if line.startswith("false"))) + 1 :]
    assert len(table) == len(FAR)
    for line in table:
        p_fa, p_miss, threshold = re.fullmatch(r"(.*)%(.*)%(.*)", line).groups()
        accepted = scores >= number_of(threshold.strip())
        assert 100 * np.mean(accepted[~labels]) == pytest.approx(float(p_fa), abs=5.1e-4)
        assert 100 * np.mean(~accepted[labels]) == pytest.approx(float(p_miss), abs=5.1e-3)


def test_columns_are_aligned():
    scores, _ = trials_of(range(30))
    kinds = np.array(["target", "nontarget", "spoof"])[np.arange(30) % 3]
    attacks = np.where(kinds == "spoof", "a_very_long_name", "bonafide")
    attacks[2] = "A01"
    text = str(summarize_sasv(scores, kinds, attacks))
    ends = {line.index("%") for line in text.splitlines()[1:6]}
    assert len(ends) == 1
    assert text.splitlines()[1].startswith("SASV-EER ")
    table = text.splitlines()[-4:]
    assert len({len(line) for line in table}) == 1


def test_every_place_prints_the_digits(tmp_path, capsys):
    """The metrics, the tandem metrics, the log-likelihood ratios and the worst speakers do."""
    draw = np.random.default_rng(0)
    lines = []
    for number in range(90):
        kind = ("target", "nontarget", "spoof")[number % 3]
        score = 0.50005 + 1e-8 * (draw.standard_normal() + 2 * (kind == "target"))
        lines.append(f"s{number % 7} f{number} {kind} {score:.12f}\n")
    path = tmp_path / "s.txt"
    path.write_text("".join(lines))
    assert tuneThreshold.main([str(path), "--cm", str(path), "--worst", "1", "--llr"]) == 0
    out = capsys.readouterr().out
    printed = re.findall(r"(?:at|countermeasure) threshold (\d[\d.]*)|countermeasure (\d\S*)", out)
    # SASV-EER, a-DCF, the t-EER twice, min t-DCF, actDCF twice, and the worst speakers.
    assert len(printed) == 8
    thresholds = [float(first or second) for first, second in printed]
    # The Bayes thresholds ln 19 and ln 99 of actDCF need no further digits.
    assert [value for value in thresholds if value > 1] == [2.9444, 4.5951]
    assert all(0.5000499 < value < 0.5000502 for value in thresholds if value < 1)
