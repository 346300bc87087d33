"""Losses against the reference implementations, and the contract of every file in loss/.

The contract tests run over all files of the folder. A new loss needs no new line here.

pytest tests/test_losses.py
"""

import dataclasses
import functools
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
from loss._margin import MarginSettings, add_margin, subtract_margin
from models import SpeakerModel
from network.parameter_groups import parameter_groups_of
from options import VALUES
from options.plugins import help_texts, options_of

ROOT = Path(__file__).parent.parent
REFERENCE = Path(__file__).with_name("reference")
LOSSES = [path.stem for path in sorted((ROOT / "loss").glob("[!_]*.py"))]
# Names of parameters in the fixtures -> names here.
RENAMED = {"nOut": "dim", "num_out": "dim", "nClasses": "num_classes", "num_class": "num_classes"}
STEPS_PER_EPOCH = 5
pair = SpeakerModel().pair


def loss_class(name):
    return importlib.import_module(f"loss.{name}").LossFunction


def loss_function(name, dim=6, num_classes=5, **options):
    """Makes a loss from its options by name, as the program does."""
    torch.manual_seed(0)
    entry = loss_class(name)
    supplied = {"dim": dim, "num_classes": num_classes}
    arguments = dict(options)
    for parameter in inspect.signature(entry).parameters.values():
        if parameter.name in supplied:
            arguments[parameter.name] = supplied[parameter.name]
        elif dataclasses.is_dataclass(parameter.default):
            changes = {}
            for field in dataclasses.fields(parameter.default):
                if field.name in options:
                    changes[field.name] = arguments.pop(field.name)
            arguments[parameter.name] = dataclasses.replace(parameter.default, **changes)
    return entry(**arguments)


def option_names(name):
    return [option.name for option in options_of("trainfunc", name)]


def classifies(name):
    """Whether the loss has a parameter whose size grows with the number of classes."""
    sizes = []
    for parameter in loss_function(name, num_classes=7).parameters():
        sizes += parameter.shape
    return any(size % 7 == 0 for size in sizes)


COMPARING = [name for name in LOSSES if loss_class(name).min_utterances > 1]
READING = [name for name in LOSSES if loss_class(name).reads]
ENHANCING = [name for name in LOSSES if "target" in loss_class(name).reads]
ALIGNING_SESSIONS = [name for name in LOSSES if "session" in loss_class(name).reads]
COMPARING_SPEAKERS = [name for name in LOSSES if loss_class(name).compares_speakers]
WITH_MARGIN = [name for name in LOSSES if "margin_until" in option_names(name)]


def batch(labels, spoof=None, step=0, utterances=2, dim=6):
    """A batch with every entry that a loss may read.

    In even groups the first two utterances are from one session, in odd groups from two sessions.
    """
    size = len(labels)
    session = torch.zeros(size, utterances, dtype=torch.int64)
    session[1::2, 1:2] = 1
    return with_real(
        {
            "label": torch.as_tensor(labels),
            "spoof": torch.as_tensor(spoof or [False] * size),
            "step": step,
            "epoch": step / STEPS_PER_EPOCH,
            "target": embeddings(size, dim, seed=8),
            "other": embeddings(size, dim, seed=9),
            "session": session,
        }
    )


