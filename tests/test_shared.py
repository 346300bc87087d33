"""Lists in columns, and arrays that all processes of a machine share."""

import json
import multiprocessing
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from bench_lists import update_with_head, write_list
from hypothesis import given, settings
from hypothesis import strategies as st
from test_distributed import free_port

import distributed
from common import text
from common.errors import InputError
from corpus import utterances as utterances_module
from corpus.lists import read_train_list
from corpus.utterances import Utterance, Utterances, classes_of, described, speed_copies
from distributed import shared
from training.resume import described_utterances, digest_text, whole
from training.sampling import shuffled_within, sorted_index

ROOT = Path(__file__).parent.parent
SPEAKERS = st.sampled_from(["b", "a", "ç", "c10", "c9"])
ATTACKS = st.sampled_from(["-", "-", "A01", "A02"])
FACTORS = st.sampled_from([(), (0.9,), (0.9, 1.1)])


def copies_of(listed, factors):
    """The list with its copies, as a list of Utterances."""
    copies = list(listed)
    for factor in factors:
        for speaker, path, attack, _ in listed:
            copies.append(Utterance(f"{speaker}@{factor:g}", path, attack, factor))
    return copies


@given(st.lists(st.tuples(SPEAKERS, ATTACKS), min_size=1, max_size=9), FACTORS, st.integers(1, 4))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_columns_are_like_a_list(lines, factors, at_once):
    listed = []
    for i, (speaker, attack) in enumerate(lines):
        listed.append(Utterance(speaker, f"{speaker}/é{i}.wav", attack))
    wanted = copies_of(listed, factors)
    with pytest.MonkeyPatch.context() as patch:
        for module in (text, utterances_module):
            patch.setattr(module, "LINES_AT_ONCE", at_once)
        got = speed_copies(listed, factors) if factors else Utterances.of(listed)
        assert list(got) == wanted
        assert got == wanted
        assert [got[i] for i in range(-len(got), len(got))] == wanted * 2
        assert got[1:3] == wanted[1:3]
        assert Utterances.of(wanted) == wanted
        renamed = got.with_paths({0: "new.wav"})
        assert [u.path for u in renamed] == [
            "new.wav" if i % len(listed) == 0 else u.path for i, u in enumerate(wanted)
        ]
        assert got.spoofed().tolist() == [u.spoofed for u in wanted]
        owner = sorted_index((u.speaker, u.spoofed) for u in wanted)
        assert got.owner().tolist() == owner.tolist()
        copied = {(u.speaker, u.spoofed) for u in wanted if u.speed != 1}
        assert got.number_of_copied_owners(got.owner()) == len(copied)
        check_summaries(got, listed, wanted)


def check_summaries(got, listed, wanted):
    """Classes, description, digest, and first and last files, against loops over Utterances."""
    real = sorted({u.speaker for u in wanted if not u.spoofed})
    classes = {name: i for i, name in enumerate(real)}
    if any(u.spoofed for u in wanted):
        classes["spoof"] = len(real)
    assert classes_of(got) == classes
    count = sum(not u.spoofed for u in wanted)
    assert described(got).startswith(f"{len(real)} speakers, {count} utterances")
    spoofed = len(wanted) - count
    assert described(got).count(f"{spoofed} spoofed: ") == (spoofed > 0)
    parts = ["\n".join(map(str, column)).encode() for column in zip(*wanted, strict=True)]
    assert described_utterances(got) == digest_text(len(wanted), whole(parts))
    ends = {}
    for utterance in listed:
        first = ends.get(utterance.speaker, (utterance.path,))[0]
        ends[utterance.speaker] = (first, utterance.path)
    found = {}
    for utterance in got.ends_of_speakers():
        found.setdefault(utterance.speaker, []).append(utterance.path)
    assert {name: (paths[0], paths[-1]) for name, paths in found.items()} == ends


def test_shuffled_rows_are_sorted_by_owner_and_draw():
    """Sorted and unsorted lists, with few and with many rows for each owner."""
    for seed, (rows, owners) in enumerate(((400, 5), (400, 300), (3, 1))):
        owner = np.random.default_rng(seed).integers(0, owners, rows).astype(np.int32)
        for listed in (np.sort(owner), owner):
            draw = np.random.default_rng(9).random(rows)
            got = shuffled_within(listed, np.random.default_rng(9))
            assert got.tolist() == sorted(range(rows), key=lambda i, d=draw, o=listed: (o[i], d[i]))


def test_equal_hashes_are_no_duplicates(tmp_path, monkeypatch):
    """Paths are compared where their hashes are equal."""
    monkeypatch.setattr(utterances_module, "hash", lambda path: 7, raising=False)
    path = tmp_path / "list.txt"
    path.write_text("a x.wav\na y.wav\nb z.wav\n")
    assert [u.path for u in read_train_list(path)] == ["x.wav", "y.wav", "z.wav"]
    path.write_text("a x.wav\na y.wav\nb x.wav\n")
    with pytest.raises(ValueError, match=r"list\.txt:3: expected each file once, but x\.wav"):
        read_train_list(path)


