"""Losses against the reference implementations, and the contract that every file in loss/ keeps, new ones too.

    pytest tests/test_losses.py
"""
import importlib
import inspect
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import golden
from torch.nn import functional as F

from models import SpeakerModel

ROOT = Path(__file__).parent.parent
REFERENCE = Path(__file__).with_name("reference")
LOSSES = [path.stem for path in sorted((ROOT / "loss").glob("[!_]*.py"))]
WITH_MARGIN = ["amsoftmax", "aamsoftmax", "aamsoftmaxproto"]
WITH_PROTOTYPES = ["proto", "angleproto", "softmaxproto", "aamsoftmaxproto"]
RENAMED = {"nOut": "dim", "num_out": "dim", "nClasses": "num_classes", "num_class": "num_classes"}
pair = SpeakerModel().pair


def loss_function(name, dim=6, num_classes=5, **options):
    torch.manual_seed(0)
    entry = importlib.import_module(f"loss.{name}").LossFunction
    supplied = {"dim": dim, "num_classes": num_classes}
    return entry(**{k: v for k, v in supplied.items() if k in inspect.signature(entry).parameters}, **options)


def batch(labels, spoof=None, step=0):
    return {"label": torch.as_tensor(labels), "spoof": torch.as_tensor(spoof or [False] * len(labels)), "step": step}


def embeddings(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def close(a, b, relative=1e-5):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) <= relative * np.linalg.norm(b) + 1e-6 * math.sqrt(b.size)


def reference_cases():
    for file in ("loss_clova.npz", "loss_ska_aamsoftmaxproto.npz"):
        for case in golden.load_cases(REFERENCE / file):
            if case.hparams["loss"] in LOSSES and not case.name.endswith("as_is_on_torch_2"):    # that one is a defect, corrected here
                yield pytest.param(case, id=case.name)


@pytest.mark.parametrize("case", reference_cases())
def test_parity(case):
    options = {RENAMED.get(k, k): v for k, v in case.hparams["init"].items()}
    loss = loss_function(case.hparams["loss"], **options)
    golden.apply(loss, skip=case.skipped)
    golden.check_state(loss, case.state)
    x = torch.from_numpy(case.inputs[case.hparams["input"]]).requires_grad_()
    out = loss(x if x.dim() == 3 else x.unsqueeze(1), batch(case.inputs["label"]), pair)
    out["loss"].backward()
    assert close(out["loss"].item(), case.arrays["loss"])
    assert out["acc"].item() == pytest.approx(case.arrays["prec1"].item(), abs=1e-4)
    assert close(x.grad.numpy(), case.arrays["grad_x"])
    for name, p in loss.named_parameters():
        assert close(p.grad.numpy(), case.arrays[f"grad:{name}"]), name


@pytest.mark.parametrize("case", golden.load_cases(REFERENCE / "loss_dmha_amsoftmax.npz"), ids=lambda case: case.name)
def test_annealing_parity(case):
    names = {"in_feats": "dim", "n_classes": "num_classes", "m": "margin", "s": "scale", "annealing": "annealing"}
    loss = loss_function("amsoftmax", **{names[k]: v for k, v in case.hparams["init"].items()})
    golden.apply(loss)
    golden.check_state(loss, case.state)
    x = torch.from_numpy(case.inputs["x"]).requires_grad_()
    step = case.hparams["step"]
    out = loss(x.unsqueeze(1), batch(case.inputs["label"], step=step), pair)
    out["loss"].backward()
    assert close(loss.cosine(x).detach().numpy(), case.arrays["costh"])
    assert close(out["loss"].item(), case.arrays["loss"])
    assert close(loss.margin_share(step), case.arrays["annealed_factor"])
    assert close(x.grad.numpy(), case.arrays["grad_x"]) and close(loss.W.grad.numpy(), case.arrays["grad_W"])


# ---------------------------------------------------------------------- the contract
@pytest.mark.parametrize("name", LOSSES)
def test_returns_a_scalar_whose_gradient_reaches_everything(name):
    loss = loss_function(name)
    x = embeddings(4, 3, 6).requires_grad_()
    out = loss(x, batch([3, 0, 4, 1]), pair)
    assert out["loss"].shape == () and out["loss"].isfinite()
    assert all(value.shape == () and not value.requires_grad for term, value in out.items() if term != "loss")
    out["loss"].backward()
    assert all(row.any() for row in x.grad.flatten(0, 1))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in loss.parameters())


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_steps_tell_the_speakers_apart(name):
    loss = loss_function(name)
    x = embeddings(5, 2, 6).requires_grad_()
    optimizer = torch.optim.Adam([x, *loss.parameters()], 0.05)
    values = []
    for _ in range(100):
        optimizer.zero_grad()
        out = loss(x, batch(list(range(5))), pair)
        out["loss"].backward()
        optimizer.step()
        values.append(out["loss"].item())
    assert values[-1] < 0.1 * values[0] and out["acc"] == 100


