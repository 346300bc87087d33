"""Output files: which of them are refused, where they are written, and standard output."""

import argparse
import hashlib
import io
import json
import logging
import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

import dataprep
import tuneThreshold
from common import terminal
from common.errors import InputError
from common.writing import write_atomically

ROOT = Path(__file__).parent.parent
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


def test_scores_of_pairs_stay_out_of_the_default_run_folder(program, corpus, checkpoint, files):
    """They are where --eval writes, next to the checkpoint."""
    Path("exps/exp1/result").mkdir(parents=True)
    Path("exps/exp1/result/all_pairs.txt").write_text(SCORES)
    Path("some.model").write_bytes(checkpoint.read_bytes())
    lines = (corpus / "train_list.txt").read_text().splitlines(keepends=True)
    Path("list.txt").write_text("".join(lines[:3] + lines[6:9]))
    words = ["--all_pairs", "list.txt", "--test_path", corpus / "wav", "--nDataLoaderThread", 0]
    before = tree_of(files)
    code, out, _ = program(*words, "--initial_model", "some.model", "--eval_frames", 40)
    assert code == 0 and "Scores: all_pairs_some_list.txt\n" in out
    after = tree_of(files)
    assert after.keys() - before.keys() == {"all_pairs_some_list.txt"}
    assert before.items() <= after.items()


def test_scores_of_embeddings_stay_out_of_the_default_run_folder(program, files):
    """They are next to the embeddings. A --save_path selects a run folder."""
    Path("exps/exp1/result").mkdir(parents=True)
    Path("exps/exp1/result/scores_unprocessed.txt").write_text(SCORES)
    Path("data").mkdir()
    for name in "abc":
        np.save(f"data/{name}.npy", np.random.default_rng(ord(name)).standard_normal(8))
    Path("pairs.txt").write_text("1 a.npy b.npy\n0 a.npy c.npy\n")
    words = ["--check", "--test_path", "data", "--test_list", "pairs.txt"]
    before = tree_of(files)
    assert program(*words)[0] == 0
    assert program(*words, "pairs.txt", "--save_path", "run")[0] == 0
    after = tree_of(files)
    names = {"data/scores_unprocessed_pairs.txt"}
    names |= {"run/result/scores_unprocessed.txt", "run/result/scores_unprocessed_2.txt"}
    assert after.keys() - before.keys() == names and before.items() <= after.items()


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


# ---------------------------------------------------------------------- standard output
def in_shell(command, **environ):
    """Runs a shell command, in which $T is tuneThreshold.py. Returns its result."""
    environ |= {"T": f"{sys.executable} {ROOT / 'tuneThreshold.py'}"}
    words = ["bash", "-c", f"set -o pipefail; {command}"]
    env = os.environ | environ
    return subprocess.run(words, capture_output=True, env=env, timeout=60, check=False)


# A long text and a short one, and the three programs.
HELPS = ["tuneThreshold.py --help", "dataprep.py --help", "trainSpeakerNet.py --help-all"]


# No test uses /dev/full itself: a program with a fault may replace it.
@pytest.mark.parametrize("words", ["tuneThreshold.py s.txt", *HELPS])
def test_a_full_standard_output_is_one_line(words, files, full):
    run = in_shell(f"{sys.executable} {ROOT}/{words} > {full}")
    assert run.returncode == 2
    assert run.stderr.count(b"\n") == 1
    expected = b"error: standard output cannot be written (No space left on device), so that lines"
    assert run.stderr.startswith(expected)


@pytest.mark.parametrize("command", ["$T s.txt t.txt", "$T --help"])
def test_a_pipe_without_a_reader_is_no_error(files, command):
    run = in_shell(f"{command} | true")
    assert (run.returncode, run.stderr) == (0, b"")
    assert command != "$T s.txt t.txt" or Path("s_det.png").exists()


def test_closed_streams_are_no_error(files):
    assert in_shell("$T s.txt >&- 2>&-").returncode == 0


