"""WavLM_MHFA: its reference, files of WavLM's weights (--ssl_weights), and its training.

pytest tests/test_wavlm.py
"""

import argparse
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
import torchaudio
from conftest import small_run
from reference import golden
from test_models import difference, filled, noise
from torch.utils.flop_counter import FlopCounterMode

from common.errors import InputError
from models._wavlm import SIZES, Size, WavLM, torchaudio_wavlm
from models.WavLM_MHFA import MainModel
from network.checkpoints import load_weights, read_checkpoint
from network.components import build_model
from network.pretrained_parts import load_part, read_weights_of_part
from pooling.MHFA import Pooling
from SpeakerNet import SpeakerNet

REFERENCE = Path(__file__).with_name("reference")
CASES = {case.name: case for case in golden.load_cases(REFERENCE / "model_wavlm_mhfa.npz")}
POOLINGS = ["mhfa_13", "mhfa_one_frame", "mhfa_25_layers"]
NETWORKS = ["wavlm_base_like", "wavlm_large_like"]


def value_in(case, entry):
    """The value of a weight of a case."""
    stored = case.arrays.get(f"skipped:{entry['name']}")
    return filled(entry) if stored is None else torch.from_numpy(stored)


def size_of_case(case):
    """The size of WavLM that a case has."""
    ssl = case.hparams["init"]["ssl"]
    return Size(
        ssl["extractor_mode"],
        convolutions=16,
        width=ssl["encoder_embed_dim"],
        hidden=ssl["encoder_ff_interm_features"],
        layers=ssl["encoder_num_layers"],
        heads=ssl["encoder_num_heads"],
        norm_first=ssl["encoder_layer_norm_first"],
        buckets=ssl["encoder_num_buckets"],
        distance=ssl["encoder_max_distance"],
        position_kernel=ssl["encoder_pos_conv_kernel"],
        position_groups=ssl["encoder_pos_conv_groups"],
    )


@pytest.fixture(params=NETWORKS)
def case(request, monkeypatch):
    """A case of the whole network, whose size is `tiny` meanwhile."""
    chosen = CASES[request.param]
    monkeypatch.setitem(SIZES, "tiny", size_of_case(chosen))
    return chosen


def network_of(case, **options):
    """The network of a case with random weights."""
    torch.manual_seed(0)
    mhfa = case.hparams["init"]["mhfa"]
    sizes = {"heads_number": mhfa["head_nb"], "compression_dim": mhfa["compression_dim"]}
    return build_model(
        "WavLM_MHFA", ssl_size="tiny", nOut=mhfa["outputs_dim"], **sizes, **options
    ).eval()


def weights_of(case):
    """The weights of WavLM and of the pooling in a case, with their names in the reference."""
    parts = {"model": {}, "backend": {}}
    for entry in case.state:
        part, _, name = entry["name"].partition(".")
        parts[part][name] = value_in(case, entry)
    return parts["model"], parts["backend"]


