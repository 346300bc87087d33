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
from corpus.lists import read_train_list
from corpus.rows import first_line_of
from distributed.launch import refuse_pipes
from metrics import calibration
from options.parser import parse
from prep.check import CheckOptions, check_lists


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


def test_a_pipe_with_a_name_is_opened_once(tmp_path):
    """To open it again would wait for another writer without end."""
    path = tmp_path / "list"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=("id1 a.wav\nid2 b.wav\n",))
    writer.start()
    assert first_line_of(path) == "id1 a.wav"
    writer.join()
    found = []
    reader = threading.Thread(target=lambda: found.extend(read_train_list(path)))
    reader.start()
    reader.join(5)
    if reader.is_alive():
        # A writer ends the waiting of a wrong reader.
        os.close(os.open(path, os.O_WRONLY))
        reader.join()
        pytest.fail("the pipe was opened twice")
    assert [each.speaker for each in found] == ["id1", "id2"]


def test_nothing_is_written_next_to_a_pipe(pipe, tmp_path, capsys):
    lines = b"1 a b 0.9\n0 a c 0.1\n1 d e 0.8\n0 d f 0.2\n"
    path = pipe(lines)
    assert tuneThreshold.main([path]) == 0
    assert f"warning: no DET plot: {path}: expected a file" in capsys.readouterr().out
    json_file = tmp_path / "c.json"
    found = calibration.Calibration(["score"], [2.0], 0.5, 0.5, 10, 20, ["scores.txt"])
    json_file.write_text(json.dumps(found._asdict()))
    assert tuneThreshold.main(["apply", str(json_file), path]) == 2
    assert f"error: {path}: expected a file" in capsys.readouterr().err


def test_check_needs_a_place_for_the_clean_list_of_a_pipe(pipe, tmp_path):
    path = pipe(b"id1 a.wav\n")
    with pytest.raises(InputError, match="found a pipe or a device. Give --output DIR"):
        check_lists(CheckOptions([path], [str(tmp_path)], None, 0, 1), 1)
    # A redirected file of the shell has this name too.
    with pytest.raises(InputError, match="/dev/stdin: expected a file"):
        check_lists(CheckOptions(["/dev/stdin"], [str(tmp_path)], None, 0, 1), 1)
