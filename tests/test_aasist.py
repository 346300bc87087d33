"""AASIST: the numbers of its authors. tests/test_countermeasures.py evaluates the released weights.

pytest tests/test_aasist.py
"""

import os
from pathlib import Path

import pytest
import torch
from reference import golden
from test_models import REFERENCE, difference, filled, model, noise

from models._aasist import GraphPool, MixedGraphAttention

CASES = golden.load_cases(REFERENCE / "model_aasist.npz")
WEIGHTS = Path(os.environ.get("SPEAKER_WEIGHTS", "/nonexistent"))
needs_weights = pytest.mark.skipif(
    not (WEIGHTS / "AASIST.pth").is_file(), reason="no SPEAKER_WEIGHTS"
)


def variant_of(case):
    return "AASIST-L" if case.hparams["init"]["gat_dims"][0] == 24 else "AASIST"


def network_of(case):
    """Returns our network with the weights of a case, and its output layer."""
    if "weights" in case.hparams:
        stored = torch.load(WEIGHTS / case.hparams["weights"], map_location="cpu")
    else:
        stored = {entry["name"]: filled(entry) for entry in case.state}
    net = model("AASIST", variant=variant_of(case)).eval()
    weights = net.new_weights(stored)
    head = torch.nn.Linear(net.dim, 2)
    head.weight.data = weights.pop("loss.fc.weight")
    head.bias.data = weights.pop("loss.fc.bias")
    net.load_state_dict(weights)
    dropped = [name for name in stored if not net.new_name(name)]
    return net, head, sum(stored[name].numel() for name in dropped if "bn1.weight" in name)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=needs_weights if "weights" in case.hparams else (), id=case.name)
        for case in CASES
    ],
)
@torch.no_grad()
def test_parity(case):
    net, head, unused = network_of(case)
    # The authors make a normalisation that they do not use, with a weight and a bias.
    parameters = sum(map(torch.numel, [*net.parameters(), *head.parameters()]))
    assert parameters + 2 * unused == case.hparams["parameters"]
    outputs = record_outputs_of_graphs(net)
    # The fixture contains outputs of modules for the last key. The released weights are compared
    # on the long input.
    for key in ("input_short", "input"):
        if key not in case.hparams:
            continue
        embedding = net(torch.from_numpy(golden.wave(case, case.hparams[key])))
        end = key.removeprefix("input")
        assert difference(embedding.numpy(), case.arrays[f"embedding{end}"]) < 2e-5, key
        assert difference(head(embedding).numpy(), case.arrays[f"logits{end}"]) < 2e-5, key
    for key, want in case.arrays.items():
        if key.startswith("probe:"):
            output = outputs[key[6:]]
            # Means over the axes of maps.
            got = output.flatten(2).mean(-1) if output.dim() > 3 else output
            assert difference(got.numpy(), want) < 2e-5, key
    filters = net.front.filters.numpy()
    expected = case.arrays["sinc_filters"]
    assert difference(filters[:: len(filters) // len(expected)], expected) < 5e-6


def record_outputs_of_graphs(net):
    """record_outputs() for modules with one output. Layers of two graphs have three."""
    outputs = {}

    def hook_of(name):
        def hook(module, args, output):
            outputs[name] = output

        return hook

    for name, module in net.named_modules():
        if not isinstance(module, MixedGraphAttention):
            module.register_forward_hook(hook_of(name))
    return outputs


def test_gradients_are_slopes():
    """Gradients in float64, against differences of the loss. Nothing here is drawn at random."""
    net = model("AASIST", variant="AASIST-L").eval()
    with torch.no_grad():
        size = net.maps(noise(2, 9000)).abs().double()
    net.double()
    direction = noise(net.dim).double()

    def value():
        return (net.graphs(size) * direction).sum()

    value().backward()
    for name in ("pos_S", "master2", "HtrgGAT_layer_ST12.att_weight11", "pool_hT1.proj.weight"):
        parameter = net.get_parameter(name)
        step = 1e-6 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            parameter += step
            above = value()
            parameter -= 2 * step
            slope = (above - value()) / 2
            parameter += step
        assert slope.item() == pytest.approx((parameter.grad * step).sum().item(), rel=1e-4), name


@torch.no_grad()
def test_attention_by_a_loop():
    """A layer of two graphs, node by node, as the paper describes it."""
    torch.manual_seed(0)
    layer = MixedGraphAttention(3, 4, 2.0).eval()
    one = noise(1, 2, 3)
    two = noise(1, 3, 3, seed=1)
    master = noise(1, 1, 3, seed=2)
    x = torch.cat([layer.proj_type1(one), layer.proj_type2(two)], 1)[0]
    logits = torch.empty(5, 5)
    for i in range(5):
        for j in range(5):
            weight = layer.att_weight12
            if i < 2 and j < 2:
                weight = layer.att_weight11
            if i >= 2 and j >= 2:
                weight = layer.att_weight22
            logits[i, j] = torch.tanh(layer.att_proj(x[i] * x[j])) @ weight / 2.0
    expected = []
    for i in range(5):
        mixed = logits[i].softmax(0) @ x
        y = layer.proj_with_att(mixed) + layer.proj_without_att(x[i])
        expected.append(torch.nn.functional.selu(y / (1 + layer.bn.eps) ** 0.5))
    to_master = torch.stack([layer.att_projM(node * master[0, 0]).tanh() for node in x])
    shares = (to_master @ layer.att_weightM / 2.0).softmax(0)
    new = layer.proj_with_attM((shares * x).sum(0)) + layer.proj_without_attM(master[0, 0])
    got_one, got_two, got_master = layer(one, two, master)
    torch.testing.assert_close(torch.cat([got_one, got_two], 1)[0], torch.stack(expected))
    torch.testing.assert_close(got_master[0, 0], new)


@torch.no_grad()
def test_pooling_keeps_the_nodes_with_the_highest_scores():
    pool = GraphPool(2, share=0.7).eval()
    pool.proj.weight.copy_(torch.tensor([[1.0, 0.0]]))
    pool.proj.bias.zero_()
    x = torch.tensor([[[0.0, 1.0], [3.0, 2.0], [-1.0, 3.0], [2.0, 4.0]]])
    # int(4 * 0.7) = 2 nodes, in the order of their scores.
    expected = x[:, [1, 3]] * x[:, [1, 3], :1].sigmoid()
    torch.testing.assert_close(pool(x), expected)
    # The authors round down the product 62.999999999999993 of floating-point numbers.
    assert pool(noise(1, 90, 2)).shape == (1, 62, 2)
    # One node remains of one.
    assert pool(x[:, :1]).shape == (1, 1, 2)


@torch.no_grad()
def test_short_waves_are_repeated():
    net = model("AASIST", variant="AASIST-L").eval()
    x = noise(2, 1000)
    assert torch.equal(net(x), net(x.repeat(1, 3)[:, :2315]))


def test_masked_filters_while_training():
    front = model("AASIST", freq_augment=True).front
    torch.manual_seed(0)
    widths = []
    for _ in range(200):
        rows = torch.nonzero(front.mask(front.filters)[:, 0] == 0)[:, 0]
        assert len(rows) == 0 or rows[-1] - rows[0] == len(rows) - 1
        widths.append(len(rows))
    assert min(widths) == 0
    assert max(widths) == 19
    assert torch.equal(front.eval()(noise(1, 4000)), model("AASIST").front(noise(1, 4000)))


@pytest.mark.slow
def test_compiled_network_has_the_same_gradients():
    """torch.compile does everything except for generating code."""
    torch.compiler.reset()
    gradients = []
    for compiled in (False, True):
        net = model("AASIST", variant="AASIST-L").train()
        for module in net.modules():
            if isinstance(module, torch.nn.Dropout):
                # Dropout draws other numbers in compiled code.
                module.p = 0.0
        call = torch.compile(net, backend="aot_eager") if compiled else net
        call(noise(2, 8000)).square().sum().backward()
        gradients.append({name: value.grad for name, value in net.named_parameters()})
    for name, gradient in gradients[0].items():
        assert difference(gradients[1][name].numpy(), gradient.numpy()) < 1e-3, name
