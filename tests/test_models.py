"""Models against the reference implementations, and the contract that every file in models/ keeps, new ones too.

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
from torch import nn
from torch.nn import functional as F

from common.errors import InputError
from models import Backbone, SpeakerModel
from models._frontend import MFSC, FrontEnd, LogBeforeMel, spec_augment
from models._resnet import ExciteAdd
from network.checkpoints import load_weights, read_checkpoint
from network.components import build_model
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
    "pooling": ("channels",),
    "loss": ("dim", "num_classes"),
    "optimizer": ("params",),
    "scheduler": ("optimizer", "steps_per_epoch", "max_epoch", "test_interval"),
}
COMPONENTS = [
    (part, path.stem) for part in PARTS for path in sorted((ROOT / part).glob("[!_]*.py"))
]
MODELS = [name for part, name in COMPONENTS if part == "models"]
POOLINGS = [name for part, name in COMPONENTS if part == "pooling"]
# largest relative errors of embeddings and of features; RawNet3's logarithms of nearly empty bands amplify the last digit
TOLERANCES = {"RawNet3": (1e-3, 3e-3)}

# options that make a large model a matter of seconds in the tests of the contract
SMALL = {
    "MFA_Conformer": {"output_size": 32, "num_blocks": 2, "linear_units": 64},
    "SKA_TDNN": {"frt_c": 16, "eca_c": 64},
    "VGG3L": {"kernel_size": 64},
    "VGG4L": {"kernel_size": 64},
    "RawNet3": {"eca_c": 64},
    "ResNetSE34V2": {"n_mels": 20},
}
# of these the first utterance alone meets the reference
SLOW = ("SKA_TDNN",)
RENAMED = {
    "num_mels": "n_mels",
    "num_out": "nOut",
    "embedding_dim": "nOut",
    "conformer_cat": "MFA_Conformer",
}


def component(part, name):
    return getattr(importlib.import_module(f"{part}.{name}"), PARTS[part])


def model(name, **options):
    torch.manual_seed(0)
    return build_model(name, **options)


def small(name, **options):
    return model(name, **SMALL.get(name, {}) | options)


def noise(*shape, seed=0):
    return (
        torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))
        * 0.1
    )


def some(net, rows, samples=16000):
    """Input of a model: what it takes."""
    return noise(rows, samples) if net.takes == "waves" else noise(rows, net.dim)


def difference(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


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
        assert re.search(rf"^\s*{option}: \S", documented.__doc__ or "", re.M), (
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
def reference_cases(file, models):
    cases = golden.load_cases(REFERENCE / file)
    for case in cases:
        # those of embedding enhancement have it among the options
        case.hparams.setdefault("model", case.hparams["init"].pop("model", None))
    return [
        pytest.param(case, id=f"{file[6:-4]}-{case.name}")
        for case in cases
        if RENAMED.get(case.hparams["model"], case.hparams["model"]) in models
    ]


def reference_model(case):
    """Our model with the weights of a case, read as users read a published checkpoint: from a file in the layout of its project."""
    options = {RENAMED.get(k, k): v for k, v in case.hparams["init"].items()}
    repo = case.info["repo"].split("/")[1].split()[0]
    if repo == "CAP":
        # fixed there
        options |= {"n_mels": 64, "window": "hann"}
    if repo == "mfa_conformer":
        options["variant"] = "original"
    name = RENAMED.get(case.hparams["model"], case.hparams["model"])
    effective = {option.name for option in options_of_network({"model": name, **options})}
    for option in {"heads_number", "mask_prob"} - effective:
        # Settings of the reference that its pooling ignores.
        options.pop(option, None)
    net = model(name, **options)
    present = net.state_dict()
    stored = {
        entry["name"]: torch.from_numpy(golden.fill(entry["name"], entry["shape"], entry["dtype"]))
        if entry["filled"]
        # constants of the front end are not filled
        else present[net.new_name(entry["name"])]
        for entry in case.state
    }
    for key, want in case.arrays.items():
        if key.startswith("skipped:"):
            assert difference(present[net.new_name(key[8:])].numpy(), want) < 5e-6, key
    there = {net.new_name(name) for name in stored}
    # nor in all of the fixtures
    stored |= {
        name: value
        for name, value in present.items()
        if name.startswith("torchfb") and name not in there
    }
    layout = {
        "voxceleb_trainer": {
            "model_state_dict": {f"__S__.{k}": v for k, v in stored.items()},
            "epoch": 1,
        },
        "DoubleAttentionSpeakerVerification": {
            "model": stored,
            "settings": argparse.Namespace(front_end="VGG4L"),
            "step": 1,
        },
        "mfa_conformer": {
            "state_dict": {f"encoder.{k}": v for k, v in stored.items()}
            | {"loss_fun.W": torch.zeros(1)},
            "callbacks": {Path(): 1},
        },
    }.get(repo, {f"__S__.{k}": v for k, v in stored.items()})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "published.model"
        torch.save(layout, path)
        load_weights(SpeakerNet(net, nn.Module()), read_checkpoint(path), path, head="unused")
    return net.eval()


@pytest.mark.parametrize(
    "case",
    [
        *reference_cases("model_clova_resnetse34l.npz", MODELS),
        *reference_cases("model_cap_tap_sap.npz", MODELS),
        *reference_cases("model_clova_resnetse34v2.npz", MODELS),
        *reference_cases("model_clova_vggvox.npz", MODELS),
        *reference_cases("model_clova_rawnet3.npz", MODELS),
        *reference_cases("model_sasv2.npz", MODELS),
        *reference_cases("model_mfa_conformer_zyzisyz.npz", MODELS),
        *reference_cases("model_dorika.npz", MODELS),
    ],
)
@torch.no_grad()
def test_parity(case):
    net = reference_model(case)
    of_embedding, of_features = TOLERANCES.get(case.hparams["model"], (2e-5, 1e-5))
    seen = {}
    for name, module in net.named_modules():
        # ReLUs are in place
        module.register_forward_hook(
            lambda module, args, output, name=name: seen.update({name: output.clone()})
        )
    # the probes are of the last
    keys, rows = (
        [key for key in ("input_q", "input_long", "input") if key in case.hparams],
        slice(None),
    )
    if case.hparams["model"] in SLOW:
        keys, rows = keys[-1:], slice(1)
    for key in keys:
        wave = torch.from_numpy(golden.wave(case, case.hparams[key])[rows])
        assert (
            difference(net(wave).numpy(), case.arrays["embedding" + key[5:]][rows]) < of_embedding
        ), key
    for key, want in case.arrays.items():
        want = want[rows]
        if key.startswith("probe:"):
            got = seen[key[6:]]
            over = (
                1 if "conformer" in key else tuple(range(2, got.dim()))
            )  # [N, T, C] there, [N, C, ...] elsewhere
            assert difference(got.mean(over).numpy(), want) < of_embedding, key
        if key == "filters":
            assert difference(net.conv1.filters().squeeze(1).numpy(), case.arrays[key]) < 1e-5
        # RawNet3, whose own they are
        if key == "features" and "features_slice" in case.hparams:
            assert difference(net.features(wave)[:1, :, ::20].numpy(), want) < of_features
        elif key == "features":
            front = next(
                seen[name]
                for name, module in net.named_modules()
                if isinstance(module, (FrontEnd, LogBeforeMel))
            )
            assert difference(front.numpy(), want.reshape(front.shape)) < of_features
        # the networks without a front end, far from 0
        if key == "embedding_x20":
            assert difference(net(torch.from_numpy(20 * case.inputs["x"])).numpy(), want) < 2e-5


def dmha_cases():
    """The cases of DMHA as those of the other references, the options of its loss apart."""
    for case in golden.load_cases(REFERENCE / "model_dmha.npz"):
        options = case.hparams["init"]
        case.hparams["model"] = options.pop("front_end")
        case.hparams["loss"] = {
            "num_classes": options.pop("num_spkrs"),
            "margin": options.pop("marginFactor"),
            "scale": options.pop("scalingFactor"),
            "annealing": options.pop("annealing"),
        }
        case.hparams["init"] = {
            {"embedding_size": "nOut", "pooling_method": "encoder_type"}.get(k, k): v
            for k, v in options.items()
        }
        yield pytest.param(case, id=case.name)


@pytest.mark.parametrize("case", dmha_cases())
@torch.no_grad()
def test_dmha_parity(case):
    net = reference_model(case)
    seen = {}
    net.pooling.register_forward_hook(
        lambda module, args, output: seen.update(frames=args[0], pooled=output)
    )
    embedding = net(torch.from_numpy(case.inputs["feat"]))
    frames, first = seen["frames"], getattr(net.pooling, "utteranceAttention", net.pooling)
    got = {
        "frontend_time_mean": frames.mean(-1),
        "alignment": first.weights(frames).transpose(1, 2),
        "pooled": seen["pooled"],
        "embedding": embedding,
    }
    if "head_alignment" in case.arrays:
        heads = first(frames).unflatten(1, (-1, net.pooling.size)).transpose(1, 2)
        got["head_alignment"] = net.pooling.headsAttention.weights(heads).transpose(1, 2)
    # its classifier: the loss with the layer before it
    loss = component("loss", "amsoftmax")(net.dim, pre_layer=True, **case.hparams["loss"])
    names = {net.new_name(entry["name"]): entry for entry in case.state}
    loss.load_state_dict(
        {
            name[5:]: torch.from_numpy(golden.fill(entry["name"], entry["shape"], entry["dtype"]))
            for name, entry in names.items()
            if name.startswith("loss.")
        }
    )
    got["prediction"] = loss.cosine(embedding)
    index = torch.from_numpy(case.inputs["label"]).unsqueeze(1)
    got["am_logits"] = loss.scale * loss.with_margin(
        got["prediction"], index, case.hparams["loss"]["margin"]
    )
    assert set(got) == set(case.arrays)
    for key, want in case.arrays.items():
        assert difference(got[key].numpy(), want) < 2e-5, key


def test_dmha_features_parity():
    (case,) = golden.load_cases(REFERENCE / "features_dmha.npz")
    cmn, cmvn = MFSC(80, normalization="cmn"), MFSC(80, normalization="cmvn")
    wave = torch.from_numpy(golden.wave(case)).unsqueeze(0)
    assert difference(cmn.window.numpy(), case.arrays["window"]) < 1e-6
    # float32 here, float64 there
    assert difference(cmn.filters.T.numpy(), case.arrays["mel_basis"]) < 1e-5
    assert difference(cmn(wave)[0].numpy(), case.arrays["features"]) < 1e-5
    assert difference(cmvn(wave)[0].numpy(), case.arrays["features_cmvn"]) < 1e-5


def test_names_of_the_original_trainer_are_known():
    """The authors of MFA-Conformer store the network as `encoder.` beside the front end and the loss."""
    case = golden.load_cases(REFERENCE / "model_mfa_conformer_zyzisyz.npz")[0]
    net = reference_model(case)
    stored = [
        *(f"encoder.{entry['name']}" for entry in case.state),
        *(f"mel_trans.{name}" for name in case.arrays["mel_trans_names"]),
    ]
    assert (
        sorted(map(net.new_name, stored)) == sorted(net.state_dict())
        and net.new_name("loss_fun.W") == "loss.W"
    )


@pytest.mark.parametrize(
    "case", golden.load_cases(REFERENCE / "specaug_sasv2.npz"), ids=lambda case: case.name
)
def test_spec_augment_parity(case):
    x = torch.from_numpy(case.inputs["features"])
    torch.manual_seed(case.hparams["torch_seed"])
    assert np.array_equal(
        spec_augment(x).numpy(),
        np.where(case.arrays["masked"], np.float32(0), case.inputs["features"]),
    )


# ---------------------------------------------------------------------- parts
def test_spec_augment_only_while_training_and_when_asked():
    x = noise(2, 16000)
    front, plain = FrontEnd(40, augment=True), FrontEnd(40)
    assert not torch.equal(front(x), plain(x))
    assert torch.equal(front.eval()(x), plain(x))


def test_front_end_normalises_over_time_without_gradient_in_float32():
    x = noise(2, 16000).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        instance, mean = FrontEnd(40)(x), FrontEnd(80, pre_emphasis=True, norm="mean")(x)
    assert instance.shape == (2, 40, 101) and mean.shape == (2, 80, 101)
    assert instance.dtype is mean.dtype is torch.float32 and not instance.requires_grad
    assert instance.mean(-1).abs().max() < 1e-4 and mean.mean(-1).abs().max() < 1e-4
    assert (instance.std(-1, correction=0) - 1).abs().max() < 1e-3 and (
        mean.std(-1) - 1
    ).abs().max() > 0.01


def test_what_16_bits_cannot_tell_from_silence_is_zero_in_mfsc():
    for normalization in ("cmn", "cmvn"):
        assert not MFSC(80, normalization=normalization)(5e-7 * noise(1, 16000)).any()


class Meeting(BasePooling):
    """A pairwise pooling as small as can be: frames of one side weighted by the mean of the other."""

    pairwise = True

    def forward(self, frames):
        return frames

    def merge(self, reps):
        return torch.cat(list(reps), -1)

    def pair(self, ref, qry):
        return (
            torch.einsum("rct,qc->qrc", ref.square(), qry.mean(-1)),
            torch.einsum("qct,rc->qrc", qry.square(), ref.mean(-1)),
        )


class Pairwise(Backbone):
    dim = 3

    def __init__(self):
        super().__init__()
        self.pooling, self.bn, self.fc = Meeting(5), nn.BatchNorm1d(5), nn.Linear(5, 3)

    def frames(self, x):
        return x.unflatten(1, (5, -1))

    def head(self, pooled):
        return self.fc(self.bn(pooled))


def test_pairwise_pooling_embeds_when_two_meet():
    net = Pairwise().eval()
    ref, qry = net(noise(2, 50)), net(noise(4, 50, seed=1))
    assert net.pairwise and ref.shape == (2, 5, 10)
    r, q = net.pair(ref, qry)
    assert r.shape == q.shape == (4, 2, 3)
    pooled_r, pooled_q = net.pooling.pair(ref, qry)
    assert torch.allclose(r[3, 1], net.head(pooled_r[3, 1:2])[0], atol=1e-6)
    assert torch.allclose(q[3, 1], net.head(pooled_q[3, 1:2])[0], atol=1e-6)
    assert net.merge(torch.stack([ref, ref])).shape == (2, 5, 20)


# ---------------------------------------------------------------------- the contract
@pytest.fixture(scope="module", params=MODELS)
def net(request):
    return small(request.param)


def test_shapes_of_short_and_long_input(net):
    net.eval()
    with torch.no_grad():
        for samples in (8000, 320000):
            rep = net(some(net, 1, samples))
            r, q = net.pair(rep, rep)
            assert (
                torch.broadcast_shapes(r.shape, q.shape, (1, 1, net.dim)) == (1, 1, net.dim)
                and r.isfinite().all()
                and q.isfinite().all()
            )


def test_rows_are_independent_in_eval(net):
    net.eval()
    x = some(net, 3)
    with torch.no_grad():
        together, alone = net(x), net(x[1:2])
    assert difference(together[1:2].numpy(), alone.numpy()) < 1e-5


def test_merge_of_equal_references_scores_the_same(net):
    net.eval()
    with torch.no_grad():
        rep = net(some(net, 2))
        one, two = net.merge(rep[None]), net.merge(torch.stack([rep, rep]))
        assert all(
            torch.allclose(a, b, atol=1e-4)
            for a, b in zip(net.pair(one, rep), net.pair(two, rep), strict=True)
        )


def test_gradients_reach_every_parameter(net):
    net.train().zero_grad()
    rep = net(some(net, 4))
    r, q = net.pair(rep[:2], rep[2:])
    target = noise(net.dim, seed=1)
    ((r * target).sum() + (q * target).square().sum()).backward()
    assert [
        name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()
    ] == []
    assert all(p.grad.any() for name, p in net.named_parameters() if name.endswith("weight"))


def test_half_precision_and_channels_last(net):
    net.eval()
    x = some(net, 2)
    with torch.no_grad():
        want = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = net(x)
            fast = net.to(memory_format=torch.channels_last)(x)
        assert (
            difference(half.float().numpy(), want.numpy()) < 0.05
            and difference(fast.float().numpy(), want.numpy()) < 0.05
        )
        assert difference(net(x).numpy(), want.numpy()) < 1e-4
    net.train().zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        rep = net(x)
    F.normalize(rep.float(), dim=1)[:, ::2].sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_a_seed_gives_the_same_weights(net):
    again, third = (small(type(net).__module__.split(".")[1]) for _ in range(2))
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.state_dict().values(), third.state_dict().values(), strict=True)
    )


def test_training_options_and_old_names_are_real(net):
    options = {option for option, *_ in declared_options(type(net))}
    assert set(net.training_options) <= options
    assert [net.new_name(name) for name in net.state_dict()] == list(net.state_dict()), (
        "names of today would be renamed too"
    )
    assert not [name for name in net.state_dict() if name.startswith(net.unused)], (
        "names of today would be dropped"
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
    ],
)
def test_sizes_that_do_not_fit_are_refused(name, option, options):
    with pytest.raises(ValueError, match=f"--{option}: want"):
        small(name, **options)


def test_a_model_without_dim_is_refused(monkeypatch):
    module = types.ModuleType("models.Sizeless")
    module.MainModel = type("MainModel", (SpeakerModel,), {})
    monkeypatch.setitem(sys.modules, "models.Sizeless", module)
    with pytest.raises(InputError, match=r"models/Sizeless\.py: .* set self\.dim in __init__"):
        build_model("Sizeless")


def test_an_option_without_a_default_is_refused(monkeypatch):
    class MainModel(SpeakerModel):
        def __init__(self, *, width):
            super().__init__()

    MainModel.__module__ = "models.Optionless"
    module = types.ModuleType("models.Optionless")
    module.MainModel = MainModel
    monkeypatch.setitem(sys.modules, "models.Optionless", module)
    with pytest.raises(InputError, match=r"models/Optionless\.py: .* width; give it a default"):
        build_model("Optionless")


@pytest.mark.parametrize("variant", ["SASV2", "original"])
@pytest.mark.parametrize("input_layer", ["conv2d2", "conv2d"])
@pytest.mark.parametrize("pos_enc_layer_type", ["rel_pos", "no_pos"])
def test_every_mfa_conformer_learns_with_all_its_parameters(
    variant, input_layer, pos_enc_layer_type
):
    net = small(
        "MFA_Conformer",
        variant=variant,
        input_layer=input_layer,
        pos_enc_layer_type=pos_enc_layer_type,
        spec_augment=True,
    )
    assert net.conformer(noise(2, 80, 101)).shape == (2, 50 if input_layer == "conv2d2" else 24, 64)
    x = noise(4, 16000)
    with torch.autocast("cpu", torch.bfloat16):
        net(x).square().sum().backward()
    assert all(
        p.grad.isfinite().all() and (p.grad.any() or not name.endswith("weight"))
        for name, p in net.named_parameters()
    )
    assert not torch.equal(net(x), net(x)), "dropout and SpecAugment while training"
    assert torch.equal(net.eval()(x), net(x))


def test_features_extracted_before_are_taken_as_they_are():
    net = small("VGG3L").eval()
    x = noise(2, 16000)
    with torch.no_grad():
        assert torch.equal(net(net.mfsc(x)), net(x))


@pytest.mark.parametrize("encoder_type", POOLINGS)
@pytest.mark.parametrize(
    "name",
    [name for name in MODELS if takes_pooling(component("models", name))],
)
@torch.no_grad()
def test_every_pooling_suits_every_backbone(name, encoder_type):
    net = small(name, encoder_type=encoder_type).eval()
    ref, qry = net.pair(*net(noise(3, 8000)).split([1, 2]))
    assert (
        torch.broadcast_shapes(ref.shape, qry.shape) == (2, 1, net.dim)
        and ref.isfinite().all()
        and qry.isfinite().all()
    )


def test_dropout_of_enhancement_drops_numbers_and_not_utterances():
    # ELU gives no zeros of its own
    net, seen = model("MyLinearNet", nOut=64, activation="ELU").train(), []
    net.l3.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    net(noise(200, 64))
    share = (seen[0] == 0).float().mean(1)  # [N], dropped in each utterance
    assert abs(share.mean() - 0.2) < 0.01 and share.min() > 0.1 and share.max() < 0.3


def test_embeddings_of_another_size_are_refused():
    with pytest.raises(ValueError, match="--nOut: this model maps embeddings of 64 numbers"):
        model("MyLinearNet", nOut=64)(noise(2, 16000))


def test_excite_add_is_its_formula():
    """Values and gradients of the fused operation against what autograd makes of the formula."""
    torch.manual_seed(0)
    draw = [
        torch.randn(shape, requires_grad=True)
        for shape in ((3, 8, 4, 5), (3, 8, 4, 5), (2, 8), (2,), (8, 2), (8,))
    ]
    y, shortcut, weight1, bias1, weight2, bias2 = draw
    scale = torch.sigmoid(
        F.linear(F.relu(F.linear(y.mean((2, 3)), weight1, bias1)), weight2, bias2)
    )
    want, got = y * scale[:, :, None, None] + shortcut, ExciteAdd.apply(*draw)
    torch.testing.assert_close(got, want)
    weights = torch.randn_like(want)
    for a, b in zip(
        torch.autograd.grad((got * weights).sum(), draw),
        torch.autograd.grad((want * weights).sum(), draw),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
