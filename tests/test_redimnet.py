"""ReDimNet and ReDimNet2: the numbers of the authors and of wespeaker, and the sizes."""

import pytest
import torch
from reference import golden
from test_models import REFERENCE, difference, filled, model, noise, record_outputs, small
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from loss.softmax import LossFunction
from models import ReDimNet
from models._redimnet import Blend
from models._redimnet_blocks import Attention
from models._redimnet_variants import VARIANTS, architecture, options_of_config
from network.checkpoints import load_weights, read_checkpoint
from network.components import build_model
from SpeakerNet import SpeakerNet, Trainer

FILES = ("redimnet2", "redimnet")
# Parameters and multiply-adds of 2 s in millions: the options of wespeaker's factories.
MULTIPLY_ADDS = {
    "redimnet2": {
        "b0": 274, "b1": 463, "b2": 824, "b3": 939, "b3_recipe": 2689, "b4": 4639, "b5": 9470,
        "b6": 13130, "b6_recipe": 12908,
    },
    "redimnet": {
        "b0": 627, "b1": 913, "b2": 1438, "b3": 4393, "b4": 7122, "b5": 13250, "b6": 30210
    },
}  # fmt: skip
# The same numbers of the networks that pool all rows or have the options of a published recipe.
OWN = {
    "b0": (1.369, 345), "b1": (2.161, 560), "b2": (3.678, 947), "b3": (4.206, 2689),
    "b4": (6.660, 4639), "b5": (9.899, 9622), "b6": (12.459, 12908),
}  # fmt: skip
# Frames of 2 s that remain of 201 and of 199.
FRAMES = {"pt": 200, "tf": 196}
WIDTH = 128
# Other sizes take seconds.
QUICK = ("redimnet2-b0", "redimnet-b0", "redimnet-b3")


def options_of_case(case):
    """Our options for a case: the options of its `model_config`, or wespeaker's."""
    if case.name.startswith("wespeaker"):
        # wespeaker gives the features.
        assert case.hparams["model"] == "ReDimNetB0"
        return {"variant": "v1_b0", "fbank": "kaldi", "redim_config": "layout: wespeaker"}
    config = case.hparams["init"]
    return {
        **options_of_config(config),
        "encoder_type": config["pooling_func"],
        "global_context_att": config["global_context_att"],
    }


def released(case, path):
    """Our network with the weights of a case, read from a file as the authors store it."""
    net = model("ReDimNet", **options_of_case(case))
    present = net.state_dict()
    weights = {}
    for entry in case.state:
        # Constants of the front end are not filled.
        name = net.new_name(entry["name"])
        constant = present.get(name, torch.zeros(1))
        weights[entry["name"]] = filled(entry) if entry["filled"] else constant
    torch.save({"model_config": case.hparams["init"], "state_dict": weights}, path)
    load_weights(SpeakerNet(net, nn.Module()), read_checkpoint(path), path, head="unused")
    return net.eval()


def cases():
    return [
        pytest.param(case, id=f"{file}-{case.name}")
        for file in FILES
        for case in golden.load_cases(REFERENCE / f"model_{file}.npz")
    ]


def mean_over_places(output):
    """The means over time and bands of frames [N, T, C] or maps [N, T, F', C'], [N, C]."""
    return output.mean(tuple(range(1, output.dim() - 1))).numpy()


@pytest.mark.parametrize("case", cases())
@torch.no_grad()
def test_parity(case, tmp_path):
    net = released(case, tmp_path / "released.pt")
    outputs = record_outputs(net)
    if case.name.startswith("wespeaker"):
        features = torch.from_numpy(case.inputs[case.hparams["input"]]).transpose(1, 2)
        net.features = lambda x: x
        assert difference(net(features).numpy(), case.arrays["embedding"]) < 2e-5
    # The fixtures contain outputs of modules for the last key.
    for key in ("input_short", "input_long", "input"):
        if key in case.hparams and not case.name.startswith("wespeaker"):
            wave = torch.from_numpy(golden.wave(case, case.hparams[key]))
            expected = case.arrays["embedding" + key[5:]]
            assert difference(net(wave).numpy(), expected) < 2e-5, key
            if key == "input" and "features" in case.arrays:
                assert difference(net.features(wave).numpy(), case.arrays["features"]) < 1e-5
    for key, want in case.arrays.items():
        name = net.new_name(key[6:] + ".").rstrip(".")
        if key.startswith("probe:") and name in ("pooling", "bn"):
            assert difference(outputs[name].numpy(), want) < 2e-5, key
        elif key.startswith("probe:") and want.shape[1] == outputs[name].shape[-1]:
            assert difference(mean_over_places(outputs[name]), want) < 2e-5, key
        elif key.startswith("probe:"):
            # wespeaker's stem gives maps, and its modules without weights count there as here.
            assert key == "probe:backbone.stem"
            maps = outputs[name].unflatten(2, (-1, want.shape[1]))
            assert difference(mean_over_places(maps), want) < 2e-5


