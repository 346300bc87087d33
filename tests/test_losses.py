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
from torch import nn
from torch.nn import functional as F

from loss import with_real
from loss._margin import Schedule, add_margin, subtract_margin
from models import SpeakerModel
from options import VALUES

ROOT = Path(__file__).parent.parent
REFERENCE = Path(__file__).with_name("reference")
LOSSES = [path.stem for path in sorted((ROOT / "loss").glob("[!_]*.py"))]
WITH_MARGIN = [
    "amsoftmax",
    "aamsoftmax",
    "aamsoftmaxproto",
    "aamsoftmax_subcenter",
    "sasv_e2e_v1",
    "sasv_multitask",
    "sphereface2",
]
WITH_PROTOTYPES = [
    "proto",
    "angleproto",
    "softmaxproto",
    "aamsoftmaxproto",
    "ge2e",
    "triplet",
    "sasv_e2e_v1",
    "DA",
    "DA_MSE",
]
RENAMED = {"nOut": "dim", "num_out": "dim", "nClasses": "num_classes", "num_class": "num_classes"}
pair = SpeakerModel().pair


def loss_function(name, dim=6, num_classes=5, **options):
    torch.manual_seed(0)
    entry = importlib.import_module(f"loss.{name}").LossFunction
    supplied = {"dim": dim, "num_classes": num_classes}
    return entry(
        **{k: v for k, v in supplied.items() if k in inspect.signature(entry).parameters}, **options
    )


def classifies(name):
    return any(
        size % 7 == 0 for p in loss_function(name, num_classes=7).parameters() for size in p.shape
    )


def batch(labels, spoof=None, step=0, utterances=2, dim=6):
    """All that a loss may read; in every group the first pair of utterances is of one session in even groups and of two in odd ones."""
    size = len(labels)
    session = torch.zeros(size, utterances, dtype=torch.int64)
    session[1::2, 1:2] = 1
    return with_real(
        {
            "label": torch.as_tensor(labels),
            "spoof": torch.as_tensor(spoof or [False] * size),
            "step": step,
            "target": embeddings(size, dim, seed=8),
            "other": embeddings(size, dim, seed=9),
            "session": session,
        }
    )


def embeddings(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def close(a, b, relative=1e-5):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) <= relative * np.linalg.norm(b) + 1e-6 * math.sqrt(b.size)


def reference_cases():
    for file in ("loss_clova.npz", "loss_ska_aamsoftmaxproto.npz", "loss_sasv2.npz"):
        for case in golden.load_cases(REFERENCE / file):
            # that one is a defect, corrected here
            if case.hparams["loss"] in LOSSES and not case.name.endswith("as_is_on_torch_2"):
                yield pytest.param(case, id=case.name)


@pytest.mark.parametrize("case", reference_cases())
def test_parity(case):
    options = {RENAMED.get(k, k): v for k, v in case.hparams["init"].items()}
    loss = loss_function(case.hparams["loss"], **options)
    golden.apply(loss, skip=case.skipped)
    golden.check_state(loss, case.state)
    x = torch.from_numpy(case.inputs[case.hparams["input"]]).requires_grad_()
    label = case.inputs["label"]
    spoof = label == 40 if case.hparams["loss"] == "sasv_e2e_v1" else np.zeros(len(label), bool)
    # drawn by Python's random there
    if "negative_index" in case.arrays:
        loss.negative_index = lambda distance, own: torch.from_numpy(case.arrays["negative_index"])
    out = loss(x if x.dim() == 3 else x.unsqueeze(1), batch(label, spoof.tolist()), pair)
    out["loss"].backward()
    assert close(out["loss"].item(), case.arrays["loss"])
    # prec1 is an EER there
    if "negative_index" not in case.arrays:
        assert out["acc"].item() == pytest.approx(case.arrays["prec1"].item(), abs=1e-4)
    assert close(x.grad.numpy(), case.arrays["grad_x"])
    for name, p in loss.named_parameters():
        assert close(p.grad.numpy(), case.arrays[f"grad:{name}"]), name


