"""Tests of the page docs/metrics.md.

The tests read the worked example from the page and compute its numbers again. They also check what
the page says about definitions that this project does not use.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn.metrics import roc_curve
from test_metrics import trial_lists

from common.trial_kinds import TRIAL_KINDS
from metrics.rates import EERS, eer, error_rates, min_dcf, thresholds_at
from metrics.sasv import a_dcf, sasv_eers
from metrics.tandem import min_t_dcf, t_eer

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
EXAMPLE = PAGE.partition("## A worked example\n")[2]


def brentq_eer(scores, labels):
    """Returns the EER in per cent, computed with the recipe of the page."""
    fpr, tpr, _ = roc_curve(labels, scores)
    return 100 * brentq(lambda x: 1 - x - interp1d(fpr, tpr)(x), 0, 1)


def hull_eer(p_miss, p_fa):
    """Returns the EER of the convex hull in per cent.

    For each prior, the function takes the lowest error rate over all thresholds. The highest of
    these rates is the point where the convex hull has P_miss = P_fa.
    """
    priors = np.linspace(0, 1, 20_001)[:, None]
    return 100 * np.max(np.min(priors * p_miss + (1 - priors) * p_fa, axis=1))


@pytest.fixture(scope="module")
def example():
    """Reads the worked example from the page.

    Returns (scores, scores of the countermeasure, kinds) and {metric: (value, threshold)}. The
    threshold is None where the page has no threshold.
    """
    lines = re.findall(rf"^ +({'|'.join(TRIAL_KINDS)}) +([\d. ]*\d)", EXAMPLE, re.M)
    scores = []
    kinds = []
    for kind, words in lines[:3]:
        for word in words.split():
            scores.append(float(word))
            kinds.append(kind)
    cm = []
    for _, words in lines[3:]:
        cm += [float(word) for word in words.split()]
    printed = {}
    rows = re.findall(r"^\| ([^|]+?) \| ([\d.]+)( %)? \| ([\d.]*) ?\|", EXAMPLE, re.M)
    for name, value, _, threshold in rows:
        printed[name] = (float(value), float(threshold) if threshold else None)
    return (scores, cm, kinds), printed


def computed_metrics(scores, cm, kinds):
    """Returns {metric: (value, threshold or None)} for all metrics of the worked example."""
    plain_scores = []
    plain_labels = []
    for score, kind in zip(scores, kinds, strict=True):
        if kind != "spoof":
            plain_scores.append(score)
            plain_labels.append(kind == "target")
    rates = error_rates(plain_scores, plain_labels)
    (point,) = thresholds_at(*rates, (0.1,))
    sasv = sasv_eers(scores, kinds)
    found = {f"EER {definition}": eer(*rates, definition) for definition in EERS}
    found["EER by brentq"] = (brentq_eer(plain_scores, plain_labels), None)
    found["EER of the convex hull"] = (hull_eer(*rates[1:]), None)
    for p_target in (0.05, 0.5):
        found[f"minDCF({p_target})"] = min_dcf(*rates, p_target)
    found["P_miss at P_fa <= 0.1"] = (100 * point.p_miss, point.threshold)
    found["SASV-EER"] = (sasv["SASV-EER"], None)
    found["SPF-EER"] = (sasv["SPF-EER"], None)
    found["a-DCF"] = a_dcf(scores, kinds)
    found["min t-DCF"] = min_t_dcf(scores, cm, kinds)
    found["t-EER"] = t_eer(scores, cm, kinds)[:2]
    found["t-EER(0.1)"] = t_eer(scores, cm, kinds, 0.1)[:2]
    return found


def test_worked_example(example):
    (scores, cm, kinds), printed = example
    found = computed_metrics(scores, cm, kinds)
    assert {*found} == {*printed}
    for name, (value, threshold) in printed.items():
        # The page shows four decimals. hull_eer computes over a grid of priors.
        tolerance = 2e-3 if value >= 1 and "hull" in name else 6e-5
        assert found[name][0] == pytest.approx(value, abs=tolerance), name
        if threshold:
            assert found[name][1] == pytest.approx(threshold), name
        else:
            assert found[name][1] == threshold, name
    sv_eer = sasv_eers(scores, kinds)["SV-EER"]
    assert sv_eer == pytest.approx(printed["EER interpolated"][0], abs=6e-5)


@given(trial_lists)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_relations_between_the_definitions(trials):
    scores, labels = zip(*trials, strict=True)
    rates = error_rates(scores, labels)
    value = eer(*rates)[0]
    assert brentq_eer(scores, labels) == pytest.approx(value, abs=1e-6)
    assert hull_eer(*rates[1:]) <= value + 1e-9
    assert value <= eer(*rates, "corner")[0] + 1e-9


@given(trial_lists, st.sampled_from([0.01, 0.3, 0.9]))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_cost_depends_on_the_ratio_alone(trials, p_target):
    rates = error_rates(*zip(*trials, strict=True))
    effective = 10 * p_target / (10 * p_target + 2 * (1 - p_target))
    assert min_dcf(*rates, p_target, 10, 2)[0] == pytest.approx(min_dcf(*rates, effective)[0])
    assert min_dcf(*rates, p_target)[0] <= 1 + 1e-12


def test_readme_leads_to_it():
    assert "(docs/metrics.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