def embeddings(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def close(a, b, relative=1e-5):
    a = np.asarray(a, np.float64)
    b = np.asarray(b, np.float64)
    return np.linalg.norm(a - b) <= relative * np.linalg.norm(b) + 1e-6 * math.sqrt(b.size)


# ---------------------------------------------------------------------- references
def reference_cases():
    for file in ("loss_clova.npz", "loss_ska_aamsoftmaxproto.npz", "loss_sasv2.npz"):
        for case in golden.load_cases(REFERENCE / file):
            # The cases "as_is_on_torch_2" hold a defect of the reference, which is corrected here.
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
    # The reference draws negatives with Python's random module. Use its indices.
    if "negative_index" in case.arrays:
        loss.negative_index = lambda distance, own: torch.from_numpy(case.arrays["negative_index"])
    out = loss(x if x.dim() == 3 else x.unsqueeze(1), batch(label, spoof.tolist()), pair)
    out["loss"].backward()
    assert close(out["loss"].item(), case.arrays["loss"])
    # For the triplet loss, prec1 of the reference is an EER.
    if "negative_index" not in case.arrays:
        assert out["acc"].item() == pytest.approx(case.arrays["prec1"].item(), abs=1e-4)
    assert close(x.grad.numpy(), case.arrays["grad_x"])
    for name, p in loss.named_parameters():
        assert close(p.grad.numpy(), case.arrays[f"grad:{name}"]), name


def wespeaker_loss(case):
    """Returns our loss for a case of wespeaker's losses."""
    init = dict(case.hparams["init"])
    classes = {
        "ArcMarginProduct": "aamsoftmax",
        "AddMarginProduct": "amsoftmax",
        "SphereFace2": "sphereface2",
        "ArcMarginProduct_intertopk_subcenter": "aamsoftmax_subcenter",
        "HyperbolicAMSoftmax": "hamsoftmax",
    }
    updated = case.hparams["update_margin"]
    options = {
        "dim": init["in_features"],
        "num_classes": init["out_features"],
    }
    if updated is not None:
        init["margin"] = updated
    names = {
        "scale": "scale",
        "margin": "margin",
        "easy_margin": "easy_margin",
        "lanbuda": "positive_weight",
        "t": "exponent",
        "margin_type": "margin_type",
        "K": "subcenters",
        "k_top": "k_top",
        "mp": "inter_margin",
    }
    name = classes[case.hparams["loss"]]
    for theirs, ours in names.items():
        if theirs in init and ours in option_names(name):
            options[ours] = init[theirs]
    if name == "aamsoftmax_subcenter" and (init.get("do_lm") or updated is None):
        # wespeaker has no penalty before the first call of its update().
        options["k_top"] = 0
    return loss_function(name, **options)


def wespeaker_cases():
    for case in golden.load_cases(REFERENCE / "loss_wespeaker.npz"):
        yield pytest.param(case, id=case.name)


@pytest.mark.parametrize("case", wespeaker_cases())
def test_parity_with_wespeaker(case):
    loss = wespeaker_loss(case)
    weight = torch.from_numpy(golden.fill("weight", case.arrays["grad:weight"].shape))
    ours = loss.W if hasattr(loss, "W") else loss.weight
    transposed = ours is not getattr(loss, "weight", None)
    with torch.no_grad():
        ours.copy_(weight.t() if transposed else weight)
    x = torch.from_numpy(case.inputs["x"]).requires_grad_()
    out = loss(x.unsqueeze(1), batch(case.inputs["label"]), pair)
    out["loss"].backward()
    assert close(out["loss"].item(), case.arrays["loss"])
    assert close(x.grad.numpy(), case.arrays["grad_x"])
    gradient = ours.grad.t() if transposed else ours.grad
    assert close(gradient.numpy(), case.arrays["grad:weight"])
    if "grad:bias" in case.arrays:
        assert close(loss.bias.grad.numpy(), case.arrays["grad:bias"].squeeze())


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
    assert close(
        loss.margin_of({"step": step}) / case.hparams["init"]["m"], case.arrays["annealed_factor"]
    )
    assert close(x.grad.numpy(), case.arrays["grad_x"])
    assert close(loss.W.grad.numpy(), case.arrays["grad_W"])


def test_parity_of_the_prototypes_of_sasv():
    cases = golden.load_cases(REFERENCE / "loss_sasv2.npz")
    (case,) = [case for case in cases if case.name == "angleproto_sasv"]
    loss = loss_function("sasv_e2e_v1").angleproto_sasv
    golden.check_state(loss, [entry | {"filled": True} for entry in case.state])
    x = torch.from_numpy(case.inputs["x"]).requires_grad_()
    label = case.inputs["label"]
    out = loss(x, batch(label, spoof=(label == 40).tolist()), pair)
    out["loss"].backward()
    assert close(out["loss"].item(), case.arrays["loss"])
    assert out["acc"] == case.arrays["prec1"].item()
    assert close(x.grad.numpy(), case.arrays["grad_x"])
    assert close(loss.w1.grad.numpy(), case.arrays["grad:w1"])


@pytest.mark.parametrize("grouping", ["utterances of one speaker", "pairs"])
@pytest.mark.parametrize(
    "case", golden.load_cases(REFERENCE / "loss_dorika.npz"), ids=lambda case: case.name
)
def test_enhancement_parity(case, grouping):
    init = case.hparams["init"]
    name = init["trainfunc"]
    options = {"sigma": float(init["sigma"])} if "sigma" in init else {}
    loss = loss_function(
        VALUES["trainfunc"].get(name, name),
        dim=init["nOut"],
        num_classes=init["nClasses"],
        **options,
    )
    # In the reference, the name of the one layer of this loss has two parts.
    published = nn.ModuleDict({"softmax": loss}) if name == "Softmax" else loss
    golden.apply(published)
    golden.check_state(published, case.state)
    key = "feat" if options else "x"
    x = torch.from_numpy(case.inputs[key]).requires_grad_()
    rep, data = enhancement_batch(case, x, grouping if options else "single utterances")
    out = loss(rep, data, pair)
    out["loss"].backward()
    assert close(out["loss"].item(), case.arrays["loss"])
    assert close(x.grad.numpy(), case.arrays["grad_x"])
    if "prec" in case.arrays:
        assert close(out["loss_mmd" if options else "acc"].item(), case.arrays["prec"].item())
    for entry, p in published.named_parameters():
        assert close(p.grad.numpy(), case.arrays[f"grad:{entry}"]), entry
    # Here softmax scores by the cosine, in the reference by the Euclidean distance.
    if name != "Softmax":
        assert loss.linear == bool(case.arrays["test_normalize"])


def enhancement_batch(case, x, grouping):
    """Returns (representations [B, M, D], batch) of a case, whose inputs are rows x [n, D]."""
    data = {"label": torch.from_numpy(case.inputs["label"]), "step": 0}
    if grouping == "single utterances":
        rep = x.unsqueeze(1)
        data["target"] = torch.from_numpy(case.inputs["mult"])
        data["other"] = torch.from_numpy(case.inputs["mult_other"])
    else:
        # Rows 2i and 2i + 1 are a pair. Pairs before row cut_idx are from one session.
        session = torch.arange(len(x))
        session[1 : int(case.inputs["cut_idx"]) : 2] -= 1
        shape = (1, -1) if grouping == "utterances of one speaker" else (-1, 2)
        rep = x.unflatten(0, shape)
        data["session"] = session.view(shape)
        data["target"] = torch.from_numpy(case.inputs["mult_one"]).expand(len(rep), -1)
    return rep, with_real(data | {"spoof": torch.zeros(len(rep), dtype=torch.bool)})


@pytest.mark.parametrize(
    "case", golden.load_cases(REFERENCE / "score_dorika.npz"), ids=lambda case: case.name
)
def test_scores_of_enhanced_embeddings(case):
    """The expected values are the intended distances.

    The distances that the reference returns run over an axis of length 1.
    """
    flag = case.hparams["flag"]
    trials = torch.from_numpy(case.arrays["trials"])
    reps = torch.from_numpy(case.arrays["processed_embedding"])
    # With flag C the reference scores by minus (1 - cosine) for every loss.
    name = "CS" if flag == "C" else case.hparams["init"]["trainfunc"]
    score = getattr(loss_function(name), "similarity" if flag == "C" else "euclidean")
    scores = []
    for _, a, b in trials:
        scores.append(score(*pair(reps[a, None], reps[b, None]))[0, 0])
    got = torch.stack(scores) - int(flag == "C")
    assert close(got.numpy(), case.arrays["score_intended_not_reference"])


# ---------------------------------------------------------------------- the contract
@pytest.mark.parametrize("name", LOSSES)
def test_returns_a_scalar_whose_gradient_reaches_everything(name):
    loss = loss_function(name)
    x = embeddings(4, 3, 6)
    # Every utterance resembles a wrong speaker, so no hinge loss is 0.
    x[:, 0] = x[:, 1:].mean(1).roll(1, 0)
    x.requires_grad_()
    out = loss(x, batch([3, 0, 4, 1], utterances=3), pair)
    assert out["loss"].shape == () and out["loss"].isfinite(), (
        f"loss/{name}.py: forward() must return a finite scalar as 'loss', got {out['loss']}"
    )
    for term, value in out.items():
        if term != "loss":
            assert value.shape == () and not value.requires_grad, (
                f"loss/{name}.py: the term {term!r} must be a scalar without gradient: "
                "call .mean() and .detach()"
            )
    # Some losses draw negatives at random, so one call may not use every utterance.
    for _ in range(20):
        loss(x, batch([3, 0, 4, 1], utterances=3), pair)["loss"].backward()
    for number, row in enumerate(x.grad.flatten(0, 1)):
        assert row.any(), (
            f"loss/{name}.py: utterance {number} of 12 gets no gradient: "
            "use every utterance in forward(), and do not detach the representations"
        )
    check_gradients(name, loss)


def check_gradients(name, loss):
    for parameter, p in loss.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), (
            f"loss/{name}.py: the parameter {parameter} gets no gradient, or one that is not "
            "finite: use it in every forward(), multiplied by 0 if need be, because several "
            "processes wait for the gradients of all parameters"
        )