def authors_layout(weights):
    """Weights with torchaudio's names -> the weights with the names of WavLM's authors.

    A table of the names as they are, independent of the one that is tested.
    """
    large = "feature_extractor.conv_layers.1.layer_norm.weight" in weights
    found = {"mask_emb": torch.zeros(24)}
    layers = "encoder.transformer.layers."
    inner = {
        "attention.gru_rel_pos_const": "self_attn.grep_a",
        "attention.gru_rel_pos_linear": "self_attn.grep_linear",
        "attention.rel_attn_embed": "self_attn.relative_attention_bias",
        "attention.attention.out_proj": "self_attn.out_proj",
        "feed_forward.intermediate_dense": "fc1",
        "feed_forward.output_dense": "fc2",
        "final_layer_norm": "final_layer_norm",
        "layer_norm": "self_attn_layer_norm",
    }
    position = "encoder.transformer.pos_conv_embed.conv."
    outer = {
        "encoder.feature_projection.layer_norm": "layer_norm",
        "encoder.feature_projection.projection": "post_extract_proj",
        f"{position}parametrizations.weight.original0": "encoder.pos_conv.0.weight_g",
        f"{position}parametrizations.weight.original1": "encoder.pos_conv.0.weight_v",
        f"{position}bias": "encoder.pos_conv.0.bias",
        "encoder.transformer.layer_norm": "encoder.layer_norm",
    }
    for name, value in weights.items():
        start, _, kind = name.rpartition(".")
        if name.startswith(layers):
            number, _, rest = name.removeprefix(layers).partition(".")
            place = f"encoder.layers.{number}"
            if "in_proj" in rest:
                for letter, part in zip("qkv", value.chunk(3), strict=True):
                    kind = rest.rpartition("_")[2]
                    found[f"{place}.self_attn.{letter}_proj.{kind}"] = part.clone()
            elif rest in inner:
                found[f"{place}.{inner[rest]}"] = value
            else:
                found[f"{place}.{inner[rest.rpartition('.')[0]]}.{kind}"] = value
        elif name.startswith("feature_extractor"):
            norm = ".2.1" if large else ".2"
            new = start.replace(".layer_norm", norm).replace(".conv", ".0", 2)
            new = new.replace("feature_extractor.0_layers", "feature_extractor.conv_layers")
            found[f"{new}.{kind}"] = value
        else:
            found[outer.get(name) or f"{outer[start]}.{kind}"] = value
    return found


# ---------------------------------------------------------------------- parity
@pytest.mark.parametrize("name", POOLINGS)
def test_parity_of_the_pooling(name):
    """Embeddings and gradients. The last layer of the reference is the head of our models."""
    case = CASES[name]
    init = case.hparams["init"]
    pooling = Pooling(
        init["inputs_dim"],
        case.hparams["layers"],
        heads_number=init["head_nb"],
        compression_dim=init["compression_dim"],
    )
    weights = {entry["name"]: value_in(case, entry) for entry in case.state}
    head = torch.nn.Linear(pooling.size, init["outputs_dim"])
    head.weight.data = weights.pop("pooling_fc.weight")
    head.bias.data = weights.pop("pooling_fc.bias")
    pooling.load_state_dict(weights)
    frames = torch.from_numpy(case.inputs[case.hparams["input"]]).requires_grad_()
    embedding = head(pooling(frames.transpose(2, 3)))
    assert difference(embedding.detach().numpy(), case.arrays["embedding"]) < 2e-5
    embedding.square().sum().backward()
    got = {name: getattr(pooling, name).grad for name in ("weights_k", "weights_v")}
    for name, gradient in got.items():
        want = case.arrays[f"grad:{name}"]
        # With one frame, the keys decide nothing.
        assert np.allclose(gradient.numpy(), want, rtol=1e-3, atol=1e-4 * abs(want).max() + 1e-6)
    sums = frames.grad.sum((2, 3)).numpy()
    assert difference(sums, case.arrays["grad_x_sum"]) < 1e-3


@torch.no_grad()
def test_parity(case):
    """Embeddings and the outputs of all layers, layer 0 too."""
    net = network_of(case)
    ssl, backend = weights_of(case)
    head = {name.removeprefix("pooling_fc."): value for name, value in backend.items()}
    net.ssl.load_state_dict(ssl)
    net.pooling_fc.load_state_dict({name: head[name] for name in ("weight", "bias")})
    names = net.pooling.state_dict()
    net.pooling.load_state_dict({name: backend[name] for name in names})
    layers = net.ssl(torch.from_numpy(golden.wave(case)))  # [N, L, C, T]
    assert difference(layers.mean(-1).numpy(), case.arrays["hidden_mean"]) < 2e-5
    first = layers[:1].transpose(2, 3).numpy()
    assert difference(first, case.arrays["hidden_first"]) < 2e-5
    for key in ("input", "input_short"):
        if key in case.hparams:
            wave = torch.from_numpy(golden.wave(case, case.hparams[key]))
            want = case.arrays["embedding" + key[5:]]
            assert difference(net(wave).numpy(), want) < 2e-5, key