@pytest.mark.parametrize(
    "case", golden.load_cases(REFERENCE / "loss_dmha_amsoftmax.npz"), ids=lambda case: case.name
)
def test_annealing_parity(case):
    names = {
        "in_feats": "dim",
        "n_classes": "num_classes",
        "m": "margin",
        "s": "scale",
        "annealing": "annealing",
    }
    loss = loss_function("amsoftmax", **{names[k]: v for k, v in case.hparams["init"].items()})
    golden.apply(loss)
    golden.check_state(loss, case.state)
    x = torch.from_numpy(case.inputs["x"]).requires_grad_()
    step = case.hparams["step"]
    out = loss(x.unsqueeze(1), batch(case.inputs["label"], step=step), pair)
    out["loss"].backward()
    assert close(loss.cosine(x).detach().numpy(), case.arrays["costh"])
    assert close(out["loss"].item(), case.arrays["loss"])
    assert close(loss.margin_at(step) / case.hparams["init"]["m"], case.arrays["annealed_factor"])
    assert close(x.grad.numpy(), case.arrays["grad_x"]) and close(
        loss.W.grad.numpy(), case.arrays["grad_W"]
    )


def test_parity_of_the_prototypes_of_sasv():
    (case,) = [
        case
        for case in golden.load_cases(REFERENCE / "loss_sasv2.npz")
        if case.name == "angleproto_sasv"
    ]
    loss = loss_function("sasv_e2e_v1").angleproto_sasv
    golden.check_state(loss, [entry | {"filled": True} for entry in case.state])
    x, label = torch.from_numpy(case.inputs["x"]).requires_grad_(), case.inputs["label"]
    out = loss(x, batch(label, spoof=(label == 40).tolist()), pair)
    out["loss"].backward()
    assert (
        close(out["loss"].item(), case.arrays["loss"]) and out["acc"] == case.arrays["prec1"].item()
    )
    assert close(x.grad.numpy(), case.arrays["grad_x"]) and close(
        loss.w1.grad.numpy(), case.arrays["grad:w1"]
    )


@pytest.mark.parametrize("grouping", ["utterances of one speaker", "pairs"])
@pytest.mark.parametrize(
    "case", golden.load_cases(REFERENCE / "loss_dorika.npz"), ids=lambda case: case.name
)
def test_enhancement_parity(case, grouping):
    name, init = case.hparams["init"]["trainfunc"], case.hparams["init"]
    options = {"sigma": float(init["sigma"])} if "sigma" in init else {}
    loss = loss_function(
        VALUES["trainfunc"].get(name, name),
        dim=init["nOut"],
        num_classes=init["nClasses"],
        **options,
    )
    # its one layer has a name of two parts there
    published = nn.ModuleDict({"softmax": loss}) if name == "Softmax" else loss
    golden.apply(published)
    golden.check_state(published, case.state)
    key = "feat" if options else "x"
    x = torch.from_numpy(case.inputs[key]).requires_grad_()
    data = {"label": torch.from_numpy(case.inputs["label"]), "step": 0}
    # rows 2i, 2i + 1 are a pair, of one session before cut_idx
    if options:
        session = torch.arange(len(x))
        session[1 : int(case.inputs["cut_idx"]) : 2] -= 1
        shape = (1, -1) if grouping == "utterances of one speaker" else (-1, 2)
        session, rep = session.view(shape), x.unflatten(0, shape)
        data |= {
            "session": session,
            "target": torch.from_numpy(case.inputs["mult_one"]).expand(len(rep), -1),
        }
    else:
        rep = x.unsqueeze(1)
        data |= {
            "target": torch.from_numpy(case.inputs["mult"]),
            "other": torch.from_numpy(case.inputs["mult_other"]),
        }
    out = loss(rep, with_real(data | {"spoof": torch.zeros(len(rep), dtype=torch.bool)}), pair)
    out["loss"].backward()
    assert close(out["loss"].item(), case.arrays["loss"])
    assert close(x.grad.numpy(), case.arrays["grad_x"])
    if "prec" in case.arrays:
        assert close(out["loss_mmd" if options else "acc"].item(), case.arrays["prec"].item())
    for entry, p in published.named_parameters():
        assert close(p.grad.numpy(), case.arrays[f"grad:{entry}"]), entry
    # softmax is compared by cosine here
    if name != "Softmax":
        assert loss.linear == bool(case.arrays["test_normalize"])


