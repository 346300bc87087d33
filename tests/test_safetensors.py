"""Files of the format safetensors: of --publish, of other projects, and damaged ones."""

import json
import shutil
import sys

import pytest
import torch
from safetensors.torch import save_file
from test_published_names import SMALL, ecapa

from common.errors import InputError
from network.checkpoints import load_weights, read_checkpoint
from network.components import build_model
from network.publication import Facts, model_bytes, published_options
from network.safetensors_file import MOST_HEADER
from SpeakerNet import SpeakerNet

# A header for 4 + 8 bytes.
TWO = {
    "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
    "b": {"dtype": "F32", "shape": [2, 1], "data_offsets": [4, 12]},
}


def contents(header, rest=bytes(12), length=None):
    """The bytes of a file. header: a dict or its text. length: the number in front of it."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + rest


def entry(**changes):
    return {**TWO, "b": {**TWO["b"], **changes}}


# ---------------------------------------------------------------------- files of others
def test_a_file_without_network_loads_by_its_names(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(contents(TWO))
    state = read_checkpoint(tmp_path / "x.safetensors")
    assert {name: list(value.shape) for name, value in state["model"].items()} == {
        "a": [1],
        "b": [2, 1],
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_other_precisions_load(tmp_path, dtype):
    """The name of the file does not matter."""
    net = ecapa()
    named = {f"module.{name}": value.to(dtype) for name, value in net.model.state_dict().items()}
    path = tmp_path / "weights.model"
    save_file(named, path)
    loaded = ecapa()
    load_weights(loaded, read_checkpoint(path), path)
    for name, value in net.model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value.to(dtype).to(value.dtype))


@pytest.mark.parametrize(
    ("project", "classifier", "folder"),
    [("3D-Speaker", {}, False), ("wespeaker", {"projection.weight": torch.ones(3, 16)}, True)],
)
def test_networks_of_other_projects_are_recognised(tmp_path, project, classifier, folder):
    """CAM++ with the names of both projects, as in a .pt file."""
    weights = build_model("CAMPPlus", nOut=16, growth_rate=8).state_dict()
    named = {name.replace("stem.", "head."): value for name, value in weights.items()} | classifier
    torch.save(named, tmp_path / "net.pt")
    path = tmp_path / "hub" / "model.safetensors"
    path.parent.mkdir()
    save_file(named, path)
    found = read_checkpoint(path.parent if folder else path)
    expected = read_checkpoint(tmp_path / "net.pt")
    assert found["recognised"] == expected["recognised"]
    assert found["recognised"].options["model"] == "CAMPPlus"
    assert found["recognised"].source == project
    assert found["model"].keys() == expected["model"].keys()


def test_another_kind_with_the_name_is_named(tmp_path):
    path = tmp_path / "x.safetensors"
    for data, text in {
        b"": "found an empty file",
        b"version https://git-lfs.github.com/spec/v1\noid": "Git LFS pointer",
        b"<!DOCTYPE html>": "found an HTML page",
    }.items():
        path.write_bytes(data)
        with pytest.raises(InputError, match=text):
            read_checkpoint(path)
    torch.save({"a": torch.ones(1)}, path)
    assert [*read_checkpoint(path)["model"]] == ["a"]


def test_only_such_files_need_the_package(tmp_path, monkeypatch):
    torch.save({"a": torch.ones(1)}, tmp_path / "x.pt")
    (tmp_path / "x.safetensors").write_bytes(contents(TWO))
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    assert read_checkpoint(tmp_path / "x.pt")["model"]
    with pytest.raises(InputError, match="needs the package safetensors, which is not installed"):
        read_checkpoint(tmp_path / "x.safetensors")


# ---------------------------------------------------------------------- damage
@pytest.mark.parametrize(
    ("data", "text"),
    [
        (contents(TWO)[:5], "the header needs"),
        (contents(TWO)[:60], "the header needs"),
        (contents(TWO, bytes(11)), "its tensors need 12 bytes, and the file has 11"),
        (contents(TWO, bytes(13)), "its tensors need 12 bytes, and the file has 13"),
        (contents(TWO, length=2**63), "the header needs 9,223,372,036,854,775,808 bytes"),
        (contents(TWO, length=40), "cannot be read as a safetensors file"),
        (
            b"\x81\x96\x98\0\0\0\0\0" + bytes(MOST_HEADER + 1),
            "expected a header of at most 10,000,000 bytes",
        ),
        (contents(b"[" * 10_000), "cannot be read"),
        (contents(b"\xff{}"), "cannot be read"),
        (contents(b'{"a": 1, "a": 1}'), "has the name 'a' twice"),
        (contents([]), "no table of tensors"),
        (contents({**TWO, "__metadata__": {"a": 1}}), "its metadata are no texts"),
        (contents({**TWO, "c": 3}), "does not describe 'c'"),
        (contents(entry(more=1)), "does not describe 'b'"),
        (contents(entry(dtype="F8_E4M3")), "types F64, .* found 'F8_E4M3'"),
        (contents(entry(dtype=["F32"])), "found \\['F32'\\]"),
        (contents(entry(shape=[-2, -1])), "the place of 'b' is impossible"),
        (contents(entry(shape=[2.0, 1])), "the place of 'b' is impossible"),
        (contents(entry(shape=[3])), "does not have the size of its shape"),
        (contents(entry(shape=[2**40, 2**40])), "does not have the size of its shape"),
        (contents(entry(data_offsets=[4])), "the place of 'b' is impossible"),
        (contents(entry(data_offsets=[12, 4])), "does not have the size of its shape"),
        (contents(entry(data_offsets=[2, 10])), "its tensors overlap in front of 'b'"),
        (contents(entry(data_offsets=[5, 13])), "its tensors leave a gap in front of 'b'"),
    ],
    ids=range(24),
)
def test_a_damaged_file_is_refused(tmp_path, data, text):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match=text) as caught:
        read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "Copy it again, or give another file." in str(caught.value)


# ---------------------------------------------------------------------- published networks
@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A published folder of a network with few weights."""
    folder = tmp_path_factory.mktemp("hub")
    net = ecapa()
    weights = SpeakerNet(net.model, net.loss).state_dict()
    (folder / "model.safetensors").write_bytes(
        model_bytes(weights, Facts("ECAPA_TDNN", {"EER": 3.5}, {}, [], {}))
    )
    lines = [f"{name}: {value}\n" for name, value in {"model": "ECAPA_TDNN", **SMALL}.items()]
    (folder / "config.yaml").write_text("".join([*lines, "threshold: 0.5\n"]))
    return folder


