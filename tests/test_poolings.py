"""Poolings: the contract that every file of pooling/ keeps, new ones too, and their definitions.

pytest tests/test_poolings.py
"""

import math
import typing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models import Backbone
from network.components import build_model
from options.plugins import find, options_of
from pooling import BasePooling
from pooling._channel_attention import ChannelAttention

ROOT = Path(__file__).parent.parent
NAMES = sorted(path.stem for path in (ROOT / "pooling").glob("[!_]*.py"))
PAIRWISE = [name for name in NAMES if find("encoder_type", name).pairwise]
SINGLE = [name for name in NAMES if name not in PAIRWISE]
LAYERED = [name for name in NAMES if find("encoder_type", name).takes_layers]


class Shape(NamedTuple):
    """Sizes of the frames that the poolings get."""

    rows: int
    channels: int
    frames: int


class SmallBackbone(Backbone):
    """Frames from one convolution, the pooling, and one linear layer."""

    dim = 5

    def __init__(self, pooling: BasePooling, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, channels, 20, stride=10)
        self.pooling = pooling
        self.fc = nn.Linear(pooling.size, self.dim)

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x.unsqueeze(1))

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.fc(pooled)


def make(name: str, channels: int, layers: int = 1, **options) -> BasePooling:
    """The pooling of a file with random running statistics, as if it were trained."""
    torch.manual_seed(0)
    kind = find("encoder_type", name)
    supplied = (channels, layers) if kind.takes_layers else (channels,)
    made = kind(*supplied, **options)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return made.eval()