@pytest.mark.parametrize(
    "case", golden.load_cases(REFERENCE / "score_dorika.npz"), ids=lambda case: case.name
)
def test_scores_of_enhanced_embeddings(case):
    """The distances that are meant; those that the reference returns run over an axis of length 1."""
    name, flag = case.hparams["init"]["trainfunc"], case.hparams["flag"]
    trials, reps = (
        torch.from_numpy(case.arrays["trials"]),
        torch.from_numpy(case.arrays["processed_embedding"]),
    )
    # minus (1 - cosine) there, whatever was trained
    name = "CS" if flag == "C" else name
    score = getattr(loss_function(name), "similarity" if flag == "C" else "euclidean")
    got = torch.stack(
        [score(*pair(reps[a, None], reps[b, None]))[0, 0] for _, a, b in trials]
    ) - int(flag == "C")
    assert close(got.numpy(), case.arrays["score_intended_not_reference"])


# ---------------------------------------------------------------------- the contract
@pytest.mark.parametrize("name", LOSSES)
def test_returns_a_scalar_whose_gradient_reaches_everything(name):
    loss = loss_function(name)
    x = embeddings(4, 3, 6)
    # all mistaken: no hinge is at rest
    x[:, 0] = x[:, 1:].mean(1).roll(1, 0)
    x.requires_grad_()
    out = loss(x, batch([3, 0, 4, 1], utterances=3), pair)
    assert out["loss"].shape == () and out["loss"].isfinite()
    assert all(
        value.shape == () and not value.requires_grad
        for term, value in out.items()
        if term != "loss"
    )
    # negatives may be drawn
    for _ in range(20):
        loss(x, batch([3, 0, 4, 1], utterances=3), pair)["loss"].backward()
    assert all(row.any() for row in x.grad.flatten(0, 1))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in loss.parameters())


@pytest.mark.parametrize("name", sorted({*LOSSES} - {*WITH_PROTOTYPES}))
def test_gradient_of_single_utterances_reaches_every_parameter(name):
    loss = loss_function(name)
    loss(embeddings(4, 1, 6).requires_grad_(), batch([3, 0, 4, 1], utterances=1), pair)[
        "loss"
    ].backward()
    assert all(p.grad is not None for p in loss.parameters())


@pytest.mark.parametrize("name", LOSSES)
def test_gradient_steps_tell_the_speakers_apart(name):
    loss = loss_function(name)
    # as much alike as those of a fresh network
    x = (embeddings(5, 2, 6) + 1.0).requires_grad_()
    optimizer = torch.optim.Adam([x, *loss.parameters()], 0.05)
    values = []
    for _ in range(100):
        optimizer.zero_grad()
        out = loss(x, batch(list(range(5))), pair)
        out["loss"].backward()
        optimizer.step()
        values.append(out["loss"].item())
    assert values[-1] < 0.1 * values[0] and out.get("acc", 100) == 100


@pytest.mark.parametrize("name", LOSSES)
def test_similarity_of_all_pairs_is_that_of_each_pair(name):
    loss = loss_function(name)
    ref, qry = embeddings(3, 6), embeddings(4, 6, seed=1)
    for method in (loss.similarity, loss.euclidean):
        matrix = method(*pair(ref, qry))  # [Q, R]
        # what a pairwise pooling would give
        full = method(ref.expand(4, 3, 6), qry.unsqueeze(1).expand(4, 3, 6))
        each = torch.stack(
            [torch.stack([method(*pair(r[None], q[None]))[0, 0] for r in ref]) for q in qry]
        )
        assert (
            matrix.shape == (4, 3)
            and torch.allclose(matrix, each, atol=1e-5)
            and torch.allclose(full, each, atol=1e-5)
        )
        assert torch.equal(method(*pair(qry, qry)).argmax(1), torch.arange(4))
    # crops may be averaged before the product
    if loss.linear:
        crops = torch.stack(
            [loss.similarity(*pair(a, b)).mean() for a in ref.split(1) for b in qry.split(1)]
        ).mean()
        assert torch.allclose(
            loss.project(ref).mean(0) @ loss.project(qry).mean(0), crops, atol=1e-6
        )