def test_constants_of_the_front_ends_equal_the_published_ones():
    compared = 0
    for file in FILES:
        for case in golden.load_cases(REFERENCE / f"model_{file}.npz"):
            net = model("ReDimNet", **options_of_case(case))
            buffers = dict(net.torchfbank.named_buffers())
            for key, want in case.arrays.items():
                if not key.startswith("skipped:"):
                    continue
                name = key.split(".", 3)[-1].replace("melbanks_pt", "filters")
                value = buffers[name].numpy()
                assert difference(value, want.reshape(value.shape)) < 1e-6, key
                compared += 1
    assert compared == 8


@torch.no_grad()
def test_wespeaker_stores_no_constants_of_the_front_end(tmp_path):
    """wespeaker's ReDimNet2 has the authors' names. Its front end "tf" has no entries."""
    net = small("ReDimNet", fbank="tf").eval()
    weights = {}
    for name, value in net.state_dict().items():
        assert not name.startswith("torchfbank.")
        weights[name.replace("pooling.", "pool.", 1)] = value
    torch.save(weights, tmp_path / "avg_model.pt")
    state = read_checkpoint(tmp_path / "avg_model.pt")
    other = small("ReDimNet", fbank="tf").eval()
    for parameter in other.parameters():
        parameter.zero_()
    load_weights(SpeakerNet(other, nn.Module()), state, tmp_path, head="unused")
    x = noise(1, 8000)
    assert torch.equal(other(x), net(x))


# ---------------------------------------------------------------------- sizes
def without_numbers(monkeypatch, **options):
    """A network whose weights have shapes and no values, for features [N, F, T]."""
    monkeypatch.setattr(ReDimNet, "front_end", lambda *_: nn.Identity())
    with torch.device("meta"):
        return build_model("ReDimNet", **options).eval()


def parameters_of(net):
    """The number of parameters. The authors also count the weight of the first output."""
    names = ("stage0.0.w", "stage0_pre.0.w")
    fixed = sum(b.numel() for name, b in net.backbone.named_buffers() if name in names)
    return fixed + sum(map(torch.numel, net.parameters()))


def multiply_adds_of(net):
    """The multiply-adds in millions that the authors' program needs for 2 s.

    It computes the part of the context in the attention of the pooling again at each frame.
    """
    frames = FRAMES[net.shape.feat_type]
    with FlopCounterMode(display=False) as counter:
        net.head(net.pooling(net.backbone(torch.empty(1, net.shape.F, frames, device="meta"))))
    context = 2 * net.backbone.channels * WIDTH * frames
    return counter.get_total_flops() / 2e6 + context / 1e6


def variants_of_the_references():
    for file in FILES:
        variants = golden.load_cases(REFERENCE / f"model_{file}.npz")[0].info["variants"]
        assert sorted(variants) == sorted(MULTIPLY_ADDS[file])
        for name, variant in variants.items():
            marks = [] if f"{file}-{name}" in QUICK else [pytest.mark.slow]
            multiply_adds = MULTIPLY_ADDS[file][name]
            yield pytest.param(variant, multiply_adds, id=f"{file}-{name}", marks=marks)


