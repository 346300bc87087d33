"""Models: the reference implementations, and the contract that every file of models/ keeps.

pytest tests/test_models.py
"""

import argparse
import dataclasses
import importlib
import inspect
import re
import sys
import tempfile
import types
import typing
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import golden
from test_losses import loss_function
from torch import nn
from torch.nn import functional as F

from common.errors import InputError
from models import Backbone, SpeakerModel
from models._frontend import MFSC, FrontEnd, LogBeforeMel, spec_augment
from models._resnet import ExciteAdd
from network.checkpoints import load_weights, read_checkpoint
from network.components import build_model
from network.parameter_groups import parameter_groups_of
from options import OPTIONS
from options.plugins import options_of_network, takes_pooling
from pooling import BasePooling
from SpeakerNet import SpeakerNet

ROOT = Path(__file__).parent.parent
REFERENCE = Path(__file__).with_name("reference")
PARTS = {
    "models": "MainModel",
    "pooling": "Pooling",
    "loss": "LossFunction",
    "optimizer": "Optimizer",
    "scheduler": "Scheduler",
}
# Parameters that the program supplies, so they are no options.
SUPPLIED = {
    "models": ("pooling",),
    "pooling": ("channels", "layers"),
    "loss": ("dim", "num_classes"),
    "optimizer": ("params",),
    "scheduler": ("optimizer", "steps_per_epoch", "max_epoch", "test_interval"),
}
COMPONENTS = [
    (part, path.stem) for part in PARTS for path in sorted((ROOT / part).glob("[!_]*.py"))
]
MODELS = [name for part, name in COMPONENTS if part == "models"]
POOLINGS = [name for part, name in COMPONENTS if part == "pooling"]
# Largest relative errors of embeddings and of features. RawNet3 computes logarithms of nearly empty
# bands, which amplify the last digit.
TOLERANCES = {"RawNet3": (1e-3, 3e-3)}

# Options that make the contract tests of a large model a matter of seconds.
SMALL = {
    "MFA_Conformer": {"output_size": 32, "num_blocks": 2, "linear_units": 64},
    "SKA_TDNN": {"frt_c": 16, "eca_c": 64},
    "VGG3L": {"kernel_size": 64},
    "VGG4L": {"kernel_size": 64},
    "RawNet3": {"eca_c": 64},
    "ResNetSE34V2": {"n_mels": 20},
    "WavLM_MHFA": {"ssl_size": "tiny"},
    "WavLM_AASIST": {"ssl_size": "tiny"},
    "ResNet": {"depth": 18, "width": 8, "n_mels": 40},
    "ERes2NetV2": {"width": 8, "n_mels": 40},
    "ECAPA_SpeechBrain": {"eca_c": 32},
    "AASIST": {"variant": "AASIST-L"},
    "CAMPPlus": {"n_mels": 16, "init_channels": 16, "growth_rate": 4},
    "ReDimNet": {
        "redim_config": "C: 4, F: 24, stages_setup: "
        "[[[1, 1], 1, 2, [[3, 3]], 12], [[2, 2], 1, 1, [[3, 3]], 6]]",
    },
}
# Variants of models that also keep the contract: name -> model and options, see small().
VARIANTS = {"SimAM-ResNet": ("ResNet", {"variant": "simam"})}
# Models for which only the first utterance is compared with the reference.
SLOW = ("SKA_TDNN",)
RENAMED = {
    "num_mels": "n_mels",
    "num_out": "nOut",
    "embedding_dim": "nOut",
    "embedding_size": "nOut",
    "pooling_method": "encoder_type",
    "conformer_cat": "MFA_Conformer",
}


def component(part, name):
    return getattr(importlib.import_module(f"{part}.{name}"), PARTS[part])


def model(name, **options):
    torch.manual_seed(0)
    return build_model(name, **options)


def small(name, **options):
    name, variant = VARIANTS.get(name, (name, {}))
    return model(name, **SMALL.get(name, {}) | variant | options)


