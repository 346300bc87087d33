"""DatasetLoader: lists, audio, crops, the sampler and augmentation.

Batches depend on (seed, epoch, row) alone.
"""

import itertools
import logging
import math
import multiprocessing
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import corpus
import DatasetLoader
from common.errors import InputError
from corpus import loader_processes
from corpus.audio import Audio
from corpus.augment import Augment, Plan
from corpus.embedding_datasets import EmbeddingEvalDataset
from corpus.file_lists import read_file_list
from corpus.files import check_files
from corpus.lists import Utterance, classes_of, read_train_list, read_trials, speed_copies
from DatasetLoader import EvalDataset, TrainDataset, batches, eval_loader, train_loader
from training.sampling import GroupSampler

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker")
REFERENCE = Path(__file__).parent / "reference"
NOISE = (np.random.default_rng(0).standard_normal(40000) * 3000).astype(np.int16)


def write(path, samples, subtype="PCM_16", rate=16000):
    """Writes an audio file and returns its path as a string."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)
    return str(path)


def text_file(folder, text):
    """Writes list.txt, from text or bytes, and returns its path as a string."""
    path = folder / "list.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


# ---------------------------------------------------------------------- lists
def test_train_list(tmp_path):
    utterances = read_train_list(
        text_file(tmp_path, "b x/1.wav\r\na\t/abs/2.wav\n  b ../3.flac \n\n\n")
    )
    assert utterances == [
        ("b", "x/1.wav", "-", 1.0),
        ("a", "/abs/2.wav", "-", 1.0),
        ("b", "../3.flac", "-", 1.0),
    ]
    assert classes_of(utterances) == {"a": 0, "b": 1}


@pytest.mark.parametrize(
    "text, place, message",
    [
        ("", "", "expected lines '<speaker> <file>', found an empty file"),
        (" \n\n", "", "found an empty file"),
        ("id001\n", ":1", "expected '<speaker> <file>', found 'id001'"),
        ("a 1.wav\nid001\n", ":2", "expected '<speaker> <file>', found 'id001'"),
        ("a 1.wav\nb my file.wav", ":2", "expected '<speaker> <file>', found 'b my file.wav'"),
        (b"a 1.wav\nb \xff.wav\n", ":2", "expected text in UTF-8, found the byte 0xff"),
        (
            "a 1.wav\nc 3.wav\nb 1.wav\n",
            ":3",
            "1.wav (speaker b) is also in line 1 (speaker a)",
        ),
    ],
)
def test_bad_train_list(tmp_path, text, place, message):
    path = text_file(tmp_path, text)
    with pytest.raises(InputError) as error:
        read_train_list(path)
    assert str(error.value).startswith(f"{path}{place}: ")
    assert message in str(error.value)


def test_trials(tmp_path):
    trials = read_trials(
        text_file(tmp_path, "1 a.wav b.wav\n0 c.wav  b.wav\n1 a.wav a.wav\n1 a.wav b.wav\n")
    )
    assert trials.lines == ["1 a.wav b.wav", "0 c.wav  b.wav", "1 a.wav a.wav", "1 a.wav b.wav"]
    assert trials.models == [("a.wav",), ("c.wav",)]
    assert trials.files == ["b.wav", "a.wav"]
    assert trials.paths() == ["a.wav", "c.wav", "b.wav"]
    assert trials.enrol.tolist() == [0, 1, 0, 0]
    assert trials.test.tolist() == [0, 0, 1, 0]
    assert trials.enrol.dtype == np.int64
    assert trials.label.tolist() == [True, False, True, True]


def test_trials_without_labels(tmp_path):
    trials = read_trials(text_file(tmp_path, "a.wav b.wav\nb.wav a.wav\n"))
    assert trials.label is None
    assert trials.models == [("a.wav",), ("b.wav",)]
    assert trials.files == ["b.wav", "a.wav"]


@pytest.mark.parametrize(
    "text, place, message",
    [
        ("", "", "expected lines '1|0 <file> <file>' or '<file> <file>', found an empty file"),
        ("a.wav\n", ":1", "expected '1|0 <file> <file>' or '<file> <file>', found 'a.wav'"),
        (
            "yes a.wav b.wav\n",
            ":1",
            "expected '1|0 <file> <file>' or '<speaker> <file> target|nontarget|spoof', found "
            "'yes a.wav b.wav'",
        ),
        ("1 a b\n0 a b\na b\n", ":3", "expected '1|0 <file> <file>', found 'a b'"),
        ("1 a b\n2 a b\n", ":2", "expected '1|0 <file> <file>', found '2 a b'"),
        ("a b\n1 a b\n", ":2", "expected '<file> <file>', found '1 a b'"),
        (
            "1 a b\n1 a c\n",
            "",
            "expected target and non-target (or spoof) trials, found only target trials (2)",
        ),
        ("0 a b\n", "", "found only non-target trials (1)"),
    ],
)
def test_bad_trials(tmp_path, text, place, message):
    path = text_file(tmp_path, text)
    with pytest.raises(InputError) as error:
        read_trials(path)
    assert str(error.value).startswith(f"{path}{place}: ")
    assert message in str(error.value)


def test_file_list(tmp_path):
    assert read_file_list(text_file(tmp_path, "a.wav\nb.wav\na.wav\n")) == ["a.wav", "b.wav"]
    assert read_file_list(text_file(tmp_path, "s a.wav\nt b.wav\n")) == ["a.wav", "b.wav"]


def test_missing_files_are_counted_and_ten_are_named(tmp_path):
    write(tmp_path / "there.wav", NOISE)
    paths = ["there.wav", *(f"{i}.wav" for i in range(12)), "0.wav"]
    message = r"^list: 12 of 13 files are missing in .*: 0.wav, .*, 9.wav and 2 more\. Correct "
    with pytest.raises(InputError, match=message):
        check_files(str(tmp_path), paths, "list")
    check_files(str(tmp_path), ["there.wav", str(tmp_path / "there.wav")], "list")


@pytest.mark.parametrize(
    "root, option, message",
    [
        (
            "nowhere",
            {"root_option": "--train_path"},
            "--train_path nowhere: this folder does not exist. list names 2 files in it. Correct "
            "--train_path.",
        ),
        (
            "nowhere",
            {},
            "nowhere: this folder does not exist. list names 2 files in it. Correct the folder.",
        ),
        (
            "folder",
            {"root_option": "--train_path"},
            "list: 2 of 2 files are missing in folder. The first file was expected at "
            "folder/id1/a.wav, which is --train_path joined with the name in the list. Correct "
            "--train_path or the list.",
        ),
        (
            "",
            {"root_option": "--test_path"},
            "list: 2 of 2 files are missing in the current folder. The first file was expected at "
            "id1/a.wav, because --test_path is not given. Correct --test_path or the list.",
        ),
    ],
)
def test_a_wrong_folder_is_named_with_its_option(root, option, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    with pytest.raises(InputError) as error:
        check_files(root, ["id1/a.wav", "id1/b.wav"], "list", **option)
    assert str(error.value) == message


def test_absolute_names_are_not_joined(tmp_path):
    with pytest.raises(InputError, match=r"expected at /nowhere/a\.wav\. Correct the folder or"):
        check_files(str(tmp_path), ["/nowhere/a.wav", "/nowhere/b.wav"], "list")


def test_the_remedy_for_compressed_audio_converts_its_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    (tmp_path / "a.m4a").write_bytes(b"no audio")
    message = f"Convert its folder with 'python dataprep.py convert {tmp_path}', or the file"
    with pytest.raises(InputError, match=message):
        Audio(tmp_path / "a.m4a")


def test_headers_are_checked(tmp_path, monkeypatch):
    for i in range(9):
        write(tmp_path / f"{i}.wav", NOISE, rate=8000 if i % 4 == 0 else 16000)
    with pytest.raises(InputError, match=r"0\.wav: .*8000 Hz.*the first of 3 such files in list\."):
        check_files(str(tmp_path), [f"{i}.wav" for i in range(9)], "list")
    monkeypatch.setattr(corpus.files, "FILES_CHECKED", 2)
    with pytest.raises(InputError, match="the first of 2 such files"):
        check_files(str(tmp_path), [f"{i}.wav" for i in range(9)], "list")


# ---------------------------------------------------------------------- audio
@pytest.mark.parametrize(
    "name, subtype",
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "FLOAT"),
        ("a.wav", "DOUBLE"),
        ("a.wav", "PCM_U8"),
        ("a.flac", "PCM_16"),
        ("a.flac", "PCM_24"),
        ("a.aiff", "PCM_16"),
    ],
)
def test_any_stretch_equals_a_full_read(tmp_path, name, subtype):
    path = write(tmp_path / name, NOISE, subtype)
    whole, _ = soundfile.read(path, dtype="float32")
    with Audio(path) as audio:
        assert audio.frames == len(whole)
        for start, count in [
            (0, 40000),
            (0, 1),
            (39999, 1),
            (12345, 678),
            (1, 30000),
            (12345, 678),
        ]:
            x = audio.read(start, count)
            assert x.dtype == np.float32
            assert np.array_equal(x, whole[start : start + count])
        assert (audio.sound is None) == (name == "a.wav" and subtype == "PCM_16")


def test_direct_reading_passes_over_other_chunks(tmp_path):
    plain = Path(write(tmp_path / "a.wav", NOISE)).read_bytes()
    path = tmp_path / "b.wav"
    path.write_bytes(
        plain[:12]
        + b"junk\x03\0\0\0abc\0"
        + plain[12:36]
        + b"LIST\x04\0\0\0abcd"
        + plain[36:]
        + b"tail\x02\0\0\0xy"
    )
    with Audio(path) as audio:
        assert audio.sound is None
        assert np.array_equal(audio.read(0, 40000), soundfile.read(path, dtype="float32")[0])


def test_all_16_bit_values_are_those_of_libsndfile(tmp_path):
    path = write(tmp_path / "a.wav", np.arange(-32768, 32768).astype(np.int16))
    with Audio(path) as audio:
        assert np.array_equal(audio.read(0, 65536), soundfile.read(path, dtype="float32")[0])


def test_wav_written_to_a_pipe(tmp_path):
    data = bytearray(Path(write(tmp_path / "a.wav", NOISE)).read_bytes())
    data[40:44] = b"\xff\xff\xff\xff"
    (tmp_path / "a.wav").write_bytes(data)
    with Audio(str(tmp_path / "a.wav")) as audio:
        assert np.array_equal(audio.read(0, audio.frames), NOISE / np.float32(32768))


def without_length(path):
    """Makes a FLAC file look as if its encoder had written to a pipe.

    The 36 bits with the number of samples are zero.
    """
    data = bytearray(Path(path).read_bytes())
    data[21:26] = bytes([data[21] & 0xF0, 0, 0, 0, 0])
    Path(path).write_bytes(data)
    return path


def cut(path, size):
    """Shortens a file to `size` bytes."""
    Path(path).write_bytes(Path(path).read_bytes()[:size])
    return path


def spoiled(value):
    """Noise in which sample 777 has the given value."""
    x = (NOISE / 32768).astype(np.float32)
    x[777] = value
    return x


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda d: str(d / "none.wav"), "cannot be opened \\(No such file"),
        (lambda d: str(d), "cannot be opened \\(Is a directory"),
        (
            lambda d: cut(write(d / "a.wav", NOISE), 0),
            "cannot read this file as audio .*\\. Convert it with 'ffmpeg -i ",
        ),
        (
            lambda d: cut(write(d / "a.wav", NOISE), 30),
            "cannot read this file as audio|contains no samples",
        ),
        (lambda d: text_file(d, "hello world"), "cannot read this file as audio"),
        (lambda d: write(d / "a.wav", NOISE[:0]), "contains no samples"),
        (
            lambda d: write(d / "a.flac", NOISE[:0]),
            "contains no samples|cannot read this file as audio",
        ),
        (
            lambda d: cut(write(d / "a.wav", NOISE), 30000),
            "truncated: expected 80000 bytes of samples, .* found 29956",
        ),
        (
            lambda d: cut(write(d / "a.wav", NOISE, "PCM_24"), 30000),
            "truncated: expected 120000 bytes",
        ),
        (
            lambda d: cut(write(d / "a.flac", NOISE), 30000),
            "truncated or damaged: samples .* of 40000 cannot be read",
        ),
        (
            lambda d: without_length(write(d / "a.flac", NOISE)),
            "header does not state the length of the file. Convert it",
        ),
        (
            lambda d: write(d / "a.wav", NOISE, rate=8000),
            "expected 16000 Hz and 1 channel, found 8000 Hz and 1 channel. Convert it with "
            "'ffmpeg -i .* OUT.wav'",
        ),
        (
            lambda d: write(d / "a.wav", np.stack([NOISE, NOISE], 1)),
            "found 16000 Hz and 2 channels. Convert it",
        ),
        (
            lambda d: write(d / "a.wav", spoiled(np.nan), "FLOAT"),
            "found NaN or infinity as sample 777",
        ),
        (
            lambda d: write(d / "a.wav", spoiled(-np.inf), "DOUBLE"),
            "found NaN or infinity as sample 777",
        ),
    ],
)
def test_audio_that_cannot_be_used(tmp_path, make, message):
    path = make(tmp_path)
    with pytest.raises(InputError, match=message) as error, Audio(path) as audio:
        audio.read(0, audio.frames)
    assert str(error.value).startswith(f"{path}: ")
    assert "\n" not in str(error.value)
    # An error that the header or the end of a file shows is reported before the training starts.
    if "NaN" not in message:
        with pytest.raises(InputError):
            check_files("", [path], "list")


def test_file_that_shrank_while_open(tmp_path):
    path = write(tmp_path / "a.wav", NOISE)
    with Audio(path) as audio:
        cut(path, 30001)
        with pytest.raises(
            InputError, match="truncated or damaged: samples 14000 to 16000 of 40000"
        ):
            audio.read(14000, 2000)


def test_crops(tmp_path):
    with Audio(write(tmp_path / "a.wav", NOISE)) as audio:
        whole = audio.read(0, 40000)
        stretches = [whole[start : start + 39990] for start in range(11)]
        starts = set()
        for seed in range(200):
            crop = audio.crop(39990, np.random.default_rng(seed))
            matches = [np.array_equal(crop, stretch) for stretch in stretches]
            assert any(matches)
            starts.add(matches.index(True))
        # Every place is drawn, also the first and the last one.
        assert starts == set(range(11))
    with Audio(write(tmp_path / "b.wav", NOISE[:300])) as audio:
        short = audio.read(0, 300)
        assert np.array_equal(
            audio.crop(700, np.random.default_rng(0)), np.concatenate([short, short, short[:100]])
        )
        assert np.array_equal(audio.crop(300, np.random.default_rng(0)), short)


@pytest.mark.parametrize(
    "project, options",
    [
        ("clova", {}),
        ("cap", {"short_files": "zeros"}),
        ("sasv2", {"crop_margin": 0}),
        ("ska", {"crop_margin": 0}),
    ],
)
def test_evaluation_crops_equal_the_references(project, options, tmp_path):
    data = np.load(REFERENCE / f"data_{project}.npz")
    case = {}
    for name in data.files:
        if name.startswith("loadWAV/"):
            case[name.removeprefix("loadWAV/")] = data[name]
    # The reference of "cap" reads samples as integers.
    scale = 32768 if project == "cap" else 1
    for row, length in enumerate(case["length"]):
        path = write(tmp_path / f"{length}.wav", data["audio"][:length])
        frames, crops = int(case["eval_frames"][row]), int(case["num_eval"][row])
        index, x = EvalDataset([path], "", eval_frames=frames, num_eval=crops, **options)[0]
        assert index == [0]
        assert x.shape == (1, case["n_crops"][row], case["crop_len"][row])
        assert x.dtype == torch.float32
        x = x[0].double().numpy() * scale
        np.testing.assert_allclose(x.sum(1), case["sum"][row, : len(x)], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose((x**2).sum(1), case["sum_of_squares"][row, : len(x)], rtol=1e-9)
        np.testing.assert_allclose(
            x @ np.arange(1, x.shape[1] + 1),
            case["weighted_sum"][row, : len(x)],
            rtol=1e-9,
            atol=1e-6,
        )


# ---------------------------------------------------------------------- training batches
@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The folder and the Utterances of 12 speakers with 5 files each.

    The files are WAV and FLAC, and some are shorter than a crop.
    """
    folder = tmp_path_factory.mktemp("files")
    utterances = []
    for i in range(60):
        name = f"id{i // 5:02d}/{i}.{'flac' if i % 3 else 'wav'}"
        write(folder / name, np.roll(NOISE, 997 * i)[: 4000 + 300 * i])
        utterances.append(Utterance(f"id{i // 5:02d}", name))
    return folder, utterances