@pytest.mark.parametrize("name", LOSSES)
def test_similarity_of_all_pairs_is_that_of_each_pair(name):
    loss = loss_function(name)
    ref, qry = embeddings(3, 6), embeddings(4, 6, seed=1)
    for method in (loss.similarity, loss.euclidean):
        matrix = method(*pair(ref, qry))                                         # [Q, R]
        full = method(ref.expand(4, 3, 6), qry.unsqueeze(1).expand(4, 3, 6))     # what a pairwise pooling would give
        each = torch.stack([torch.stack([method(*pair(r[None], q[None]))[0, 0] for r in ref]) for q in qry])
        assert matrix.shape == (4, 3) and torch.allclose(matrix, each, atol=1e-5) and torch.allclose(full, each, atol=1e-5)
        assert torch.equal(method(*pair(qry, qry)).argmax(1), torch.arange(4))
    if loss.linear:                                                              # crops may be averaged before the product
        crops = torch.stack([loss.similarity(*pair(a, b)).mean() for a in ref.split(1) for b in qry.split(1)]).mean()
        assert torch.allclose(loss.project(ref).mean(0) @ loss.project(qry).mean(0), crops, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in LOSSES if "softmax" in name])
def test_classification_wants_embeddings(name):
    with pytest.raises(ValueError, match=r"--encoder_type.*"):
        loss_function(name)(embeddings(2, 2, 6, 9), batch([0, 1]), pair)


# ---------------------------------------------------------------------- prototypes
@pytest.mark.parametrize("name", WITH_PROTOTYPES)
def test_one_utterance_a_speaker_is_refused(name):
    with pytest.raises(ValueError, match="add --nPerSpeaker 2"):
        loss_function(name)(embeddings(4, 1, 6), batch([0, 1, 2, 3]), pair)


@pytest.mark.parametrize("name", ["proto", "angleproto"])
def test_spoofed_groups_are_prototypes_and_never_queries(name):
    loss, x = loss_function(name), embeddings(4, 3, 6)
    spoof = [False, True, False, True]
    expected = []
    for i in (0, 2):
        logit = []
        for j in range(4):
            prototype, query = x[j, 1:].mean(0), x[i, 0]
            if name == "proto":
                logit.append(-(query - prototype).square().sum())
            else:
                logit.append(10.0 * F.cosine_similarity(query, prototype, 0) - 5.0)
        expected.append(F.cross_entropy(torch.stack(logit), torch.tensor(i)))
    got = loss(x, batch([0, 1, 2, 3], spoof), pair)["loss"]
    assert torch.allclose(got, torch.stack(expected).mean(), atol=1e-5)


def test_proto_scores_minus_the_squared_distance():
    loss, ref, qry = loss_function("proto"), embeddings(3, 6), embeddings(4, 6, seed=1)
    assert torch.allclose(loss.similarity(*pair(ref, qry)), -torch.cdist(qry, ref).square(), atol=1e-4)
    assert torch.allclose(loss.euclidean(*pair(ref, qry)), -torch.cdist(qry, ref), atol=1e-4)
    assert not loss.linear


def test_euclidean_is_between_unit_vectors_for_cosine_losses():
    ref, qry = embeddings(3, 6), embeddings(4, 6, seed=1)
    want = -torch.cdist(F.normalize(qry), F.normalize(ref))
    assert torch.allclose(loss_function("angleproto").euclidean(*pair(ref, qry)), want, atol=1e-5)


def test_scale_of_angleproto_never_turns_negative():
    loss, x = loss_function("angleproto", init_w=-3.0), embeddings(4, 2, 6)
    assert loss(x, batch([0, 1, 2, 3]), pair)["loss"].item() == pytest.approx(math.log(4), abs=1e-4)


# ---------------------------------------------------------------------- margins
@pytest.mark.parametrize("name", WITH_MARGIN)
def test_margin_warms_up_linearly(name):
    x, labels = embeddings(4, 2, 6), [3, 0, 4, 1]

    def value(step, **options):
        return loss_function(name, **options)(x, batch(labels, step=step), pair)["loss"].item()

    assert value(0, margin=0.4, margin_warmup=10) == pytest.approx(value(0, margin=0.0))
    assert value(5, margin=0.4, margin_warmup=10) == pytest.approx(value(0, margin=0.2))
    assert value(10, margin=0.4, margin_warmup=10) == value(99, margin=0.4, margin_warmup=10) == value(0, margin=0.4)
    assert value(0, margin=0.4) > value(0, margin=0.2) > value(0, margin=0.0)


def test_embedding_on_its_class_vector_has_a_finite_gradient():
    loss = loss_function("aamsoftmax", dim=2, num_classes=3)
    with torch.no_grad():
        loss.weight[1] = torch.tensor([2.0, 0.0])
    x = torch.tensor([[[3.0, 0.0]]], requires_grad=True)
    loss(x, batch([1]), pair)["loss"].backward()
    assert x.grad.isfinite().all() and loss.weight.grad.isfinite().all()


def test_composed_losses_add_up():
    x, labels = embeddings(4, 2, 6), [3, 0, 4, 1]
    for name in ("softmaxproto", "aamsoftmaxproto"):
        loss = loss_function(name)
        out = loss(x, batch(labels), pair)
        assert out["loss"].item() == pytest.approx(out["loss_softmax"].item() + out["loss_proto"].item(), rel=1e-6)
        assert out["loss_proto"].item() == pytest.approx(loss_function("angleproto")(x, batch(labels), pair)["loss"].item(), rel=1e-6)
