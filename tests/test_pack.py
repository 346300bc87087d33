"""Packs give the same batches and scores as single files, to the bit.

Other tests are about interruption, additions, damage, and errors in the input.
"""

import itertools
import json
import multiprocessing
import os
import pickle
import shutil
import signal
import tempfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from conftest import small_run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kill_resume import noise_corpus
from test_synthetic import contents

import dataprep
from common.errors import InputError
from corpus import pack_index, roots
from corpus.augment import Augment
from corpus.files import find_files
from corpus.lists import read_train_list, read_trials, speed_copies
from corpus.roots import Folder, Pack, open_root
from DatasetLoader import EvalDataset, TrainDataset, batches, eval_loader, train_loader
from prep import pack, pack_check

SPEECH_DATA = os.environ.get("SPEECH_DATA")
SUBTYPES = (
    ("wav", "PCM_16"),
    ("flac", "PCM_16"),
    ("wav", "FLOAT"),
    ("flac", "PCM_24"),
    ("wav", "PCM_16"),
    ("ogg", "VORBIS"),
)


@pytest.fixture(scope="module")
def loose(corpus, tmp_path_factory):
    """Single files: wav/ with the speech of the test corpus, musan/, rir/ and lists; read-only.

    The lists are train_list.txt and trials.txt. The files of the training speakers have several
    formats.
    """
    folder = tmp_path_factory.mktemp("loose")
    noise_corpus(folder)
    shutil.copytree(corpus / "wav", folder / "wav")
    shutil.copy(corpus / "trials.txt", folder)
    lines = []
    for i, line in enumerate((corpus / "train_list.txt").read_text().splitlines()):
        speaker, name = line.split()
        kind, subtype = SUBTYPES[i % len(SUBTYPES)]
        x = soundfile.read(folder / "wav" / name)[0]
        if subtype != "PCM_16":
            # Samples that 16 bits cannot represent.
            x = x + 1e-6
        (folder / "wav" / name).unlink()
        name = name.replace(".wav", f".{kind}")
        soundfile.write(folder / "wav" / name, x, 16000, subtype=subtype)
        lines.append(f"{speaker} {name}")
    (folder / "train_list.txt").write_text("\n".join(lines))
    return folder


def pack_up(folder, output, lists=("train_list.txt", "trials.txt"), size=1_000_000, path="wav"):
    """Packs the files of lists below the folder, and returns the folder of the pack."""
    paths = [folder / name for name in lists]
    pack.make_pack(pack.PackOptions(paths, folder / path, output, size, 2))
    return output


def run(*words):
    """Runs dataprep.py, and returns the exit code."""
    return dataprep.main([str(word) for word in words])


def raising(error):
    """Returns a function that raises the error."""

    def raise_error(*_):
        raise error

    return raise_error


@pytest.fixture(scope="module")
def packed(loose, tmp_path_factory):
    """The lists in one pack of several shards."""
    return pack_up(loose, tmp_path_factory.mktemp("packed") / "pack")


def copy_pack(pack_folder, to):
    """Returns a copy of the pack that a test can change."""
    shutil.copytree(pack_folder, to)
    return to


# ---------------------------------------------------------------------- the same samples
def test_shards_and_their_order(loose, packed):
    table, shards = open_root(str(packed)), pack.read_shards(packed)
    assert len(shards) > 5 and sorted(shards) == list(range(len(shards)))
    bits_of = {}
    order = []
    for shard in shards.values():
        for name, _, bits in shard.recordings:
            order.append(name)
            bits_of[name] = bits
    speaker = {u.path: u.speaker for u in read_train_list(loose / "train_list.txt")}
    assert order == sorted(order, key=lambda name: (speaker.get(name, ""), name))
    assert sorted(order) == table.audio()
    assert len(set(order)) == len(order)
    assert set(order) == {*speaker, *read_trials(loose / "trials.txt").paths()}
    test_files = [name for name in order if name.endswith(".wav") and name not in speaker]
    assert {bits_of[name] for name in test_files} == {16}
    assert set(bits_of.values()) == {16, 32}


