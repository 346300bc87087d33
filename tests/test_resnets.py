"""ResNet, SimAM-ResNet and ERes2NetV2: the numbers of wespeaker and 3D-Speaker, and the sizes."""

import copy
import re

import numpy as np
import pytest
import torch
from reference import golden
from test_models import REFERENCE, difference, filled, model, noise, record_outputs, small
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from models import ERes2NetV2, ResNet
from models._simam import SMALL, simam
from network.components import build_model
from network.suggestions import WithoutMemory
from options.parser import parse
from options.plugins import pooling_name

FILES = ("wespeaker_resnet", "wespeaker_simam", "eres2netv2")
# Names of options in the references.
RENAMED = {
    "feat_dim": "n_mels",
    "acoustic_dim": "n_mels",
    "embed_dim": "nOut",
    "embedding_size": "nOut",
    "pooling_func": "encoder_type",
    "in_planes": "width",
    "m_channels": "width",
    "baseWidth": "base_width",
    "scale": "pieces",
}
# Options of references that are off in all cases, and that we do not have.
ABSENT = {"ResNet": "dropout", "ERes2NetV2": "two_emb_layer"}


def network_of(case):
    """Returns our network without its front end, with the weights of a case.

    It takes the features of the case, [N, n_mels, T]. The names of the weights are published ones.
    """
    name = case.hparams["model"]
    options = {RENAMED.get(key, key): value for key, value in case.hparams["init"].items()}
    resnet = re.fullmatch(r"(SimAM_)?ResNet(\d+)(_ASP)?", name)
    if resnet:
        name = "ResNet"
        options |= {"variant": "simam" if resnet[1] else "plain", "depth": int(resnet[2])}
    assert not options.pop(ABSENT[name], 0)
    net = model(name, **options)
    net.torchfb = nn.Identity()
    net.load_state_dict({net.new_name(entry["name"]): filled(entry) for entry in case.state})
    return net


def features_of(case, key="input"):
    return torch.from_numpy(case.inputs[case.hparams[key]]).transpose(1, 2)


def cases(training):
    """The cases of whole networks, in training or in evaluation."""
    found = []
    for file in FILES:
        for case in golden.load_cases(REFERENCE / f"model_{file}.npz"):
            if case.name.startswith("pool_") or case.name.startswith("train_") is not training:
                continue
            found.append(pytest.param(case, id=case.name))
    return found


@pytest.mark.parametrize("case", cases(training=False))
@torch.no_grad()
def test_parity(case):
    # The layout in which networks are trained and used.
    net = network_of(case).eval().to(memory_format=torch.channels_last)
    assert sum(map(torch.numel, net.parameters())) == case.hparams["parameters"]
    outputs = record_outputs(net)
    keys = [key for key in case.hparams if key.startswith("input")]
    # The fixtures contain outputs of modules for the first key.
    for key in reversed(keys):
        embedding = net(features_of(case, key)).numpy()
        assert difference(embedding, case.arrays["embedding" + key[5:]]) < 2e-5, key
    if "embedding_a" in case.arrays:
        assert difference(outputs["seg_1"].numpy(), case.arrays["embedding_a"]) < 2e-5
    for key, want in case.arrays.items():
        if key.startswith("probe:"):
            output = outputs[net.new_name(key[6:] + ".").rstrip(".")]
            # The means of maps, and the first values of pooled frames.
            values = output.flatten(2).mean(2) if output.dim() > 2 else output[:, : want.shape[1]]
            assert difference(values.numpy(), want) < 2e-5, key


@pytest.mark.parametrize("case", cases(training=True))
def test_training_parity(case):
    # In another layout than the reference, rounding errors of 1e-7 flip single ReLUs, which moves
    # gradients by 2e-3.
    net = network_of(case).train()
    embedding = net(features_of(case))
    loss = (embedding * torch.from_numpy(case.arrays["coefficients"])).sum() / len(embedding)
    loss.backward()
    assert difference(embedding.detach().numpy(), case.arrays["embedding"]) < 1e-4
    assert loss.item() == pytest.approx(float(case.arrays["loss"]), rel=1e-3)
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    names = [net.new_name(name) for name in case.arrays["grad_names"]]
    assert sorted(names) == sorted(gradients)
    norms = [gradients[name].norm().item() for name in names]
    np.testing.assert_allclose(norms, case.arrays["grad_norms"], rtol=1e-3, atol=1e-6)
    (key,) = [key for key in case.arrays if key.startswith("grad:")]
    gradient = gradients[net.new_name(key[5:])].numpy()
    assert difference(gradient, case.arrays[key]) < 1e-3
    state = net.state_dict()
    sums = [state[net.new_name(name)].double().sum() for name in case.arrays["running_names"]]
    np.testing.assert_allclose(sums, case.arrays["running_sums"], rtol=1e-4)


def test_asp_parity():
    """The pooling of SimAM-ResNet is the pooling that ResNetSE34V2 calls ASP."""
    found = golden.load_cases(REFERENCE / "model_wespeaker_resnet.npz")
    (case,) = [case for case in found if case.name == "pool_ASP"]
    pooling = small("ResNet", variant="simam", width=1, n_mels=80).pooling
    pooling.load_state_dict({entry["name"]: filled(entry) for entry in case.state})
    frames = torch.from_numpy(case.inputs["map4"]).flatten(1, 2)
    assert difference(pooling.eval()(frames).detach().numpy(), case.arrays["embedding"]) < 2e-5


