"""Files of others and damaged files: what is wrong is an error that names the file.

No code of a file runs, no file is lost, and nothing is written from weights that are not numbers.
"""

import io
import random
import re
import resource
import time
import zipfile

import pytest
import torch
from test_bad_input import Workspace, fingerprint

from common.errors import InputError
from corpus.enrolment import read_speaker_meta
from metrics import calibration
from network.checkpoints import read_checkpoint, write_checkpoint
from prep.pack import read_shards
from prep.sources import read_catalogue
from report.curves import parse_log_line
from report.runs import read_run_config
from training.ownership import is_ours
from training.run_folder import contents_of_line


def small_state():
    torch.manual_seed(0)
    model = {f"layer{i}.weight": torch.randn(40, 50) for i in range(6)}
    options = {"model": "ResNetSE34L", "nOut": 32}
    return {"model": model, "loss": {}, "options": options, "classes": {"a": 0}, "step": 7}


def resaved(state, path):
    """Writes a checkpoint as earlier versions did and as users do, without a new checksum."""
    torch.save(state, path)
    return path


# ---------------------------------------------------------------------- damaged checkpoints
def flipped(data, draw):
    place = draw.randrange(len(data))
    data[place] ^= 1 << draw.randrange(8)


def zeroed(data, draw):
    place = draw.randrange(len(data) - 4096)
    data[place : place + 4096] = bytes(4096)


@pytest.mark.parametrize("damage", [flipped, zeroed])
def test_damage_is_found_or_harmless(damage, tmp_path):
    """A damaged file is refused, unless the damage is in bytes without meaning (padding)."""
    state = small_state()
    path = tmp_path / "a.model"
    write_checkpoint(state, path)
    whole = path.read_bytes()
    draw = random.Random(0)
    refused = 0
    for _ in range(60):
        data = bytearray(whole)
        damage(data, draw)
        path.write_bytes(data)
        try:
            found = read_checkpoint(path)
        except InputError as error:
            assert str(error).startswith(f"{path}: ")
            refused += 1
            continue
        for name, value in state["model"].items():
            assert torch.equal(found["model"][name], value)
    # 95 % of the bytes are weights.
    assert refused >= 50


def test_the_contents_are_compared_with_their_checksum(tmp_path):
    path = tmp_path / "a.model"
    write_checkpoint(small_state(), path)
    contents = torch.load(path, weights_only=True)
    contents["model"]["layer3.weight"][7, 7] += 1e-6
    with pytest.raises(InputError, match=r"a\.model: expected contents with the checksum"):
        read_checkpoint(resaved(contents, path))
    # Checkpoints of earlier versions have no checksum.
    del contents["checksum"]
    assert read_checkpoint(resaved(contents, path))["step"] == 7


def test_lists_that_contain_each_other_many_times(tmp_path):
    """40 lists of two lists are few bytes and 2 ** 40 numbers."""
    lists = [1]
    for _ in range(40):
        lists = [lists, lists]
    path = resaved(
        small_state() | {"result": {"EER": lists}, "checksum": "0"}, tmp_path / "a.model"
    )
    start = time.process_time()
    with pytest.raises(
        InputError, match="a.model: .* contain each other many times.* Give another"
    ):
        read_checkpoint(path)
    assert time.process_time() - start < 10


def test_a_file_without_crcs_is_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        path = resaved({"weight": torch.ones(3)}, tmp_path / "a.model")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_checkpoint(path)["model"]["weight"], torch.ones(3))


def test_verification_takes_little_time(tmp_path):
    """A checkpoint of 40 MB. The limit is ten times the usual time."""
    path = tmp_path / "a.model"
    write_checkpoint(small_state() | {"model": {"weight": torch.zeros(10_000_000)}}, path)
    start = time.perf_counter()
    read_checkpoint(path)
    assert time.perf_counter() - start < 2