@pytest.fixture(scope="module")
def noises(tmp_path_factory):
    """The two folders of Augment.

    Noise is tones of 1000 Hz, speech tones of 2000 Hz, music tones of 3000 Hz. There are two
    impulse responses.
    """
    folder = tmp_path_factory.mktemp("noises")
    for kind, frequency in (("noise", 1000), ("speech", 2000), ("music", 3000)):
        for i in range(3):
            seconds = np.arange(8000 + 20000 * i) / 16000
            tone = 0.05 * (i + 1) * np.sin(2 * np.pi * frequency * seconds)
            write(folder / "musan" / kind / "a" / "b" / f"{i}.wav", tone)
    for i in range(2):
        decay = np.random.default_rng(i).standard_normal(6000) * np.exp(-np.arange(6000) / 900) / 8
        write(folder / "rir" / "room" / "r1" / f"{i}.wav", np.concatenate([np.zeros(40), decay]))
    return str(folder / "musan"), str(folder / "rir")


def batches_of_epochs(files, workers, epochs=((1, 0), (2, 0)), augment=None):
    """Yields the list of all batches of each epoch, without the first `skip` ones.

    epochs: (epoch, skip).
    """
    folder, utterances = files
    utterances = speed_copies(utterances, [0.9])
    dataset = TrainDataset(utterances, str(folder), max_frames=60, seed=3, augment=augment)
    sampler = GroupSampler(utterances, batch_size=7, nPerSpeaker=2, max_seg_per_spk=4, seed=3)
    loader = train_loader(dataset, sampler, workers=workers)
    for epoch, skip in epochs:
        sampler.set_epoch(epoch, skip)
        yield list(batches(loader))


