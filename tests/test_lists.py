"""Lists as people have them: from pipes, with commas and headers, in other orders, with slips."""

import contextlib
import itertools
import os

import pytest
from conftest import small_run

from corpus.file_lists import read_cohort, read_speakers, read_utterances
from corpus.lists import read_train_list
from corpus.raw_lists import read_raw_list
from corpus.rows import first_line_of


# ---------------------------------------------------------------------- pipes
@contextlib.contextmanager
def pipe(lines):
    """A path like the one that a shell makes of <(command). lines: fewer than 64 KB."""
    readable, writable = os.pipe()
    os.write(writable, "".join(f"{line}\n" for line in lines).encode())
    os.close(writable)
    yield f"/dev/fd/{readable}"
    os.close(readable)


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda path: [*zip(*read_train_list(path), strict=True)][1], id="train"),
        pytest.param(lambda path: read_raw_list(path, "").files(), id="check"),
        pytest.param(read_utterances, id="all pairs"),
        pytest.param(read_speakers, id="pack"),
        pytest.param(lambda path: itertools.chain(*read_cohort(path)), id="cohort"),
    ],
)
def test_a_list_from_a_pipe_is_complete(read):
    names = [f"{i}.wav" for i in range(300)]
    with pipe(f"s{i % 12} {name}" for i, name in enumerate(names)) as path:
        # Other readers have looked at the list before.
        assert first_line_of(path) == "s0 0.wav"
        assert [*read(path)] == names


def test_all_speakers_of_a_list_from_a_pipe_are_trained(corpus, tmp_path, program):
    lines = (corpus / "train_list.txt").read_text().splitlines()
    with pipe(lines) as path:
        words = small_run(corpus, tmp_path, "--train_list", path, "--max_steps", 1)
        code, out, _ = program(*words)
    assert code == 0
    assert "8 speakers, 48 utterances" in out


def test_several_processes_cannot_share_a_pipe(corpus, tmp_path, program):
    with pipe(["s 1.wav"]) as path:
        words = small_run(corpus, tmp_path, "--train_list", path, "--nproc", 2)
        code, _, err = program(*words)
    assert code == 2
    assert "--train_list: expected a file, because every process" in err
    assert path in err