def random_frames(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pooled_pairs(pooling: BasePooling, frames: torch.Tensor) -> torch.Tensor:
    """What comes out for each utterance [N, size], or for each with each [2, N, N, size]."""
    rep = pooling(frames)
    return torch.stack(pooling.pair(rep, rep)) if pooling.pairwise else rep


@pytest.fixture
def shape() -> Shape:
    # The channels can be split into the 32 heads that are the default. The reciprocal of the number
    # of frames is no short binary fraction, so half precision would round weights.
    return Shape(rows=3, channels=64, frames=41)


@pytest.fixture(params=NAMES)
def name(request) -> str:
    return request.param


@pytest.fixture
def pooling(name, shape) -> BasePooling:
    return make(name, shape.channels)


# ---------------------------------------------------------------------- the contract
def test_class_and_description(name, pooling):
    assert isinstance(pooling, BasePooling), (
        f"pooling/{name}.py: derive the class Pooling from BasePooling of pooling/__init__.py"
    )
    assert pooling.description, (
        f"pooling/{name}.py: set the class attribute description to a few words, for the line that "
        "the program prints where a model means another pooling by a name"
    )


@torch.no_grad()
def test_size_and_precision_of_the_result(name, pooling, shape):
    frames = random_frames(*shape)
    result = pooled_pairs(pooling, frames)
    rows = (2, shape.rows, shape.rows) if pooling.pairwise else (shape.rows,)
    assert result.shape == (*rows, pooling.size), (
        f"pooling/{name}.py: pass to BasePooling.__init__ the number of values that come out for "
        f"an utterance; {pooling.size} was passed, the result is {[*result.shape]}"
    )
    assert result.dtype is torch.float32, f"pooling/{name}.py: return float32"
    assert pooled_pairs(pooling, frames[..., :1]).isfinite().all(), (
        f"pooling/{name}.py: an utterance of one frame must give finite values; is a deviation "
        "divided by T - 1?"
    )


@torch.no_grad()
def test_rows_are_independent(name, pooling, shape):
    frames = random_frames(*shape)
    together = pooling(frames)
    for row in range(shape.rows):
        alone = pooling(frames[row : row + 1])
        assert torch.allclose(together[row : row + 1], alone, rtol=1e-4, atol=1e-5), (
            f"pooling/{name}.py: in eval mode the result of an utterance depends on the other "
            "utterances of the batch; compute softmax and statistics over time (the last axis of "
            "[N, C, T]), not over the first axis"
        )


def test_gradients_reach_every_parameter(name, pooling, shape):
    net = SmallBackbone(pooling, shape.channels).train()
    rep = net(random_frames(2 * shape.rows, 10 * shape.frames))
    ref, qry = net.pair(rep[: shape.rows], rep[shape.rows :])
    target = random_frames(net.dim, seed=1)
    ((ref * target).sum() + (qry * target).square().sum()).backward()
    for parameter_name, parameter in net.named_parameters():
        place = f"pooling/{name}.py: {parameter_name}"
        assert parameter.grad is not None, (
            f"{place} has no influence on the result; use the parameter in forward() or pair(), or "
            "do not make it. Several processes wait for the gradients of all parameters"
        )
        assert parameter.grad.isfinite().all(), f"{place}: its gradient is not finite"
        # The gradient of a bias may be 0: a softmax ignores it.
        if parameter.dim() > 1:
            assert parameter.grad.any(), (
                f"{place} gets the gradient 0; is a result detached, or multiplied by 0?"
            )


@torch.no_grad()
def test_weights_and_statistics_are_float32_under_autocast(name, pooling, shape):
    """Frames that do not change in time: weights that sum to 1 give the frame itself.

    Half precision rounds weights of 1/T, so their sum is not 1.
    """
    frames = random_frames(shape.rows, shape.channels, 1).bfloat16().expand(*shape)
    # The variances of `moving` are small compared with the squared means.
    moving = (0.1 * random_frames(*shape) + 10.0).bfloat16()
    for x, tolerance in ((frames, 2e-4), (moving, 0.01)):
        expected = pooled_pairs(pooling, x.float())
        with torch.autocast("cpu", torch.bfloat16):
            result = pooled_pairs(pooling, x)
        assert result.dtype is torch.float32, (
            f"pooling/{name}.py: return float32 under autocast too, for instance by .float()"
        )
        error = (result - expected).abs().max().item()
        assert error < tolerance, (
            f"pooling/{name}.py: bfloat16 autocast changes the result by {error:.1e}; compute the "
            "attention weights (softmax) and the statistics in float32: logits.float().softmax(-1)"
        )


@pytest.mark.parametrize("name", PAIRWISE, indirect=True)
@torch.no_grad()
def test_padding_changes_nothing(name, pooling, shape):
    """Representations without a time axis are never padded."""
    ref = pooling(random_frames(*shape))
    qry = pooling(random_frames(*shape, seed=1))
    expected = pooling.pair(ref, qry)
    padded = pooling.pair(F.pad(ref, (0, 5)), F.pad(qry, (0, 40)))
    for plain, other in zip(expected, padded, strict=True):
        assert torch.allclose(plain, other, rtol=1e-4, atol=1e-5), (
            f"pooling/{name}.py: zeros at the end of a representation change the result of pair(); "
            "mark the frames in forward(), for instance by a channel of ones, and mask the others"
        )


@torch.no_grad()
def test_merge_ignores_the_order_of_the_files(name, pooling, shape):
    first = pooling(random_frames(*shape))
    second = pooling(random_frames(*shape, seed=1))
    query = pooling(random_frames(*shape, seed=2))
    merged = [pooling.merge(torch.stack(files)) for files in ([first, second], [second, first])]
    if pooling.pairwise:
        merged = [torch.stack(pooling.pair(reference, query)) for reference in merged]
        assert merged[0].shape == (2, shape.rows, shape.rows, pooling.size)
    assert torch.allclose(*merged, rtol=1e-4, atol=1e-5), (
        f"pooling/{name}.py: merge() must not depend on the order of the enrolment files; take "
        "their mean, or join their frames"
    )


@pytest.mark.parametrize("name", SINGLE, indirect=True)
@torch.no_grad()
def test_merging_equal_references_changes_nothing(name, pooling, shape):
    """A pairwise pooling may attend more sharply to a longer reference."""
    rep = pooling(random_frames(*shape))
    merged = pooling.merge(torch.stack([rep, rep]))
    assert torch.allclose(merged, rep, rtol=1e-4, atol=1e-5), (
        f"pooling/{name}.py: merge() of two equal enrolment files must give one of them; take "
        "their mean"
    )


@pytest.mark.parametrize("name", LAYERED)
def test_layers_are_summed_with_shares_that_learn(name, shape):
    pooling = make(name, shape.channels, layers=3)
    frames = random_frames(shape.rows, 3, *shape[1:])
    result = pooling(frames)
    place = f"pooling/{name}.py"
    assert result.shape == (shape.rows, pooling.size), f"{place}: pool [N, L, C, T] to [N, size]"
    assert torch.allclose(pooling(frames[1:2]), result[1:2], rtol=1e-4, atol=1e-5), (
        f"{place}: the result of an utterance depends on the other utterances of the batch"
    )
    (result * random_frames(*result.shape, seed=1)).sum().backward()
    for parameter_name, parameter in pooling.named_parameters():
        found = parameter.grad is not None and parameter.grad.any()
        # A softmax over time ignores a bias of its logits.
        assert found or parameter_name.endswith("bias"), (
            f"{place}: {parameter_name} gets no gradient; use all layers in forward()"
        )
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.allclose(pooling(frames), result), f"{place}: compute in float32"


@pytest.mark.parametrize("name", LAYERED)
@torch.no_grad()
def test_equal_layers_are_one_layer(name, shape):
    one = make(name, shape.channels)
    several = make(name, shape.channels, layers=3)
    several.load_state_dict(one.state_dict(), strict=False)
    frames = random_frames(*shape)
    layers = frames.unsqueeze(1).expand(-1, 3, -1, -1)
    assert torch.allclose(several(layers), one(frames), rtol=1e-4, atol=1e-5), (
        f"pooling/{name}.py: the shares of the layers must sum to 1; take their softmax"
    )


# ---------------------------------------------------------------------- definitions
def test_weighted_statistics_are_means_and_deviations():
    asp = make("ASP", 4)
    # Equal weights: plain statistics.
    nn.init.zeros_(asp.attention)
    frames = 0.1 * random_frames(2, 4, 50)
    expected = torch.cat([frames.mean(-1), frames.std(-1, correction=0)], -1)
    assert torch.allclose(asp(frames), expected, atol=1e-5)


def test_heads_are_left_out_of_training_steps_but_never_all():
    torch.manual_seed(0)
    heads = random_frames(4000, 2, 4)  # [N, size, heads]
    attention = make("DoubleMHA", 8, heads_number=4, mask_prob=0.3).train().headsAttention
    kept = (attention.weights(heads) > 0).sum(2).flatten().bincount(minlength=5) / 4000
    # Each head is kept with probability 2/3. If all were left out, one of them is kept.
    binomial = torch.tensor([1.0, 8.0, 24.0, 32.0, 16.0]) / 81
    expected = binomial[1:].clone()
    expected[0] += binomial[0]
    assert kept[0] == 0
    assert torch.allclose(kept[1:], expected, atol=0.025)
    assert (attention.eval().weights(heads) > 0).all()
    attention = make("DoubleMHA", 8, heads_number=4, mask_prob=0.0).train().headsAttention
    assert (attention.weights(heads) > 0).all()


@pytest.mark.parametrize(
    "option, value",
    [
        ("heads_number", 0),
        ("heads_number", 3),
        ("heads_number", 16),
        ("mask_prob", -0.1),
        ("mask_prob", 0.6),
        ("mask_prob", math.nan),
    ],
)
def test_heads_that_do_not_split_or_are_all_left_out_are_refused(option, value):
    options = {"heads_number": 4, "mask_prob": 0.3} | {option: value}
    with pytest.raises(ValueError, match=f"--{option}: expected .*, found {value}"):
        make("DoubleMHA", 8, **options)


def test_pooled_deviations_have_limits():
    # Variances of 0 and a million.
    frames = torch.stack([torch.ones(50), 1000 * torch.tensor([1.0, -1.0]).repeat(25)])[None]
    for context in (False, True):
        limited = ChannelAttention(2, context=context, floor=0.01, ceiling=1e4).eval()
        assert torch.allclose(limited(frames)[0, 2:], torch.tensor([0.1, 100.0]))
    assert ChannelAttention(2, context=False).eval()(frames)[0, 3] > 500


@torch.no_grad()
def test_mqmha_is_its_definition():
    """Every query of every head separately, for one utterance, as in arXiv:2110.05042."""
    heads = 3
    queries = 2
    size = 4
    mqmha = make("MQMHA", heads * size, heads_number=heads, queries=queries)
    frames = random_frames(5, heads * size, 30)
    expected = []
    for query in range(queries):
        means = []
        deviations = []
        for head in range(heads):
            x = frames[1, size * head : size * (head + 1)]  # [size, T]
            weights = (mqmha.query[query, head] @ x).exp()
            weights = weights / weights.sum()
            means.append((weights * x).sum(1))
            deviations.append((weights * (x - means[-1][:, None]) ** 2).sum(1).sqrt())
        expected += means + deviations
    assert mqmha.size == 2 * heads * size * queries
    torch.testing.assert_close(mqmha(frames)[1], torch.cat(expected), rtol=1e-4, atol=1e-5)


def test_mqmha_needs_a_query():
    with pytest.raises(ValueError, match="--queries: expected at least 1, found 0"):
        make("MQMHA", 8, heads_number=2, queries=0)


# ---------------------------------------------------------------------- what published models mean
class Published(NamedTuple):
    """The network that computes the weights, as published, and the values per channel."""

    model: str
    options: dict[str, Any]
    encoder_type: str
    # Channels that go in, per channel of the frames: 3 with the utterance's mean and deviation.
    inputs: int
    hidden: int
    tanh: bool
    one_weight: bool
    values: int


# ECAPA-TDNN (arXiv:2005.07143) and the SASV 2022 baseline (arXiv:2305.19051): 256 hidden units.
# speechbrain, which the authors of MFA-Conformer use (arXiv:2203.15249): 128 hidden units.
# voxceleb_trainer's RawNet3 (arXiv:2203.08488) and ResNetSE34V2 (arXiv:2009.14153): 128, no tanh.
ORIGINAL = {"num_blocks": 1, "variant": "original"}
PUBLISHED = [
    Published("ECAPA_TDNN", {"eca_c": 64}, "ASP", 3, 256, True, False, 2),
    Published("SKA_TDNN", {"eca_c": 64, "frt_c": 16}, "ASP", 3, 256, True, False, 2),
    Published("MFA_Conformer", {"num_blocks": 1}, "ASP", 3, 256, True, False, 2),
    Published("MFA_Conformer", ORIGINAL, "ASP", 3, 128, True, False, 2),
    Published("RawNet3", {"eca_c": 64}, "ECA", 3, 128, False, False, 2),
    Published("RawNet3", {"eca_c": 64}, "ASP", 3, 128, False, True, 2),
    Published("ResNetSE34V2", {"n_mels": 16}, "SAP", 1, 128, False, False, 1),
    Published("ResNetSE34V2", {"n_mels": 16}, "ASP", 1, 128, False, False, 2),
]


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: f"{case.model}-{case.encoder_type}")
def test_names_mean_what_was_published(case):
    pooling = build_model(case.model, **case.options, encoder_type=case.encoder_type).pooling
    first, *between, last = pooling.attention
    channels = pooling.size // case.values
    layers = ["ReLU", "BatchNorm1d", "Tanh"] if case.tanh else ["ReLU", "BatchNorm1d"]
    assert [type(layer).__name__ for layer in between] == layers
    assert first.weight.shape == (case.hidden, case.inputs * channels, 1)
    assert last.weight.shape == (1 if case.one_weight else channels, case.hidden, 1)


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: f"{case.model}-{case.encoder_type}")
def test_plain_names_mean_their_own_papers(case):
    """SAP is arXiv:1804.05160, ASP is arXiv:1803.10963, ECA is arXiv:2005.07143."""
    name = f"plain_{case.encoder_type}"
    pooling = build_model(case.model, **case.options, encoder_type=name).pooling
    if case.encoder_type == "ECA":
        layers = [type(layer).__name__ for layer in pooling.attention]
        assert layers == ["Conv1d", "ReLU", "BatchNorm1d", "Tanh", "Conv1d"]
        assert pooling.attention[0].out_channels == 256
        return
    values = {"SAP": 1, "ASP": 2}[case.encoder_type]
    channels = pooling.size // values
    shapes = {key: [*value.shape] for key, value in pooling.state_dict().items()}
    assert shapes == {
        "attention": [channels, 1],
        "sap_linear.weight": [channels, channels],
        "sap_linear.bias": [channels],
    }


def test_plain_asp_works_with_every_model_that_has_a_pooling():
    for path in sorted((ROOT / "models").glob("[!_]*.py")):
        options = {option.name: option for option in options_of("model", path.stem)}
        if "encoder_type" in options:
            assert "plain_ASP" in typing.get_args(options["encoder_type"].kind), path.name


def test_tables_of_names_lead_to_files():
    for path in sorted((ROOT / "models").glob("[!_]*.py")):
        model = find("model", path.stem)
        table = model.pooling_aliases
        known = {*NAMES, *table}
        assert model.default_pooling in known, (
            f"models/{path.name}: default_pooling must be a file of pooling/"
        )
        for variant in ("SASV2", "original"):
            meant = model.aliases({"variant": variant})
            assert meant.keys() == table.keys(), (
                f"models/{path.name}: aliases() and pooling_aliases must have the same names"
            )
            assert {*meant.values()} <= {*NAMES}, (
                f"models/{path.name}: aliases() must lead to files of pooling/"
            )