def refusal(name, utterances):
    """Returns the message with which a loss refuses groups of this size, or "" if it accepts them.

    Without a refusal, the gradient of the loss has been computed. Returns the loss too.
    """
    loss = loss_function(name)
    x = embeddings(4, utterances, 6).requires_grad_()
    try:
        loss(x, batch([3, 0, 4, 1], utterances=utterances), pair)["loss"].backward()
    except ValueError as error:
        return loss, str(error)
    return loss, ""


@pytest.mark.parametrize("name", LOSSES)
def test_the_least_number_of_utterances_is_enough_for_every_gradient(name):
    least = loss_class(name).min_utterances
    loss, message = refusal(name, least)
    assert not message, (
        f"loss/{name}.py declares min_utterances = {least} but refuses {least} utterance(s) per "
        f"speaker: set the class attribute min_utterances to what the loss needs. It said: "
        f"{message}"
    )
    check_gradients(name, loss)


@pytest.mark.parametrize("name", COMPARING)
def test_fewer_utterances_than_declared_are_refused(name):
    least = loss_class(name).min_utterances
    loss, message = refusal(name, least - 1)
    assert f"Add --nPerSpeaker {least}." in message, (
        f"loss/{name}.py declares min_utterances = {least}: with {least - 1} utterance(s) per "
        "speaker, forward() must raise ValueError with the text of too_few_utterances(): call "
        f"require_pairs(rep) first. It said: {message or 'nothing'}"
    )


def options_of_all_parts(name):
    """Options with which a loss has every part that it can have."""
    parts = {"global_clf": True, "pre_layer": True, "spoof_head": "sigmoid"}
    return {option: value for option, value in parts.items() if option in option_names(name)}


@pytest.mark.parametrize("name", LOSSES)
def test_the_classifier_is_known(name):
    """--head_weight_decay applies to all weights that have a row for every class."""
    options = options_of_all_parts(name)
    loss = loss_function(name, num_classes=5, **options)
    more = dict(loss_function(name, num_classes=6, **options).named_parameters())
    head = loss.classifier_parameters()
    for parameter, p in loss.named_parameters():
        of_classes = p.shape != more[parameter].shape
        assert not of_classes or any(p is other for other in head), (
            f"loss/{name}.py: the parameter {parameter} depends on the number of classes: name it "
            "in the class attribute `classifier`"
        )
    assert bool(head) == any(p.shape != more[n].shape for n, p in loss.named_parameters()), (
        f"loss/{name}.py: `classifier` names parameters, but no weight has a row for every class"
    )


@pytest.mark.parametrize("name", LOSSES)
def test_every_parameter_is_in_one_group(name):
    loss = loss_function(name, **options_of_all_parts(name))
    for decay in (None, 0.1):
        groups = parameter_groups_of(SpeakerModel(), loss, decay)
        found = [id(p) for group in groups for p in group.parameters]
        assert sorted(found) == sorted(id(p) for p in loss.parameters()), (
            f"loss/{name}.py: parameter_groups() must name parameters of the loss, none of them "
            "twice"
        )
        assert [group.weight_decay for group in groups if group.name == "classifier"] in (
            [],
            [decay],
        )