@pytest.mark.parametrize("variant, multiply_adds", variants_of_the_references())
def test_sizes_of_the_references(variant, multiply_adds, monkeypatch):
    net = without_numbers(monkeypatch, **options_of_config(variant["init"]))
    assert parameters_of(net) == variant["parameters"]
    assert multiply_adds_of(net) == pytest.approx(multiply_adds, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("variant", OWN)
def test_sizes_of_new_networks(variant, monkeypatch):
    net = without_numbers(monkeypatch, variant=variant)
    millions, multiply_adds = OWN[variant]
    assert parameters_of(net) / 1e6 == pytest.approx(millions, abs=6e-4)
    assert multiply_adds_of(net) == pytest.approx(multiply_adds, rel=0.02)


# ---------------------------------------------------------------------- options
def test_every_variant_is_its_own_configuration():
    for name, shape in VARIANTS.items():
        config = {**vars(shape), "embed_dim": 100, "causal": "none"}
        options = options_of_config(config)
        assert architecture(options["variant"], options["redim_config"], options["fbank"]) == shape
        assert options["variant"] == name
        assert options["nOut"] == 100


def test_variants_of_the_references_are_found_by_their_configuration():
    """The factories of wespeaker differ from our variants in these values only."""
    changes = {
        "b0": "out_channels", "b1": "out_channels", "b2": "out_channels", "b3_recipe": "",
        "b4": "", "b5": "out_channels", "b6": "agg_gnorm", "b6_recipe": "",
    }  # fmt: skip
    found = {}
    for file, prefix in (("redimnet2", ""), ("redimnet", "v1_")):
        variants = golden.load_cases(REFERENCE / f"model_{file}.npz")[0].info["variants"]
        for name, variant in variants.items():
            found[prefix + name] = options_of_config(variant["init"])
            assert found[prefix + name]["fbank"] == variant["init"]["feat_type"]
    # wespeaker's b3 is a wider b0.
    other = found.pop("b3")
    assert (other["variant"], other["redim_config"]) == ("b0", '"C": 24, "out_channels": 64')
    for name, options in found.items():
        assert options["variant"] == name.removesuffix("_recipe"), name
        assert options["redim_config"].partition(":")[0].strip('"') == changes.get(name, ""), name


def test_normalisations_have_the_published_eps():
    """1e-5 in blocks, 1e-6 at the end of a stage and over channels."""
    for variant in ("b0", "v1_b0"):
        for name, module in model("ReDimNet", variant=variant).backbone.named_modules():
            if isinstance(module, nn.LayerNorm):
                assert module.eps == 1e-6, name
            elif isinstance(module, nn.BatchNorm2d):
                inside = "conv_block" in name or "tcm" in name
                assert module.eps == (1e-5 if inside else 1e-6), name


@pytest.mark.parametrize(
    "options, message",
    [
        ({"redim_config": "C: 24, width: 2"}, "--redim_config: expected names among C, .*, found"),
        ({"redim_config": "C=24"}, "--redim_config: expected names among C, .*, found 'C=24'"),
        ({"redim_config": "C: [1"}, "--redim_config: expected names and values such as"),
        ({"redim_config": "C: 0"}, "--redim_config: expected C: a whole number .*, found 0"),
        ({"variant": "b4", "redim_config": "F: 9"}, r"expected strides that divide F \(9\)"),
        ({"redim_config": "F: 70"}, r"a multiple of 4 \(C \* F is 1400\), found 40"),
        ({"redim_config": "agg_gnorm: 7"}, r"agg_gnorm: a divisor of C \* F \(1440\), found 7"),
        ({"redim_config": "emb_bn: 1"}, "emb_bn: true or false, found 1"),
        ({"redim_config": "stages_setup: [[1, 2]]"}, "stages_setup: a list of .stride, blocks"),
        ({"redim_config": "layout: wespeaker"}, "layout: authors in ReDimNet2"),
        ({"redim_config": "feat_type: tf"}, "--redim_config: expected names among"),
        ({"variant": "v1_b0", "redim_config": "out_channels: 64"}, "out_channels: null"),
        ({"fbank": "kaldi", "redim_config": "hop_length: 240"}, "hop_length: 160 with --fbank"),
    ],
)
def test_values_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        model("ReDimNet", **options)


def test_configurations_that_no_option_expresses_are_refused():
    config = vars(VARIANTS["b0"])
    with pytest.raises(ValueError, match="model_config: expected causal 'none', found 'full'"):
        options_of_config({**config, "causal": "full"})
    with pytest.raises(ValueError, match="--redim_config: expected names among .* found 'sdwm'"):
        options_of_config({**config, "sdwm": True})


# ---------------------------------------------------------------------- behaviour
def test_frames_follow_the_hop_of_the_configuration():
    """16,000 samples give 101 frames of 160 samples and 67 of 240, of which 66 are even."""
    for fbank, hop, frames in (("pt", 160, 100), ("pt", 240, 66), ("tf", 160, 98), ("tf", 240, 66)):
        config = f"C: 4, F: 24, hop_length: {hop}, stages_setup: [[[2, 2], 1, 1, [[3, 3]], 12]]"
        net = model("ReDimNet", fbank=fbank, redim_config=config).eval()
        with torch.no_grad():
            assert net.frames(noise(1, 16000)).shape == (1, 96, frames)


@torch.no_grad()
def test_very_short_waves_are_as_long_as_the_strides():
    """Shorter waves than the reference accepts (480 samples) give finite embeddings."""
    for fbank in ("pt", "tf"):
        net = model("ReDimNet", variant="b0", fbank=fbank).eval()
        for samples in (257, 479, 720):
            assert net.frames(noise(1, samples)).shape[2] == 4
            assert net(noise(1, samples)).isfinite().all()


@pytest.mark.parametrize("fbank", ["pt", "tf"])
@torch.no_grad()
def test_loudness_and_offset_of_a_wave_do_not_matter(fbank):
    net = small("ReDimNet", fbank=fbank).eval()
    x = noise(2, 8000)
    assert difference(net(3 * x + 0.1).numpy(), net(x).numpy()) < 1e-3


def test_spec_augment_only_while_training():
    for fbank in ("pt", "tf", "kaldi"):
        net = small("ReDimNet", fbank=fbank, spec_augment=True)
        x = noise(2, 16000)
        masked = net.train().features(x)
        assert not torch.equal(masked, net.eval().features(x))


@pytest.mark.parametrize("rates", [[1, 1], [1, 2, 4, 4], [1, 1, 2, 4], [1, 4]])
def test_blend_is_its_formula(rates):
    torch.manual_seed(0)
    outputs = [torch.randn(2, 8 // rate, 6, requires_grad=True) for rate in rates]
    weights = torch.randn(len(rates), 6, requires_grad=True)
    want = 0
    for output, weight, rate in zip(outputs, weights, rates, strict=True):
        want = want + weight * output.repeat_interleave(rate, 1)
    got = Blend.apply(weights, rates, *outputs)
    torch.testing.assert_close(got, want)
    factors = torch.randn_like(want)
    gradients = torch.autograd.grad((got * factors).sum(), [weights, *outputs])
    expected = torch.autograd.grad((want * factors).sum(), [weights, *outputs])
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_attention_is_the_layer_of_pytorch():
    """The layer of PyTorch has the same weights, which only lack their names."""
    torch.manual_seed(0)
    ours = Attention(16, 24).double()
    theirs = nn.TransformerEncoderLayer(
        16,
        4,
        24,
        0.0,
        lambda x: nn.functional.gelu(x, approximate="tanh"),
        layer_norm_eps=1e-6,
        batch_first=True,
    ).double()
    stacked = [ours.attention[name] for name in ("q_proj", "k_proj", "v_proj")]
    inner = theirs.self_attn
    inner.in_proj_weight.data = torch.cat([linear.weight for linear in stacked])
    inner.in_proj_bias.data = torch.cat([linear.bias for linear in stacked])
    inner.out_proj = ours.attention["out_proj"]
    theirs.linear1, theirs.linear2 = ours.feed_forward.values()
    x = torch.randn(2, 9, 16, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.slow
@pytest.mark.parametrize(
    "config, mixedprec", [("", True), (", agg_gnorm: true, dual_agg: true", False)]
)
def test_compile(config, mixedprec):
    """Gradients of the network, as torch.compile traces it without generating code."""
    torch.compiler.reset()
    stages = "[[[1, 1], 1, 2, [[3, 3]], 12], [[2, 2], 1, 1, [[3, 3]], 6]]"
    options = {"redim_config": f"C: 4, F: 24, stages_setup: {stages}{config}"}
    batch = {"x": noise(4, 2, 8000), "label": torch.arange(4)}
    grads = []
    for compiled in (False, True):
        net = model("ReDimNet", **options)
        trainer = Trainer(SpeakerNet(net, LossFunction(net.dim, 4)), mixedprec=mixedprec)
        if compiled:
            net.compile(backend="aot_eager")
        with trainer.autocast:
            trainer.net(batch)["loss"].backward()
        grads.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    assert net._compiled_call_impl
    # bfloat16 rounds at the third digit, and compiled code rounds at other places.
    tolerance = 0.02 if mixedprec else 1e-5
    assert difference(grads[1].numpy(), grads[0].numpy()) < tolerance