def test_batch(files):
    folder, utterances = files
    dataset = TrainDataset(utterances, str(folder), max_frames=60, seed=3)
    batch = dataset[1, [[0, 1], [59, 55], [7, 8]]]
    assert {k: (v.dtype, tuple(v.shape)) for k, v in batch.items()} == {
        "x": (torch.float32, (3, 2, 9840)),
        "label": (torch.int64, (3,)),
        "spoof": (torch.bool, (3,)),
        "index": (torch.int64, (3, 2)),
    }
    assert batch["label"].tolist() == [0, 11, 1]
    assert batch["index"].tolist() == [[0, 1], [59, 55], [7, 8]]
    assert not batch["spoof"].any()
    # The same rows at other places of a batch, with other rows.
    again = dataset[1, [[8, 59]]]["x"][0]
    assert torch.equal(again[0], batch["x"][2, 1])
    assert torch.equal(again[1], batch["x"][1, 0])
    assert not torch.equal(dataset[2, [[8, 59]]]["x"][0], again)
    assert not torch.equal(
        TrainDataset(utterances, str(folder), max_frames=60, seed=4)[1, [[8, 59]]]["x"][0], again
    )


def test_batches_do_not_depend_on_workers(files, noises):
    """0, 1 and 3 workers give the same batches of two epochs, also after a resume in the middle.

    The global random generators are not used.
    """
    torch.manual_seed(0)
    state = torch.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()
    first, second = batches_of_epochs(files, 0, augment=Augment(*noises))
    assert len(first) == len(second) == 24 * 2 // 7
    assert not torch.equal(first[0]["index"], second[0]["index"])
    for workers in (1, 3):
        again = list(
            batches_of_epochs(files, workers, [(1, 0), (2, 0), (2, 4), (1, 1)], Augment(*noises))
        )
        for got, want in zip(again, [first, second, second[4:], first[1:]], strict=True):
            for a, b in zip(got, want, strict=True):
                assert a.keys() == b.keys()
                assert all(torch.equal(a[k], b[k]) for k in a)
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_a_worker_reach_the_main_process(files, tmp_path, workers):
    folder, utterances = files
    bad = write(tmp_path / "bad.wav", spoiled(np.nan)[700:900], "FLOAT")
    utterances = [*utterances[:3], Utterance("id00", bad), *utterances[5:10]]
    sampler = GroupSampler(utterances, batch_size=2, nPerSpeaker=4, max_seg_per_spk=100, seed=0)
    loader = train_loader(
        TrainDataset(utterances, str(folder), max_frames=20, seed=0), sampler, workers=workers
    )
    with pytest.raises(InputError, match=r"^\S*bad\.wav: expected finite samples, .* sample 77\."):
        list(batches(loader))
    evaluation = EvalDataset([u.path for u in utterances], str(folder), eval_frames=0, num_eval=1)
    with pytest.raises(InputError, match=r"^\S*bad\.wav: expected finite samples, .* sample 77\."):
        list(batches(eval_loader(evaluation, workers=workers)))


