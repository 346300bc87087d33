"""The worked example of docs/metrics.md, read from the page and computed; what the page says of definitions that are not ours."""

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
EXAMPLE = (
    (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8").partition("## A worked example\n")[2]
)


def brentq_eer(scores, labels):
    """The recipe of the page."""
    fpr, tpr, _ = roc_curve(labels, scores)
    return 100 * brentq(lambda x: 1 - x - interp1d(fpr, tpr)(x), 0, 1)


def hull_eer(p_miss, p_fa):
    """The highest of the least error rates over all priors, which is where the hull meets P_miss = P_fa."""
    priors = np.linspace(0, 1, 20_001)[:, None]
    return 100 * np.max(np.min(priors * p_miss + (1 - priors) * p_fa, axis=1))


@pytest.fixture(scope="module")
def example():
    """(scores, countermeasure's scores, kinds), {metric: (value, threshold)}"""
    lines = re.findall(rf"^ +({'|'.join(TRIAL_KINDS)}) +([\d. ]*\d)", EXAMPLE, re.M)
    scores, cm = (
        [float(word) for _, words in half for word in words.split()]
        for half in (lines[:3], lines[3:])
    )
    kinds = [kind for kind, words in lines[:3] for _ in words.split()]
    rows = re.findall(r"^\| ([^|]+?) \| ([\d.]+)( %)? \| ([\d.]*) ?\|", EXAMPLE, re.M)
    return (scores, cm, kinds), {
        name: (float(value), float(at) if at else None) for name, value, _, at in rows
    }


def test_worked_example(example):
    (scores, cm, kinds), said = example
    plain = [
        (score, kind == "target")
        for score, kind in zip(scores, kinds, strict=True)
        if kind != "spoof"
    ]
    rates = error_rates(*zip(*plain, strict=True))
    (point,) = thresholds_at(*rates, (0.1,))
    three = sasv_eers(scores, kinds)
    known = {f"EER {definition}": eer(*rates, definition) for definition in EERS}
    known |= {
        "EER by brentq": (brentq_eer(*zip(*plain, strict=True)), None),
        "EER of the convex hull": (hull_eer(*rates[1:]), None),
    }
    known |= {f"minDCF({p})": min_dcf(*rates, p) for p in (0.05, 0.5)} | {
        "P_miss at P_fa <= 0.1": (100 * point.p_miss, point.threshold)
    }
    known |= {name: (three[name], None) for name in ("SASV-EER", "SPF-EER")} | {
        "a-DCF": a_dcf(scores, kinds),
        "min t-DCF": min_t_dcf(scores, cm, kinds),
    }
    known |= {
        "t-EER": t_eer(scores, cm, kinds)[:2],
        "t-EER(0.1)": t_eer(scores, cm, kinds, 0.1)[:2],
    }
    assert {*known} == {*said}
    for name, (value, threshold) in said.items():
        assert known[name][0] == pytest.approx(
            value, abs=6e-5 if value < 1 else 2e-3 if "hull" in name else 6e-5
        ), name
        assert known[name][1] == (threshold and pytest.approx(threshold)), name
    assert three["SV-EER"] == pytest.approx(said["EER interpolated"][0], abs=6e-5)


@given(trial_lists)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_relations_between_the_definitions(trials):
    scores, labels = zip(*trials, strict=True)
    rates = error_rates(scores, labels)
    value = eer(*rates)[0]
    assert brentq_eer(scores, labels) == pytest.approx(value, abs=1e-6)
    assert hull_eer(*rates[1:]) <= value + 1e-9 and value <= eer(*rates, "corner")[0] + 1e-9


@given(trial_lists, st.sampled_from([0.01, 0.3, 0.9]))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_cost_depends_on_the_ratio_alone(trials, p_target):
    rates = error_rates(*zip(*trials, strict=True))
    p = 10 * p_target / (10 * p_target + 2 * (1 - p_target))
    assert (
        min_dcf(*rates, p_target, 10, 2)[0] == pytest.approx(min_dcf(*rates, p)[0])
        and min_dcf(*rates, p_target)[0] <= 1 + 1e-12
    )


def test_readme_leads_to_it():
    assert "(docs/metrics.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
