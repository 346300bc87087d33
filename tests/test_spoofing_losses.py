"""Losses for spoofed speech: the a-DCF of a batch, and the losses of countermeasures.

pytest tests/test_spoofing_losses.py
"""

import math

import numpy as np
import pytest
import torch
from reference import golden
from test_losses import REFERENCE, batch, embeddings, loss_function, pair
from torch.nn import functional as F

from loss._adcf import AdcfSettings, soft_adcf
from metrics.sasv import a_dcf

CASES = golden.load_cases(REFERENCE / "loss_adcf.npz")
# Number of a kind in the fixture -> kind.
KINDS = np.array(["target", "nontarget", "spoof"])


def settings_of(case):
    costs = case.hparams["costs"]
    return AdcfSettings(
        adcf_p_nontarget=costs["Pnontrg"],
        adcf_p_spoof=costs["Pspf"],
        adcf_c_miss=costs["Cmiss"],
        adcf_c_fa_nontarget=costs["Cfa_asv"],
        adcf_c_fa_spoof=costs["Cfa_cm"],
        adcf_slope=case.hparams["slope"],
        adcf_threshold=case.hparams["threshold"],
    )


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_adcf_parity(case):
    settings = settings_of(case)
    scores = torch.from_numpy(case.inputs["score"]).requires_grad_()
    threshold = torch.tensor(settings.adcf_threshold, dtype=torch.float64, requires_grad=True)
    kinds = [torch.from_numpy(case.inputs["label"] == number) for number in range(3)]
    loss = soft_adcf(scores, *kinds, threshold, settings)
    loss.backward()
    assert loss.item() == pytest.approx(case.arrays["loss"].item(), rel=1e-12)
    np.testing.assert_allclose(scores.grad.numpy(), case.arrays["grad_score"], rtol=1e-9)
    expected = case.arrays["grad_threshold"].item()
    assert threshold.grad.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_steep_adcf_is_the_metric(case):
    """The metric of tuneThreshold.py, at its best threshold."""
    costs = case.hparams["costs"]
    scores = case.inputs["score"]
    value, threshold = a_dcf(
        scores,
        KINDS[case.inputs["label"]],
        p_spoof=costs["Pspf"],
        p_nontarget=costs["Pnontrg"],
        c_miss=costs["Cmiss"],
        c_fa_nontarget=costs["Cfa_asv"],
        c_fa_spoof=costs["Cfa_cm"],
    )
    assert value == pytest.approx(case.arrays["hard_min_adcf"].item(), abs=1e-9)
    steep = AdcfSettings(**(vars(settings_of(case)) | {"adcf_slope": 1e6}))
    kinds = [torch.from_numpy(case.inputs["label"] == number) for number in range(3)]
    assert soft_adcf(torch.from_numpy(scores), *kinds, threshold, steep).item() == pytest.approx(
        value, abs=1e-6
    )


@pytest.mark.parametrize("missing", range(3))
def test_a_kind_without_trials_has_no_term(missing):
    scores = embeddings(6)
    kinds = [torch.arange(6) % 3 == number for number in range(3)]
    kinds[missing] = torch.zeros(6, dtype=torch.bool)
    settings = AdcfSettings()
    expected = 0.0
    for number, cost in enumerate((0.9, 0.5, 1.0)):
        accepted = torch.sigmoid(10 * (scores[kinds[number]] - 0.2))
        if number != missing:
            expected += cost * (1 - accepted if number == 0 else accepted).mean().item() / 0.9
    found = soft_adcf(scores, *kinds, 0.2, settings).item()
    assert found == pytest.approx(expected, rel=1e-5)


def adcf_by_a_loop(x, labels, spoofed):
    """The a-DCF with the default options, trial by trial. x: [B, M, D]."""
    rates = {"miss": [], "nontarget": [], "spoof": []}
    for r, enrolment in enumerate(x):
        if spoofed[r]:
            continue
        reference = enrolment[1:].mean(0)
        for q, group in enumerate(x):
            for m, query in enumerate(group):
                accepted = torch.sigmoid(10 * (F.cosine_similarity(query, reference, 0) - 0.3))
                if spoofed[q]:
                    rates["spoof"].append(accepted)
                elif m == 0 and labels[q] == labels[r]:
                    rates["miss"].append(1 - accepted)
                elif m == 0:
                    rates["nontarget"].append(accepted)
    means = {kind: torch.stack(values).mean() for kind, values in rates.items()}
    return (0.9 * means["miss"] + 0.5 * means["nontarget"] + 1.0 * means["spoof"]) / 0.9