@pytest.mark.parametrize("workers", [0, 2])
def test_training_batches(loose, packed, tmp_path, workers):
    """All formats, speeds and noises. The noises come from packs too."""
    noises = [pack_up(loose, tmp_path / name, [], path=name) for name in ("musan", "rir")]
    utterances = speed_copies(read_train_list(loose / "train_list.txt"), [0.9])
    items = []
    for epoch, k in itertools.product((1, 2), (0, 12, 40, 60)):
        items.append((epoch, [[i, i + 1] for i in range(k, k + 12, 2)]))

    def made(path, *folders):
        data = TrainDataset(
            utterances, str(path), max_frames=150, seed=3, augment=Augment(*map(str, folders))
        )
        return [batch["x"] for batch in batches(train_loader(data, items, workers=workers))]

    ours, theirs = made(packed, *noises), made(loose / "wav", loose / "musan", loose / "rir")
    assert len(ours) == 8 and all(map(torch.equal, ours, theirs))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("eval_frames", [0, 120])
def test_evaluation_crops(loose, packed, workers, eval_frames):
    paths = read_trials(loose / "trials.txt").paths()
    paths += [u.path for u in read_train_list(loose / "train_list.txt")[:12]]

    def made(root):
        data = EvalDataset(paths, str(root), eval_frames=eval_frames, num_eval=3)
        return list(batches(eval_loader(data, workers=workers)))

    for ours, theirs in zip(made(packed), made(loose / "wav"), strict=True):
        assert ours[0] == theirs[0] and torch.equal(ours[1], theirs[1])


def test_program(loose, packed, checkpoint, program, tmp_path):
    """Training, --eval, --extract of a list and of all audio, and --verify."""
    noises = ["--augment", "--musan_path", loose / "musan", "--rir_path", loose / "rir"]
    short = ["--max_steps", 2, "--max_frames", 20, "--eval_frames", 20, "--num_eval", 1]
    use = ["--initial_model", checkpoint, "--eval_frames", 20, "--num_eval", 2]
    use += ["--nDataLoaderThread", 0]
    trials = loose / "trials.txt"
    first, second = read_trials(trials).paths()[:2]

    def succeed(*words):
        code, out, err = program(*words)
        assert code == 0, err
        return out

    for name, root in (("loose", loose / "wav"), ("pack", packed)):
        roots_of_run = ["--train_path", root, "--test_path", root]
        succeed(*small_run(loose, tmp_path / name, *roots_of_run, *noises, *short))
        files = [*use, "--test_path", root]
        succeed("--eval", *files, "--test_list", trials, "--output", tmp_path / f"{name}.txt")
        embeddings = tmp_path / f"{name}_list"
        succeed("--extract", loose / "train_list.txt", *files, "--output", embeddings)
        (tmp_path / f"{name}_verify").write_text(succeed("--verify", first, second, *files))
    succeed("--extract", packed, *use, "--output", tmp_path / "all")
    assert contents(tmp_path / "loose_list") == contents(tmp_path / "pack_list")
    assert len(contents(tmp_path / "all")) > 48
    for name in ("{}.txt", "{}/result/scores.txt", "{}_verify"):
        of_files = (tmp_path / name.format("loose")).read_bytes()
        assert of_files
        assert of_files == (tmp_path / name.format("pack")).read_bytes()


