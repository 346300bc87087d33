"""The names of weights in files of other projects: prefixes, constants, and what does not fit."""

import logging

import pytest
import torch
from conftest import small_run

from common.errors import InputError
from loss import Loss
from network.checkpoints import MisfitError, load_weights, read_checkpoint
from network.components import build_model
from network.names import PREFIXES, computed_names, known_prefix, parts_of_file
from options.plugins import components
from SpeakerNet import SpeakerNet

COUNTER = "num_batches_tracked"
# A network with few weights.
SMALL = {"eca_c": 16, "nOut": 8}


def ecapa(**options):
    return SpeakerNet(build_model("ECAPA_TDNN", **SMALL | options), Loss())


def tao_name(name):
    """The name of a weight of ECAPA_TDNN in the file of TaoRuijie's program."""
    name = name.replace("pooling.attention.", "attention.")
    name = name.replace("torchfbank.flipped_filter", "torchfbank.0.flipped_filter")
    for part in ("spectrogram", "mel_scale"):
        name = name.replace(f"torchfbank.{part}", f"torchfbank.1.{part}")
    return f"speaker_encoder.{name}"


def tao_file(path, net):
    """Writes the weights of a network as TaoRuijie's program does, with a classifier."""
    state = {tao_name(name): value for name, value in net.model.state_dict().items()}
    torch.save(state | {"speaker_loss.weight": torch.ones(7, SMALL["nOut"])}, path)
    return path


def assert_equal_weights(net, other):
    found = net.state_dict()
    for name, value in other.state_dict().items():
        assert torch.equal(found[name], value), name


# ---------------------------------------------------------------------- prefixes
@pytest.mark.parametrize(
    ("name", "prefix", "part"),
    [
        ("conv1.weight", "", "model"),
        ("__S__.conv1.weight", "__S__.", "model"),
        ("module.__S__.conv1.weight", "module.__S__.", "model"),
        ("__L__.softmax.fc.weight", "__L__.", "loss"),
        ("model.encoder.conv1.weight", "model.encoder.", "model"),
        ("loss_fun.weight", "loss_fun.", "loss"),
        ("speaker_encoder.conv1.weight", "speaker_encoder.", "model"),
        ("module.speaker_loss.weight", "module.speaker_loss.", "loss"),
    ],
)
def test_known_prefixes(name, prefix, part):
    assert known_prefix(name, PREFIXES) == (prefix, part)


def test_the_ecapa_tdnn_of_taoruijie_loads(tmp_path, caplog):
    net = ecapa()
    path = tao_file(tmp_path / "tao.model", net)
    state = read_checkpoint(path)
    assert [*state["loss"]] == ["weight"]
    loaded = ecapa()
    with caplog.at_level(logging.INFO):
        load_weights(loaded, state, path, head="unused")
    assert_equal_weights(loaded, net)
    line = f"{path}: the names of the weights are read without speaker_encoder. and speaker_loss."
    assert caplog.messages == [f"{line} in front."]


@pytest.mark.parametrize("prefix", ["net.", "net.backbone.", "module.backbone.", "conv1."])
def test_one_other_prefix_is_removed(prefix, caplog):
    net = ecapa()
    named = {f"{prefix}{name}": value for name, value in net.model.state_dict().items()}
    loaded = ecapa()
    with caplog.at_level(logging.INFO):
        load_weights(loaded, parts_of_file(named), "x.model")
    assert_equal_weights(loaded, net)
    shown = prefix.replace("module.", "module. and ")
    assert caplog.messages == [
        f"x.model: the names of the weights are read without {shown} in front."
    ]


def test_names_that_share_a_word_keep_it(caplog):
    """A file with one layer only. Its name is the shared beginning."""
    layer = {"fc6.weight": torch.ones(8, 3072), "fc6.bias": torch.ones(8)}
    net = ecapa()
    with caplog.at_level(logging.INFO):
        load_weights(net, parts_of_file(layer), "x.model", partial=True)
    assert net.model.fc6.weight.min() == 1 and caplog.messages == []