# ---------------------------------------------------------------------- shared memory
def share(rank, machines, port, folder):
    """Reads a list in one of two processes, and writes what the process has to a file."""
    local = {"LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": 2}
    if machines == 2:
        local = {"LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name, value in ({"RANK": rank, "WORLD_SIZE": 2} | local | address).items():
        os.environ[name] = str(value)
    shared.LARGE = 64
    shared.BYTES_AT_ONCE = 100
    shared.FOLDERS = (str(folder / "memory"),)
    calls = []

    def read(path):
        calls.append(str(path))
        return {"list": read_train_list(path), "small": np.arange(3), "large": np.arange(99)}

    distributed.join()
    found = shared.shared_from_rank_zero(read, folder / "list.txt")
    error = ""
    try:
        shared.shared_from_rank_zero(read, folder / "empty.txt")
    except InputError as problem:
        error = str(problem)
    result = {
        "calls": len(calls),
        "lines": [f"{speaker} {path}" for speaker, path, *_ in found["list"]],
        "large": found["large"].tolist(),
        "writeable": [found["small"].flags.writeable, found["large"].flags.writeable],
        "maps": Path("/proc/self/maps").read_text().count(f"{folder}/memory/speaker-"),
        "error": error.partition(",")[0],
    }
    (folder / f"{rank}.json").write_text(json.dumps(result))
    distributed.any_rank(False)
    distributed.leave()


@pytest.mark.forks
@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_share_the_arrays_of_one(machines, tmp_path):
    """One file for each machine, which has no name any more."""
    (tmp_path / "memory").mkdir()
    lines = [f"s{i % 5} s{i % 5}/{i}.wav" for i in range(60)]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    (tmp_path / "empty.txt").touch()
    context = multiprocessing.get_context("fork")
    port = free_port()
    runs = []
    for rank in range(2):
        runs.append(context.Process(target=share, args=(rank, machines, port, tmp_path)))
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
        assert run.exitcode == 0
    for rank in range(2):
        assert json.loads((tmp_path / f"{rank}.json").read_text()) == {
            "calls": 0 if rank else 2,
            "lines": lines,
            "large": list(range(99)),
            "writeable": [True, False],
            "maps": 1,
            "error": f"{tmp_path}/empty.txt: expected lines '<speaker> <file>'",
        }
    assert not list((tmp_path / "memory").iterdir())


def test_arrays_begin_at_aligned_places():
    assert shared.places([64, 1, 130, 5]) == [(0, 64), (64, 1), (128, 130), (320, 5)]


def test_memory_of_a_list(tmp_path):
    """The bytes of a line: its path, the end of the path, and the number of the speaker.

    What every process has for itself grows with the speakers only. Loader processes can use a list
    without writing to its memory, because its columns are arrays.
    """
    lines, speakers = 70_000, 700
    write_list(tmp_path / "list.txt", lines, speakers)
    listed = read_train_list(tmp_path / "list.txt")
    copied = speed_copies(listed, [0.9, 1.1])
    for utterances, most in ((listed, 8 + 4), (copied, 8 + 3 * (4 + 1))):
        arrays = []
        own = pickle.dumps(utterances, protocol=5, buffer_callback=arrays.append)
        paths = sum(len(utterance.path) + 1 for utterance in listed)
        assert sum(array.raw().nbytes for array in arrays) <= paths + most * lines
        assert len(own) < 20 * len(utterances.speakers) + 2000


@pytest.mark.slow
def test_reading_a_list_needs_little_memory(tmp_path):
    """At the peak 330 bytes for each line. A list of Python objects would stay at 200 and more."""
    lines = 150_000
    write_list(tmp_path / "list.txt", lines, 1500)
    tracemalloc.start()
    try:
        utterances = read_train_list(tmp_path / "list.txt")
        described_utterances(utterances)
        left, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(utterances) == lines
    assert left < 60 * lines
    assert peak < 330 * lines


@pytest.mark.slow
def test_processes_share_a_list_of_a_million_lines():
    """Two ranks with two loader processes each need less than 300 bytes per line together.

    Before lists were shared, they needed 1,400.
    """
    words = [sys.executable, "tests/bench_lists.py", "--lines", "1000000", "--batches", "500"]
    output = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    memory = [float(re.search(r"([\d.]+) MB PSS", line)[1]) for line in output.splitlines()]
    assert len(memory) == 4
    assert max(memory) - memory[0] < 300


@pytest.mark.slow
def test_an_update_with_a_head_of_voxblink2():
    """111,284 classes with embeddings of 192 numbers."""
    weights, loss, _, peak = update_with_head(111_284, 192, utterances=20)
    assert weights > 111_284 * 192
    # Guessing gives log(111,284) = 11.6, and the prototypical part log(10) = 2.3.
    assert 10 < loss < 20
    assert peak < 5000