@functools.cache
def trained_embeddings(name):
    """Trains embeddings [5, 2, 6] of 5 speakers and the loss by 100 updates.

    Returns the loss, the embeddings, the batch, the values of the loss, and the last terms.
    """
    loss = loss_function(name)
    # Like the embeddings of an untrained network, these are similar to each other.
    x = (embeddings(5, 2, 6) + 1.0).requires_grad_()
    data = batch(list(range(5)))
    optimizer = torch.optim.Adam([x, *loss.parameters()], 0.05)
    values = []
    for _ in range(100):
        optimizer.zero_grad()
        out = loss(x, data, pair)
        out["loss"].backward()
        optimizer.step()
        values.append(out["loss"].item())
    return loss.requires_grad_(False), x.detach(), data, values, out


@pytest.mark.parametrize("name", LOSSES)
def test_training_lowers_the_loss(name):
    _, _, _, values, out = trained_embeddings(name)
    assert values[0] > 0, (
        f"loss/{name}.py: the loss of untrained embeddings is {values[0]:.3g}, expected a positive "
        "number: check the sign of the loss"
    )
    assert values[-1] < 0.1 * values[0], (
        f"loss/{name}.py: 100 updates on 5 speakers lower the loss only from {values[0]:.3g} to "
        f"{values[-1]:.3g}: check that forward() returns a loss that falls as speakers separate"
    )
    assert out.get("acc", 100) == 100, (
        f"loss/{name}.py: after 100 updates on 5 speakers 'acc' is {out['acc']:.1f} %, expected "
        "100: check the sign of the loss, and that 'acc' is a percentage"
    )


@pytest.mark.parametrize("name", COMPARING_SPEAKERS)
def test_training_makes_utterances_of_one_speaker_more_similar(name):
    """The loss trains the similarity by which it scores."""
    loss, x, _, _, _ = trained_embeddings(name)
    flat = x.flatten(0, 1)
    similarity = loss.similarity(*pair(flat, flat))  # [10, 10]
    speaker = torch.arange(5).repeat_interleave(2)
    same_speaker = speaker[:, None] == speaker
    other_utterance = ~torch.eye(10, dtype=torch.bool)
    same = similarity[same_speaker & other_utterance].mean().item()
    different = similarity[~same_speaker].mean().item()
    assert same > different, (
        f"loss/{name}.py: after 100 updates two utterances of one speaker have the mean similarity "
        f"{same:.3g}, two of different speakers {different:.3g}; expected the first number to be "
        "higher: check the signs of the loss and of similarity()"
    )


@pytest.mark.parametrize("name", ENHANCING)
def test_training_moves_embeddings_to_their_own_targets(name):
    loss, x, data, _, _ = trained_embeddings(name)
    similarity = loss.similarity(*pair(data["target"], x.flatten(0, 1)))  # [10, 5]
    speaker = torch.arange(5).repeat_interleave(2)
    is_own = speaker[:, None] == torch.arange(5)
    for number, row in enumerate(similarity):
        own = row[is_own[number]].item()
        others = row[~is_own[number]].mean().item()
        assert own > others, (
            f"loss/{name}.py: after 100 updates the similarity of embedding {number} to its own "
            f"target is {own:.3g}, to the other targets {others:.3g} on average; expected the "
            "first number to be higher: check the sign of the terms that use batch['target']"
        )


@pytest.mark.parametrize("name", LOSSES)
def test_similarity_of_all_pairs_is_that_of_each_pair(name):
    loss = loss_function(name)
    ref = embeddings(3, 6)
    qry = embeddings(4, 6, seed=1)
    for scoring in ("similarity", "euclidean"):
        method = getattr(loss, scoring)
        matrix = method(*pair(ref, qry))  # [Q, R]
        # A pair-wise pooling gives tensors of this shape.
        full = method(ref.expand(4, 3, 6), qry.unsqueeze(1).expand(4, 3, 6))
        single = torch.empty(4, 3)
        for q in range(4):
            for r in range(3):
                single[q, r] = method(*pair(ref[r, None], qry[q, None]))[0, 0]
        advice = (
            f"loss/{name}.py: {scoring}() of tensors that broadcast to [Q, R, D] must return "
            "[Q, R], and each value must depend on its own pair alone"
        )
        assert matrix.shape == (4, 3), advice
        assert torch.allclose(matrix, single, atol=1e-5), advice
        assert torch.allclose(full, single, atol=1e-5), advice
        assert torch.equal(method(*pair(qry, qry)).argmax(1), torch.arange(4)), (
            f"loss/{name}.py: {scoring}() must be highest between equal embeddings: check its sign"
        )


@pytest.mark.parametrize("name", LOSSES)
def test_linear_similarity_is_a_product_of_mean_projections(name):
    """If a loss is linear, crops may be averaged before the product."""
    loss = loss_function(name)
    if not loss.linear:
        return
    ref = embeddings(3, 6)
    qry = embeddings(4, 6, seed=1)
    similarities = []
    for a in ref.split(1):
        for b in qry.split(1):
            similarities.append(loss.similarity(*pair(a, b)).mean())
    product = loss.project(ref).mean(0) @ loss.project(qry).mean(0)
    assert torch.allclose(product, torch.stack(similarities).mean(), atol=1e-6), (
        f"loss/{name}.py: similarity() is not the inner product of project(): set the attribute "
        "linear to False, or define project()"
    )


@pytest.mark.parametrize("name", LOSSES)
def test_frames_are_accepted_if_declared(name):
    """The attribute `pairwise` says whether a loss works with a pairwise pooling, such as CAP."""

    def pooled_pair(ref, qry):
        size = (len(qry), len(ref), 6)
        return ref.mean(-1).expand(size), qry.mean(-1).unsqueeze(1).expand(size)

    accepted = True
    try:
        loss_function(name)(embeddings(4, 2, 6, 9), batch([0, 1, 2, 3]), pooled_pair)
    except ValueError:
        accepted = False
    assert loss_class(name).pairwise == accepted, (
        f"loss/{name}.py: forward() {'accepts' if accepted else 'rejects'} the frames of a "
        f"pairwise pooling: set the class attribute pairwise to {accepted}"
    )