def noise(*shape, seed=0):
    draw = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return torch.from_numpy(draw) * 0.1


def inputs_of(net, rows, samples=16000):
    """Noise of the kind that a model accepts: waves or embeddings."""
    return noise(rows, samples) if net.takes == "waves" else noise(rows, net.dim)


def difference(a, b):
    """The relative difference of two arrays."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def filled(entry):
    """The value of a weight in the fixtures, which golden.py derives from the name."""
    return torch.from_numpy(golden.fill(entry["name"], entry["shape"], entry["dtype"]))


# ---------------------------------------------------------------------- every component
def declared_options(entry):
    """(name, type, default, documented class) of every option in a signature.

    A parameter that is typed as a dataclass declares the fields of the dataclass.
    """
    found = []
    for parameter in inspect.signature(entry, eval_str=True).parameters.values():
        if parameter.default is parameter.empty:
            continue
        kind = parameter.annotation
        if not dataclasses.is_dataclass(kind):
            found.append((parameter.name, kind, parameter.default, entry))
            continue
        types = typing.get_type_hints(kind)
        for field in dataclasses.fields(kind):
            default = getattr(parameter.default, field.name)
            found.append((field.name, types[field.name], default, kind))
    return found


@pytest.mark.parametrize("part, name", COMPONENTS)
def test_signature_is_a_schema(part, name):
    entry = component(part, name)
    place = f"{part}/{name}.py"
    for parameter in inspect.signature(entry).parameters.values():
        if parameter.default is parameter.empty:
            assert parameter.name in SUPPLIED[part], (
                f"{place}: {parameter.name} has no default, and the program supplies only "
                f"{', '.join(SUPPLIED[part])}; give the option a default"
            )
        else:
            assert parameter.kind is parameter.KEYWORD_ONLY, (
                f"{place}: put a * before {parameter.name}: options are given by name"
            )
    for option, kind, default, documented in declared_options(entry):
        literal = typing.get_origin(kind) is typing.Literal
        assert literal or kind in (int, float, str, bool), (
            f"{place}: the type of {option} must be int, float, str, bool or a Literal"
        )
        fits = default in typing.get_args(kind) if literal else type(default) is kind
        assert fits, f"{place}: the default of {option} is {default!r}, which is no {kind}"
        # The help of an inherited option may be in the docstring of a base class.
        texts = "\n".join(
            base.__doc__ or "" for base in getattr(documented, "__mro__", [documented])
        )
        assert re.search(rf"^\s*{option}: \S", texts, re.M), (
            f"{place}: {option} has no help; add a line '{option}: ...' to the docstring of "
            f"{documented.__name__}"
        )


def test_options_have_one_owner():
    owner = {option.name: "the program" for group in OPTIONS.values() for option in group}
    # It selects the pooling of a model.
    owner["encoder_type"] = "models"
    for part, name in COMPONENTS:
        for option, *_ in declared_options(component(part, name)):
            assert owner.setdefault(option, part) == part, (
                f"{option} belongs to {owner[option]} and to {part}/{name}.py; choose another name"
            )


# ---------------------------------------------------------------------- parity
def reference_cases(file, models=MODELS):
    """Parameters of a test: the cases of the given models in a file of fixtures."""
    cases = []
    for case in golden.load_cases(REFERENCE / file):
        # The cases of embedding enhancement have the model among the options.
        case.hparams.setdefault("model", case.hparams["init"].pop("model", None))
        if RENAMED.get(case.hparams["model"], case.hparams["model"]) in models:
            cases.append(pytest.param(case, id=f"{file[6:-4]}-{case.name}"))
    return cases


def options_of_case(case, name, repo):
    """The options of our model for a case of a reference."""
    options = {RENAMED.get(key, key): value for key, value in case.hparams["init"].items()}
    if repo == "CAP":
        # The reference has no options for these.
        options |= {"n_mels": 64, "window": "hann"}
    if repo == "mfa_conformer":
        options["variant"] = "original"
    effective = {option.name for option in options_of_network({"model": name, **options})}
    for option in {"heads_number", "mask_prob"} - effective:
        # Settings of the reference that its pooling ignores.
        options.pop(option, None)
    return options


def weights_of_case(case, net):
    """The weights of a case under the names of the reference."""
    present = net.state_dict()
    stored = {}
    for entry in case.state:
        # Constants of the front end are not filled.
        stored[entry["name"]] = (
            filled(entry) if entry["filled"] else present[net.new_name(entry["name"])]
        )
    for key, want in case.arrays.items():
        if key.startswith("skipped:"):
            assert difference(present[net.new_name(key[8:])].numpy(), want) < 5e-6, key
    known = {net.new_name(name) for name in stored}
    # Some fixtures do not have the constants of the front end at all.
    for name, value in present.items():
        if name.startswith("torchfb") and name not in known:
            stored[name] = value
    return stored


def published_layout(weights, repo):
    """A checkpoint as the project `repo` stores it."""
    prefixed = {f"__S__.{name}": value for name, value in weights.items()}
    if repo == "voxceleb_trainer":
        return {"model_state_dict": prefixed, "epoch": 1}
    if repo == "DoubleAttentionSpeakerVerification":
        settings = argparse.Namespace(front_end="VGG4L")
        return {"model": weights, "settings": settings, "step": 1}
    if repo == "mfa_conformer":
        state = {f"encoder.{name}": value for name, value in weights.items()}
        state["loss_fun.W"] = torch.zeros(1)
        return {"state_dict": state, "callbacks": {Path(): 1}}
    return prefixed


def reference_model(case):
    """Our model with the weights of a case, read from a file in the layout of its project.

    This is how users read a published checkpoint.
    """
    repo = case.info["repo"].split("/")[1].split()[0]
    name = RENAMED.get(case.hparams["model"], case.hparams["model"])
    net = model(name, **options_of_case(case, name, repo))
    layout = published_layout(weights_of_case(case, net), repo)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "published.model"
        torch.save(layout, path)
        load_weights(SpeakerNet(net, nn.Module()), read_checkpoint(path), path, head="unused")
    return net.eval()


def record_outputs(net):
    """A dict that the next call of the network fills: name of a module -> its output."""
    outputs = {}

    def hook_of(name):
        def hook(module, args, output):
            # A copy, because ReLUs are in place.
            outputs[name] = output.clone()

        return hook

    for name, module in net.named_modules():
        module.register_forward_hook(hook_of(name))
    return outputs


def check_features(net, case, outputs, wave, tolerance):
    """Compares the features of the front end with the features of the reference."""
    expected = case.arrays["features"]
    # RawNet3 has its own front end.
    if "features_slice" in case.hparams:
        assert difference(net.features(wave)[:1, :, ::20].numpy(), expected) < tolerance
        return
    for name, module in net.named_modules():
        if isinstance(module, (FrontEnd, LogBeforeMel)):
            features = outputs[name].numpy()
            assert difference(features, expected.reshape(features.shape)) < tolerance
            return
    raise AssertionError("the model has no front end")


@pytest.mark.parametrize(
    "case",
    [
        *reference_cases("model_clova_resnetse34l.npz"),
        *reference_cases("model_cap_tap_sap.npz"),
        *reference_cases("model_clova_resnetse34v2.npz"),
        *reference_cases("model_clova_vggvox.npz"),
        *reference_cases("model_clova_rawnet3.npz"),
        *reference_cases("model_sasv2.npz"),
        *reference_cases("model_mfa_conformer_zyzisyz.npz"),
        *reference_cases("model_dorika.npz"),
    ],
)
@torch.no_grad()
def test_parity(case):
    net = reference_model(case)
    of_embedding, of_features = TOLERANCES.get(case.hparams["model"], (2e-5, 1e-5))
    outputs = record_outputs(net)
    # The fixtures contain outputs of modules for the last key.
    keys = [key for key in ("input_q", "input_long", "input") if key in case.hparams]
    rows = slice(None)
    if case.hparams["model"] in SLOW:
        keys = keys[-1:]
        rows = slice(1)
    wave = None
    for key in keys:
        wave = torch.from_numpy(golden.wave(case, case.hparams[key])[rows])
        expected = case.arrays["embedding" + key[5:]][rows]
        assert difference(net(wave).numpy(), expected) < of_embedding, key
    for key, array in case.arrays.items():
        if key.startswith("probe:"):
            output = outputs[key[6:]]
            # [N, T, C] in the Conformer, [N, C, ...] elsewhere.
            axes = 1 if "conformer" in key else tuple(range(2, output.dim()))
            assert difference(output.mean(axes).numpy(), array[rows]) < of_embedding, key
        if key == "filters":
            assert difference(net.conv1.filters().squeeze(1).numpy(), array) < 1e-5
        # Networks without a front end, far from 0.
        if key == "embedding_x20":
            far = net(torch.from_numpy(20 * case.inputs["x"]))
            assert difference(far.numpy(), array[rows]) < 2e-5
    if "features" in case.arrays:
        case.arrays["features"] = case.arrays["features"][rows]
        check_features(net, case, outputs, wave, of_features)


def dmha_cases():
    """The cases of DMHA. The options of the loss are moved to case.hparams["loss"]."""
    for case in golden.load_cases(REFERENCE / "model_dmha.npz"):
        options = case.hparams["init"]
        case.hparams["model"] = options.pop("front_end")
        case.hparams["loss"] = {
            "num_classes": options.pop("num_spkrs"),
            "margin": options.pop("marginFactor"),
            "scale": options.pop("scalingFactor"),
            "annealing": options.pop("annealing"),
        }
        yield pytest.param(case, id=case.name)


@pytest.mark.parametrize("case", dmha_cases())
@torch.no_grad()
def test_dmha_parity(case):
    net = reference_model(case)
    inputs = []
    net.pooling.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    outputs = record_outputs(net)
    embedding = net(torch.from_numpy(case.inputs["feat"]))
    frames = inputs[0]
    attention = getattr(net.pooling, "utteranceAttention", net.pooling)
    got = {
        "frontend_time_mean": frames.mean(-1),
        "alignment": attention.weights(frames).transpose(1, 2),
        "pooled": outputs["pooling"],
        "embedding": embedding,
    }
    if "head_alignment" in case.arrays:
        heads = attention(frames).unflatten(1, (-1, net.pooling.size)).transpose(1, 2)
        got["head_alignment"] = net.pooling.headsAttention.weights(heads).transpose(1, 2)
    # The classifier of the reference is our loss with the layer before it.
    loss = loss_function("amsoftmax", dim=net.dim, pre_layer=True, **case.hparams["loss"])
    weights = {}
    for entry in case.state:
        name = net.new_name(entry["name"])
        if name.startswith("loss."):
            weights[name[5:]] = filled(entry)
    loss.load_state_dict(weights)
    got["prediction"] = loss.cosine(embedding)
    index = torch.from_numpy(case.inputs["label"]).unsqueeze(1)
    margin = case.hparams["loss"]["margin"]
    got["am_logits"] = loss.settings.scale * loss.with_margin(got["prediction"], index, margin)
    assert set(got) == set(case.arrays)
    for key, want in case.arrays.items():
        assert difference(got[key].numpy(), want) < 2e-5, key


def test_dmha_features_parity():
    (case,) = golden.load_cases(REFERENCE / "features_dmha.npz")
    cmn = MFSC(80, normalization="cmn")
    cmvn = MFSC(80, normalization="cmvn")
    wave = torch.from_numpy(golden.wave(case)).unsqueeze(0)
    assert difference(cmn.window.numpy(), case.arrays["window"]) < 1e-6
    # float32 here, float64 in the reference.
    assert difference(cmn.filters.T.numpy(), case.arrays["mel_basis"]) < 1e-5
    assert difference(cmn(wave)[0].numpy(), case.arrays["features"]) < 1e-5
    assert difference(cmvn(wave)[0].numpy(), case.arrays["features_cmvn"]) < 1e-5


def test_names_of_the_original_trainer_are_known():
    """The authors of MFA-Conformer store the network as `encoder.`, next to front end and loss."""
    case = golden.load_cases(REFERENCE / "model_mfa_conformer_zyzisyz.npz")[0]
    net = reference_model(case)
    stored = [f"encoder.{entry['name']}" for entry in case.state]
    stored += [f"mel_trans.{name}" for name in case.arrays["mel_trans_names"]]
    assert sorted(map(net.new_name, stored)) == sorted(net.state_dict())
    assert net.new_name("loss_fun.W") == "loss.W"


@pytest.mark.parametrize(
    "case", golden.load_cases(REFERENCE / "specaug_sasv2.npz"), ids=lambda case: case.name
)
def test_spec_augment_parity(case):
    features = case.inputs["features"]
    torch.manual_seed(case.hparams["torch_seed"])
    expected = np.where(case.arrays["masked"], np.float32(0), features)
    assert np.array_equal(spec_augment(torch.from_numpy(features)).numpy(), expected)


# ---------------------------------------------------------------------- parts
def test_spec_augment_only_while_training_and_if_asked():
    x = noise(2, 16000)
    front = FrontEnd(40, augment=True)
    plain = FrontEnd(40)
    assert not torch.equal(front(x), plain(x))
    assert torch.equal(front.eval()(x), plain(x))


def test_front_end_normalises_over_time_without_gradient_in_float32():
    x = noise(2, 16000).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        instance = FrontEnd(40)(x)
        mean = FrontEnd(80, pre_emphasis=True, norm="mean")(x)
    assert instance.shape == (2, 40, 101)
    assert mean.shape == (2, 80, 101)
    assert instance.dtype is mean.dtype is torch.float32
    assert not instance.requires_grad
    assert instance.mean(-1).abs().max() < 1e-4
    assert mean.mean(-1).abs().max() < 1e-4
    assert (instance.std(-1, correction=0) - 1).abs().max() < 1e-3
    assert (mean.std(-1) - 1).abs().max() > 0.01


def test_what_16_bits_cannot_tell_from_silence_is_zero_in_mfsc():
    for normalization in ("cmn", "cmvn"):
        assert not MFSC(80, normalization=normalization)(5e-7 * noise(1, 16000)).any()


class Meeting(BasePooling):
    """A small pairwise pooling: frames of one side are weighted by the mean of the other side."""

    pairwise = True

    def forward(self, frames):
        return frames

    def merge(self, reps):
        return torch.cat(list(reps), -1)

    def pair(self, ref, qry):
        pooled_ref = torch.einsum("rct,qc->qrc", ref.square(), qry.mean(-1))
        pooled_qry = torch.einsum("qct,rc->qrc", qry.square(), ref.mean(-1))
        return pooled_ref, pooled_qry


class Pairwise(Backbone):
    """A small model with that pooling: 5 channels, 3 values in an embedding."""

    dim = 3

    def __init__(self):
        super().__init__()
        self.pooling = Meeting(5)
        self.bn = nn.BatchNorm1d(5)
        self.fc = nn.Linear(5, 3)

    def frames(self, x):
        return x.unflatten(1, (5, -1))

    def head(self, pooled):
        return self.fc(self.bn(pooled))


def test_pairwise_pooling_embeds_when_two_meet():
    net = Pairwise().eval()
    ref = net(noise(2, 50))
    qry = net(noise(4, 50, seed=1))
    assert net.pairwise
    assert ref.shape == (2, 5, 10)
    r, q = net.pair(ref, qry)
    assert r.shape == q.shape == (4, 2, 3)
    pooled_r, pooled_q = net.pooling.pair(ref, qry)
    assert torch.allclose(r[3, 1], net.head(pooled_r[3, 1:2])[0], atol=1e-6)
    assert torch.allclose(q[3, 1], net.head(pooled_q[3, 1:2])[0], atol=1e-6)
    assert net.merge(torch.stack([ref, ref])).shape == (2, 5, 20)


# ---------------------------------------------------------------------- the contract
@pytest.fixture(scope="module", params=[*MODELS, *VARIANTS])
def net(request):
    return small(request.param)


def file_of(net):
    """The file of a model, for messages."""
    return type(net).__module__.replace(".", "/") + ".py"


def test_shapes_of_short_and_long_input(net):
    net.eval()
    with torch.no_grad():
        for samples in (8000, 320000):
            rep = net(inputs_of(net, 1, samples))
            r, q = net.pair(rep, rep)
            shape = torch.broadcast_shapes(r.shape, q.shape, (1, 1, net.dim))
            assert shape == (1, 1, net.dim), (
                f"{file_of(net)}: pair() must return tensors that broadcast to [Q, R, dim], and "
                "self.dim must be the size of an embedding"
            )
            assert r.isfinite().all() and q.isfinite().all(), (
                f"{file_of(net)}: {samples} samples give values that are not finite"
            )


def test_rows_are_independent_in_eval(net):
    net.eval()
    x = inputs_of(net, 3)
    with torch.no_grad():
        together = net(x)
        alone = net(x[1:2])
    assert difference(together[1:2].numpy(), alone.numpy()) < 1e-5, (
        f"{file_of(net)}: in eval mode an utterance depends on the others of its batch; compute "
        "statistics over time or channels, not over the first axis"
    )


def test_merge_of_equal_references_scores_the_same(net):
    net.eval()
    with torch.no_grad():
        rep = net(inputs_of(net, 2))
        one = net.pair(net.merge(rep[None]), rep)
        two = net.pair(net.merge(torch.stack([rep, rep])), rep)
    for a, b in zip(one, two, strict=True):
        assert torch.allclose(a, b, atol=1e-4), (
            f"{file_of(net)}: merge() of two equal enrolment files must score as one of them; take "
            "their mean, or join their frames"
        )


def test_gradients_reach_every_parameter(net):
    net.train().zero_grad()
    rep = net(inputs_of(net, 4))
    r, q = net.pair(rep[:2], rep[2:])
    target = noise(net.dim, seed=1)
    ((r * target).sum() + (q * target).square().sum()).backward()
    for name, parameter in net.named_parameters():
        # A parameter that never learns.
        if not parameter.requires_grad:
            continue
        assert parameter.grad is not None, (
            f"{file_of(net)}: {name} has no influence on the embedding; use the parameter, or do "
            "not make it, or set its requires_grad to False. Several processes wait for the "
            "gradients of all other parameters"
        )
        assert parameter.grad.isfinite().all(), f"{file_of(net)}: {name}: infinite gradient"
        if name.endswith("weight"):
            assert parameter.grad.any(), f"{file_of(net)}: {name} gets the gradient 0"


def test_half_precision_and_channels_last(net):
    net.eval()
    x = inputs_of(net, 2)
    with torch.no_grad():
        want = net(x).numpy()
        with torch.autocast("cpu", torch.bfloat16):
            half = net(x).float().numpy()
            fast = net.to(memory_format=torch.channels_last)(x).float().numpy()
        assert difference(half, want) < 0.05, (
            f"{file_of(net)}: bfloat16 autocast changes the embedding too much; compute statistics "
            "and logarithms in float32, see models/_frontend.py"
        )
        assert difference(fast, want) < 0.05
        assert difference(net(x).numpy(), want) < 1e-4
    net.train().zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        rep = net(x)
    F.normalize(rep.float(), dim=1)[:, ::2].sum().backward()
    for name, parameter in net.named_parameters():
        if parameter.grad is not None:
            assert parameter.grad.isfinite().all(), f"{file_of(net)}: {name}: infinite gradient"


def test_a_seed_gives_the_same_weights(net):
    name = type(net).__module__.split(".")[1]
    first = small(name).state_dict()
    second = small(name).state_dict()
    for key, value in first.items():
        assert torch.equal(value, second[key]), (
            f"{file_of(net)}: {key} differs although the seed is the same; draw from torch alone"
        )


def test_every_parameter_is_in_one_group(net):
    name = type(net).__module__.split(".")[1]
    values = {"ssl_lr": 0.001, "layer_decay": 0.5, "freeze_epochs": 1}
    own = {option: values[option] for option in values if option in net.update_options}
    for made in (net, small(name, **own)):
        parameters = [id(p) for p in made.parameters()]
        groups = parameter_groups_of(made, loss_function("angleproto"))
        found = [id(p) for group in groups for p in group.parameters if id(p) in parameters]
        assert sorted(found) == sorted(parameters), (
            f"{file_of(net)}: parameter_groups() must name parameters of the model, none of them "
            "twice"
        )
    assert (len(groups) > 1) == bool(own), (
        f"{file_of(net)}: update_options have no effect on parameter_groups()"
    )


def test_training_options_and_old_names_are_real(net):
    options = {option for option, *_ in declared_options(type(net))}
    assert {*net.training_options, *net.update_options} <= options, (
        f"{file_of(net)}: training_options names something that is no option of the model"
    )
    names = list(net.state_dict())
    assert [net.new_name(name) for name in names] == names, (
        f"{file_of(net)}: old_names would rename weights that have their present names"
    )
    assert not [name for name in names if name.startswith(net.unused)], (
        f"{file_of(net)}: `unused` would drop weights that have their present names"
    )


@pytest.mark.parametrize(
    "name, option, options",
    [
        ("ECAPA_TDNN", "eca_s", {"eca_c": 60}),
        ("SKA_TDNN", "eca_s", {"eca_c": 60}),
        ("MFA_Conformer", "output_size", {"output_size": 30}),
        ("MFA_Conformer", "cnn_module_kernel", {"cnn_module_kernel": 16}),
        ("VGG4L", "kernel_size", {"kernel_size": 60}),
        ("RawNet3", "eca_c", {"eca_c": 60}),
        ("ResNet", "depth", {"depth": 20}),
        ("ResNet", "depth", {"depth": 50, "variant": "simam"}),
        ("ERes2NetV2", "width", {"width": 2}),
    ],
)
def test_sizes_that_do_not_fit_are_refused(name, option, options):
    with pytest.raises(ValueError, match=f"--{option}: expected .*, found"):
        small(name, **options)


def test_a_model_without_dim_is_refused(monkeypatch):
    module = types.ModuleType("models.Sizeless")
    module.MainModel = type("MainModel", (SpeakerModel,), {})
    monkeypatch.setitem(sys.modules, "models.Sizeless", module)
    with pytest.raises(InputError, match=r"models/Sizeless\.py: .* Set self\.dim in __init__"):
        build_model("Sizeless")


def test_an_option_without_a_default_is_refused(monkeypatch):
    class MainModel(SpeakerModel):
        def __init__(self, *, width):
            super().__init__()

    MainModel.__module__ = "models.Optionless"
    module = types.ModuleType("models.Optionless")
    module.MainModel = MainModel
    monkeypatch.setitem(sys.modules, "models.Optionless", module)
    with pytest.raises(InputError, match=r"models/Optionless\.py: .* width\. Give it a default"):
        build_model("Optionless")


@pytest.mark.parametrize("variant", ["SASV2", "original"])
@pytest.mark.parametrize("input_layer, frames", [("conv2d2", 50), ("conv2d", 24)])
@pytest.mark.parametrize("pos_enc_layer_type", ["rel_pos", "no_pos"])
def test_every_mfa_conformer_learns_with_all_its_parameters(
    variant, input_layer, frames, pos_enc_layer_type
):
    net = small(
        "MFA_Conformer",
        variant=variant,
        input_layer=input_layer,
        pos_enc_layer_type=pos_enc_layer_type,
        spec_augment=True,
    )
    options = SMALL["MFA_Conformer"]
    channels = options["output_size"] * options["num_blocks"]
    assert net.conformer(noise(2, 80, 101)).shape == (2, frames, channels)
    x = noise(4, 16000)
    with torch.autocast("cpu", torch.bfloat16):
        net(x).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any() or not name.endswith("weight"), name
    assert not torch.equal(net(x), net(x)), "dropout and SpecAugment while training"
    assert torch.equal(net.eval()(x), net(x))


def test_features_extracted_before_are_taken_as_they_are():
    net = small("VGG3L").eval()
    x = noise(2, 16000)
    with torch.no_grad():
        assert torch.equal(net(net.mfsc(x)), net(x))


# Poolings that another one resembles. They are slow only because there are many of them.
SIMILAR_POOLINGS = (
    *("Attention", "CentredECA", "ECA", "MAX", "MHA", "MQMHA", "RawNet3_ASP", "RawNet3_ECA"),
    *("ResNetSE34V2_ASP", "ResNetSE34V2_SAP", "SAP", "ASTP", "ReDimNet_ASTP", "TSDP"),
    *("CAMPPlus_TSTP", "ERes2NetV2_TSTP", "DoubleMHA"),
)


@pytest.mark.parametrize(
    "encoder_type",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in SIMILAR_POOLINGS else name
        for name in POOLINGS
    ],
)
@pytest.mark.parametrize(
    "name", [name for name in MODELS if takes_pooling(component("models", name))]
)
@torch.no_grad()
def test_every_pooling_suits_every_backbone(name, encoder_type):
    net = small(name, encoder_type=encoder_type).eval()
    ref, qry = net.pair(*net(noise(3, 8000)).split([1, 2]))
    assert torch.broadcast_shapes(ref.shape, qry.shape) == (2, 1, net.dim)
    assert ref.isfinite().all()
    assert qry.isfinite().all()


def test_dropout_of_enhancement_drops_numbers_and_not_utterances():
    # ELU gives no zeros of its own.
    net = model("MyLinearNet", nOut=64, activation="ELU").train()
    inputs = []
    net.l3.register_forward_pre_hook(lambda module, args: inputs.append(args[0]))
    net(noise(200, 64))
    # Share of the numbers of each utterance that are dropped.
    share = (inputs[0] == 0).float().mean(1)  # [N]
    assert abs(share.mean() - 0.2) < 0.01
    assert share.min() > 0.1
    assert share.max() < 0.3


def test_embeddings_of_another_size_are_refused():
    with pytest.raises(ValueError, match="--nOut: expected embeddings of 64 numbers, found"):
        model("MyLinearNet", nOut=64)(noise(2, 16000))


def test_excite_add_is_its_formula():
    """Values and gradients of the fused operation equal the results of autograd for the formula."""
    torch.manual_seed(0)
    shapes = ((3, 8, 4, 5), (3, 8, 4, 5), (2, 8), (2,), (8, 2), (8,))
    draw = [torch.randn(shape, requires_grad=True) for shape in shapes]
    y, shortcut, weight1, bias1, weight2, bias2 = draw
    hidden = F.relu(F.linear(y.mean((2, 3)), weight1, bias1))
    scale = torch.sigmoid(F.linear(hidden, weight2, bias2))
    want = y * scale[:, :, None, None] + shortcut
    got = ExciteAdd.apply(*draw)
    torch.testing.assert_close(got, want)
    weights = torch.randn_like(want)
    gradients = torch.autograd.grad((got * weights).sum(), draw)
    expected = torch.autograd.grad((want * weights).sum(), draw)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b)