def test_a_published_folder_is_a_checkpoint(hub):
    state = read_checkpoint(hub)
    assert state["options"] == {"model": "ECAPA_TDNN", **SMALL}
    assert state["result"] == {"EER": 3.5, "threshold": 0.5}
    assert state["left_out"] == [] and "classes" not in state


def changed_metadata(folder, **changes):
    """Changes texts in the header of a published folder."""
    path = folder / "model.safetensors"
    data = path.read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] |= changes
    path.write_bytes(contents(header, data[end:]))


def with_bits_flipped(folder):
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def with_config(text):
    return lambda folder: (folder / "config.yaml").write_text(text)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (with_bits_flipped, "expected contents with the checksum in the header"),
        (lambda folder: changed_metadata(folder, result='{"EER": 0.1}'), "with the checksum"),
        (lambda folder: changed_metadata(folder, layout="9"), "in layout 1, found layout 9"),
        (lambda folder: (folder / "config.yaml").unlink(), "expected the options of the network"),
        (with_config("- a"), "expected the options of a published network as YAML"),
        (with_config("a: [" * 999), "expected the options of a published network as YAML"),
        (with_config("model: ResNet"), "expected --model ECAPA_TDNN, .* found 'ResNet'"),
        (with_config("eca_c: 16"), "expected --model ECAPA_TDNN, .* found None"),
        (with_config("model: ECAPA_TDNN\neca_c: x"), "expected a whole number for --eca_c"),
        (with_config("model: ECAPA_TDNN\nthreshold: x"), "expected a finite number as threshold"),
        (with_config(f"model: ECAPA_TDNN\nthreshold: {'9' * 400}"), "expected a finite number"),
        (with_config("model: ECAPA_TDNN\nthreshold: .nan"), "expected a finite number"),
    ],
    ids=range(12),
)
def test_a_damaged_publication_is_refused(hub, tmp_path, damage, text):
    folder = shutil.copytree(hub, tmp_path / "hub")
    damage(folder)
    with pytest.raises(InputError, match=text):
        read_checkpoint(folder)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    net = ecapa()
    named = net.model.state_dict()
    named["conv1.bias"][0] = float("nan")
    save_file(named, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="NaN or infinity in 1 of"):
        load_weights(ecapa(), read_checkpoint(tmp_path / "x.safetensors"), "x")


def test_a_folder_of_a_run_is_named(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "best.model").touch()
    with pytest.raises(InputError, match=f"found a folder. Give {tmp_path}/model/best.model."):
        read_checkpoint(tmp_path)


def test_options_that_are_published():
    """Names of parts and numbers; no lists, folders, devices or outputs."""
    options = {"model": "WavLM_MHFA", "ssl_weights": "weights.pt", "train_list": "a.txt"}
    options |= {"test_list": ["a"], "device": "cuda", "lr": 0.1, "optimizer": "adam", "eval": True}
    options |= {"save_path": "exps", "eval_frames": 0, "threshold": 1.0, "encoder_type": "MHFA"}
    assert published_options(options) == {
        "model": "WavLM_MHFA",
        "encoder_type": "MHFA",
        "optimizer": "adam",
        "lr": 0.1,
        "eval_frames": 0,
    }
    text = {"model": "ReDimNet", "redim_config": "C: 24"}
    assert published_options(text) == text
    assert published_options({**text, "redim_config": "/home/me/C"}) == {"model": "ReDimNet"}
