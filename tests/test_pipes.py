"""Inputs that are pipes, such as <(command) of a shell: nothing is lost, or the command refuses.

pytest tests/test_pipes.py
"""

import json
import os
import pickle
import threading

import pytest

import tuneThreshold
from common.errors import InputError
from corpus.enrolment import read_speaker_meta
from distributed.launch import refuse_pipes
from metrics import calibration
from options.parser import parse


@pytest.fixture
def pipe():
    """pipe(contents) returns the path of a pipe with these contents."""
    ends = []
    threads = []

    def make(contents):
        reading, writing = os.pipe()
        ends.append(reading)

        def write():
            with open(writing, "wb") as file:
                file.write(contents)

        threads.append(threading.Thread(target=write))
        threads[-1].start()
        return f"/dev/fd/{reading}"

    yield make
    for thread in threads:
        thread.join()
    for end in ends:
        os.close(end)


def test_scores(pipe, tmp_path, capsys, monkeypatch):
    """The metrics of a pipe and of the file are the same. 10,000 lines do not fit into one."""
    monkeypatch.chdir(tmp_path)
    lines = "".join(f"{i % 2} a{i} b{i} {i % 7 + 2 * (i % 2)}\n" for i in range(10_000)).encode()
    (tmp_path / "scores.txt").write_bytes(lines)
    printed = []
    for path in (str(tmp_path / "scores.txt"), pipe(lines)):
        assert tuneThreshold.main([path, "--det", str(tmp_path / "det.png")]) in (0, None)
        printed.append(capsys.readouterr().out.replace(path, "PATH").splitlines()[:6])
    assert "10,000 trials" in printed[0][1] and printed[0] == printed[1]


def test_config(pipe):
    options, _ = parse(["--config", pipe(b"lr: 0.5\nmax_epoch: 3\n")], {}, "", None)
    assert (options.lr, options.max_epoch) == (0.5, 3)


def test_calibration(pipe):
    found = calibration.Calibration(["score"], [2.0], 0.5, 0.5, 10, 20, ["scores.txt"])
    text = json.dumps(found._asdict())
    assert calibration.load_calibration(pipe(text.encode())) == found


def test_table_of_enrolment_files(pipe):
    table = {"s1": {"bonafide": ["a", "b"], "spoof": ["c"]}}
    assert read_speaker_meta(pipe(pickle.dumps(table))) == table


@pytest.mark.parametrize("typed", ["--config {}", "--config={}"])
def test_several_processes_refuse_a_pipe(typed, pipe):
    path = pipe(b"lr: 0.5\n")
    words = [*typed.format(path).split(), "--nproc", "2"]
    options, _ = parse(words, {}, "", None)
    with pytest.raises(InputError, match=f"--config: expected a file.*found the pipe {path}"):
        refuse_pipes(options, words)