@pytest.mark.parametrize("name", filter(classifies, LOSSES))
def test_classification_wants_embeddings(name):
    with pytest.raises(ValueError, match=r"--encoder_type.*"):
        loss_function(name)(embeddings(2, 2, 6, 9), batch([0, 1]), pair)


@pytest.mark.parametrize("name", LOSSES)
def test_spoofed_speech_is_a_class_or_told_apart_or_refused(name):
    loss, x = loss_function(name), embeddings(4, 2, 6)

    def value(*spoof):
        torch.manual_seed(0)
        return loss(x, batch([0, 1, 4, 4], spoof), pair)["loss"].item()

    plain = value(False, False, False, False)
    try:
        assert value(False, False, True, True) != plain or classifies(name)
    except ValueError as error:
        assert "spoofed speech" in str(error)


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
    assert torch.allclose(
        loss.similarity(*pair(ref, qry)), -torch.cdist(qry, ref).square(), atol=1e-4
    )
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
def test_every_margin_follows_the_schedule(name):
    x, labels = embeddings(4, 2, 6), [3, 0, 4, 1]

    def value(step, **options):
        return loss_function(name, **options)(x, batch(labels, step=step), pair)["loss"].item()

    linear = {
        "margin": 0.4,
        "margin_start": 0.1,
        "margin_from": 10,
        "margin_until": 20,
        "margin_growth": "linear",
    }
    for step, margin in ((0, 0.1), (10, 0.1), (15, 0.25), (20, 0.4), (99, 0.4)):
        assert value(step, **linear) == pytest.approx(value(0, margin=margin), rel=1e-5), step
    assert value(15, **linear | {"margin_growth": "exponential"}) == pytest.approx(
        value(0, margin=0.4 - 0.3 * 1e-3**0.5), rel=1e-5
    )
    assert value(0, margin=0.4) > value(0, margin=0.2) > value(0, margin=0.0)
    with pytest.raises(ValueError, match="want 0 <= margin_from <= margin_until"):
        loss_function(name, margin_from=5)


@pytest.mark.parametrize("growth", ["exponential", "linear"])
def test_schedule_of_the_margin(growth):
    margin = Schedule(0.2, 0.0, 1000, 2000, growth)
    assert [margin(step) for step in (0, 999, 1000, 2000, 10**6)] == [0.0, 0.0, 0.0, 0.2, 0.2]
    for step in range(1000, 2000, 37):
        x = (step - 1000) / 1000
        assert margin(step) == pytest.approx(
            0.2 * (x if growth == "linear" else 1 - math.exp(x * math.log(1e-3)))
        )
    # no jump at the end
    assert margin(1999) == pytest.approx(0.2, abs=5e-4)
    assert Schedule(0.2, 0.0, 0, 0, growth)(0) == 0.2
    jump = Schedule(0.2, 0.1, 5, 5, growth)
    assert [jump(step) for step in (4, 5)] == [0.1, 0.2]


def test_angles_with_a_margin():
    angle = torch.linspace(0.001, math.pi - 0.001, 2001, dtype=torch.float64)
    for margin in (0.0, 0.06, 0.2, 0.5):
        wider, nearer = add_margin(angle.cos(), margin), subtract_margin(angle.cos(), margin)
        inside = angle + margin < math.pi
        torch.testing.assert_close(wider[inside], (angle + margin).cos()[inside])
        torch.testing.assert_close(
            wider[~inside], angle.cos()[~inside] - (1 + math.cos(math.pi - margin))
        )
        torch.testing.assert_close(nearer[angle > margin], (angle - margin).cos()[angle > margin])
        # continuous, and falling all the way
        for curve in (wider, nearer):
            assert (curve.diff() < 0).all() and (curve.diff() > -0.002).all()


