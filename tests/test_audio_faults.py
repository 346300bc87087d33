"""Recordings as they occur in practice: silent, short, cut off, unfinished, or compressed."""

import re

import numpy as np
import pytest
import soundfile

from prep.check import CheckOptions, check_lists

NOISE = np.random.default_rng(3).uniform(-0.3, 0.3, 32000)


def write(path, x, **options):
    soundfile.write(path, x, 16000, **options)
    return path


# ---------------------------------------------------------------------- silent and short speech
@pytest.fixture
def weak(tmp_path):
    """A folder with a usable file and files that are too weak, and the list of its files."""
    faint = 10 ** (-75 / 20) * np.sign(NOISE)
    files = {
        "usable": NOISE,
        "zeros": np.zeros(32000),
        "offset": np.full(32000, 0.25),
        "faint": faint,
        "sample": np.array([0.5]),
        "short": NOISE[:7999],
    }
    for name, x in files.items():
        write(tmp_path / f"{name}.wav", x, subtype="FLOAT")
    (tmp_path / "list.txt").write_text("".join(f"{name}.wav\n" for name in files))
    return tmp_path


@pytest.fixture
def use(checkpoint):
    return ["--initial_model", checkpoint, "--device", "cpu", "--nDataLoaderThread", 0]


@pytest.mark.parametrize(
    "name, problem",
    [
        ("zeros", "silent (-200.0 dB)"),
        ("offset", "silent (-200.0 dB)"),
        ("faint", "silent (-75.0 dB)"),
        ("sample", "short (6.25e-05 s)"),
        ("short", "short (0.4999 s)"),
    ],
)
def test_verify_refuses_weak_speech(weak, use, program, name, problem):
    for names in ([name, "usable"], ["usable", name]):
        code, out, err = program(
            "--verify", *(f"{n}.wav" for n in names), "--test_path", weak, *use
        )
        assert code == 2 and "Decision" not in out
        assert err.startswith(
            f"error: {name}.wav: expected speech with a level of at least -70 dB (--silence_db) "
            f"and at least 0.5 s (--min_seconds), found a file that is {problem}. "
        )


def test_the_limits_of_verify_are_options(weak, use, program):
    words = ["--verify", "faint.wav", "short.wav", "--test_path", weak, *use]
    limits = ["--silence_db", -80, "--min_seconds", 0.4]
    code, out, err = program(*words, *limits)
    assert code == 0 and "Score" in out, err
    assert "faint.wav" in program(*words, *limits[2:])[2]
    assert "short.wav" in program(*words, *limits[:2])[2]
    assert program(*words, "--min_seconds", -1)[0] == 2


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_extract_and_eval_report_weak_speech(weak, use, program, workers):
    found = (
        "found other files: 5 of 6. Their embeddings and scores mean nothing: faint.wav is silent "
        "(-75.0 dB), offset.wav is silent (-200.0 dB), sample.wav is short (6.25e-05 s), short.wav "
        "is short (0.4999 s), zeros.wav is silent (-200.0 dB)."
    )
    words = ["--test_path", weak, *use, "--nDataLoaderThread", workers, "--output"]
    code, out, _ = program("--extract", weak / "list.txt", *words, weak / "emb")
    assert code == 0 and found in out and "Wrote 6 embeddings" in out
    names = (weak / "list.txt").read_text().split()
    trials = weak / "trials.txt"
    trials.write_text("".join(f"{i % 2} usable.wav {name}\n" for i, name in enumerate(names)))
    code, out, _ = program("--eval", "--test_list", trials, *words, weak / "s.txt")
    assert code == 0 and out.count(found) == 1
    # Nothing is reported without a reason.
    (weak / "list.txt").write_text("usable.wav\n")
    out = program("--extract", weak / "list.txt", *words, weak / "emb2")[1]
    assert "warning" not in out


def test_check_finds_an_offset_without_speech(weak):
    """The limit of --check is the limit of --verify."""
    (weak / "train.txt").write_text("id1 usable.wav\nid2 offset.wav\n")
    check_lists(CheckOptions([str(weak / "train.txt")], [str(weak)], None, 0, 1), processes=1)
    assert re.search(r'"silent",\s+"file": "offset.wav"', (weak / "check.json").read_text())