LABELS = [2, 0, 4, 1, 4]
SPOOFED = [False, False, True, False, True]


def test_trials_of_a_batch_by_a_loop():
    x = embeddings(5, 3, 6)
    loss = loss_function("adcf")
    out = loss(x, batch(LABELS, SPOOFED, utterances=3), pair)
    torch.testing.assert_close(out["loss"], adcf_by_a_loop(x, LABELS, SPOOFED))
    assert out["threshold"].item() == pytest.approx(0.3)


def test_adcf_is_added_to_the_loss_of_sasv():
    x = embeddings(5, 3, 6)
    data = batch(LABELS, SPOOFED, utterances=3)
    plain = loss_function("sasv_e2e_v1")
    both = loss_function("sasv_e2e_v1", adcf_weight=0.5)
    # Checkpoints without the a-DCF stay the same.
    assert both.state_dict().keys() - plain.state_dict().keys() == {"adcf.threshold"}
    alone = plain(x, data, pair)["loss"]
    out = both(x, data, pair)
    torch.testing.assert_close(out["loss"], alone + 0.5 * adcf_by_a_loop(x, LABELS, SPOOFED))
    out["loss"].backward()
    assert both.adcf.threshold.grad != 0


def test_a_threshold_that_is_not_learned_is_no_parameter():
    loss = loss_function("adcf", adcf_learn_threshold=False, adcf_threshold=0.1)
    assert not list(loss.parameters())
    assert "threshold" not in loss(embeddings(2, 2, 6), batch([0, 1]), pair)


@pytest.mark.parametrize(
    "options",
    [
        {"adcf_p_nontarget": 0.6, "adcf_p_spoof": 0.4},
        {"adcf_c_miss": 0.0},
        {"adcf_slope": 0.0},
        {"adcf_weight": 0.0},
    ],
)
def test_impossible_options_of_the_adcf(options):
    with pytest.raises(ValueError, match=f"--{min(options)}.*: expected .*, found"):
        loss_function("adcf", **options)


# ---------------------------------------------------------------------- countermeasures
@pytest.mark.parametrize("focusing", [0.0, 2.0])
def test_cross_entropy_with_weights_by_a_loop(focusing):
    x = embeddings(3, 2, 6)
    spoofed = [True, False, True]
    loss = loss_function("cm_softmax", focusing=focusing)
    total = 0.0
    weights = 0.0
    for group, spoof in zip(x, spoofed, strict=True):
        for utterance in group:
            share = loss.fc(utterance).softmax(0)[0 if spoof else 1].item()
            weight = 0.1 if spoof else 0.9
            total -= weight * (1 - share) ** focusing * math.log(share)
            weights += weight
    data = batch([0, 1, 2], spoofed)
    assert loss(x, data, pair)["loss"].item() == pytest.approx(total / weights, rel=1e-5)
    torch.testing.assert_close(loss.bonafide(x), loss.fc(x)[:, :, 1])


def test_one_class_softmax_by_a_loop():
    x = embeddings(3, 2, 6)
    spoofed = [True, False, True]
    loss = loss_function("cm_ocsoftmax", spoof_scale=5.0)
    terms = []
    for group, spoof in zip(x, spoofed, strict=True):
        for utterance in group:
            cos = F.cosine_similarity(utterance, loss.direction[0], 0).item()
            violation = cos - 0.2 if spoof else 0.9 - cos
            terms.append(math.log1p(math.exp(5.0 * violation)))
            assert loss.bonafide(utterance).item() == pytest.approx(cos, abs=1e-6)
    data = batch([0, 1, 2], spoofed)
    assert loss(x, data, pair)["loss"].item() == pytest.approx(np.mean(terms), rel=1e-5)


@pytest.mark.parametrize("name", ["cm_softmax", "cm_ocsoftmax"])
def test_a_countermeasure_separates_spoofed_speech(name):
    loss = loss_function(name)
    x = (embeddings(6, 2, 6) + 1.0).requires_grad_()
    spoofed = [True, False] * 3
    data = batch(list(range(6)), spoofed)
    optimizer = torch.optim.Adam([x, *loss.parameters()], 0.05)
    for _ in range(100):
        optimizer.zero_grad()
        out = loss(x, data, pair)
        out["loss"].backward()
        optimizer.step()
    scores = loss.bonafide(x)
    assert scores[1::2].min() > scores[::2].max()
    assert out.get("acc", 100) == 100