def test_an_ascii_locale_shows_every_name(files):
    name = "Müller\udcff.txt"
    Path(name).write_text(SCORES)
    environ = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run = in_shell("$T M*.txt && $T M*.txt missing_é.txt", **environ)
    assert run.returncode == 2
    # In this locale, Python knows the bytes of a name alone.
    assert b"M\\udcc3\\udcbcller\\udcff.txt" in run.stdout
    assert run.stderr.startswith(b"error: missing_") and run.stderr.count(b"\n") == 1


def test_control_characters_of_names_are_visible(files, capsys):
    name = "a\x1b[31m\r\x9b\u202e\x07.txt"
    Path(name).write_text(SCORES)
    assert tuneThreshold.main([name]) == 0
    assert r"a\x1b[31m\r\x9b\u202e\x07.txt" in capsys.readouterr().out
    Path(name).write_text("odd")
    code, err = tune(capsys, name)
    assert code == 2
    assert err.startswith(r"error: a\x1b[31m\r\x9b\u202e\x07.txt:1: expected")
    assert tune(capsys, "s.txt", "--no\x1boption")[1].startswith(r"error: --no\x1boption:")
    with pytest.raises(SystemExit):
        dataprep.main(["check\x1b"])
    assert r"check\x1b" in capsys.readouterr().err


@pytest.mark.parametrize("program", ["trainSpeakerNet", "dataprep", "tuneThreshold"])
def test_all_programs_share_the_output(program):
    text = (ROOT / f"{program}.py").read_text()
    assert "    start_logging()\n" in text
    assert "    run_program(" in text
    assert "basicConfig" not in text and "sys.stderr.write" not in text


def test_a_full_output_is_reported_once(monkeypatch, capsys):
    class Full(io.RawIOBase):
        """A file without space."""

        def writable(self):
            return True

        def write(self, data):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(terminal.Output, "failure", None)
    monkeypatch.setattr(terminal.os, "dup2", lambda *_: None)
    stream = terminal.without_failures(io.TextIOWrapper(Full(), write_through=True))
    log = logging.Logger("full")
    log.addHandler(terminal.ResultHandler(stream))
    log.info("one")
    log.info("two")
    argparse.ArgumentParser().print_help(stream)
    assert capsys.readouterr().err.count("error: standard output cannot be written") == 1
    assert terminal.Output.failure.errno == 28


def test_too_few_open_files_are_named(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (20, 32))
    asked = []
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: asked.append(limits))
    with pytest.raises(InputError, match=r"ulimit -n: expected at least 256 open files, found 32"):
        terminal.allow_open_files()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (20, 1024))
    terminal.allow_open_files()
    assert asked == [(32, 32), (1024, 1024)]


def test_the_limit_of_open_files_ends_a_program_at_once(files):
    run = in_shell("ulimit -n 32; $T s.txt")
    assert (run.returncode, run.stdout) == (2, b"")
    assert run.stderr.startswith(b"error: ulimit -n: expected") and run.stderr.count(b"\n") == 1


# ---------------------------------------------------------------------- the DET plot
def test_metrics_need_no_place_for_the_det_plot(files, capsys):
    # A folder in the place of the picture fails for every user. Root may write everywhere.
    Path("s_det.png").mkdir()
    assert tuneThreshold.main(["s.txt"]) == 0
    out = capsys.readouterr().out
    assert "EER" in out and "\nDET plot: " not in out
    assert "warning: no DET plot: s_det.png: expected a file, found a folder." in out
    Path("t_det.png").write_bytes(b"a photo")
    assert tuneThreshold.main(["t.txt"]) == 0
    assert "warning: no DET plot: t_det.png: expected a new file" in capsys.readouterr().out
    assert Path("t_det.png").read_bytes() == b"a photo"


@pytest.mark.parametrize("place", ["--det=no/s.png", None])
def test_a_read_only_folder(files, capsys, monkeypatch, place):
    def fail(path, *_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(tuneThreshold, "plot_det", fail)
    code = tuneThreshold.main(["s.txt", *([place] if place else [])])
    out, err = capsys.readouterr()
    assert "EER" in out
    if place:
        assert (code, err) == (2, "error: no/s.png: Permission denied. Check the path.\n")
    else:
        warning = "warning: no DET plot: s_det.png: Permission denied. Give --det FILE.\n"
        assert (code, err) == (0, "") and warning in out