def test_every_parameter_that_learns_has_a_gradient(case):
    """Several processes wait for all of them. Layers that no path reaches never learn."""
    net = network_of(case).train()
    net(noise(2, 4000)).square().sum().backward()
    missing = [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    assert not missing
    unused = net.ssl.encoder.transformer.layer_norm
    assert unused.weight.requires_grad == (case.name == "wavlm_base_like")


@torch.no_grad()
def test_other_poolings_get_a_learned_sum_of_the_layers(case):
    net = network_of(case)
    other = build_model("WavLM_MHFA", ssl_size="tiny", encoder_type="TAP").eval()
    assert net.layer_weights is None
    wave = noise(2, 8000)
    shares = [0.1, 0.2, 0.3, 0.4]
    other.layer_weights.copy_(torch.tensor(shares).log())
    layers = other.ssl(wave)
    want = sum(share * layers[:, i] for i, share in enumerate(shares))
    assert torch.allclose(other.frames(wave), want, atol=1e-5)


# ---------------------------------------------------------------------- sizes
# Parameters of Base and Large that the paper states, in millions, include the layers that only
# the pre-training has: the vector for masked frames, a projection to 256 or 768 numbers, and as
# many numbers for each of 504 clusters.
@pytest.mark.parametrize("size, published, targets", [("base", 94.70, 256), ("large", 316.62, 768)])
def test_number_of_parameters(size, published, targets):
    with torch.device("meta"):
        net = WavLM(SIZES[size])
    count = sum(parameter.numel() for parameter in net.parameters())
    count += net.width + (net.width + 1) * targets + 504 * targets
    assert abs(count / 1e6 - published) < 0.015
    names = [torch.numel(parameter) for parameter in net.parameters() if parameter.requires_grad]
    assert sum(names) < count


def test_sizes_are_those_of_torchaudio():
    for size in ("base", "large"):
        with torch.device("meta"):
            want = getattr(torchaudio.models, f"wavlm_{size}")()
            got = torchaudio_wavlm(SIZES[size], 0.1)
        shapes = {name: value.shape for name, value in got.state_dict().items()}
        assert shapes == {name: value.shape for name, value in want.state_dict().items()}, size


def test_multiply_adds_of_two_seconds():
    """The products of matrices in a transformer of 99 frames, and the convolutions, by hand."""
    with torch.device("meta"):
        net = WavLM(SIZES["base"]).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.zeros(1, 32000))
    frames = 99
    width = 768
    layer = 4 * frames * width**2 + 2 * frames * width * 3072
    attention = 2 * frames**2 * width + 8 * frames * width
    samples = 32000
    count = 12 * (layer + attention) + frames * 512 * width + (frames + 1) * width**2 * 128 // 16
    inputs = 1
    for kernel, stride in ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)):
        samples = (samples - kernel) // stride + 1
        count += samples * kernel * inputs * 512
        inputs = 512
    assert samples == frames
    assert counter.get_total_flops() / 2 == pytest.approx(count, rel=1e-3)


# ---------------------------------------------------------------------- files of WavLM's weights
def loaded(net, path, **given):
    """Load a file of --ssl_weights into a network. Returns the options that result."""
    options = argparse.Namespace(ssl_weights=str(path), ssl_size="base", **given)
    options.given = frozenset(given)
    load_part(net, read_weights_of_part(MainModel.pretrained, options), options)
    return options


@torch.no_grad()
def test_file_of_the_authors(case, tmp_path):
    """Their names and their three projections give the embedding of their own program."""
    ssl, backend = weights_of(case)
    weights = authors_layout(ssl)
    assert sorted({*weights} - {"mask_emb"}) == sorted(case.arrays["unilm_names"].tolist())
    path = tmp_path / "WavLM.pt"
    torch.save({"cfg": {"encoder_layers": 3, "normalize": False}, "model": weights}, path)
    net = network_of(case)
    assert loaded(net, path).ssl_size == "tiny"
    net.pooling_fc.weight.copy_(backend.pop("pooling_fc.weight"))
    net.pooling_fc.bias.copy_(backend.pop("pooling_fc.bias"))
    net.pooling.load_state_dict(backend)
    embedding = net(torch.from_numpy(golden.wave(case))).numpy()
    assert difference(embedding, case.arrays["embedding_unilm"]) < 2e-5