def test_signals_to_workers(files, monkeypatch):
    """After SIGINT and SIGTERM a worker still delivers batches for the current step.

    After SIGTERM the worker ends in time.
    """
    monkeypatch.setattr(loader_processes, "GRACE", 1)
    folder, utterances = files
    sampler = GroupSampler(utterances, batch_size=2, nPerSpeaker=1, max_seg_per_spk=100, seed=0)
    loader = train_loader(
        TrainDataset(utterances, str(folder), max_frames=20, seed=0), sampler, workers=1
    )
    others = {*multiprocessing.active_children()}
    rest = batches(loader)
    next(rest)
    (worker,) = {*multiprocessing.active_children()} - others
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.pid, number)
    assert len(list(rest)) == len(sampler) - 1
    worker.join(timeout=10)
    assert worker.exitcode == -signal.SIGTERM


# ---------------------------------------------------------------------- sampler
def utterances_of(counts):
    """Utterances of speakers s0, s1, ..., speaker number s has counts[s] utterances."""
    utterances = []
    for i in range(max(counts)):
        for speaker, count in enumerate(counts):
            if i < count:
                utterances.append(Utterance(f"s{speaker}", f"{speaker}/{i}"))
    return utterances


def most_batches(groups, batch_size):
    """Counts batches greedily: each batch has the speakers with the most groups left."""
    for n in itertools.count():
        groups = sorted(groups, reverse=True)
        if len(groups) < batch_size or not groups[batch_size - 1]:
            return n
        groups[:batch_size] = [g - 1 for g in groups[:batch_size]]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 30), min_size=2, max_size=15),
    st.integers(1, 6),
    st.integers(1, 4),
    st.integers(4, 30),
    st.integers(0, 9),
)
def test_sampler(counts, batch_size, n, most, seed):
    groups = [min(count, most) // n for count in counts]
    utterances = utterances_of(counts)
    options = {"batch_size": batch_size, "nPerSpeaker": n, "max_seg_per_spk": most, "seed": seed}
    if sum(g > 0 for g in groups) < batch_size:
        with pytest.raises(InputError):
            GroupSampler(utterances, **options)
        return
    sampler = GroupSampler(utterances, **options)
    assert len(sampler) == most_batches(groups, batch_size)
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        items = list(sampler)
        assert len(items) == len(sampler)
        used = []
        for number, batch in items:
            assert number == epoch
            assert len(batch) == batch_size
            batch_speakers = set()
            for group in batch:
                assert len(group) == n
                group_speakers = {utterances[i].speaker for i in group}
                assert len(group_speakers) == 1
                batch_speakers |= group_speakers
            assert len(batch_speakers) == batch_size
            used += itertools.chain(*batch)
        assert len(set(used)) == len(used)
        per_speaker = np.bincount([int(utterances[i].speaker[1:]) for i in used])
        assert per_speaker.max() <= min(most, n * len(sampler))
        assert list(sampler) == items
        sampler.set_epoch(epoch, skip=len(items) // 2)
        assert list(sampler) == items[len(items) // 2 :]


def test_sampler_is_random():
    """In 40 epochs every utterance occurs, and every pair of speakers is in one batch.

    Batches and the places in them are shuffled. Seeds and epochs differ.
    """
    utterances = utterances_of([9] * 8)
    sampler = GroupSampler(utterances, batch_size=4, nPerSpeaker=2, max_seg_per_spk=6, seed=1)
    assert len(sampler) == 6
    epochs = []
    for epoch in range(40):
        sampler.set_epoch(epoch)
        epochs.append(np.array([batch for _, batch in sampler]))  # [K, B, M]
    used = np.bincount(np.concatenate([e.ravel() for e in epochs]), minlength=len(utterances))
    # The average is 26.7 of 40 epochs.
    assert used.min() >= 15
    assert used.max() <= 40
    speaker = np.array([int(u.speaker[1:]) for u in utterances])
    pairs = set()
    for batch in speaker[np.concatenate(epochs)[:, :, 0]]:
        for pair in itertools.combinations(batch.tolist(), 2):
            pairs.add(frozenset(pair))
    # All pairs of 8 speakers.
    assert len(pairs) == 28
    for place in range(4):
        assert len(set(speaker[np.concatenate([e[:, place, 0] for e in epochs])])) == 8
    assert len({e.tobytes() for e in epochs}) == 40
    other = GroupSampler(utterances, batch_size=4, nPerSpeaker=2, max_seg_per_spk=6, seed=2)
    other.set_epoch(39)
    assert [batch for _, batch in other] != [batch for _, batch in sampler]


def test_sampler_spreads_speakers():
    """Every epoch leaves out other utterances.

    The groups of a speaker are in neighbouring batches only as often as by chance.
    """
    sampler = GroupSampler(
        utterances_of([3] * 5), batch_size=4, nPerSpeaker=1, max_seg_per_spk=100, seed=1
    )
    seen = set()
    for epoch in range(20):
        sampler.set_epoch(epoch)
        for _, batch in sampler:
            seen |= set(itertools.chain(*batch))
    assert len(sampler) == 3
    assert seen == set(range(15))
    utterances = utterances_of([8] * 48)
    sampler = GroupSampler(utterances, batch_size=8, nPerSpeaker=1, max_seg_per_spk=100, seed=1)
    speakers = []
    for _, batch in sampler:
        speakers.append({utterances[i].speaker for (i,) in batch})
    # The mean is 1.2 by chance, and 7 for groups in their order.
    assert np.mean([len(a & b) for a, b in itertools.pairwise(speakers)]) < 2


@pytest.mark.parametrize(
    "counts, options, message",
    [
        (
            [5],
            {},
            "--batch_size 2: expected at least 2 speakers with 2 utterances .* found 1 of 1. Lower "
            "--batch_size to 1 or less",
        ),
        ([5, 1, 1], {}, "found 1 of 3"),
        (
            [5, 5],
            {"nPerSpeaker": 6},
            "--nPerSpeaker 6: expected speakers with at least 6 utterances, found at most 5",
        ),
        ([5, 5], {"max_seg_per_spk": 1}, r"found at most 1 \(--max_seg_per_spk 1\)"),
    ],
)
def test_sampler_that_cannot_fill_a_batch(counts, options, message):
    with pytest.raises(InputError, match=message):
        GroupSampler(
            utterances_of(counts),
            **({"batch_size": 2, "nPerSpeaker": 2, "max_seg_per_spk": 100, "seed": 0} | options),
        )


def test_speakers_with_too_few_utterances_are_reported(caplog):
    with caplog.at_level(logging.WARNING):
        GroupSampler(
            utterances_of([5, 5, 1, 1]), batch_size=2, nPerSpeaker=2, max_seg_per_spk=100, seed=0
        )
    assert caplog.messages == [
        "warning: 2 of 4 speakers have fewer than 2 utterances (--nPerSpeaker) and are left out."
    ]


def test_copies_of_speakers_are_named():
    """A list of 12 speakers has 36 with two copies of each; the message says what was counted."""
    copied = speed_copies(utterances_of([4] * 12), [0.9, 1.1])
    message = (
        r"--batch_size 40: expected at least 40 speakers .* found 36 of 36 \(12 of the list, and "
        r"24 copies of them by --speed_perturb\)\. Lower --batch_size to 36 or less\."
    )
    with pytest.raises(InputError, match=message):
        GroupSampler(copied, batch_size=40, nPerSpeaker=2, max_seg_per_spk=100, seed=0)


# ---------------------------------------------------------------------- evaluation batches
@pytest.mark.parametrize("eval_frames, num_eval", [(60, 3), (0, 3)])
def test_evaluation_batches(files, monkeypatch, eval_frames, num_eval):
    folder, utterances = files
    # Two files have the same length.
    paths = [u.path for u in utterances] + [str(folder / utterances[7].path)]
    monkeypatch.setattr(DatasetLoader, "EVAL_SAMPLES", 100_000)
    dataset = EvalDataset(paths, str(folder), eval_frames=eval_frames, num_eval=num_eval)
    whole = {}
    for index, batch in batches(eval_loader(dataset, workers=0)):
        whole |= dict(zip(index, batch, strict=True))
    assert sorted(whole) == list(range(61))
    assert len(dataset) == (21 if eval_frames else 60)
    for i in (0, 7, 59, 60):
        samples = torch.from_numpy(soundfile.read(folder / paths[i], dtype="float32")[0])
        if eval_frames:
            samples = torch.from_numpy(np.resize(samples, max(9841, len(samples))))
            assert torch.equal(whole[i][0], samples[:9840])
            assert torch.equal(whole[i][-1], samples[-9840:])
            assert len(whole[i]) == 3
        else:
            assert torch.equal(whole[i][0], samples)
            assert len(whole[i]) == 1
    for (index, x), (other_index, other) in zip(
        batches(eval_loader(dataset, workers=3)),
        batches(eval_loader(dataset, workers=0)),
        strict=True,
    ):
        assert index == other_index
        assert torch.equal(x, other)


@pytest.mark.parametrize("speed, samples", [(0.8, 20_000), (1.25, 12_800), (2, 8_000)])
def test_evaluation_at_another_speed(tmp_path, speed, samples):
    """A tone of 500 Hz that lasts a second becomes shorter and higher, or longer and lower."""
    tone = np.sin(2 * np.pi * 500 * np.arange(16_000) / 16_000) * 20_000
    path = write(tmp_path / "tone.wav", tone.astype(np.int16))
    _, x = EvalDataset([path], "", eval_frames=0, num_eval=1, speed=speed)[0]
    assert x.shape == (1, 1, samples) and x.dtype == torch.float32
    spectrum = torch.fft.rfft(x[0, 0]).abs()
    assert spectrum.argmax() * 16_000 / samples == pytest.approx(500 * speed, abs=0.5)
    assert x.abs().max() == pytest.approx(20_000 / 32_768, rel=0.05)
    # Crops are cut out of what is played: 59 frames of 160 samples, and a margin of 240.
    _, crops = EvalDataset([path], "", eval_frames=59, num_eval=3, crop_margin=240, speed=speed)[0]
    length = crops.shape[-1]
    middle = (max(samples, length + 1) - length) // 2
    repeated = np.resize(x[0, 0], max(samples, length + 1))
    assert np.array_equal(crops[0, 1], repeated[middle : middle + length])


def test_evaluation_of_no_embeddings():
    """A second --extract finds all embeddings made, so its data set is empty."""
    dataset = EmbeddingEvalDataset([], "")
    assert len(dataset) == 0
    assert list(batches(eval_loader(dataset, workers=0))) == []


def test_a_whole_file_is_at_least_one_window(tmp_path):
    paths = [write(tmp_path / f"{n}.wav", NOISE[:n]) for n in (150, 300)]
    index, x = EvalDataset(paths, "", eval_frames=0, num_eval=1)[0]
    assert index == [0, 1]
    assert all(
        np.array_equal(row[0], np.resize(NOISE[:n] / np.float32(32768), 400))
        for row, n in zip(x, (150, 300), strict=True)
    )


# ---------------------------------------------------------------------- augmentation and speed
SPEECH = (np.random.default_rng(1).standard_normal(16000) * 0.1).astype(np.float32)


def mixed_in(augment, plan, speech=SPEECH):
    """A copy of the speech into which a plan is mixed."""
    x = speech.copy()
    augment.mix(x, plan)
    return x


def ratio_in_db(signal, noise):
    return 10 * math.log10(np.mean(signal**2) / np.mean(noise**2))


@pytest.mark.parametrize(
    "kind, lowest, highest, numbers",
    # The ranges of voxceleb_trainer: signal-to-noise ratio of each file in dB, numbers of files.
    [("noise", 0, 15, {1}), ("speech", 13, 20, {3, 4, 5, 6, 7}), ("music", 5, 15, {1})],
)
def test_levels_and_numbers_of_added_noises(noises, kind, lowest, highest, numbers):
    augment = Augment(*noises)
    ratios = []
    counts = set()
    for seed in range(60):
        plan = augment.draw_noises(kind, len(SPEECH), np.random.default_rng(seed))
        counts.add(len(plan.noises))
        added = mixed_in(augment, plan) - SPEECH
        assert added.dtype == np.float32
        assert len(added) == len(SPEECH)
        # mix() scales each noise of the plan in place, to the level at which it is added.
        assert np.allclose(np.sum(plan.noises, 0), added, atol=1e-6)
        ratios += [ratio_in_db(SPEECH, noise) for noise in plan.noises]
    assert counts == numbers
    assert lowest - 0.01 <= min(ratios) < lowest + 1.5
    assert highest - 1.5 < max(ratios) <= highest + 0.01


def test_noises_are_files_of_their_kind(noises, monkeypatch):
    augment = Augment(*noises)
    drawn = []

    def draw_file(kind, rng):
        drawn.append(kind)
        return augment.files[kind][rng.integers(3)]

    monkeypatch.setattr(augment, "draw_file", draw_file)
    for kind in ("noise", "speech", "music"):
        drawn.clear()
        plan = augment.draw_noises(kind, len(SPEECH), np.random.default_rng(0))
        assert drawn == [kind] * len(plan.noises)


def test_reverberation_is_a_convolution(noises):
    augment = Augment(*noises)
    # The second time the spectrum comes from the cache.
    for name in augment.files["rir"] * 2:
        response = soundfile.read(Path(noises[1], name))[0]
        want = np.convolve(SPEECH, response / np.linalg.norm(response))[: len(SPEECH)]
        got = mixed_in(augment, Plan(rir=name))
        # 1000 samples are shorter than the response.
        short = mixed_in(augment, Plan(rir=name), SPEECH[:1000])
        assert np.allclose(got, want, atol=1e-6)
        assert np.allclose(short, want[:1000], atol=1e-6)


def test_kinds_are_drawn_equally(noises):
    augment = Augment(*noises)
    counts = {"none": 0, "noise": 0, "speech": 0, "music": 0, "rir": 0}
    rooms = {name: 0 for name in augment.files["rir"]}
    for seed in range(400):
        plan = augment.plan(len(SPEECH), np.random.default_rng(seed))
        if plan.rir:
            rooms[plan.rir] += 1
        y = mixed_in(augment, plan)
        spectrum = np.abs(np.fft.rfft(y - SPEECH))
        peak = {1000: "noise", 2000: "speech", 3000: "music"}.get(int(spectrum.argmax()))
        if np.array_equal(y, SPEECH):
            counts["none"] += 1
        elif peak and spectrum.max() > 50 * np.median(spectrum):
            counts[peak] += 1
        else:
            counts["rir"] += 1
    # The average is 80.
    assert min(counts.values()) >= 50
    assert max(counts.values()) <= 115
    assert min(rooms.values()) >= 20
    assert sum(rooms.values()) == counts["rir"]


def test_share_of_crops_that_are_augmented(noises):
    """Another share changes nothing else. The usual share has the draws of voxceleb_trainer."""

    augment = Augment(*noises)

    def drawn(share, seed):
        """A letter for what is drawn: 0 none, r a room, 1 one noise, n several noises."""
        augment.share = share
        plan = augment.plan(1000, np.random.default_rng(seed))
        if plan.rir:
            return "r"
        return "01n"[min(len(plan.noises), 2)]

    ways = "0r1n1"
    assert augment.share == 0.8
    for seed in range(30):
        assert drawn(0.8, seed) == ways[np.random.default_rng(seed).integers(5)]
    shares = {}
    for share in (0, 0.6, 1):
        found = [drawn(share, seed) for seed in range(200)]
        shares[share] = [found.count(letter) for letter in "0r1n"]
    assert shares[0] == [200, 0, 0, 0]
    # The averages are 80, 30, 60, 30 and 0, 50, 100, 50.
    assert np.abs(np.subtract(shares[0.6], [80, 30, 60, 30])).max() < 18
    assert shares[1][0] == 0
    assert np.abs(np.subtract(shares[1], [0, 50, 100, 50])).max() < 20


def test_order_of_the_files_does_not_depend_on_the_disk(noises, monkeypatch):
    real = os.listdir
    monkeypatch.setattr("corpus.roots.os.listdir", lambda path: sorted(real(path))[::-1])
    backwards = Augment(*noises).files
    monkeypatch.setattr("corpus.roots.os.listdir", lambda path: sorted(real(path)))
    assert Augment(*noises).files == backwards


def test_digital_silence(noises, tmp_path):
    augment = Augment(*noises)
    silence = np.zeros(16000, np.float32)
    assert np.array_equal(
        mixed_in(augment, augment.draw_noises("noise", 16000, np.random.default_rng(0)), silence),
        silence,
    )
    augment.files["noise"] = [write(tmp_path / "silence.wav", np.zeros(20000))]
    assert np.array_equal(
        mixed_in(augment, augment.draw_noises("noise", 16000, np.random.default_rng(0))), SPEECH
    )


def test_folders_of_augmentation(noises, tmp_path):
    musan, rir = noises
    for folders, message in [
        ((None, rir), "expected --musan_path DIR with files music/"),
        ((musan, None), "expected --rir_path DIR"),
        (
            (str(tmp_path), rir),
            r"--musan_path .*: expected files music/\*/\*/\*.wav in .*, found none",
        ),
        ((musan, str(tmp_path)), r"--rir_path .*: expected files \*/\*/\*.wav in .*, found none"),
    ]:
        with pytest.raises(InputError, match=message):
            Augment(*folders)
    write(tmp_path / "a" / "b" / "c.wav", NOISE, rate=48000)
    with pytest.raises(InputError, match="48000 Hz"):
        Augment(musan, str(tmp_path))


def test_speed_copies():
    utterances = speed_copies([Utterance("a", "1.wav"), Utterance("b", "2.wav")], [0.9, 1.1])
    assert [(u.speaker, u.path, u.speed) for u in utterances[2:]] == [
        ("a@0.9", "1.wav", 0.9),
        ("b@0.9", "2.wav", 0.9),
        ("a@1.1", "1.wav", 1.1),
        ("b@1.1", "2.wav", 1.1),
    ]
    assert len(classes_of(utterances)) == 6
    for factors in ([1.0, 0.9], [0.9, 0.9]):
        with pytest.raises(
            InputError, match="--speed_factors: expected different factors other than 1"
        ):
            speed_copies(utterances, factors)


@pytest.mark.parametrize("speed", [0.9, 1.1, 0.95, 0.9333, 1.2345])
def test_speed_moves_pitch_and_tempo(tmp_path, speed):
    """A rising tone at another speed has other frequencies, which rise at another rate."""
    t = np.arange(48000) / 16000
    path = write(tmp_path / "a.wav", 0.5 * scipy.signal.chirp(t, 500, 3, 2000))
    dataset = TrainDataset([Utterance("s", path, speed=speed)], "", max_frames=250, seed=0)
    x = dataset[1, [[0]]]["x"][0, 0].numpy()
    assert x.dtype == np.float32
    assert len(x) == 250 * 160 + 240
    phase = np.unwrap(np.angle(scipy.signal.hilbert(x)))[4000:-4000]
    frequency = np.diff(phase) * 16000 / (2 * np.pi)
    slope, _ = np.polyfit(np.arange(len(frequency)) / 16000, frequency, 1)
    # At speed 1 the frequency rises by 500 Hz per second.
    assert slope == pytest.approx(500 * speed**2, rel=0.01)