def test_lists_without_extension(loose, tmp_path):
    """Names of ASVspoof protocols are found in a pack as they are found below a folder.

    One pack has a train protocol, and trials with their enrolment lists.
    """
    files = {f"LA_T_{i}": f"ASVspoof2019_LA_train/flac/LA_T_{i}.flac" for i in range(4)}
    files |= {f"LA_E_{i}": f"ASVspoof2019_LA_eval/flac/LA_E_{i}.flac" for i in range(6)}
    for i, path in enumerate(files.values()):
        (tmp_path / "LA" / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "LA" / path, np.full(3000 + i, 0.01 * i), 16000)
    (tmp_path / "train.trn.txt").write_text(
        "s0 LA_T_0 - - bonafide\ns1 LA_T_1 - - bonafide\n"
        "s0 LA_T_2 - A01 spoof\ns1 LA_T_3 - A01 spoof\n"
    )
    (tmp_path / "LA.asv.eval.gi.trl.txt").write_text(
        "s9 LA_E_3 bonafide target\ns9 LA_E_4 bonafide nontarget\ns9 LA_E_5 A07 spoof\n"
    )
    (tmp_path / "LA.asv.eval.female.trn.txt").write_text("s9 LA_E_0,LA_E_1,LA_E_2\n")
    pack_up(tmp_path, tmp_path / "pack", ["train.trn.txt", "LA.asv.eval.gi.trl.txt"], path="LA")
    for root in (tmp_path / "pack", tmp_path / "LA"):
        assert find_files(str(root), [*files, "LA_T_9"]) == files | {"LA_T_9": None}
    assert len(Pack(str(tmp_path / "pack")).audio()) == 10


def test_trials_without_labels_are_no_speakers(loose, tmp_path):
    pairs = [line.split()[1:] for line in (loose / "trials.txt").read_text().splitlines()]
    (tmp_path / "pairs").write_text("".join(f"{a} {b}\n" for a, b in pairs))
    pack.make_pack(
        pack.PackOptions([tmp_path / "pairs"], loose / "wav", tmp_path / "pack", 10**6, 2)
    )
    assert Pack(str(tmp_path / "pack")).audio() == sorted(set(itertools.chain(*pairs)))


def test_all_audio_below_a_folder(loose, tmp_path):
    """One of the names is not UTF-8."""
    for name in ("b/é.wav", "b/\udcff.flac", "b/c/d.flac", "a.wav"):
        (tmp_path / "wav" / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(
            os.fsencode(tmp_path / "wav" / name), np.full(400, 0.5), 16000, format="WAV"
        )
    assert run("--pack", "--path", tmp_path / "wav", "--output", tmp_path / "pack") == 0
    table = Pack(str(tmp_path / "pack"))
    assert table.audio() == Folder(str(tmp_path / "wav")).audio()
    assert table.glob("*/*.flac") == ["b/\udcff.flac"]
    assert Folder(tmp_path / "wav").glob("*/*.flac") == ["b/\udcff.flac"]
    with table.open("b/\udcff.flac") as recording:
        assert recording.frames == 400


@pytest.mark.skipif(not SPEECH_DATA, reason="SPEECH_DATA")
def test_real_speech(tmp_path):
    root = Path(SPEECH_DATA) / "speechocean_mini" / "train"
    utterances = read_train_list(root.parent / "train_list.txt")[::8]
    (tmp_path / "list").write_text("".join(f"{u.speaker} {u.path}\n" for u in utterances))
    pack.make_pack(pack.PackOptions([tmp_path / "list"], root, tmp_path / "pack", 3_000_000, 4))
    groups = [[i] for i in range(len(utterances))]
    ours = TrainDataset(utterances, str(tmp_path / "pack"), max_frames=200, seed=0)
    theirs = TrainDataset(utterances, str(root), max_frames=200, seed=0)
    assert len(utterances) == 119
    assert torch.equal(ours[1, groups]["x"], theirs[1, groups]["x"])
    assert len(pack.read_shards(tmp_path / "pack")) > 5


SAMPLES = st.one_of(
    st.lists(st.integers(-32768, 32767), min_size=1, max_size=200).map(
        lambda x: np.array(x, np.int16)
    ),
    st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=200).map(
        lambda x: np.array(x, np.float32)
    ),
)