@pytest.mark.parametrize(
    "ssl_prefix, backend_prefix, classifier",
    [
        ("__S__.model.", "__S__.backend.", "__L__.weight"),
        ("speaker_extractor.model.", "speaker_extractor.back_end.", "projection.weight"),
    ],
    ids=["SLT22", "BUT"],
)
@torch.no_grad()
def test_published_checkpoints(case, tmp_path, ssl_prefix, backend_prefix, classifier):
    """Networks that were trained by the programs of SLT 2022 and of BUT."""
    ssl, backend = weights_of(case)
    state = {ssl_prefix + name: value for name, value in authors_layout(ssl).items()}
    state |= {backend_prefix + name: value for name, value in backend.items()}
    state[classifier] = torch.zeros(3, 2)
    path = tmp_path / "published.pt"
    torch.save(state, path)
    net = SpeakerNet(network_of(case), torch.nn.Module())
    load_weights(net, read_checkpoint(path), path, head="unused")
    embedding = net.model(torch.from_numpy(golden.wave(case))).numpy()
    assert difference(embedding, case.arrays["embedding_unilm"]) < 2e-5


@pytest.fixture(scope="module")
def tiny_file(tmp_path_factory):
    """A file of torchaudio's layout with a tiny WavLM."""
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("ssl") / "tiny.pt"
    torch.save(WavLM(SIZES["tiny"]).state_dict(), path)
    return path


def without_weight(weights):
    del weights["encoder.transformer.layer_norm.bias"]


def with_another_weight(weights):
    weights["aux.weight"] = torch.zeros(2)


def with_a_narrow_layer(weights):
    name = "encoder.transformer.layers.1.feed_forward.output_dense.bias"
    weights[name] = weights[name][:5]


def without_a_projection(weights):
    for name in ("weight", "bias"):
        joined = weights.pop(f"encoder.transformer.layers.2.attention.attention.in_proj_{name}")
        weights[f"encoder.layers.2.self_attn.q_proj.{name}"] = joined[:64]


def with_numbers_as_projections(weights):
    name = "encoder.transformer.layers.2.attention.attention.in_proj_bias"
    del weights[name]
    for letter in "qkv":
        weights[f"encoder.layers.2.self_attn.{letter}_proj.bias"] = torch.tensor(0.5)


def with_nan(weights):
    weights["encoder.transformer.layer_norm.bias"][3] = torch.nan


@pytest.mark.parametrize(
    "change, problem",
    [
        (without_weight, "missing: encoder.transformer.layer_norm.bias"),
        (with_another_weight, "unexpected: aux.weight"),
        (with_a_narrow_layer, "output_dense.bias, [5] in the file, [64] here"),
        (without_a_projection, "missing: encoder.transformer.layers.2.attention.attention.in_proj"),
        (with_numbers_as_projections, "missing: encoder.transformer.layers.2.attention"),
        (with_nan, "expected finite weights, found NaN or infinity in 1 of"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tiny_file, tmp_path, change, problem):
    weights = torch.load(tiny_file)
    change(weights)
    path = tmp_path / "changed.pt"
    torch.save(weights, path)
    net = build_model("WavLM_MHFA", ssl_size="tiny")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(InputError) as caught:
        loaded(net, path)
    assert str(caught.value).startswith(f"--ssl_weights {path}: expected ")
    assert problem in str(caught.value)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name])


