"""The gate of --fusion_gate: its formula, its loss, its training, and the scores of a run."""

import argparse
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import Tiny
from test_losses import batch, embeddings, loss_function, pair
from test_sasv import COMMANDS, SMALL, place, scores_of, spoofed  # noqa: F401
from torch.nn import functional as F

from common.errors import InputError
from inference.networks import refuse_other_scores
from inference.scorer import Scorer
from loss._adcf import BatchTrials
from loss._gate import Gate, gate_loss
from metrics.sasv import sasv_eers
from network.checkpoints import read_checkpoint
from SpeakerNet import SpeakerNet

SPOOF = [False, True, False, True]
LABELS = [3, 4, 0, 4]


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def gated(speaker, bonafide, scale=(10, 10), offset=(-5, -5)):
    """Returns the score of a trial: the log odds that speaker and speech are right."""
    both = sigmoid(scale[0] * speaker + offset[0]) * sigmoid(scale[1] * bonafide + offset[1])
    return math.log(both / (1 - both))


# ---------------------------------------------------------------------- the gate
def test_the_score_is_the_log_odds_of_both():
    gate = Gate()
    for speaker in (-1.0, 0.2, 0.9):
        for bonafide in (-0.9, 0.5, 1.0):
            found = gate(torch.tensor(speaker), torch.tensor(bonafide)).item()
            assert found == pytest.approx(gated(speaker, bonafide), rel=1e-4)
    # Without overflow.
    assert gate(torch.tensor(-1e4), torch.tensor(1e4)).item() == pytest.approx(-100_005)


def test_the_loss_by_a_loop():
    """One target per bona fide group, all other tests of enrolments have the class 0."""
    loss = loss_function("sasv_multitask", fusion_gate=True, gate_weight=0.7)
    x = embeddings(4, 2, 6)
    out = loss(x, batch(LABELS, SPOOF), pair)
    terms = {"target": [], "nontarget": [], "spoof": []}
    for group, spoofed_group in enumerate(SPOOF):
        for utterance in (0, 1) if spoofed_group else (0,):
            tested = x[group, utterance]
            bonafide = F.cosine_similarity(tested, loss.direction[0], 0).item()
            for enrolled in (0, 2):
                cos = F.cosine_similarity(tested, x[enrolled, 1], 0).item()
                score = gated(cos, bonafide)
                kind = "target" if group == enrolled else "nontarget"
                kind = "spoof" if spoofed_group else kind
                sign = -1 if kind == "target" else 1
                terms[kind].append(math.log1p(math.exp(sign * score)))
    expected = np.mean(terms["target"]) / 2
    expected += np.mean(terms["nontarget"]) / 4 + np.mean(terms["spoof"]) / 4
    assert [len(each) for each in terms.values()] == [2, 2, 8]
    assert out["loss_gate"].item() == pytest.approx(expected, rel=1e-4)
    without = loss_function("sasv_multitask")
    without.load_state_dict(loss.state_dict(), strict=False)
    alone = without(x, batch(LABELS, SPOOF), pair)["loss"].item()
    assert out["loss"].item() == pytest.approx(alone + 0.7 * expected, rel=1e-4)


def test_the_gradient_reaches_gate_and_network():
    loss = loss_function("sasv_multitask", fusion_gate=True)
    x = embeddings(4, 2, 6).requires_grad_()
    loss(x, batch(LABELS, SPOOF), pair)["loss"].backward()
    assert (loss.gate.scale.grad != 0).all() and (loss.gate.offset.grad != 0).all()
    without = loss_function("sasv_multitask")
    without.load_state_dict(loss.state_dict(), strict=False)
    other = x.detach().clone().requires_grad_()
    without(other, batch(LABELS, SPOOF), pair)["loss"].backward()
    assert not torch.allclose(x.grad, other.grad)


def test_without_the_option_nothing_changes():
    """The parameters, the terms and the bits of the score are the ones of a weighted sum."""
    loss = loss_function("sasv_multitask", fusion=0.3)
    assert not [name for name in loss.state_dict() if "gate" in name]
    x = embeddings(4, 2, 6)
    out = loss(x, batch(LABELS, SPOOF), pair)
    spoof = torch.tensor(SPOOF)[:, None].expand(4, 2)
    parts = loss.speaker_terms(x, batch(LABELS, SPOOF), pair)["loss"]
    head = loss.head_loss(loss.bonafide(x), spoof)
    assert torch.equal(out["loss"], parts + 1.0 * head)
    assert "loss_gate" not in out
    draw = np.random.default_rng(0)
    speaker, bonafide = draw.standard_normal((2, 1000)).astype(np.float32)
    found = Scorer(SpeakerNet(Tiny(), loss)).fuse(speaker, bonafide)
    assert found.dtype == np.float32 and np.array_equal(found, speaker + 0.3 * bonafide)