@given(
    st.dictionaries(st.text("aé/.b", min_size=1, max_size=9), SAMPLES, min_size=1, max_size=8),
    st.integers(1, 600),
    st.integers(0, 2**32),
)
@example(
    {
        "a": np.array([-0.0, 0.5], np.float32),
        "b": np.array([-1, 32767 / 32768], np.float32),
        "c": np.array([1], np.float32),
    },
    4,
    0,
)
@settings(max_examples=15, deadline=None)
def test_any_part_of_any_recordings(recordings, size, seed):
    """Recordings of any length and format give the same bytes from a pack as from a file.

    There are samples beyond 1, negative zeros, and names that begin with another name.
    """
    draw = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        names = [f"{i}{name}" for i, name in enumerate(recordings)]
        samples = []
        for i, (name, x) in enumerate(zip(names, recordings.values(), strict=True)):
            subtype = "FLOAT" if x.dtype == np.float32 else "PCM_16"
            soundfile.write(Path(folder, f"{i}.wav"), x, 16000, subtype=subtype)
            samples.append((name, *pack.read_whole(Folder(folder), f"{i}.wav")[1:3]))
        table, shards = write_pack(folder, samples, size)
        assert all(shard.bytes >= size for shard in shards[:-1])
        for i, name in enumerate(names):
            with table.open(name) as ours, Folder(folder).open(f"{i}.wav") as theirs:
                assert ours.frames == theirs.frames
                start = draw.integers(0, ours.frames)
                count = draw.integers(0, ours.frames - start, endpoint=True)
                assert ours.read(start, count).tobytes() == theirs.read(start, count).tobytes()
                whole = theirs.read(0, ours.frames).tobytes()
                assert ours.read(0, ours.frames).tobytes() == whole
        others = {"", "0", "~"}
        for name in names:
            others |= {name + "a", name[:-1]}
        for other in others - set(names):
            with pytest.raises(InputError, match="is not in this pack"):
                table.open(other)


def write_pack(folder, samples, size):
    """Writes (name, bits, bytes) as a pack, and returns the pack and its shards."""
    shards = {}
    remaining = iter(samples)
    Path(folder, roots.MARK).write_text(json.dumps(roots.SETTINGS))
    while True:
        path = Path(roots.shard_file(folder, len(shards)))
        shard = pack.write_shard(path, remaining, size)
        if shard is None:
            break
        shards[len(shards)] = shard
    pack.write_index(Path(folder), shards)
    return Pack(folder), list(shards.values())


def test_other_processes(loose, packed):
    """A data set is sent to a new process without the table of the pack."""
    data = TrainDataset(
        read_train_list(loose / "train_list.txt"), str(packed), max_frames=100, seed=0
    )
    pickled = pickle.dumps(data.spec.open)
    assert len(pickled) < 1000
    with (
        pickle.loads(pickled)(data.utterances[5].path) as ours,
        data.spec.open(data.utterances[5].path) as theirs,
    ):
        assert np.array_equal(ours.read(100, 200), theirs.read(100, 200))


# ---------------------------------------------------------------------- interruption and additions
def killed_at(event, folder, output):
    """Runs make_pack in a process that kills itself, and returns the exit code.

    `event` is the number of the block, file or rename before which the process kills itself.
    """

    def work():
        count = 0

        def counted(call):
            def counting(*words, **more):
                nonlocal count
                count += 1
                if count == event:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*words, **more)

            return counting

        pack.zlib.crc32 = counted(pack.zlib.crc32)
        os.fsync = counted(os.fsync)
        Path.replace = counted(Path.replace)
        pack_up(folder, output)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_points(loose, packed, tmp_path, seed):
    draw = np.random.default_rng(seed)
    killed = 0
    while killed_at(draw.integers(1, 45), loose, tmp_path / "pack"):
        killed += 1
        assert killed < 100
    assert killed > 2 and contents(tmp_path / "pack") == contents(packed)


def test_killed_just_before_the_index(loose, packed, tmp_path, monkeypatch):
    """Shards of an addition that are not in the index are added to it by the next command."""
    pack_up(loose, tmp_path / "pack", ["trials.txt"])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pack, "write_index", raising(KeyboardInterrupt))
        pack_up(loose, tmp_path / "pack")
    before = contents(tmp_path / "pack")
    pack_up(loose, tmp_path / "pack")
    assert Pack(str(tmp_path / "pack")).audio() == Pack(str(packed)).audio()
    after = contents(tmp_path / "pack")
    assert {name for name in after if after[name] != before[name]} == {pack_index.INDEX}