@pytest.mark.parametrize(
    "options",
    [
        {"name": "aamsoftmax"},
        {"name": "aamsoftmax_subcenter"},
        {"name": "sphereface2"},
        {"name": "sphereface2", "margin_type": "A"},
    ],
    ids=lambda options: "-".join(options.values()),
)
@pytest.mark.parametrize("sign", [1, -1])
def test_embedding_on_or_against_its_class_vector_has_a_finite_gradient(options, sign):
    loss = loss_function(dim=2, num_classes=3, **options)
    with torch.no_grad():
        loss.weight[:] = torch.tensor([2.0 * sign, 0.0])
    x = torch.tensor([[[3.0, 0.0]]], requires_grad=True)
    loss(x, batch([1]), pair)["loss"].backward()
    assert x.grad.isfinite().all() and loss.weight.grad.isfinite().all()


@pytest.mark.parametrize(
    "options", [{}, {"k_top": 0}, {"k_top": 50, "margin": 0.4}, {"subcenters": 1, "margin": 0.0}]
)
def test_subcenters_and_the_nearest_wrong_speakers_by_a_loop(options):
    """Class by class and angle by angle, as the paper defines it."""
    loss, x, labels = (
        loss_function("aamsoftmax_subcenter", num_classes=9, **options),
        embeddings(5, 2, 6),
        [0, 8, 3, 3, 5],
    )
    # far from its own speaker
    x[0, 0] = -10 * loss.weight.detach().unflatten(0, (9, -1))[0].sum(0)
    settings = {"k_top": 5, "margin": 0.2, "subcenters": 3} | options
    margin, k, values = settings["margin"], settings["subcenters"], []
    for embedding, label in zip(x.flatten(0, 1), np.repeat(labels, 2), strict=True):
        cos = [
            max(
                F.cosine_similarity(embedding, w, 0).item()
                for w in loss.weight[c * k : (c + 1) * k]
            )
            for c in range(9)
        ]
        nearest = sorted((c for c in range(9) if c != label), key=lambda c: -cos[c])[
            : settings["k_top"]
        ]
        logit = [
            math.cos(math.acos(cos[c]) - 0.06 * margin / 0.2) if c in nearest else cos[c]
            for c in range(9)
        ]
        far = cos[label] <= math.cos(math.pi - margin)
        logit[label] = (
            cos[label] - (1 + math.cos(math.pi - margin))
            if far
            else math.cos(math.acos(cos[label]) + margin)
        )
        values.append(F.cross_entropy(32 * torch.tensor(logit), torch.tensor(label)).item())
    assert loss(x, batch(labels), pair)["loss"].item() == pytest.approx(np.mean(values), rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"margin_type": "A", "margin": 0.15},
        {"positive_weight": 0.5, "exponent": 1.5, "scale": 8.0, "margin": 0.0},
    ],
)
def test_sphereface2_by_a_loop(options):
    loss, x, labels = loss_function("sphereface2", **options), embeddings(4, 2, 6), [3, 0, 4, 1]
    nn.init.constant_(loss.bias, 0.7)
    settings = {
        "margin_type": "C",
        "margin": 0.2,
        "positive_weight": 0.7,
        "exponent": 3.0,
        "scale": 32.0,
    } | options
    m, r, weight, total = settings["margin"], settings["scale"], settings["positive_weight"], 0.0

    def g(z):
        return 2 * ((z + 1) / 2) ** settings["exponent"] - 1

    for embedding, label in zip(x.flatten(0, 1), np.repeat(labels, 2), strict=True):
        for c, w in enumerate(loss.weight):
            angle, sign = (
                math.acos(F.cosine_similarity(embedding, w, 0).item()),
                1 if c == label else -1,
            )
            z = (
                g(math.cos(angle)) - sign * m
                if settings["margin_type"] == "C"
                else g(math.cos(angle + sign * m))
            )
            total += (weight if c == label else 1 - weight) * math.log1p(
                math.exp(-sign * (r * z + 0.7))
            )
    assert loss(x, batch(labels), pair)["loss"].item() == pytest.approx(total / 8, rel=1e-5)