# ---------------------------------------------------------------------- sizes
W24 = {"base_width": 24, "pieces": 4, "expansion": 4}
# Model, options, million parameters, and billion multiply-adds of 200 frames. wespeaker and
# 3D-Speaker publish the parameters. The multiply-adds were counted in their programs.
SIZES = [
    ("ResNet", {"depth": 18}, 4.11, 2.17),
    ("ResNet", {"depth": 34}, 6.63, 4.53),
    ("ResNet", {"depth": 34, "encoder_type": "ASTP"}, 7.29, 4.54),
    ("ResNet", {"depth": 50}, 11.13, 5.07),
    ("ResNet", {"depth": 101}, 15.89, 9.81),
    pytest.param("ResNet", {"depth": 152}, 19.81, 14.54, marks=pytest.mark.slow),
    pytest.param("ResNet", {"depth": 221}, 23.79, 20.95, marks=pytest.mark.slow),
    ("ResNet", {"depth": 293}, 28.63, 27.63),
    ("ResNet", {"variant": "simam", "width": 64}, 25.21, 18.13),
    ("ResNet", {"variant": "simam", "width": 64, "depth": 100}, 50.23, 57.06),
    ("ERes2NetV2", {}, 17.86, 8.30),
    ("ERes2NetV2", W24, 53.51, 24.55),
]


@pytest.mark.parametrize("name, options, millions, billions", SIZES)
def test_sizes_are_the_published_ones(name, options, millions, billions):
    """Parameters and multiply-adds, counted without memory and without arithmetic."""
    with WithoutMemory():
        net = build_model(name, **options).eval().to("meta")
    net.torchfb = nn.Identity()
    features = torch.zeros(1, 80, 200, device="meta")
    assert sum(map(torch.numel, net.parameters())) / 1e6 == pytest.approx(millions, abs=0.005)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.head(net.pooling(net.frames(features)))
    assert counter.get_total_flops() / 2e9 == pytest.approx(billions, abs=0.006)


# ---------------------------------------------------------------------- SimAM
def simam_in_words(y):
    """The formula of the paper, with the operations of torch."""
    away = (y - y.mean((2, 3), keepdim=True)).square()
    variance = away.sum((2, 3), keepdim=True) / (y[0, 0].numel() - 1)
    return y * (away / (4 * (variance + SMALL)) + 0.5).sigmoid()


def test_simam_is_its_formula():
    """Values and gradients equal the results of autograd for the formula, in double precision."""
    torch.manual_seed(0)
    y = 3 * torch.randn(2, 4, 5, 7) + torch.arange(4).view(4, 1, 1)
    # A map of a silent channel, and a nearly constant one.
    y[0, 1] = 0
    y[0, 2] *= 1e-3
    weights = torch.randn_like(y)
    for layout in (torch.contiguous_format, torch.channels_last):
        here = y.to(memory_format=layout).requires_grad_()
        exact = y.double().requires_grad_()
        got = simam(here)
        want = simam_in_words(exact)
        torch.testing.assert_close(got, want.float())
        (gradient,) = torch.autograd.grad((got * weights).sum(), here)
        (expected,) = torch.autograd.grad((want * weights).sum(), exact)
        torch.testing.assert_close(gradient, expected.float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_simam_of_half_precision_has_statistics_of_float32(dtype):
    """A sum over a map of 8,000 values of 100 would overflow in float16."""
    y = (100 + torch.randn(1, 2, 40, 200, generator=torch.Generator().manual_seed(0))).to(dtype)
    with torch.autocast("cpu", torch.bfloat16):
        got = simam(y.requires_grad_())
    got.sum().backward()
    assert got.dtype is dtype
    want = simam_in_words(y.detach().double())
    torch.testing.assert_close(got.double(), want, rtol=torch.finfo(dtype).eps, atol=0)
    assert y.grad.isfinite().all()


# ---------------------------------------------------------------------- options
def chosen_pooling(*words):
    """Returns the value of --encoder_type after a command line, and the pooling that it means."""
    options, _ = parse(["--model", "ResNet", *words], {}, "", None)
    return options.encoder_type, pooling_name("ResNet", vars(options))


def test_a_variant_chooses_its_pooling():
    assert chosen_pooling() == ("TSTP", "TSTP")
    assert chosen_pooling("--variant", "simam") == ("ASP", "ResNetSE34V2_ASP")
    assert chosen_pooling("--variant", "simam", "--encoder_type", "TSTP") == ("TSTP", "TSTP")
    assert chosen_pooling("--encoder_type", "ASP") == ("ASP", "ASP")
    assert type(small("SimAM-ResNet").pooling).__module__ == "pooling.ResNetSE34V2_ASP"


# ---------------------------------------------------------------------- torch.compile
def gradient_of(net):
    """Returns the gradients of all parameters as one vector."""
    return torch.cat([parameter.grad.flatten() for parameter in net.parameters()]).numpy()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, mixedprec",
    [("ResNet", True), ("SimAM-ResNet", False), ("SimAM-ResNet", True), ("ERes2NetV2", False)],
)
def test_gradients_with_compile(name, mixedprec, monkeypatch):
    """With one block per layer, and everything of torch.compile but the code generator."""
    torch.compiler.reset()
    monkeypatch.setitem(ResNet.BASIC, 18, (1, 1, 1, 1))
    monkeypatch.setattr(ERes2NetV2, "BLOCKS", (1, 1, 1, 1))
    plain = small(name)
    compiled = copy.deepcopy(plain)
    compiled.compile(backend="aot_eager", dynamic=False)
    x = noise(3, 8000)
    weights = noise(3, plain.dim, seed=1)
    for net in (plain, compiled):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixedprec):
            embedding = net(x)
        (embedding * weights).sum().backward()
    # Together, because biases before a normalisation have the gradient 0 and rounding errors.
    gradients = [gradient_of(net) for net in (compiled, plain)]
    # bfloat16 has three digits.
    assert difference(*gradients) < (0.05 if mixedprec else 1e-3)