def test_the_gate_separates_what_no_part_separates():
    """A spoof has the cosine of a target, and a non-target its bona fide score."""
    draw = np.random.default_rng(0)
    kinds = np.repeat(["target", "nontarget", "spoof"], 400)
    speaker = draw.normal(np.where(kinds == "nontarget", 0.1, 0.6), 0.1)
    bonafide = draw.normal(np.where(kinds == "spoof", -0.3, 0.8), 0.25)
    parts = [torch.tensor(part, dtype=torch.float32) for part in (speaker, bonafide)]
    masks = [torch.tensor(kinds == kind) for kind in ("target", "nontarget", "spoof")]
    trials = BatchTrials(*parts, *masks)
    gate = Gate()
    optimizer = torch.optim.Adam(gate.parameters(), lr=0.3)
    start = gate_loss(gate(*parts), trials).item()
    for _ in range(80):
        optimizer.zero_grad()
        gate_loss(gate(*parts), trials).backward()
        optimizer.step()
    assert gate_loss(gate(*parts), trials).item() < 0.7 * start
    found = sasv_eers(gate(*parts).detach().numpy(), kinds)
    assert sasv_eers(speaker, kinds)["SASV-EER"] > 25 < sasv_eers(bonafide, kinds)["SASV-EER"]
    assert max(found.values()) < 3


@pytest.mark.parametrize("scale", [(3.0, -2.0), (-2.0, 3.0)])
def test_a_higher_part_is_never_worse(scale):
    """A scale that an update made negative counts as almost zero."""
    gate = Gate()
    with torch.no_grad():
        gate.scale.copy_(torch.tensor(scale))
    x = torch.linspace(-1, 1, 50)
    scores = gate(x[:, None], x)
    assert (scores.diff(dim=0) >= -1e-5).all() and (scores.diff(dim=1) >= -1e-5).all()


# ---------------------------------------------------------------------- what does not suit it
@pytest.mark.parametrize(
    "options",
    [{"scoring": "euclidean"}, {"score_norm": "asnorm"}, {"backend": "plda.npz"}],
)
def test_other_speaker_scores_are_refused(options):
    (name,) = options
    given = argparse.Namespace(**{"scoring": "similarity"} | options)
    loss = loss_function("sasv_multitask", fusion_gate=True)
    with pytest.raises(InputError, match=f"--{name} changes the scores of speakers, but the gate"):
        refuse_other_scores(loss, given)
    refuse_other_scores(loss_function("sasv_multitask"), given)


def test_it_needs_pairs_and_a_weight():
    loss = loss_function("sasv_multitask", fusion_gate=True)
    with pytest.raises(ValueError, match="--nPerSpeaker: expected at least 2"):
        loss(embeddings(4, 1, 6), batch(LABELS, SPOOF), pair)
    with pytest.raises(ValueError, match="--gate_weight: expected a number above 0"):
        loss_function("sasv_multitask", fusion_gate=True, gate_weight=0.0)


# ---------------------------------------------------------------------- whole runs
@pytest.mark.slow
def test_a_run_with_a_gate(place, program):  # noqa: F811
    """The gate learns, a resumed run has the same one, and the scores are the ones of the gate."""
    words = [*COMMANDS[0], *SMALL, "--model", "ECAPA_TDNN", "--eca_c", 64, "--num_class", 7]
    words += ["--trainfunc", "sasv_multitask", "--fusion_gate", "--save_path"]
    assert program(*words, "a")[0] == 0
    assert program(*words, "b", "--max_steps", 1)[0] == 0
    assert program(*words, "b")[0] == 0
    gates = []
    for run in ("a", "b"):
        state = read_checkpoint(f"{run}/model/last.model")["loss"]
        gates.append(torch.cat([state["gate.scale"], state["gate.offset"]]))
    assert torch.equal(*gates) and (gates[0] != torch.tensor([10.0, 10, -5, -5])).all()
    fused = scores_of(Path("a/result/scores.txt"))
    speaker = scores_of(Path("a/result/scores_speaker.txt"))
    bonafide = scores_of(Path("a/result/scores_bonafide.txt"))
    scale, offset = gates[0].double().numpy().reshape(2, 2)
    pairs = zip(speaker, bonafide, strict=True)
    expected = [gated(s, b, scale, offset) for s, b in pairs]
    np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-4)
    code, out, err = program(*words, "c", "--fusion", 0.5, "--scoring", "euclidean")
    assert code == 2 and "--scoring changes the scores of speakers" in err
    assert "warning: --fusion has no effect with --fusion_gate" in out + err