def test_composed_losses_add_up():
    x, labels = embeddings(4, 2, 6), [3, 0, 4, 1]
    for name in ("softmaxproto", "aamsoftmaxproto", "sasv_e2e_v1"):
        loss = loss_function(name)
        out = loss(x, batch(labels), pair)
        assert out["loss"].item() == pytest.approx(
            out["loss_softmax"].item() + out["loss_proto"].item(), rel=1e-6
        )
        assert out["loss_proto"].item() == pytest.approx(
            loss_function("angleproto")(x, batch(labels), pair)["loss"].item(), rel=1e-6
        )


@pytest.mark.parametrize("head", ["ocsoftmax", "sigmoid"])
def test_two_tasks_by_a_loop(head):
    """Speakers of real speech alone, and every utterance real or spoofed."""
    loss, x = (
        loss_function("sasv_multitask", spoof_head=head, spoof_weight=0.7, fusion=0.3),
        embeddings(4, 2, 6),
    )
    out, real = loss(x, batch([3, 4, 0, 4], [False, True, False, True]), pair), x[[0, 2]]
    speakers = (
        loss.speakers(real, batch([3, 0]), pair)["loss"]
        + loss_function("angleproto")(real, batch([3, 0]), pair)["loss"]
    )
    terms = []
    for group, spoofed in zip(x, (False, True, False, True), strict=True):
        for embedding in group:
            cos = F.cosine_similarity(embedding, loss.direction[0], 0).item()
            z = 20 * (cos if head == "sigmoid" else cos - (0.2 if spoofed else 0.9))
            terms.append(math.log1p(math.exp(z if spoofed else -z)))
    assert out["loss_spoof"].item() == pytest.approx(np.mean(terms), rel=1e-4)
    assert out["loss"].item() == pytest.approx(speakers.item() + 0.7 * np.mean(terms), rel=1e-4)
    assert loss.bonafide(x)[1, 0].item() == pytest.approx(
        F.cosine_similarity(x[1, 0], loss.direction[0], 0).item(), abs=1e-6
    )
    with pytest.raises(ValueError, match="wants some in every batch: set --num_spk"):
        loss(x, batch([4] * 4, [True] * 4), pair)


# ---------------------------------------------------------------------- mining of negatives
def distances(x):
    """x [B, 2, D] -> squared distances [anchor, positive or negative]."""
    return torch.cdist(F.normalize(x[:, 0], dim=1), F.normalize(x[:, 1], dim=1)).square()


@pytest.mark.parametrize(
    "case",
    [
        case
        for case in golden.load_cases(REFERENCE / "loss_clova.npz")
        if case.hparams["loss"] == "triplet"
    ],
    ids=lambda case: case.name,
)
def test_negatives_of_the_reference_can_be_drawn(case):
    loss, index = (
        loss_function("triplet", **case.hparams["init"]),
        torch.from_numpy(case.arrays["negative_index"]),
    )
    distance = distances(torch.from_numpy(case.inputs["x_n2_hard"]))
    chances = loss.chances(distance, torch.arange(8))
    # reference may take the positive for a negative
    taken = index != torch.arange(8)
    assert (chances[torch.arange(8), index] > 0)[taken].all()
    if (loss.hard_prob, loss.hard_rank) == (1, 0):
        assert torch.equal(chances.argmax(1), index) and torch.equal(
            (chances > 0).sum(1), torch.ones(8, dtype=torch.int64)
        )