@pytest.mark.parametrize("name", filter(classifies, LOSSES))
def test_classification_requires_embeddings(name):
    with pytest.raises(ValueError, match=r"--encoder_type.*"):
        loss_function(name)(embeddings(2, 2, 6, 9), batch([0, 1]), pair)


@pytest.mark.parametrize("name", LOSSES)
def test_spoofed_speech_is_a_class_or_a_negative_or_refused(name):
    loss = loss_function(name)
    x = embeddings(4, 2, 6)

    def value(*spoof):
        torch.manual_seed(0)
        return loss(x, batch([0, 1, 4, 4], spoof), pair)["loss"].item()

    without_spoofed = value(False, False, False, False)
    try:
        with_spoofed = value(False, False, True, True)
    except ValueError as error:
        assert "spoofed speech" in str(error)
        return
    assert with_spoofed != without_spoofed or classifies(name), (
        f"loss/{name}.py ignores batch['spoof']: use it in forward(), or raise ValueError for "
        "batches with spoofed speech"
    )


# ---------------------------------------------------------------------- prototypes
@pytest.mark.parametrize("name", ["proto", "angleproto"])
def test_spoofed_groups_are_prototypes_and_never_queries(name):
    loss = loss_function(name)
    x = embeddings(4, 3, 6)
    spoof = [False, True, False, True]
    expected = []
    for i in (0, 2):
        logit = []
        for j in range(4):
            prototype = x[j, 1:].mean(0)
            query = x[i, 0]
            if name == "proto":
                logit.append(-(query - prototype).square().sum())
            else:
                logit.append(10.0 * F.cosine_similarity(query, prototype, 0) - 5.0)
        expected.append(F.cross_entropy(torch.stack(logit), torch.tensor(i)))
    got = loss(x, batch([0, 1, 2, 3], spoof), pair)["loss"]
    assert torch.allclose(got, torch.stack(expected).mean(), atol=1e-5)


def test_proto_scores_minus_the_squared_distance():
    loss = loss_function("proto")
    ref = embeddings(3, 6)
    qry = embeddings(4, 6, seed=1)
    distance = torch.cdist(qry, ref)
    assert torch.allclose(loss.similarity(*pair(ref, qry)), -distance.square(), atol=1e-4)
    assert torch.allclose(loss.euclidean(*pair(ref, qry)), -distance, atol=1e-4)
    assert not loss.linear


def test_euclidean_is_between_unit_vectors_for_cosine_losses():
    ref = embeddings(3, 6)
    qry = embeddings(4, 6, seed=1)
    want = -torch.cdist(F.normalize(qry), F.normalize(ref))
    assert torch.allclose(loss_function("angleproto").euclidean(*pair(ref, qry)), want, atol=1e-5)


def test_scale_of_angleproto_never_turns_negative():
    loss = loss_function("angleproto", init_w=-3.0)
    x = embeddings(4, 2, 6)
    assert loss(x, batch([0, 1, 2, 3]), pair)["loss"].item() == pytest.approx(math.log(4), abs=1e-4)


# ---------------------------------------------------------------------- margins
@pytest.mark.parametrize("name", WITH_MARGIN)
def test_every_margin_follows_the_schedule(name):
    x = embeddings(4, 2, 6)
    labels = [3, 0, 4, 1]

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
        assert value(step, **linear) == pytest.approx(value(0, margin=margin), rel=1e-5), (
            f"loss/{name}.py: at update {step} the margin must be {margin}: "
            "use settings.margin_of(batch)"
        )
        # 10 to 20 updates are 2 to 4 epochs.
        in_epochs = linear | {
            "margin_from": 0,
            "margin_until": 0,
            "margin_from_epoch": 2.0,
            "margin_until_epoch": 4.0,
        }
        assert value(step, **in_epochs) == value(step, **linear)
    assert value(15, **linear | {"margin_growth": "exponential"}) == pytest.approx(
        value(0, margin=0.4 - 0.3 * 1e-3**0.5), rel=1e-5
    )
    assert value(0, margin=0.4) > value(0, margin=0.2) > value(0, margin=0.0), (
        f"loss/{name}.py: a larger margin must give a larger loss: check the sign of the margin"
    )
    with pytest.raises(ValueError, match=r"at most --margin_until \(0\), found 5"):
        loss_function(name, margin_from=5)
    with pytest.raises(ValueError, match=r"at most --margin_until_epoch \(0.5\), found 0.6"):
        loss_function(name, margin_from_epoch=0.6, margin_until_epoch=0.5)
    with pytest.raises(ValueError, match="found both: updates 0 to 20 and epochs 1.5 to 2"):
        loss_function(name, margin_until=20, margin_from_epoch=1.5, margin_until_epoch=2.0)


@pytest.mark.parametrize("name", WITH_MARGIN)
def test_a_growing_margin_is_logged(name):
    x = embeddings(4, 2, 6)
    linear = {"margin": 0.4, "margin_until_epoch": 2.0, "margin_growth": "linear"}
    out = loss_function(name, **linear)(x, batch([3, 0, 4, 1], step=5), pair)
    assert out["margin"].item() == pytest.approx(0.2), (
        f"loss/{name}.py: return settings.term(margin, x) with the other terms"
    )
    assert "margin" not in loss_function(name)(x, batch([3, 0, 4, 1]), pair)


def margin_cases():
    for case in golden.load_cases(REFERENCE / "sched_wespeaker.npz"):
        if "margin" in case.arrays:
            yield pytest.param(case, id=case.name)