# ---------------------------------------------------------------------- NaN and infinity
def with_nan(checkpoint, path, value=float("nan")):
    """A copy of a checkpoint in which one weight is NaN."""
    state = read_checkpoint(checkpoint)
    next(iter(state["model"].values())).view(-1)[0] = value
    write_checkpoint(state, path)
    return path


NOT_FINITE = r"bad\.model: expected finite weights, found NaN or infinity in 1 of \d+ tensors"
USES = {
    "eval": lambda w: w.evaluate(model="bad.model"),
    "extract": lambda w: w.use(
        "--extract", w.corpus / "wav", "--output", w.folder / "run", model="bad.model"
    ),
    "export": lambda w: w.use("--export", w.folder / "run.onnx", model="bad.model"),
    "verify": lambda w: w.use("--verify", *w.trials[0].split()[1:], model="bad.model"),
    "all_pairs": lambda w: w.use(
        "--all_pairs",
        w.corpus / "train_list.txt",
        "--test_path",
        w.corpus / "wav",
        model="bad.model",
    ),
    "average": lambda w: ["--average", w.checkpoint, "bad.model", "--output", "mean.model"],
    "train": lambda w: w.train("--initial_model", "bad.model"),
}


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_first(
    name, value, corpus, checkpoint, tmp_path, program, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with_nan(checkpoint, tmp_path / "bad.model", value)
    w = Workspace(tmp_path, corpus, checkpoint)
    words = USES[name](w)
    if name == "verify":
        words += ["--test_path", corpus / "wav"]
    before = fingerprint(tmp_path)
    code, out, err = program(*words)
    assert code == 2 and "Traceback" not in err, out + err
    assert re.search(NOT_FINITE, err), err
    after = fingerprint(tmp_path)
    # A training records its command before anything else.
    new = [path.name for path in after if path not in before]
    assert set(new) <= {"command.txt", "config.yaml"}, new
    assert {path: after[path] for path in before} == before


# ---------------------------------------------------------------------- odd checkpoints
def odd_files():
    """{name: a function of a complete checkpoint that returns the contents of an odd one}."""
    weight = torch.ones(2, 2)
    bare = {
        "list": [1],
        "numbers as names": {1: weight},
        "dict of dicts": {"model": {"a": {"b": weight}}},
        "sparse": {"a": weight.to_sparse()},
        "sparse in rows": {"a": weight.to_sparse_csr()},
        "quantised": {"a": torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)},
        "without data": {"a": weight.to("meta")},
        "terabytes": {"a": torch.zeros(1).expand(10**13)},
        "object": {"a": Workspace},
    }
    parts = {
        "model": [None, [1], {"a": "x"}, {1: weight}, {"a": weight.to_sparse()}],
        "loss": [None],
        "options": [None, [1], {1: 2}],
        "classes": [None, ["a"], {"a": "b"}, {"a": -5}, {"a": 10**13}],
        "result": [3, {"threshold": "x"}],
        "step": ["x", -5],
        "evaluated": [weight],
        "steps_per_epoch": [weight, None, 1.5],
        "lists": [weight, ["a"], {"train_list": weight}],
    }
    for name, values in parts.items():
        for i, value in enumerate(values):
            bare[f"{name} {i}"] = small_state() | {name: value}
    for name, value in {"model": "../x", "nOut": "x", "n_mels": 1.5, "trainfunc": 3}.items():
        options = small_state()["options"] | {name: value}
        bare[f"option {name}"] = small_state() | {"options": options}
    for name in ("model", "loss"):
        state = small_state()
        del state[name]
        bare[f"no {name}"] = state
    return bare


ODD = odd_files()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ODD)
def test_an_odd_checkpoint_is_an_error_that_names_it(name, tmp_path):
    path = resaved(ODD[name], tmp_path / "odd.model")
    with pytest.raises(InputError, match=r"odd\.model: .*\.$"):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", ["averaged", "published"])
