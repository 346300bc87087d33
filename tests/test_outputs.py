"""Output files: which of them are refused, where they are written, and standard output."""

import hashlib
import json
import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

import dataprep
import tuneThreshold
from common.writing import write_atomically

SCORES = "1 a/1 a/2 2\n1 b/1 b/2 1\n1 c/1 c/2 3\n0 a/1 b/2 0\n0 b/1 c/2 1.5\n0 c/1 a/2 1\n"
NOISE = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)


def tree_of(folder):
    """Returns {path: digest} of all files below a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A working directory with scores, trials, a picture, a page and a text of the user."""
    monkeypatch.chdir(tmp_path)
    Path("s.txt").write_text(SCORES)
    Path("t.txt").write_text(SCORES)
    Path("trials.txt").write_text("1 a/1 a/2\n0 a/1 b/2\n")
    Path("notes.txt").write_text("My notes\n")
    Path("photo.png").write_bytes(b"\x89PNG\r\n\x1a\nno picture of this program")
    Path("curves.svg").write_text("<svg>mine</svg>")
    Path("page.html").write_text("<html>my page</html>")
    Path("run").mkdir()
    Path("run/log.jsonl").write_text(json.dumps({"epoch": 1, "step": 1, "loss": 1.0}) + "\n")
    return tmp_path


def tune(capsys, *words):
    """Runs tuneThreshold.py. Returns the exit code and its error."""
    try:
        code = tuneThreshold.main(list(words))
    except SystemExit as exit:
        code = exit.code
    return code, capsys.readouterr().err


# ---------------------------------------------------------------------- refused outputs
# The words of a command -> what its error contains.
REFUSED = {
    "calibrate s.txt --output s.txt": "--output s.txt: .* an input of this command (SCORES)",
    "calibrate s.txt --output ./s.txt": "an input of this command (SCORES)",
    "calibrate s.txt --output notes.txt": "--output notes.txt: .* a file of another kind",
    "calibrate s.txt --output run": "expected a file, found a folder",
    "fuse s.txt t.txt --output t.txt": "an input of this command (SCORES)",
    "apply c.json s.txt --output c.json": "an input of this command (JSON)",
    "apply c.json s.txt --output s.txt": "an input of this command (SCORES)",
    "apply c.json s.txt --output trials.txt": "a file of another kind",
    "report s.txt --output s.txt": "an input of this command (RUN)",
    "report s.txt --output notes.txt": "a file of another kind",
    "report run --output run/log.jsonl": "a file of another kind",
    "report s.txt --output page.html": "a file of another kind",
    "s.txt --det s.txt": "an input of this command (SCORES)",
    "s.txt --det photo.png": "--det photo.png: .* a file of another kind",
    "compare s.txt t.txt --det t.txt": "an input of this command (B)",
    "plot run --curves curves": "--curves curves.svg: .* a file of another kind",
}


@pytest.mark.parametrize("command", REFUSED)
def test_the_metrics_overwrite_no_input_and_no_file_of_others(capsys, files, command):
    assert tune(capsys, "calibrate", "s.txt", "--output", "c.json")[0] == 0
    before = tree_of(files)
    code, err = tune(capsys, *command.split())
    start, _, end = REFUSED[command].rpartition(" .* ")
    assert code == 2
    assert err.startswith(f"error: {start}") and end in err and err.count("\n") == 1
    assert tree_of(files) == before


@pytest.mark.parametrize(
    "command",
    [
        "calibrate s.txt --output c.json",
        "apply c.json s.txt --output llr.txt",
        "report s.txt --output report.html",
        "s.txt --det det.png",
        "s.txt --det det.svg",
        "plot run --curves losses",
    ],
)
def test_earlier_results_are_replaced(capsys, files, command):
    assert tune(capsys, "calibrate", "s.txt", "--output", "c.json")[0] == 0
    assert tune(capsys, *command.split()) == (0, "")
    assert tune(capsys, *command.split()) == (0, "")


def test_an_empty_file_may_be_written(capsys, files):
    Path("empty.json").touch()
    assert tune(capsys, "calibrate", "s.txt", "--output", "empty.json") == (0, "")
    assert json.loads(Path("empty.json").read_text())["inputs"] == ["score"]


