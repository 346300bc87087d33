"""Models against the reference implementations, and the contract that every file in models/ keeps, new ones too.

    pytest tests/test_models.py
"""
import importlib
import inspect
import re
import typing
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import golden
from torch import nn
from torch.nn import functional as F

from models import Backbone
from models._frontend import FrontEnd, spec_augment
from models._pooling import ASP, ECA, MAX, POOLINGS, SAP, TAP, Pooling
from models._resnet import ExciteAdd
from options import OPTIONS

ROOT = Path(__file__).parent.parent
REFERENCE = Path(__file__).with_name("reference")
PARTS = {"models": "MainModel", "loss": "LossFunction", "optimizer": "Optimizer", "scheduler": "Scheduler"}
COMPONENTS = [(part, path.stem) for part in PARTS for path in sorted((ROOT / part).glob("[!_]*.py"))]
MODELS = [name for part, name in COMPONENTS if part == "models"]
SMALL = {"RawNet3": {"eca_c": 64}, "ResNetSE34V2": {"n_mels": 20}}               # where the contract would take seconds
# largest relative errors of embeddings and of features; RawNet3's logarithms of nearly empty bands amplify the last digit
TOLERANCES = {"RawNet3": (1e-3, 3e-3)}


def component(part, name):
    return getattr(importlib.import_module(f"{part}.{name}"), PARTS[part])


def model(name, **options):
    torch.manual_seed(0)
    return component("models", name)(**options)


def small(name, **options):
    return model(name, **SMALL.get(name, {}), **options)


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32)) * 0.1


def difference(a, b):
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


# ---------------------------------------------------------------------- every component
@pytest.mark.parametrize("part, name", COMPONENTS)
def test_signature_is_a_schema(part, name):
    entry = component(part, name)
    for p in inspect.signature(entry).parameters.values():
        if p.default is p.empty:
            assert p.kind is p.POSITIONAL_OR_KEYWORD, f"{p.name}: supplied by the program, or an option without a default?"
            continue
        assert p.kind is p.KEYWORD_ONLY, p.name
        assert p.annotation in (int, float, str, bool) or typing.get_origin(p.annotation) is typing.Literal, p.name
        kinds = typing.get_args(p.annotation) or (p.annotation,)
        assert p.default in kinds if typing.get_origin(p.annotation) else type(p.default) is p.annotation, f"{p.name} = {p.default!r}"
        assert re.search(rf"^\s*{p.name}: \S", entry.__doc__, re.M), f"{p.name} has no help in the docstring"


def test_options_have_one_owner():
    owner = {option.name: "the program" for group in OPTIONS.values() for option in group}
    for part, name in COMPONENTS:
        for p in inspect.signature(component(part, name)).parameters.values():
            if p.default is not p.empty:
                assert owner.setdefault(p.name, part) == part, f"{p.name} belongs to {owner[p.name]} and to {part}/{name}.py"


# ---------------------------------------------------------------------- parity
def reference_cases(file, models):
    cases = golden.load_cases(REFERENCE / file)
    return [pytest.param(case, id=f"{file[6:-4]}-{case.name}") for case in cases if case.hparams["model"] in models]


def reference_model(case):
    """Our model with the weights of a case, loaded through `old_names` as a published checkpoint is."""
    options = {{"num_mels": "n_mels", "num_out": "nOut"}.get(k, k): v for k, v in case.hparams["init"].items()}
    if case.info["repo"].endswith("CAP"):
        options |= {"n_mels": 64, "window": "hann"}                              # fixed there
    net = model(case.hparams["model"], **options)
    present, state = net.state_dict(), {}
    for entry in case.state:
        name = entry["name"]
        if name.startswith(net.unused):
            continue
        new = net.new_name(name)
        if entry["filled"]:
            state[new] = torch.from_numpy(golden.fill(name, entry["shape"], entry["dtype"]))
        else:                                                                    # constants of the front end: ours are compared
            state[new] = present[new]
            if f"skipped:{name}" in case.arrays:
                assert difference(present[new].numpy(), case.arrays[f"skipped:{name}"]) < 1e-6, name
    state.pop("loss.global_w", None)                                             # CAP's classifier, which belongs to the loss here
    net.load_state_dict(state)
    return net.eval()