def test_files_of_another_kind_are_refused(tmp_path, tiny_file):
    net = build_model("WavLM_MHFA", ssl_size="tiny")
    path = tmp_path / "other.pt"
    with pytest.raises(InputError, match=r"--ssl_weights .*other\.pt: there is no such"):
        loaded(net, path)
    torch.save([1, 2], path)
    with pytest.raises(InputError, match="without a dict of tensors.* or one of WAVLM_BASE, "):
        loaded(net, path)
    with pytest.raises(InputError, match="--ssl_size base, found .* --ssl_size tiny. Leave out"):
        options = argparse.Namespace(ssl_weights=str(tiny_file), ssl_size="base")
        options.given = frozenset(["ssl_size"])
        read_weights_of_part(MainModel.pretrained, options)


def test_bundles_of_torchaudio(monkeypatch):
    class Bundle:
        """Like WAVLM_LARGE, whose network is in another one."""

        def get_model(self):
            torch.manual_seed(1)
            return torch.nn.ModuleDict({"model": torchaudio_wavlm(SIZES["tiny"], 0.0)})

    def fail(*args, **settings):
        raise urllib.error.URLError("no route to host")

    net = build_model("WavLM_MHFA", ssl_size="tiny")
    monkeypatch.setattr(torchaudio.pipelines, "WAVLM_LARGE", Bundle())
    assert loaded(net, "WAVLM_LARGE").ssl_size == "tiny"
    want = Bundle().get_model()["model"].state_dict()
    for name, value in net.ssl.state_dict().items():
        assert torch.equal(value, want[name])
    monkeypatch.setattr(torchaudio.pipelines._wav2vec2.utils, "load_state_dict_from_url", fail)
    problem = "--ssl_weights WAVLM_BASE_PLUS: the weights cannot be downloaded .*no route to host"
    with torch.device("meta"), pytest.raises(InputError, match=problem):
        loaded(net, "WAVLM_BASE_PLUS")


# ---------------------------------------------------------------------- training
WORDS = [
    "--model",
    "WavLM_MHFA",
    "--heads_number",
    4,
    "--compression_dim",
    16,
    "--test_interval",
    9,
]


def weights_after(folder):
    """The weights in the last checkpoint of a run."""
    return torch.load(folder / "model" / "last.model", weights_only=True)["model"]


def test_a_run_starts_from_the_file_and_resumes_exactly_without_it(
    corpus, tmp_path, program, tiny_file
):
    file = tmp_path / "tiny.pt"
    file.write_bytes(tiny_file.read_bytes())
    words = [*small_run(corpus, tmp_path / "whole", *WORDS), "--max_steps", 4]
    code, out, err = program(*words, "--ssl_weights", file)
    assert code == 0, err
    assert f"--ssl_weights {file}: 64 weights were loaded." in out
    whole = weights_after(tmp_path / "whole")
    start = torch.load(tiny_file)
    moved = 0
    for name, value in start.items():
        same = torch.equal(whole[f"ssl.{name}"], value)
        # The convolutions never learn.
        assert same or not name.startswith("feature_extractor"), name
        moved += not same
    assert moved > 40
    words = [*small_run(corpus, tmp_path / "parts", *WORDS), "--ssl_weights", file]
    assert program(*words, "--max_steps", 2)[0] == 0
    file.unlink()
    code, _, err = program(*words, "--max_steps", 4)
    assert code == 0, err
    parts = weights_after(tmp_path / "parts")
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name
    words = ["--eval", "--save_path", tmp_path / "parts", "--eval_frames", 40]
    words += ["--test_list", corpus / "trials.txt", "--test_path", corpus / "wav"]
    code, out, err = program(*words)
    assert code == 0, err