def test_weights_alone_do_not_resume(kind, corpus, checkpoint, tmp_path, program):
    state = read_checkpoint(checkpoint)
    if kind == "published":
        contents = state["model"]
    else:
        contents = {name: state[name] for name in ("model", "loss", "options", "classes")}
    last = tmp_path / "run" / "model" / "last.model"
    last.parent.mkdir(parents=True)
    before = resaved(contents, last).read_bytes()
    code, _, err = program(*Workspace(tmp_path, corpus, checkpoint).train())
    message = "did not write" if kind == "published" else "found weights without the state"
    assert code == 2 and message in err, err
    assert last.read_bytes() == before


def odd_zips():
    """{name: a zip file that the module zipfile cannot read, each for another reason}."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a/data.pkl", b"options classes optimizer")
    whole = file.getvalue()
    place = whole.index(b"PK\x01\x02")
    # In the table of contents: bytes from the place of an entry -> new bytes.
    changes = {
        "encrypted": (8, b"\x01"),
        "unknown method": (10, b"\x63"),
        "other checksum": (16, b"\0"),
        "too long": (20, b"\xff\xff\xff\x7f\xff\xff\xff\x7f"),
        "bomb": (24, b"\xff\xff\xff\x7f"),
        "beyond the end": (42, b"\xff\xff\xff\x7f"),
    }
    zips = {"no zip": b"PK", "empty": b"", "cut off": whole[:60]}
    for name, (offset, new) in changes.items():
        start = place + offset
        zips[name] = whole[:start] + new + whole[start + len(new) :]
    return zips, whole


@pytest.mark.parametrize("name", odd_zips()[0])
def test_a_damaged_checkpoint_is_not_of_this_program(name, tmp_path):
    path = tmp_path / "last.model"
    path.write_bytes(odd_zips()[1])
    assert is_ours(path)
    path.write_bytes(odd_zips()[0][name])
    assert not is_ours(path)
    with pytest.raises(InputError, match=r"last\.model: .*\.$"):
        read_checkpoint(path)


# ---------------------------------------------------------------------- other files
DEEP = "[" * 100_000
NUMBERS = '{"inputs": ["score"], "weights": [%s], "offset": 0, "effective_prior": 0.5}'
READERS = {
    "calibration.json": (
        calibration.load_calibration,
        [DEEP, "[1]", "{}", NUMBERS % "Infinity", NUMBERS % ("1" * 400), NUMBERS % "[[1]]"],
    ),
    "catalogue.yaml": (
        read_catalogue,
        [DEEP, "[1]", "files: 3", "counts: {a: 1}\nfiles: {}", "\0"],
    ),
    "config.yaml": (read_run_config, [DEEP, "a: 2026-13-45", "- 1", "!!python/object:x {}", "\0"]),
    "00000.json": (lambda path: read_shards(path.parent), [DEEP, "[1]", '{"recordings": 3}']),
}
CASES = [(name, i) for name, (_, contents) in READERS.items() for i in range(len(contents))]


@pytest.mark.parametrize("name, i", CASES)
def test_odd_files_of_text_are_named(name, i, tmp_path):
    read, contents = READERS[name]
    path = tmp_path / name
    path.write_text(contents[i])
    with pytest.raises(InputError) as found:
        read(path)
    message = str(found.value)
    assert message.startswith(f"{path}: expected") and message.endswith("."), message
    assert len(message) < 700


def test_a_line_of_deep_lists_is_damaged():
    assert contents_of_line('{"epoch": 1, "step": 2}') == {"epoch": 1, "step": 2}
    assert contents_of_line(DEEP) is None
    with pytest.raises(ValueError, match="^log:1: expected the JSON line"):
        parse_log_line(DEEP, "log:1")


# ---------------------------------------------------------------------- pickles
@pytest.mark.parametrize(
    "data", [b"]r\xff\xff\xff\x1f.", b"\x80\x04B\xff\xff\xff\x7f", b"I1\nI" + b"9" * 9000 + b"\n."]
)
def test_a_few_bytes_allocate_little(data, tmp_path):
    """The first number is an index of the memo, the second one a length."""
    path = tmp_path / "meta.pk"
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"meta\.pk: expected"):
        read_speaker_meta(path)
    # In kilobytes.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