@pytest.mark.parametrize("case", [*reference_cases("model_clova_resnetse34l.npz", MODELS), *reference_cases("model_cap_tap_sap.npz", MODELS),
                                  *reference_cases("model_clova_resnetse34v2.npz", MODELS), *reference_cases("model_clova_vggvox.npz", MODELS),
                                  *reference_cases("model_clova_rawnet3.npz", MODELS), *reference_cases("model_sasv2.npz", ("ECAPA_TDNN",))])
@torch.no_grad()
def test_parity(case):
    net = reference_model(case)
    of_embedding, of_features = TOLERANCES.get(case.hparams["model"], (2e-5, 1e-5))
    seen = {}
    for name, module in net.named_modules():
        module.register_forward_hook(lambda module, args, output, name=name: seen.update({name: output.clone()}))   # ReLUs are in place
    for key in ("input_q", "input_long", "input"):                               # the probes are of the last
        if key in case.hparams:
            wave = torch.from_numpy(golden.wave(case, case.hparams[key]))
            assert difference(net(wave).numpy(), case.arrays["embedding" + key[5:]]) < of_embedding, key
    for key, want in case.arrays.items():
        if key.startswith("probe:"):
            got = seen[key[6:]]
            assert difference(got.mean(tuple(range(2, got.dim()))).numpy(), want) < of_embedding, key
        if key == "filters":
            assert difference(net.conv1.filters().squeeze(1).numpy(), want) < 1e-5
        if key == "features" and "features_slice" in case.hparams:               # RawNet3, whose own they are
            assert difference(net.features(wave)[:1, :, ::20].numpy(), want) < of_features
        elif key == "features":
            front = next(seen[name] for name, module in net.named_modules() if isinstance(module, FrontEnd))
            assert difference(front.numpy(), want.reshape(front.shape)) < of_features


@pytest.mark.parametrize("case", golden.load_cases(REFERENCE / "specaug_sasv2.npz"), ids=lambda case: case.name)
def test_spec_augment_parity(case):
    x = torch.from_numpy(case.inputs["features"])
    torch.manual_seed(case.hparams["torch_seed"])
    assert np.array_equal(spec_augment(x).numpy(), np.where(case.arrays["masked"], np.float32(0), case.inputs["features"]))


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
    assert (instance.std(-1, correction=0) - 1).abs().max() < 1e-3 and (mean.std(-1) - 1).abs().max() > 0.01


@pytest.mark.parametrize("kind, size", [(TAP, 8), (MAX, 8), (SAP, 8), (ASP, 16), (ECA, 16), (partial(ECA, context=False, deviation=False), 8),
                                        (partial(ECA, shared=True, tanh=False), 16)])
def test_poolings_know_their_size_and_keep_float32_under_autocast(kind, size):
    torch.manual_seed(0)
    pooling = kind(8).eval()
    frames = (noise(3, 8, 50) + 10.0).bfloat16()                                 # the variance is small beside the squared mean
    with torch.no_grad():
        want = pooling(frames.float())
        with torch.autocast("cpu", torch.bfloat16):
            got = pooling(frames)
    assert pooling.size == size and want.shape == (3, size) and got.dtype is torch.float32
    assert (got - want).abs().max() < 0.01


def test_weighted_statistics_are_means_and_deviations():
    asp = ASP(4).eval()
    nn.init.zeros_(asp.attention)                                                # equal weights: plain statistics
    frames = noise(2, 4, 50)
    want = torch.cat([frames.mean(-1), frames.std(-1, correction=0)], -1)
    assert torch.allclose(asp(frames), want, atol=1e-5)


def test_pooled_deviations_have_limits():
    frames = torch.stack([torch.ones(50), 1000 * torch.tensor([1.0, -1.0]).repeat(25)])[None]                   # variances of 0 and a million
    for context in (False, True):
        eca = ECA(2, context=context, floor=0.01, ceiling=1e4).eval()
        assert torch.allclose(eca(frames)[0, 2:], torch.tensor([0.1, 100.0]))
    assert ECA(2, context=False).eval()(frames)[0, 3] > 500