def test_second_call_reads_nothing(loose, packed, tmp_path, monkeypatch, capsys):
    folder = copy_pack(packed, tmp_path / "pack")
    monkeypatch.setattr(pack, "read_whole", lambda root, name: pytest.fail(name))
    lists = [loose / "train_list.txt", loose / "trials.txt"]
    assert run("--pack", *lists, "--path", loose / "wav", "--output", folder) == 0
    assert "(0 packed now)" in capsys.readouterr().out
    assert contents(folder) == contents(packed)


def test_additions_go_into_further_shards(loose, packed, tmp_path):
    """The additions come from another pack, with another number of threads."""
    folder = pack_up(loose, tmp_path / "pack", ["train_list.txt"])
    before = contents(folder)
    pack.make_pack(pack.PackOptions([loose / "trials.txt"], packed, folder, 10**6, 5))
    after = contents(folder)
    assert all(after[name] == before[name] for name in before if name != pack_index.INDEX)
    ours, theirs = Pack(str(folder)), Pack(str(packed))
    assert ours.audio() == theirs.audio() and np.array_equal(ours.frames, theirs.frames)
    for name in ours.audio():
        with ours.open(name) as a, theirs.open(name) as b:
            assert np.array_equal(a.read(0, a.frames), b.read(0, b.frames))


# ---------------------------------------------------------------------- damage
def test_check_finds_a_changed_bit_and_says_what_helps(loose, packed, tmp_path, capsys):
    folder = copy_pack(packed, tmp_path / "pack")
    assert run("--check_pack", folder) == 0
    assert " is undamaged. Number of recordings: " in capsys.readouterr().out
    data = bytearray((folder / "00002.pcm").read_bytes())
    data[12345] ^= 4
    (folder / "00002.pcm").write_bytes(data)
    assert run("--check_pack", folder) == 2
    err = capsys.readouterr().err
    assert f"error: {folder}: 1 of" in err
    assert f"Remove {folder}/00002.json and run the " in err
    (folder / "00002.json").unlink()
    pack_up(loose, folder)
    assert contents(folder) == contents(packed)