@pytest.mark.parametrize("case", margin_cases())
def test_margins_equal_those_of_wespeaker_and_3d_speaker(case):
    """wespeaker counts epochs from 1, and 3D-Speaker counts them from 0."""
    init = case.hparams["init"]
    updates = init.get("epoch_iter", init.get("step_per_epoch"))
    first_epoch = 1 if "epoch_iter" in init else 0
    until = init.get("fix_start_epoch", init.get("fix_epoch"))
    settings = MarginSettings(
        init["final_margin"],
        32.0,
        margin_start=init["initial_margin"],
        margin_from_epoch=init["increase_start_epoch"] - first_epoch,
        margin_until_epoch=until - first_epoch,
        margin_growth={"exp": "exponential", "linear": "linear"}[init["increase_type"]],
    )
    got = [settings.margin_of({"epoch": step / updates, "step": step}) for step in range(50)]
    # wespeaker divides the thousandth by 1 + 1e-6, which changes a margin by 1e-8.
    assert np.allclose(got, case.arrays["margin"], rtol=0, atol=2e-8)


def test_options_of_margins_are_declared_once():
    """Every loss has the options of the margin with the same defaults, except for `margin`."""
    assert len(WITH_MARGIN) >= 7
    for name in WITH_MARGIN:
        options = {option.name: option for option in options_of("trainfunc", name)}
        defaults = {"margin_start": 0.0, "margin_from": 0, "margin_until": 0}
        defaults |= {"margin_from_epoch": 0.0, "margin_until_epoch": 0.0}
        for option, default in (defaults | {"margin_growth": "exponential"}).items():
            assert options[option].default == default, (name, option)
        for option in ("margin", "scale", "margin_start", "margin_from", "margin_growth"):
            assert options[option].help, (name, option)


@pytest.mark.parametrize(
    "name, margin, scale, easy_margin",
    [
        ("aamsoftmax", 0.1, 30.0, False),
        ("aamsoftmax_subcenter", 0.2, 32.0, None),
        ("aamsoftmaxproto", 0.2, 30.0, False),
        ("amsoftmax", 0.1, 30.0, None),
        ("hamsoftmax", 0.2, 30.0, None),
        ("sasv_e2e_v1", 0.2, 30.0, False),
        ("sasv_multitask", 0.2, 30.0, False),
        ("sphereface2", 0.2, 32.0, None),
    ],
)
def test_defaults_of_margins(name, margin, scale, easy_margin):
    defaults = {option.name: option.default for option in options_of("trainfunc", name)}
    assert (defaults["margin"], defaults["scale"]) == (margin, scale)
    assert defaults.get("easy_margin") is easy_margin


def test_help_of_margins():
    """The docstring of a loss replaces the help of the settings."""
    texts = {}
    for name in ("amsoftmax", "aamsoftmax", "sasv_multitask", "sphereface2"):
        texts[name] = {option.name: option.help for option in options_of("trainfunc", name)}
    assert texts["amsoftmax"]["margin"] == "margin subtracted from the cosine of the target speaker"
    in_radians = "margin added to the angle of the target speaker, in radians"
    assert texts["aamsoftmax"]["margin"] == in_radians
    assert texts["aamsoftmax"]["scale"] == "factor of the cosines"
    assert texts["sasv_multitask"]["scale"] == "factor of the cosines in the softmax loss"
    assert texts["sphereface2"]["margin"].endswith(
        "(typically 0.2 for --margin_type C, 0.15 for A)"
    )
    for options in texts.values():
        assert options["margin_start"] == "margin before it begins to grow"


def test_help_of_two_lines():
    class Documented:
        """Summary.

        margin: a text that is
            longer than a line
        scale: factor
        """

    texts = help_texts(Documented)
    assert texts == {"margin": "a text that is longer than a line", "scale": "factor"}


@pytest.mark.parametrize("growth", ["exponential", "linear"])
def test_schedule_of_the_margin(growth):
    settings = MarginSettings(0.2, 30.0, 0.0, 1000, 2000, growth)
    margins = [settings.margin_at(step) for step in (0, 999, 1000, 2000, 10**6)]
    assert margins == [0.0, 0.0, 0.0, 0.2, 0.2]
    for step in range(1000, 2000, 37):
        x = (step - 1000) / 1000
        share = x if growth == "linear" else 1 - math.exp(x * math.log(1e-3))
        assert settings.margin_at(step) == pytest.approx(0.2 * share)
    # There is no jump at the end.
    assert settings.margin_at(1999) == pytest.approx(0.2, abs=5e-4)
    assert MarginSettings(0.2, 30.0, 0.0, 0, 0, growth).margin_at(0) == 0.2
    jump = MarginSettings(0.2, 30.0, 0.1, 5, 5, growth)
    assert [jump.margin_at(step) for step in (4, 5)] == [0.1, 0.2]