def test_the_front_end_is_frozen_and_then_learns(corpus, tmp_path, program, tiny_file):
    words = [*small_run(corpus, tmp_path, *WORDS), "--ssl_weights", tiny_file]
    words += ["--freeze_epochs", 1, "--ssl_lr", 1e-4, "--max_epoch", 2]
    start = torch.load(tiny_file)
    _, out, _ = program(*words, "--max_steps", 1)
    assert "not trained in the first 1 epoch" in out
    frozen = weights_after(tmp_path)
    assert all(torch.equal(frozen[f"ssl.{name}"], value) for name, value in start.items())
    assert program(*words)[0] == 0
    trained = weights_after(tmp_path)
    for name, value in start.items():
        same = torch.equal(trained[f"ssl.{name}"], value)
        # The gradients of single weights may be 0.
        if name.startswith("feature_extractor"):
            assert same, name
        elif name.endswith("weight"):
            assert not same, name


def test_random_weights_give_a_warning(corpus, tmp_path, program):
    words = [*small_run(corpus, tmp_path / "run", *WORDS), "--ssl_size", "tiny"]
    code, out, _ = program(*words, "--max_steps", 1)
    assert code == 0
    assert "warning: --ssl_weights is missing" in out
    best = tmp_path / "run" / "model" / "last.model"
    words = [*small_run(corpus, tmp_path / "next", *WORDS), "--initial_model", best]
    code, out, _ = program(*words, "--max_steps", 1, "--ssl_weights", "none.pt")
    assert code == 0
    assert "warning: --ssl_weights has no effect with --initial_model" in out


def test_a_layer_is_skipped_with_the_probability_of_the_option():
    torch.manual_seed(0)
    net = build_model("WavLM_MHFA", ssl_size="tiny", ssl_layer_drop=0.25, ssl_dropout=0.0).train()
    wave = noise(1, 800)
    skipped = 0
    with torch.no_grad():
        for _ in range(100):
            layers = net.ssl(wave)[0]
            skipped += (layers[1:] == layers[:-1]).all((1, 2)).sum().item()
    # 300 draws with a standard deviation of 7.5.
    assert abs(skipped - 75) < 30
    net.ssl(wave).sum().backward()
    trained = [parameter for parameter in net.ssl.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None for parameter in trained)


def test_gradients_have_the_strides_of_their_parameters():
    """PyTorch warns users otherwise, if several processes train."""
    net = build_model("WavLM_MHFA", ssl_size="tiny").to(memory_format=torch.channels_last)
    net(noise(1, 800)).sum().backward()
    for name, parameter in net.named_parameters():
        if parameter.dim() == 4:
            assert parameter.grad.stride() == parameter.stride(), name


def test_convolutions_learn_if_asked():
    net = build_model("WavLM_MHFA", ssl_size="tiny", ssl_freeze_cnn=False)
    net(noise(1, 4000)).sum().backward()
    assert all(p.grad is not None for p in net.ssl.feature_extractor.parameters())


def test_normalised_waves_have_no_scale_and_no_offset():
    net = build_model("WavLM_MHFA", ssl_size="tiny", ssl_normalize=True).eval()
    wave = noise(1, 4000)
    with torch.no_grad():
        assert torch.allclose(net(wave), net(5 * wave + 0.3), atol=1e-4)


@pytest.mark.parametrize("option", ["ssl_dropout", "ssl_layer_drop"])
@pytest.mark.parametrize("value", [-0.1, 1.0, float("nan")])
def test_shares_outside_of_0_to_1_are_refused(option, value):
    with pytest.raises(InputError, match=f"--{option}: expected a number from 0 to below 1"):
        build_model("WavLM_MHFA", ssl_size="tiny", **{option: value})


def test_groups_of_parameters_cover_the_front_end():
    net = build_model("WavLM_MHFA", ssl_size="tiny", ssl_lr=1e-5, layer_decay=0.5)
    groups = net.parameter_groups()
    assert [group.name for group in groups] == [
        "ssl input",
        "ssl layer 1",
        "ssl layer 2",
        "ssl layer 3",
    ]
    assert [group.lr_scale for group in groups] == [0.125, 0.25, 0.5, 1]
    found = [id(parameter) for group in groups for parameter in group.parameters]
    trained = [id(parameter) for parameter in net.ssl.parameters() if parameter.requires_grad]
    assert sorted(found) == sorted(trained)