@pytest.mark.parametrize(
    "file, content, message",
    [
        (
            "00001.pcm",
            None,
            "00001.pcm: expected 10..... bytes, found no file. Copy the file again, "
            "or run the 'python dataprep.py pack' command",
        ),
        ("00001.pcm", b"torn", "00001.pcm: expected 10..... bytes, found 4. Copy the file again"),
        (
            pack_index.INDEX,
            None,
            "expected a finished pack, found a pack without index.npz. "
            "To finish the pack, run the 'python dataprep.py pack' command",
        ),
        (
            pack_index.INDEX,
            b"PK",
            "index.npz: the index of the pack is damaged .*. Remove this file and run",
        ),
        (pack_index.INDEX, "cut", "index.npz: the index of the pack is damaged"),
        (pack_index.INDEX, "flip", "index.npz: the index of the pack is damaged"),
        (roots.MARK, b'{"version": 0}', r"other options: version 0 \(now 1\)"),
        (roots.MARK, b"{", "expected the options of a pack in JSON"),
    ],
)
def test_damaged_packs(file, content, message, loose, packed, tmp_path):
    """The remedy in the message repairs every damaged pack, except a pack of another version."""
    folder = copy_pack(packed, tmp_path / "pack")
    data = bytearray((folder / file).read_bytes())
    (folder / file).unlink()
    if content == "cut":
        content = data[:-300]
    elif content == "flip":
        data[len(data) // 3] ^= 1
        content = data
    if content:
        (folder / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        open_root(str(folder))
    if file == roots.MARK:
        return
    pack_up(loose, folder)
    assert contents(folder) == contents(packed)


def header(shape, kind="<i8"):
    """The beginning of a .npy file, which claims an array of this shape."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


CRAFTED = {
    "a shard number that needs 8 GB": {"shard": 1 << 30},
    "a negative shard": {"shard": -1},
    "a negative position": {"first_byte": -2},
    "a recording without samples": {"frames": 0},
    "positions that overflow": {"frames": 1 << 61, "bits": 32},
    "samples of 8 bits": {"bits": 8},
    "a column that claims 8 TB": {"frames": header((1 << 40,)) + bytes(64)},
    "a column that is too short": {"frames": header((2,)) + bytes(16)},
    "a column of objects": {"frames": header((1,), "|O") + bytes(8)},
    "a column of another type": {"frames": header((1,), "<f8") + bytes(8)},
    "a deep header": {"frames": header("(" * 1000)},
    "a column that is missing": {"frames": b""},
}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("case", CRAFTED)
def test_crafted_indexes(case, compression, tmp_path):
    """An index with intact checksums and impossible contents needs no memory."""
    (tmp_path / roots.MARK).write_text(json.dumps(roots.SETTINGS))
    right = {"name": "", "shard": 0, "first_byte": 0, "frames": 9, "bits": 16}
    with zipfile.ZipFile(tmp_path / pack_index.INDEX, "w", compression) as file:
        for name, value in (right | CRAFTED[case]).items():
            data = header((1,)) + np.int64(value).tobytes() if isinstance(value, int) else value
            if name == "name":
                data = header((1,), "|S9") + b"id0/a.wav"
            if data:
                file.writestr(f"{name}.npy", data)
    tracemalloc.start()
    with pytest.raises(InputError, match=r"index.npz: the index of the pack is damaged \("):
        Pack(str(tmp_path))
    assert tracemalloc.get_traced_memory()[1] < 10**7
    tracemalloc.stop()


@pytest.mark.parametrize(
    "text",
    [
        "null",
        "[" * 100_000,
        '{"recordings": null, "crc32": 0}',
        '{"recordings": [["a.wav", -1, 16]], "crc32": 0}',
        '{"recordings": [["a.wav", 9, 8]], "crc32": 0}',
        '{"recordings": [[3, 9, 16]], "crc32": 0}',
        '{"recordings": [["a.wav", 1e3, 16]], "crc32": 0}',
        '{"recordings": [["a.wav", 9, 16]], "crc32": []}',
        '{"recordings": [["\\ud800", 9, 16]], "crc32": 0}',
    ],
    ids=range(9),
)
def test_damaged_tables_of_shards(text, loose, tmp_path, capsys):
    (tmp_path / roots.MARK).write_text(json.dumps(roots.SETTINGS))
    (tmp_path / "00000.json").write_text(text)
    assert run("check-pack", tmp_path) == 2
    err = capsys.readouterr().err
    assert f"error: {tmp_path}/00000.json: expected the contents of a shard in JSON" in err
    words = ("--path", loose / "wav", "--output", tmp_path)
    assert run("pack", loose / "trials.txt", *words) == 2
    (tmp_path / roots.MARK).write_text("[" * 100_000)
    assert run("check-pack", tmp_path) == 2


def swap_two(table):
    """Exchanges the places of two recordings of one length."""
    order = np.lexsort((table["bits"], table["frames"]))
    first, second = order[:2]
    for name in ("shard", "first_byte", "frames"):
        table[name][[first, second]] = table[name][[second, first]]


def leave_out(table):
    """Removes a recording."""
    for name in table:
        table[name] = table[name][1:]


@pytest.mark.parametrize("change", [swap_two, leave_out])
def test_check_compares_the_index_with_the_shards(change, loose, packed, tmp_path, capsys):
    folder = copy_pack(packed, tmp_path / "pack")
    with np.load(folder / pack_index.INDEX) as file:
        table = {name: file[name] for name in file.files}
    change(table)
    np.savez(folder / pack_index.INDEX, **table)
    assert run("check-pack", folder) == 2
    err = capsys.readouterr().err
    assert f"error: {folder}/index.npz: expected the recordings that the JSON files of the" in err
    assert "Remove this file and run the 'python dataprep.py pack' command" in err
    (folder / pack_index.INDEX).unlink()
    pack_up(loose, folder)
    assert contents(folder) == contents(packed)


def test_shard_torn_while_in_use(packed, tmp_path):
    folder = copy_pack(packed, tmp_path / "pack")
    table = Pack(str(folder))
    name = pack.read_shards(folder)[1].recordings[-1][0]
    with (folder / "00001.pcm").open("r+b") as file:
        file.truncate(100)
    with (
        table.open(name) as recording,
        pytest.raises(
            InputError,
            match=f"00001.pcm: the file is truncated: expected 200 bytes of {name}, found 0. Copy",
        ),
    ):
        recording.read(0, 200 // (recording.bits // 8))
    (folder / "00002.pcm").unlink()
    with pytest.raises(InputError, match="00002.pcm: the file cannot be opened .No such file"):
        table.open(pack.read_shards(folder)[2].recordings[0][0])


def test_missing_in_the_pack(loose, tmp_path, program):
    folder = pack_up(loose, tmp_path / "pack", ["trials.txt"])
    code, _, err = program(*small_run(loose, tmp_path / "run", "--train_path", folder))
    assert code == 2
    message = (
        f"train_list.txt: 48 of 48 files are missing in {folder}. The first missing recording is"
    )
    assert message in err
    assert "Correct --train_path or the list." in err
    assert not (tmp_path / "run").exists()


# ---------------------------------------------------------------------- bad input
def test_broken_files_are_left_out_and_packed_after_repair(loose, tmp_path, capsys):
    for i in range(6):
        soundfile.write(tmp_path / f"{i}.wav", np.full(5000, 0.1 * i), 16000 if i != 2 else 8000)
    (tmp_path / "3.wav").write_text("hello")
    soundfile.write(tmp_path / "4.wav", np.array([0.1, np.nan]), 16000, subtype="FLOAT")
    (tmp_path / "list").write_text("".join(f"s {i}.wav\n" for i in range(6)))
    words = ["--pack", tmp_path / "list", "--path", tmp_path, "--output", tmp_path / "pack"]
    # The second command reads the broken files again, and reports them again.
    for _ in range(2):
        assert run(*words) == 2
        report = (tmp_path / "pack" / "failed.txt").read_text().splitlines()
        assert ": skipped 3 of" in capsys.readouterr().err and len(report) == 3
        assert "8000 Hz" in report[0]
        assert "cannot read this file as audio" in report[1]
        assert "found NaN or infinity" in report[2]
    assert Pack(str(tmp_path / "pack")).audio() == ["0.wav", "1.wav", "5.wav"]
    for i in (2, 3, 4):
        soundfile.write(tmp_path / f"{i}.wav", np.full(100, 0.1), 16000)
    assert run(*words) == 0
    assert not (tmp_path / "pack" / "failed.txt").exists()
    assert len(Pack(str(tmp_path / "pack")).audio()) == 6


@pytest.mark.parametrize(
    "line, message",
    [
        ("id1 a.npy", "expected audio, found features or embeddings .*Use a list of audio"),
        ("id1", "the file is missing"),
        ("a b c d e f g", "list:1: expected"),
        ("id1 nowhere.wav", "the file is missing"),
    ],
)
def test_bad_lists(line, message, tmp_path):
    (tmp_path / "list").write_text(f"{line}\n")
    with pytest.raises(InputError, match=message):
        pack_up(tmp_path, tmp_path / "pack", ["list"], path=".")
    assert not (tmp_path / "pack").exists()


def test_folders(loose, packed, tmp_path, program, capsys):
    """A folder with other files cannot become a pack, and some modes do not read packs."""
    with pytest.raises(InputError, match="new or empty folder"):
        pack_up(loose, loose)
    with pytest.raises(InputError, match="--path .*/nowhere: this folder does not exist"):
        pack_up(tmp_path, tmp_path / "pack", [], path="nowhere")
    with pytest.raises(InputError, match="expected audio files"):
        pack_up(tmp_path, tmp_path / "pack", [], path=".")
    train_list = loose / "train_list.txt"
    assert run("--features", "-i", train_list, "--path", packed) == 2
    assert "found a pack. A pack contains no features or embeddings." in capsys.readouterr().err
    output = tmp_path / "copies"
    assert run("--copy_synthesis", train_list, "--path", packed, "--output", output) == 2
    assert "found a pack. A pack contains no features or embeddings." in capsys.readouterr().err
    (tmp_path / "list").write_text("a b.npy\na c.npy\n")
    words = ["--train_list", tmp_path / "list", "--train_path", packed]
    message = "found a pack. A pack contains no features or embeddings."
    for model in ("MyLinearNet", "VGG4L"):
        code, _, err = program(*small_run(loose, tmp_path / "run", "--model", model, *words))
        assert code == 2 and message in err
    with pytest.raises(InputError, match="expected a pack, found none"):
        pack_check.check_pack(loose, 1)


def test_space_on_the_disk(loose, tmp_path, monkeypatch):
    too_many = (
        r"--shard_size: expected at most 500 shards, found about [\d,]+ shards of 0 MB. "
        r"Use --shard_size 1 or more"
    )
    with pytest.raises(InputError, match=too_many):
        pack_up(loose, tmp_path / "a", size=1000)
    monkeypatch.setattr(
        pack.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 10**6, 10**6)
    )
    too_small = r"--output .*: expected \d+ MB of free disk space, found 1 MB. Free some"
    with pytest.raises(InputError, match=too_small):
        pack_up(loose, tmp_path / "b")
    monkeypatch.undo()
    monkeypatch.setattr(pack.os, "fsync", raising(OSError(28, "No space left on device")))
    full = (
        r"00000.pcm: this shard cannot be written \(No space left on device\)\. "
        "Free some space and run the same command again."
    )
    with pytest.raises(InputError, match=full):
        pack_up(loose, tmp_path / "a")
    assert not list((tmp_path / "a").glob("*.part"))


@pytest.mark.parametrize("limit", [0, 2, 100])
def test_names_are_found_by_listing_folders(limit, tmp_path, monkeypatch):
    """Also where the listing ends early, names are odd, and files are links or folders."""
    listing = roots.some_files_in
    monkeypatch.setattr(roots, "some_files_in", lambda folder, _: listing(folder, limit))
    (tmp_path / "a" / "folder.wav").mkdir(parents=True)
    for name in ("a/0.wav", "a/1.wav", "a/2.wav", "a/3.wav", "0.wav"):
        (tmp_path / name).touch()
    (tmp_path / "a" / "link.wav").symlink_to("0.wav")
    (tmp_path / "a" / "broken.wav").symlink_to("nowhere")
    names = ["a/0.wav", "a/link.wav", "a/broken.wav", "a/folder.wav", "a/9.wav", "a/3.wav", "0.wav"]
    # Not below the folder: names that begin with a slash.
    names += ["/0.wav", "/0.wav", "/0.wav", "/0.wav", "a/", "", "a/./1.wav", "a/../0.wav"]
    expected = [(tmp_path / name).is_file() for name in names]
    assert expected[:8] == [True, True, False, False, False, True, True, False]
    assert Folder(str(tmp_path)).present(names) == expected
    assert Folder(str(tmp_path)).present(["\0/0.wav"] * 4) == [False] * 4


def test_a_name_longer_than_all_of_a_pack_is_not_in_it(tmp_path):
    """Keys have the type of the index, which would cut them."""
    pack = Pack.__new__(Pack)
    pack.name = np.array([b"a.wav", b"b.wav"])
    assert pack.present(["a.wav", "b.wav.wav", "c", "b.wav"]) == [True, False, False, True]
    assert "b.wavx" not in pack