def test_angles_with_a_margin():
    angle = torch.linspace(0.001, math.pi - 0.001, 2001, dtype=torch.float64)
    for margin in (0.0, 0.06, 0.2, 0.5):
        wider = add_margin(angle.cos(), margin)
        nearer = subtract_margin(angle.cos(), margin)
        inside = angle + margin < math.pi
        torch.testing.assert_close(wider[inside], (angle + margin).cos()[inside])
        torch.testing.assert_close(
            wider[~inside], angle.cos()[~inside] - (1 + math.cos(math.pi - margin))
        )
        torch.testing.assert_close(nearer[angle > margin], (angle - margin).cos()[angle > margin])
        # Both curves are continuous and fall everywhere.
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
    loss = loss_function("aamsoftmax_subcenter", num_classes=9, **options)
    x = embeddings(5, 2, 6)
    labels = [0, 8, 3, 3, 5]
    # The first embedding is far from its own speaker.
    x[0, 0] = -10 * loss.weight.detach().unflatten(0, (9, -1))[0].sum(0)
    settings = {"k_top": 5, "margin": 0.2, "subcenters": 3} | options
    values = []
    for embedding, label in zip(x.flatten(0, 1), np.repeat(labels, 2), strict=True):
        cos = cosines_to_classes(embedding, loss.weight, settings["subcenters"])
        logit = logits_with_subcenters(cos, label, settings["margin"], settings["k_top"])
        values.append(F.cross_entropy(32 * torch.tensor(logit), torch.tensor(label)).item())
    assert loss(x, batch(labels), pair)["loss"].item() == pytest.approx(np.mean(values), rel=1e-5)


def cosines_to_classes(embedding, weight, subcenters):
    """Returns the cosine of an embedding [D] to the nearest sub-centre of each class, as a list."""
    cosines = []
    for vectors in weight.split(subcenters):
        cosines.append(max(F.cosine_similarity(embedding, w, 0).item() for w in vectors))
    return cosines


def logits_with_subcenters(cos, label, margin, k_top):
    """Returns the logits before scaling: a margin at the label, a smaller angle at k_top others."""
    wrong = [c for c in range(len(cos)) if c != label]
    nearest = sorted(wrong, key=lambda c: -cos[c])[:k_top]
    logit = list(cos)
    for c in nearest:
        logit[c] = math.cos(math.acos(cos[c]) - 0.06 * margin / 0.2)
    if cos[label] <= math.cos(math.pi - margin):
        logit[label] = cos[label] - (1 + math.cos(math.pi - margin))
    else:
        logit[label] = math.cos(math.acos(cos[label]) + margin)
    return logit


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"margin_type": "A", "margin": 0.15},
        {"positive_weight": 0.5, "exponent": 1.5, "scale": 8.0, "margin": 0.0},
    ],
)
def test_sphereface2_by_a_loop(options):
    loss = loss_function("sphereface2", **options)
    x = embeddings(4, 2, 6)
    labels = [3, 0, 4, 1]
    nn.init.constant_(loss.bias, 0.7)
    defaults = {
        "margin_type": "C",
        "margin": 0.2,
        "positive_weight": 0.7,
        "exponent": 3.0,
        "scale": 32.0,
    }
    settings = defaults | options
    margin = settings["margin"]
    total = 0.0

    def g(z):
        return 2 * ((z + 1) / 2) ** settings["exponent"] - 1

    for embedding, label in zip(x.flatten(0, 1), np.repeat(labels, 2), strict=True):
        for c, w in enumerate(loss.weight):
            angle = math.acos(F.cosine_similarity(embedding, w, 0).item())
            sign = 1 if c == label else -1
            weight = settings["positive_weight"]
            if c != label:
                weight = 1 - weight
            if settings["margin_type"] == "C":
                z = g(math.cos(angle)) - sign * margin
            else:
                z = g(math.cos(angle + sign * margin))
            total += weight * math.log1p(math.exp(-sign * (settings["scale"] * z + 0.7)))
    assert loss(x, batch(labels), pair)["loss"].item() == pytest.approx(total / 8, rel=1e-5)


@pytest.mark.parametrize("name", ["softmaxproto", "aamsoftmaxproto", "sasv_e2e_v1"])
def test_composed_losses_add_up(name):
    x = embeddings(4, 2, 6)
    labels = [3, 0, 4, 1]
    out = loss_function(name)(x, batch(labels), pair)
    total = out["loss_softmax"].item() + out["loss_proto"].item()
    assert out["loss"].item() == pytest.approx(total, rel=1e-6)
    proto = loss_function("angleproto")(x, batch(labels), pair)
    assert out["loss_proto"].item() == pytest.approx(proto["loss"].item(), rel=1e-6)


@pytest.mark.parametrize("head", ["ocsoftmax", "sigmoid"])
def test_two_tasks_by_a_loop(head):
    """Only bona fide speech has speakers. Every utterance is bona fide or spoofed."""
    loss = loss_function("sasv_multitask", spoof_head=head, spoof_weight=0.7, fusion=0.3)
    x = embeddings(4, 2, 6)
    spoof = [False, True, False, True]
    out = loss(x, batch([3, 4, 0, 4], spoof), pair)
    real = x[[0, 2]]
    speakers = loss.speakers(real, batch([3, 0]), pair)["loss"].item()
    speakers += loss_function("angleproto")(real, batch([3, 0]), pair)["loss"].item()
    terms = []
    for group, spoofed in zip(x, spoof, strict=True):
        for embedding in group:
            cos = F.cosine_similarity(embedding, loss.direction[0], 0).item()
            if head == "ocsoftmax":
                cos -= 0.2 if spoofed else 0.9
            z = 20 * cos
            terms.append(math.log1p(math.exp(z if spoofed else -z)))
    assert out["loss_spoof"].item() == pytest.approx(np.mean(terms), rel=1e-4)
    assert out["loss"].item() == pytest.approx(speakers + 0.7 * np.mean(terms), rel=1e-4)
    assert loss.bonafide(x)[1, 0].item() == pytest.approx(
        F.cosine_similarity(x[1, 0], loss.direction[0], 0).item(), abs=1e-6
    )
    with pytest.raises(
        ValueError, match="expected bona fide speech in every batch, .* Set --num_spk"
    ):
        loss(x, batch([4] * 4, [True] * 4), pair)