@pytest.mark.parametrize("output", ["trials.txt", "list.txt", "last.model", "notes.txt", "x.npy"])
@pytest.mark.parametrize("action", ["eval", "all_pairs"])
def test_scores_overwrite_no_input(program, corpus, checkpoint, tmp_path, action, output):
    (tmp_path / "trials.txt").write_bytes((corpus / "trials.txt").read_bytes())
    (tmp_path / "list.txt").write_bytes((corpus / "train_list.txt").read_bytes())
    (tmp_path / "last.model").write_bytes(checkpoint.read_bytes())
    (tmp_path / "notes.txt").write_text("My notes\n")
    np.save(tmp_path / "x.npy", np.zeros(3, np.float32))
    before = tree_of(tmp_path)
    words = ["--eval", "--test_list", tmp_path / "trials.txt"]
    if action == "all_pairs":
        words = ["--all_pairs", tmp_path / "list.txt"]
    use = ["--initial_model", tmp_path / "last.model", "--nDataLoaderThread", 0]
    where = ["--test_path", corpus / "wav", "--output", tmp_path / output]
    code, _, err = program(*use, *words, *where)
    assert code == 2
    assert err.startswith(f"error: --output {tmp_path / output}: expected a new file")
    assert tree_of(tmp_path) == before


def test_a_list_is_not_overwritten_by_its_own_name(capsys, files, corpus):
    for name in ("a.txt", "a.clean.txt"):
        Path(name).write_bytes((corpus / "train_list.txt").read_bytes())
    before = tree_of(files)
    words = ["check", "a.txt", "a.clean.txt", "--path", str(corpus / "wav")]
    assert dataprep.main(words) == 2
    assert "a.clean.txt: expected a new file, found an input" in capsys.readouterr().err
    assert tree_of(files) == before


# ---------------------------------------------------------------------- places
@pytest.mark.parametrize("name", ["../outside.wav", "a/../../outside.wav"])
def test_embeddings_stay_below_the_output(program, corpus, checkpoint, tmp_path, name):
    (tmp_path / "wav" / "a").mkdir(parents=True)
    sf.write(tmp_path / "outside.wav", NOISE, 16000)
    (tmp_path / "list.txt").write_text(f"{name}\n")
    before = tree_of(tmp_path)
    use = ["--initial_model", checkpoint, "--nDataLoaderThread", 0, "--test_path", tmp_path / "wav"]
    output = tmp_path / "embeddings" / "deep"
    code, _, err = program(*use, "--extract", tmp_path / "list.txt", "--output", output)
    assert code == 2
    assert f"list.txt: expected names of files without '..' at the beginning, found '{name}'" in err
    assert tree_of(tmp_path) == before


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "old.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("disk/old.txt")
    (tmp_path / "new.txt").symlink_to("disk/missing.txt")
    write_atomically(tmp_path / "link.txt", b"first")
    write_atomically(tmp_path / "new.txt", b"second")
    assert (tmp_path / "link.txt").is_symlink() and (tmp_path / "new.txt").is_symlink()
    expected = {"old.txt": "first", "missing.txt": "second"}
    assert {path.name: path.read_text() for path in (tmp_path / "disk").iterdir()} == expected


def test_a_device_stays_a_device(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    received = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_atomically(tmp_path / "pipe", [b"a", b"b"])
    reader.join(10)
    assert received == [b"ab"]
    assert (tmp_path / "pipe").is_fifo()


def test_standard_output_as_a_file(capfd, files):
    print("before", flush=True)
    assert tuneThreshold.main(["calibrate", "s.txt", "--output", "/dev/fd/1"]) == 0
    out = capfd.readouterr().out
    assert out.startswith("before\n{\n") and "calibration: /dev/fd/1" in out


@pytest.fixture
def full():
    """A copy of the device /dev/full, which a program with a fault may replace without harm."""
    try:
        os.mknod("full", 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        with open("full", "ab"):
            pass
    except OSError:
        pytest.skip("Only root makes devices.")
    return "full"


def test_a_full_device_is_named(capsys, files, full):
    code, err = tune(capsys, "calibrate", "s.txt", "--output", full)
    assert code == 2
    assert err.startswith("error: full: the result cannot be written (No space left on device)")
    assert Path(full).is_char_device()