class Meeting(Pooling):
    """A pairwise pooling as small as can be: frames of one side weighted by the mean of the other."""

    pairwise = True

    def forward(self, frames):
        return frames

    def merge(self, reps):
        return torch.cat(list(reps), -1)

    def pair(self, ref, qry):
        return (torch.einsum("rct,qc->qrc", ref.square(), qry.mean(-1)), torch.einsum("qct,rc->qrc", qry.square(), ref.mean(-1)))


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
            rep = net(noise(1, samples))
            r, q = net.pair(rep, rep)
            assert torch.broadcast_shapes(r.shape, q.shape, (1, 1, net.dim)) == (1, 1, net.dim) and r.isfinite().all() and q.isfinite().all()


def test_rows_are_independent_in_eval(net):
    net.eval()
    x = noise(3, 16000)
    with torch.no_grad():
        together, alone = net(x), net(x[1:2])
    assert difference(together[1:2].numpy(), alone.numpy()) < 1e-5


def test_merge_of_equal_references_scores_the_same(net):
    net.eval()
    with torch.no_grad():
        rep = net(noise(2, 16000))
        one, two = net.merge(rep[None]), net.merge(torch.stack([rep, rep]))
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(net.pair(one, rep), net.pair(two, rep), strict=True))


def test_gradients_reach_every_parameter(net):
    net.train().zero_grad()
    rep = net(noise(4, 16000))
    r, q = net.pair(rep[:2], rep[2:])
    target = noise(net.dim, seed=1)
    ((r * target).sum() + (q * target).square().sum()).backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    assert all(p.grad.any() for name, p in net.named_parameters() if name.endswith("weight"))


def test_half_precision_and_channels_last(net):
    net.eval()
    x = noise(2, 16000)
    with torch.no_grad():
        want = net(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = net(x)
            fast = net.to(memory_format=torch.channels_last)(x)
        assert difference(half.float().numpy(), want.numpy()) < 0.05 and difference(fast.float().numpy(), want.numpy()) < 0.05
        assert difference(net(x).numpy(), want.numpy()) < 1e-4
    net.train().zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        rep = net(x)
    F.normalize(rep.float(), dim=1)[:, ::2].sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_a_seed_gives_the_same_weights(net):
    again, third = (small(type(net).__module__.split(".")[1]) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), third.state_dict().values(), strict=True))


def test_training_options_and_old_names_are_real(net):
    options = inspect.signature(type(net)).parameters
    assert set(net.training_options) <= set(options)
    assert [net.new_name(name) for name in net.state_dict()] == list(net.state_dict()), "names of today would be renamed too"


@pytest.mark.parametrize("encoder_type", POOLINGS)
@pytest.mark.parametrize("name", [name for name in MODELS if "encoder_type" in inspect.signature(component("models", name)).parameters])
@torch.no_grad()
def test_every_pooling_suits_every_backbone(name, encoder_type):
    net = small(name, encoder_type=encoder_type).eval()
    ref, qry = net.pair(*net(noise(3, 8000)).split([1, 2]))
    assert torch.broadcast_shapes(ref.shape, qry.shape) == (2, 1, net.dim) and ref.isfinite().all() and qry.isfinite().all()


@pytest.mark.parametrize("options, name", [({"eca_s": 8}, "ECAPA_TDNN"), ({}, "RawNet3")])
def test_channels_that_do_not_split_are_refused(options, name):
    with pytest.raises(ValueError, match="--eca_"):
        model(name, eca_c=60, **options)


def test_excite_add_is_its_formula():
    """Values and gradients of the fused operation against what autograd makes of the formula."""
    torch.manual_seed(0)
    draw = [torch.randn(shape, requires_grad=True) for shape in ((3, 8, 4, 5), (3, 8, 4, 5), (2, 8), (2,), (8, 2), (8,))]
    y, shortcut, weight1, bias1, weight2, bias2 = draw
    scale = torch.sigmoid(F.linear(F.relu(F.linear(y.mean((2, 3)), weight1, bias1)), weight2, bias2))
    want, got = F.relu(y * scale[:, :, None, None] + shortcut), ExciteAdd.apply(*draw)
    torch.testing.assert_close(got, want)
    weights = torch.randn_like(want)
    for a, b in zip(torch.autograd.grad((got * weights).sum(), draw), torch.autograd.grad((want * weights).sum(), draw), strict=True):
        torch.testing.assert_close(a, b)