# ---------------------------------------------------------------------- mining of negatives
def distances(x):
    """x [B, 2, D] -> squared distances [anchor, positive or negative]."""
    return torch.cdist(F.normalize(x[:, 0], dim=1), F.normalize(x[:, 1], dim=1)).square()


def triplet_cases():
    for case in golden.load_cases(REFERENCE / "loss_clova.npz"):
        if case.hparams["loss"] == "triplet":
            yield pytest.param(case, id=case.name)


@pytest.mark.parametrize("case", triplet_cases())
def test_negatives_of_the_reference_can_be_drawn(case):
    loss = loss_function("triplet", **case.hparams["init"])
    index = torch.from_numpy(case.arrays["negative_index"])
    distance = distances(torch.from_numpy(case.inputs["x_n2_hard"]))
    weights = loss.sampling_weights(distance, torch.arange(8))
    # The reference may draw the positive as a negative.
    is_negative = index != torch.arange(8)
    assert (weights[torch.arange(8), index] > 0)[is_negative].all()
    if (loss.hard_prob, loss.hard_rank) == (1, 0):
        assert torch.equal(weights.argmax(1), index)
        assert torch.equal((weights > 0).sum(1), torch.ones(8, dtype=torch.int64))


def test_sampling_weights_of_hard_negatives():
    distance = torch.tensor([[0.5, 0.9, 0.1, 0.4, 0.7], [0.3, 0.2, 0.8, 0.6, 0.1]])
    own = torch.tensor([0, 3])
    weights = loss_function("triplet", hard_rank=1, hard_prob=0.6).sampling_weights(distance, own)
    any_one = 0.4 / 4
    hard = 0.4 / 4 + 0.6 / 2
    want = [[0, any_one, hard, hard, any_one], [any_one, hard, any_one, 0, hard]]
    torch.testing.assert_close(weights, torch.tensor(want))
    loss = loss_function("triplet", hard_rank=99, hard_prob=1.0)
    torch.testing.assert_close(
        loss.sampling_weights(distance, own)[0], torch.tensor([0, 1, 1, 1, 1]) / 4
    )


def test_sampling_weights_of_semihard_negatives():
    distance = torch.tensor([[0.5, 0.55, 0.45, 0.58, 0.61], [0.9, 0.2, 0.8, 0.1, 0.7]])
    loss = loss_function("triplet", hard_rank=-1, margin=0.1)
    weights = loss.sampling_weights(distance, torch.tensor([0, 0]))
    # The second row has no semi-hard negative, so any negative may be drawn.
    assert weights.tolist() == [[0, 1, 0, 1, 0], [0, 1, 1, 1, 1]]


def test_negatives_are_drawn_from_the_generator_that_checkpoints_hold():
    loss = loss_function("triplet")
    distance = distances(embeddings(50, 2, 6))
    state = torch.get_rng_state()
    first = loss.negative_index(distance, torch.arange(50))
    second = loss.negative_index(distance, torch.arange(50))
    torch.set_rng_state(state)
    assert torch.equal(first, loss.negative_index(distance, torch.arange(50)))
    assert not torch.equal(first, second)
    with pytest.raises(ValueError, match="--batch_size"):
        loss(embeddings(1, 2, 6), batch([0]), pair)
    with pytest.raises(ValueError, match="--hard_prob"):
        loss_function("triplet", hard_prob=1.5)


# ---------------------------------------------------------------------- ge2e, enhancement
def test_ge2e_by_a_loop():
    loss = loss_function("ge2e")
    x = embeddings(4, 3, 6)
    spoof = [False, True, False, False]
    values = []
    # Spoofed utterances are not queries.
    for i in (0, 2, 3):
        for m in range(3):
            centroids = x.mean(1)
            centroids[i] = x[i, [n for n in range(3) if n != m]].mean(0)
            logit = 10 * F.cosine_similarity(x[i, m], centroids).clamp(min=1e-6) - 5
            values.append(F.cross_entropy(logit, torch.tensor(i)))
    got = loss(x, batch([0, 1, 2, 3], spoof), pair)["loss"]
    assert torch.allclose(got, torch.stack(values).mean(), atol=1e-5)
    with pytest.raises(ValueError, match="--encoder_type"):
        loss(embeddings(4, 3, 6, 9), batch([0, 1, 2, 3]), pair)


@pytest.mark.parametrize("name", READING)
def test_missing_entries_of_the_batch_are_named(name):
    loss = loss_function(name)
    full = batch([0, 1])
    for key in loss.reads:
        incomplete = {k: v for k, v in full.items() if k != key}
        with pytest.raises(ValueError, match=f"--trainfunc: this loss needs the entries {key} of"):
            loss(embeddings(2, 2, 6), incomplete, pair)
    with pytest.raises(ValueError, match=r"--nOut: expected 6, .* found embeddings of shape \[5\]"):
        loss(embeddings(2, 2, 5), full, pair)


@pytest.mark.parametrize("name", ALIGNING_SESSIONS)
def test_pairs_of_sessions(name):
    """If all pairs are of one kind, the discrepancy is 0. sigma must be above 0.

    An utterance without a partner does not change the discrepancy.
    """
    loss = loss_function(name)
    x = embeddings(3, 5, 6)
    data = batch([0, 1, 2], utterances=5)
    mmd = loss(x, data, pair)["loss_mmd"]
    changed = torch.cat([x[:, :4], 9 * x[:, 4:]], 1)
    assert mmd > 0 and torch.equal(mmd, loss(changed, data, pair)["loss_mmd"])
    assert loss(x, data | {"session": torch.zeros(3, 5)}, pair)["loss_mmd"] == 0
    with pytest.raises(ValueError, match="--sigma"):
        loss_function(name, sigma=0.0)