# ---------------------------------------------------------------------- computed constants
@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("ResNetSE34L", {"torchfb.spectrogram.window", "torchfb.mel_scale.fb"}),
        (
            "ECAPA_TDNN",
            {
                "torchfbank.flipped_filter",
                "torchfbank.spectrogram.window",
                "torchfbank.mel_scale.fb",
            },
        ),
        ("RawNet3", {"preprocess.0.flipped_filter", "conv1.window_", "conv1.n_"}),
        ("VGG4L", set()),
    ],
)
def test_constants_that_a_file_may_lack(model, expected):
    names = computed_names(build_model(model))
    stored = {name for name in names if not name.endswith(COUNTER)}
    assert stored & build_model(model).state_dict().keys() == expected


@pytest.mark.parametrize("model", components("model"))
def test_a_file_without_constants_loads(model):
    torch.manual_seed(0)
    net = SpeakerNet(build_model(model), Loss())
    learned = {name for name, _ in net.model.named_parameters()}
    kept = {}
    for name, value in net.model.state_dict().items():
        if name in learned or "running_" in name:
            kept[name] = value
    loaded = SpeakerNet(build_model(model), Loss())
    load_weights(loaded, parts_of_file(kept), "x.model")
    assert_equal_weights(loaded, net)


def test_batch_statistics_are_needed():
    net = ecapa()
    weights = net.model.state_dict()
    del weights["bn1.running_mean"]
    with pytest.raises(MisfitError, match="names: 1 missing"):
        load_weights(net, parts_of_file(weights), "x.model")


# ---------------------------------------------------------------------- what does not fit
def test_a_renaming_can_be_seen():
    net = ecapa()
    weights = {name.replace("layer", "block"): v for name, v in net.model.state_dict().items()}
    with pytest.raises(InputError) as error:
        load_weights(net, parts_of_file(weights), "x.model")
    lines = str(error.value).splitlines()
    assert [line.split() for line in lines[1:3]] == [
        [*("missing:", "model.layer1.conv1.weight"), *("unexpected:", "model.block1.conv1.weight")],
        [*("missing:", "model.layer1.conv1.bias"), *("unexpected:", "model.block1.conv1.bias")],
    ]
    # Ten lines with two names each, and the number of the others.
    count = sum("layer" in name and COUNTER not in name for name in net.model.state_dict())
    assert len(lines) == 12 and lines[11] == f"  and {2 * count - 20} more"
    assert f"(names: {count} missing, {count} unexpected)" in lines[0]


@pytest.mark.parametrize(
    ("words", "problem", "expected"),
    [
        # 200 learned weights, without fc6 and bn6.
        (
            ["--nOut", 16],
            "the weights do not fit the network",
            "To start from the weights of the model that fit (194 of 200), add --partial.",
        ),
        # Only bn1 would fit.
        (["--model", "ResNetSE34L"], "TaoRuijie or SASV 2022 with --model ECAPA_TDNN.", None),
    ],
)
def test_partial_is_named_where_it_helps(words, problem, expected, corpus, tmp_path, program):
    path = tao_file(tmp_path / "x.model", ecapa())
    model = ["--model", "ECAPA_TDNN", "--eca_c", SMALL["eca_c"]]
    run = small_run(corpus, tmp_path / "run", *model, "--initial_model", path, *words)
    code, _, err = program(*run)
    assert code == 2 and problem in err
    assert expected in err if expected else "--partial" not in err


@pytest.mark.parametrize("mode", ["--eval", "--verify", "--extract", "--export"])
def test_uses_warn_of_partial(mode, checkpoint, tmp_path, program):
    """The files are wrong, so that each command ends soon after the warning."""
    values = {"--eval": [], "--verify": ["no.wav", "no.wav"]}
    words = [mode, *values.get(mode, [checkpoint]), "--partial"]
    code, out, _ = program(*words, "--initial_model", checkpoint, "--save_path", tmp_path / "run")
    assert code == 2
    assert f"warning: --partial has no effect with {mode}. All weights of the model" in out