def test_chances_of_hard_negatives():
    distance = torch.tensor([[0.5, 0.9, 0.1, 0.4, 0.7], [0.3, 0.2, 0.8, 0.6, 0.1]])
    own = torch.tensor([0, 3])
    chances = loss_function("triplet", hard_rank=1, hard_prob=0.6).chances(distance, own)
    any_one, hard = 0.4 / 4, 0.4 / 4 + 0.6 / 2
    want = [[0, any_one, hard, hard, any_one], [any_one, hard, any_one, 0, hard]]
    torch.testing.assert_close(chances, torch.tensor(want))
    torch.testing.assert_close(
        loss_function("triplet", hard_rank=99, hard_prob=1.0).chances(distance, own)[0],
        torch.tensor([0, 1, 1, 1, 1]) / 4,
    )


def test_chances_of_semihard_negatives():
    distance = torch.tensor([[0.5, 0.55, 0.45, 0.58, 0.61], [0.9, 0.2, 0.8, 0.1, 0.7]])
    chances = loss_function("triplet", hard_rank=-1, margin=0.1).chances(
        distance, torch.tensor([0, 0])
    )
    # none in the second row: any of the others
    assert chances.tolist() == [[0, 1, 0, 1, 0], [0, 1, 1, 1, 1]]


def test_negatives_are_drawn_from_the_generator_that_checkpoints_hold():
    loss, distance = loss_function("triplet"), distances(embeddings(50, 2, 6))
    state = torch.get_rng_state()
    first, second = (loss.negative_index(distance, torch.arange(50)) for _ in range(2))
    torch.set_rng_state(state)
    assert torch.equal(first, loss.negative_index(distance, torch.arange(50))) and not torch.equal(
        first, second
    )
    with pytest.raises(ValueError, match="--batch_size"):
        loss(embeddings(1, 2, 6), batch([0]), pair)
    with pytest.raises(ValueError, match="--hard_prob"):
        loss_function("triplet", hard_prob=1.5)


# ---------------------------------------------------------------------- ge2e, enhancement
def test_ge2e_by_a_loop():
    loss, x, spoof = loss_function("ge2e"), embeddings(4, 3, 6), [False, True, False, False]
    values = []
    # spoofed utterances are no queries
    for i in (0, 2, 3):
        for m in range(3):
            centroids = x.mean(1)
            centroids[i] = x[i, [n for n in range(3) if n != m]].mean(0)
            logit = 10 * F.cosine_similarity(x[i, m], centroids).clamp(min=1e-6) - 5
            values.append(F.cross_entropy(logit, torch.tensor(i)))
    assert torch.allclose(
        loss(x, batch([0, 1, 2, 3], spoof), pair)["loss"], torch.stack(values).mean(), atol=1e-5
    )
    with pytest.raises(ValueError, match="--encoder_type"):
        loss(embeddings(4, 3, 6, 9), batch([0, 1, 2, 3]), pair)


READING = [name for name in LOSSES if loss_function(name).reads]


@pytest.mark.parametrize("name", READING)
def test_what_the_data_do_not_bring_along_is_named(name):
    loss, full = loss_function(name), batch([0, 1])
    for key in loss.reads:
        with pytest.raises(ValueError, match=f"--trainfunc: this loss wants {key}"):
            loss(embeddings(2, 2, 6), {k: v for k, v in full.items() if k != key}, pair)
    with pytest.raises(ValueError, match="wants embeddings of 6 numbers"):
        loss(embeddings(2, 2, 5), full, pair)


@pytest.mark.parametrize("name", ["DA", "DA_MSE"])
def test_pairs_of_sessions(name):
    """Sessions of one kind alone have no discrepancy; an utterance without a partner counts for the target alone; sigma must be a width."""
    loss, x, data = loss_function(name), embeddings(3, 5, 6), batch([0, 1, 2], utterances=5)
    mmd = loss(x, data, pair)["loss_mmd"]
    assert mmd > 0 and torch.equal(
        mmd, loss(torch.cat([x[:, :4], 9 * x[:, 4:]], 1), data, pair)["loss_mmd"]
    )
    assert loss(x, data | {"session": torch.zeros(3, 5)}, pair)["loss_mmd"] == 0
    with pytest.raises(ValueError, match="--sigma"):
        loss_function(name, sigma=0.0)
