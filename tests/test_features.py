"""Log-mel features in files.

dataprep.py makes them, data sets read them, and training and evaluation use them in place of audio.
Also the options of the trainer of double multi-head attention.
"""

import json
import os
import pickle
import re
import shlex
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from kill_resume import end_of, equal
from reference import golden

import dataprep
import trainSpeakerNet
from common.constants import HOP
from common.errors import InputError
from common.normalisation import normalise
from corpus.features import FeatureInput, Features, load_array
from corpus.files import find_files
from corpus.lists import Utterance, classes_of, read_clients_and_impostors, read_train_list
from DatasetLoader import EvalDataset, TrainDataset
from inference.scorer import Scorer
from models._frontend import MFSC, N_FFT
from network.checkpoints import read_checkpoint
from options.parser import parse
from prep.extraction import FEATURE_TYPES
from SpeakerNet import Trainer

REFERENCE = Path(__file__).parent / "reference"


def make(capsys, *words):
    """Runs dataprep.py --features -> (exit code, stdout, stderr)."""
    capsys.readouterr()
    code = dataprep.main(["--features", "--processes", "1", *map(str, words)])
    return code, *capsys.readouterr()


@pytest.fixture
def recordings(corpus, tmp_path):
    """A folder with six files of the corpus in wav/, and their list files.lst."""
    lines = (corpus / "train_list.txt").read_text().splitlines()
    names = [line.split()[1] for line in lines[:6]]
    for name in names:
        (tmp_path / "wav" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(corpus / "wav" / name, tmp_path / "wav" / name)
    (tmp_path / "files.lst").write_text("".join(f"{name.removesuffix('.wav')}\n" for name in names))
    return tmp_path


# ---------------------------------------------------------------------- making
def test_features_equal_the_references(tmp_path, capsys):
    """dataprep.py makes the features and Features reads them, for all kinds of normalisation."""
    (case,) = golden.load_cases(REFERENCE / "features_dmha.npz")
    sf.write(tmp_path / "a.flac", case.inputs["wave"].reshape(-1), 16000, subtype="PCM_16")
    (tmp_path / "files.lst").write_text(f"{tmp_path}/a\n")
    code, out, err = make(capsys, "-i", tmp_path / "files.lst")
    assert code == 0, err
    assert "Features of 1 files are in . (1 files with" in out
    raw = np.load(tmp_path / "a.npy")
    assert raw.dtype == np.float32
    assert raw.shape == (252, 80)
    want = {
        "none": case.arrays["logmel"].T,
        "cmn": case.arrays["features"],
        "cmvn": case.arrays["features_cmvn"],
    }
    for normalization, features in want.items():
        got = Features(tmp_path / "a.npy", FeatureInput(80, normalization))
        assert np.linalg.norm(got.read(0, got.frames) - features) < 1e-5 * np.linalg.norm(features)


@pytest.mark.parametrize("kind", FEATURE_TYPES)
def test_other_front_ends(kind, recordings, capsys):
    inputs = ["-i", recordings / "files.lst", "--path", recordings / "wav"]
    output = ["--output", recordings / kind]
    code, _, _ = make(capsys, *inputs, *output, "--feature_type", kind, "--n_mels", 24)
    assert code == 0
    for name in (recordings / "files.lst").read_text().split():
        x = load_array(recordings / kind / f"{name}.npy")
        samples = sf.info(recordings / "wav" / f"{name}.wav").frames
        assert x.shape[1] == 24
        assert abs(len(x) - samples // 160) <= 4
        # The features are not normalised.
        assert abs(x.mean(0)).max() > 0.1


def test_mirrored_in_parallel_and_resumed(recordings, capsys):
    words = ["-i", recordings / "files.lst", "--path", recordings / "wav"]
    words += ["--output", recordings / "out"]
    names = (recordings / "files.lst").read_text().split()
    assert make(capsys, *words, "--processes", 2)[0] == 0
    made = [recordings / "out" / f"{name}.npy" for name in names]
    before = [path.read_bytes() for path in made]
    made[2].unlink()
    code, out, _ = make(capsys, *words)
    assert code == 0
    assert f"Features of 6 files are in {recordings}/out (1 files with 0.00 hours" in out
    assert [path.read_bytes() for path in made] == before
    assert not list((recordings / "wav").rglob("*.npy"))
    assert not list(recordings.rglob("*.part"))
    code, _, err = make(capsys, *words, "--feature_type", "sasv2")
    assert code == 2
    assert "expected the features --feature_type sasv2 --n_mels 80 of" in err


def test_files_that_cannot_be_used_are_left_out_and_named(recordings, capsys):
    names = (recordings / "files.lst").read_text().split()
    good = (recordings / "wav" / f"{names[1]}.wav").read_bytes()
    sf.write(recordings / "wav" / f"{names[0]}.wav", np.zeros(511), 16000)
    (recordings / "wav" / f"{names[1]}.wav").write_bytes(good[:1000])
    code, _, err = make(capsys, "-i", recordings / "files.lst", "--path", recordings / "wav")
    assert code == 2
    assert "skipped 2 of 6 files, which cannot be used" in err
    assert "expected at least 512 samples (32 ms), found 511 samples." in err
    assert len((recordings / "wav" / "features_failed.txt").read_text().splitlines()) == 2
    assert len(list((recordings / "wav").rglob("*.npy"))) == 4
    for name in names[:2]:
        (recordings / "wav" / f"{name}.wav").write_bytes(good)
    assert make(capsys, "-i", recordings / "files.lst", "--path", recordings / "wav")[0] == 0
    assert not (recordings / "wav" / "features_failed.txt").exists()


@pytest.mark.parametrize(
    "line, words, message",
    [
        ("nowhere/a", [], "the file is missing"),
        ("../wav/a", ["--output", "out"], "expected files inside --path .*, found ../wav/a.wav"),
    ],
)
def test_lists_that_are_refused(line, words, message, recordings, capsys, monkeypatch):
    monkeypatch.chdir(recordings)
    shutil.copy(next((recordings / "wav").rglob("*.wav")), recordings / "wav" / "a.wav")
    Path("l").write_text(line)
    code, _, err = make(capsys, "-i", "l", "--path", "wav", *words)
    assert code == 2
    assert re.search(message, err)


# ---------------------------------------------------------------------- reading
class Code:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('code of a pickle was run')",)


def test_old_pickles(tmp_path):
    """Arrays [bands, T] in any protocol, as NumPy 1 and NumPy 2 write them."""
    x = np.random.default_rng(0).standard_normal((80, 30))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        array = x.astype(np.float32 if protocol else np.float64)
        (tmp_path / "a.pickle").write_bytes(pickle.dumps(array, protocol))
        np.testing.assert_allclose(load_array(tmp_path / "a.pickle"), x.T, rtol=1e-6)
    data = pickle.dumps(x, 2)
    (tmp_path / "a.pickle").write_bytes(
        data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    )
    np.testing.assert_array_equal(load_array(tmp_path / "a.pickle"), x.T)


@pytest.mark.parametrize(
    "name, content, message",
    [
        (
            "a.pickle",
            pickle.dumps(Code()),
            "it contains builtins.exec.*No code from the file was run",
        ),
        ("a.pickle", b"", "found another content"),
        ("a.pickle", pickle.dumps({"a": 1}), "found dict"),
        ("a.pickle", pickle.dumps(np.zeros((2, 3, 4))), r"found float64 \[2, 3, 4\]"),
        ("a.pickle", pickle.dumps(np.array([[1.0, np.nan]])), "NaN"),
        ("a.pickle", pickle.dumps(np.array([[Code()]])), "builtins.exec"),
        ("a.pickle", pickle.dumps(np.zeros((80, 0))), r"found float64 \[80, 0\]"),
        ("a.npy", b"no array", "found another content"),
        ("b.npy", None, "there is no such file"),
    ],
)
def test_files_that_are_no_features(name, content, message, tmp_path):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}: .*{message}"):
        load_array(tmp_path / name)


def test_bands_and_stretches(tmp_path):
    x = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
    np.save(tmp_path / "a.npy", x)
    with pytest.raises(InputError, match="a.npy: expected 80 mel bands, found 8"):
        Features(tmp_path / "a.npy", FeatureInput(80, "cmn"))
    with Features(tmp_path / "a.npy", FeatureInput(8, "none")) as features:
        np.testing.assert_array_equal(
            features.crop(40, np.random.default_rng(0)), np.concatenate([x, x[:10]])
        )
        np.testing.assert_array_equal(
            features.crop(40, np.random.default_rng(0), "zeros"), np.pad(x, ((5, 5), (0, 0)))
        )
        crop = features.crop(10, np.random.default_rng(0))
        assert any(np.array_equal(crop, x[s : s + 10]) for s in range(21))


def test_normalisation_is_that_of_the_front_end():
    wave = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    raw = MFSC(80, normalization="none")(wave)
    for normalization in ("cmn", "cmvn"):
        assert torch.equal(
            normalise(raw, normalization), MFSC(80, normalization=normalization)(wave)
        )


def test_a_short_wave_has_a_frame():
    """Evaluation lengthens every file to at least 400 samples."""
    assert MFSC(80, normalization="cmn")(torch.randn(2, 400)).shape == (2, 1, 80)


# ---------------------------------------------------------------------- lists
def text(path, *lines):
    """Writes a text file and returns its path."""
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_labelled_list(tmp_path):
    """Classes are in the order of the numbers, as in the heads of published checkpoints."""
    utterances = read_train_list(
        text(tmp_path / "l", "a/x 10 None", "a/y 2 -1", "b 0 None", "c 10 -1")
    )
    assert [(u.speaker, u.path) for u in utterances] == [
        ("10", "a/x"),
        ("02", "a/y"),
        ("00", "b"),
        ("10", "c"),
    ]
    assert classes_of(utterances) == {"00": 0, "02": 1, "10": 2}
    for bad in ("b x None", "b 1 none", "b 1", "b -1 None"):
        with pytest.raises(InputError, match="l:2: expected '<file> <label> None|-1', found"):
            read_train_list(text(tmp_path / "l", "a 0 None", bad))


def test_clients_and_impostors(tmp_path):
    clients = text(tmp_path / "clients", "a b", "a c")
    impostors = text(tmp_path / "impostors", "a d", "b d", "c d")
    trials = read_clients_and_impostors(clients, impostors)
    assert trials.lines == ["1 a b", "1 a c", "0 a d", "0 b d", "0 c d"]
    assert trials.label.tolist() == [True, True, False, False, False]
    assert trials.paths() == ["a", "b", "c", "d"]
    with pytest.raises(InputError, match="impostors:1: expected '<file> <file>', found '1 a b'"):
        read_clients_and_impostors(clients, text(impostors, "1 a b"))


def test_features_come_before_audio(tmp_path):
    for name in ("a.npy", "a.wav", "b.pickle", "b.flac", "c.wav"):
        (tmp_path / name).touch()
    names = ["a", "b", "c", "a.wav", "a", "nowhere"]
    assert find_files(tmp_path, names, features=True) == {
        "a": "a.npy",
        "b": "b.pickle",
        "c": "c.wav",
        "a.wav": "a.wav",
        "nowhere": None,
    }
    assert find_files(tmp_path, names) == {
        "a": "a.wav",
        "b": "b.flac",
        "c": "c.wav",
        "a.wav": "a.wav",
        "nowhere": None,
    }


# ---------------------------------------------------------------------- training and evaluation
FRAMES = 40


@pytest.fixture(scope="module")
def cut(corpus, tmp_path_factory):
    """A folder with every file of the corpus, cut to FRAMES frames. So a crop is the whole file.

    audio/ has the cut files, and features/ their features. The lists are as in the trainer of
    double multi-head attention: train.lst, clients.lst and impostors.lst. files.lst has all files.
    """
    folder = tmp_path_factory.mktemp("cut")
    train = [line.split() for line in (corpus / "train_list.txt").read_text().splitlines()]
    trials = [line.split() for line in (corpus / "trials.txt").read_text().splitlines()]
    names = {name: None for _, name in train}
    for _, enrolment, test in trials:
        names |= {enrolment: None, test: None}
    for name in names:
        (folder / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        samples, _ = sf.read(corpus / "wav" / name, dtype="int16")
        samples = samples[4000 : 4000 + N_FFT + (FRAMES - 1) * HOP]
        sf.write(folder / "audio" / name, samples, 16000)
    write_lists_of_the_project(folder, train, trials, names)
    words = ["--features", "-i", folder / "files.lst", "--path", folder / "audio"]
    words += ["--output", folder / "features", "--processes", 1]
    assert dataprep.main([str(word) for word in words]) == 0
    return folder


def write_lists_of_the_project(folder, train, trials, names):
    """Writes train.lst, clients.lst, impostors.lst and files.lst, with names without extensions."""
    speakers = sorted({speaker for speaker, _ in train})
    stem = {name: name.removesuffix(".wav") for name in names}
    lines = [f"{stem[name]} {speakers.index(speaker)} None" for speaker, name in train]
    text(folder / "train.lst", *lines)
    for wanted_key, name in (("1", "clients.lst"), ("0", "impostors.lst")):
        pairs = [f"{stem[a]} {stem[b]}" for key, a, b in trials if key == wanted_key]
        text(folder / name, *pairs)
    text(folder / "files.lst", *stem.values())


def words(cut, run, kind="features", *more):
    """The command line of a run, with option names of the trainer of double attention."""
    return [
        "--front_end",
        "VGG3L",
        "--kernel_size",
        16,
        "--embedding_size",
        16,
        "--pooling_method",
        "DoubleMHA",
        "--heads_number",
        4,
        "--mask_prob",
        0,
        "--trainfunc",
        "amsoftmax",
        "--scalingFactor",
        30.0,
        "--marginFactor",
        0.4,
        "--optimizer",
        "Adam",
        "--learning_rate",
        0.001,
        "--batch_size",
        4,
        "--gradientAccumulation",
        1,
        "--max_epochs",
        3,
        "--window_size",
        FRAMES / 100,
        "--crop_margin",
        N_FFT - HOP,
        "--eval_frames",
        0,
        "--train_labels_path",
        cut / "train.lst",
        "--train_data_dir",
        cut / kind,
        "--valid_clients",
        cut / "clients.lst",
        "--valid_impostors",
        cut / "impostors.lst",
        "--valid_data_dir",
        cut / kind,
        "--num_workers",
        0,
        "--device",
        "cpu",
        "--test_interval",
        1,
        "--out_dir",
        run,
        *more,
    ]


@pytest.fixture(scope="module")
def trained(cut, tmp_path_factory):
    """A folder with two runs of the same training, features/ and audio/."""
    folder = tmp_path_factory.mktemp("trained")
    for kind in ("features", "audio"):
        assert not trainSpeakerNet.main([str(word) for word in words(cut, folder / kind, kind)])
    return folder


def test_training_on_features_equals_training_on_audio(trained):
    """The crops are whole files, so both kinds are normalised over the same frames."""
    state, log = end_of(trained / "features")
    other, other_log = end_of(trained / "audio")
    assert [line["step"] for line in log] == [12, 24, 36]
    for key in ("loss", "EER"):
        np.testing.assert_allclose(
            [line[key] for line in log], [line[key] for line in other_log], rtol=1e-4
        )
    for name, value in state["model"].items():
        torch.testing.assert_close(value, other["model"][name], rtol=1e-3, atol=1e-5)
    assert state["classes"] == {str(i): i for i in range(8)}


def scores_of(path):
    """The trials and the scores of a scores file."""
    trials = []
    scores = []
    for line in path.read_text().splitlines():
        trial, score = line.rsplit(" ", 1)
        trials.append(trial)
        scores.append(float(score))
    return trials, np.array(scores)


def test_evaluation_and_extraction_from_features_equal_those_from_audio(
    trained, cut, tmp_path, program
):
    model = ["--initial_model", trained / "features" / "model" / "last.model"]
    pairs = ["--valid_clients", cut / "clients.lst", "--valid_impostors", cut / "impostors.lst"]
    lines, scores = scores_of(trained / "features" / "result" / "scores.txt")
    assert {line[0] for line in lines} == {"0", "1"}
    assert len(lines) == len((cut / "clients.lst").read_text().splitlines()) * 2
    for kind in ("features", "audio"):
        files = ["--valid_data_dir", cut / kind, "--output", tmp_path / "s.txt"]
        code, out, err = program("--eval", *model, *pairs, *files)
        assert code == 0, err
        assert "EER" in out
        assert scores_of(tmp_path / "s.txt")[0] == lines
        np.testing.assert_allclose(scores_of(tmp_path / "s.txt")[1], scores, atol=1e-5)
    stem = (cut / "files.lst").read_text().split()[0]
    files = ["--extract", cut / "files.lst", "--test_path", cut / "features"]
    assert program(*files, *model, "--output", tmp_path / "list")[0] == 0
    file = ["--extract", cut / "audio" / f"{stem}.wav"]
    assert program(*file, *model, "--output", tmp_path / "one")[0] == 0
    (one,) = (tmp_path / "one").rglob("*.npy")
    np.testing.assert_allclose(np.load(one), np.load(tmp_path / "list" / f"{stem}.npy"), atol=1e-5)


def test_whole_files_are_normalised_before_they_are_cut(cut, tmp_path):
    """Training and evaluation crops [window, bands] are stretches of the normalised file."""
    x = np.random.default_rng(0).standard_normal((90, 80)).astype(np.float32) + 3
    np.save(tmp_path / "a.npy", x)
    whole = normalise(torch.from_numpy(x), "cmn").numpy()
    features = FeatureInput(80, "cmn")
    utterances = [Utterance("s", "a.npy")]
    data = TrainDataset(utterances, tmp_path, max_frames=30, seed=0, features=features)
    batches = [data[epoch, [[0]]]["x"] for epoch in range(5)]
    assert len({batch.sum().item() for batch in batches}) > 1
    for batch in batches:
        assert batch.shape == (1, 1, 30, 80)
        assert any(np.array_equal(batch[0, 0], whole[start : start + 30]) for start in range(61))
    data = EvalDataset(["a.npy"], tmp_path, eval_frames=30, num_eval=3, features=features)
    _, crops = data[0]
    np.testing.assert_array_equal(crops[0], np.stack([whole[s : s + 30] for s in (0, 30, 60)]))
    with pytest.raises(InputError, match="--eval_speed 0.9: expected audio files, found features"):
        EvalDataset(["a.npy"], tmp_path, eval_frames=0, num_eval=1, features=features, speed=0.9)


@pytest.mark.parametrize("suffix", ["npy", "wav"])
def test_random_slicing(suffix, tmp_path):
    """Batches have all lengths from 200 frames to the window.

    The length depends on the seed, the epoch and the batch alone. A sliced batch is the beginning
    of the batch without slicing.
    """
    rng = np.random.default_rng(0)
    if suffix == "npy":
        np.save(tmp_path / "a.npy", rng.standard_normal((300, 80)))
    else:
        sf.write(tmp_path / "a.wav", 0.1 * rng.standard_normal(300 * HOP), 16000)
    utterances = [Utterance(str(i), f"a.{suffix}") for i in range(4)]
    options = {"max_frames": 206, "seed": 1, "features": FeatureInput(80, "cmn")}
    data = TrainDataset(utterances, tmp_path, random_slicing=True, **options)
    whole = TrainDataset(utterances, tmp_path, **options)
    lengths = []
    for epoch in range(60):
        for groups in ([[0], [1]], [[2], [3]]):
            x = data[epoch, groups]["x"]
            assert torch.equal(x, data[epoch, groups]["x"])
            assert torch.equal(x, whole[epoch, groups]["x"][:, :, : x.shape[2]])
            lengths.append(x.shape[2] if suffix == "npy" else (x.shape[2] - 240) / HOP)
    assert set(lengths) == set(range(200, 207))
    assert lengths[::2] != lengths[1::2]
    with pytest.raises(
        InputError,
        match="--max_frames: expected at least 200 frames for --randomSlicing, found 199",
    ):
        TrainDataset(utterances, tmp_path, random_slicing=True, **options | {"max_frames": 199})


@pytest.mark.parametrize(
    "spoil, more, message",
    [
        (
            lambda folder, stem: (folder / f"{stem}.npy").unlink(),
            [],
            "train.lst: 1 of 48 files are missing",
        ),
        (
            lambda folder, stem: (folder / f"{stem}.npy").rename(folder / f"{stem}.wav"),
            [],
            "train.lst: expected features for all 48 files or for none, found features for 47 "
            "files and none for .*wav. Extract the others",
        ),
        (
            lambda folder, stem: np.save(folder / f"{stem}.npy", np.zeros((50, 40), np.float32)),
            [],
            "npy: expected 80 mel bands, found 40",
        ),
        (
            lambda folder, stem: (folder / f"{stem}.npy").write_bytes(b"torn"),
            [],
            "npy: expected an array of finite numbers",
        ),
        (
            None,
            ["--speed_perturb"],
            "--augment, --codec_augment, --rawboost, --speed_perturb: expected audio files in the "
            "train list, found features",
        ),
        (
            None,
            ["--rawboost", 4],
            "--augment, --codec_augment, --rawboost, --speed_perturb: expected audio files in the "
            "train list, found features",
        ),
        (None, ["--model", "ResNetSE34L"], "train.lst: 48 of 48 files are missing"),
        (None, ["--valid_impostors", ""], "--valid_clients together with --valid_impostors"),
        (None, ["--test_list", "trials.txt"], "and without --test_list"),
        (
            None,
            ["--randomSlicing"],
            "--max_frames: expected at least 200 frames for --randomSlicing",
        ),
        (
            None,
            ["--randomSlicing", "--compile", "--max_frames", 210],
            "--compile: the compiled model accepts crops of one length",
        ),
    ],
)
def test_what_cannot_be_trained_on(spoil, more, message, cut, tmp_path, program):
    if spoil:
        shutil.copytree(cut / "features", tmp_path / "features")
        spoil(tmp_path / "features", (cut / "train.lst").read_text().split()[0])
        more = ["--train_data_dir", tmp_path / "features"]
    code, _, err = program(*words(cut, tmp_path / "run", "features", *more))
    assert code == 2, err
    assert re.search(message, err)
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_features_for_a_model_that_takes_none(cut, tmp_path, program):
    stem = (cut / "train.lst").read_text().split()[0]
    train_list = text(tmp_path / "l", f"s {stem}.npy")
    more = ["--train_list", train_list, "--model", "ResNetSE34L"]
    code, _, err = program(*words(cut, tmp_path / "run", "features", *more))
    assert code == 2
    assert "expected speech for this model, found embeddings or features (" in err


# ---------------------------------------------------------------------- double multi-head attention
def test_published_options_are_accepted(caplog):
    """The published options with their defaults, given after the config that has the same values.

    Only the folders change.
    """
    config = ["--config", str(Path(__file__).parent.parent / "configs" / "DoubleMHA.yaml")]
    published = shlex.split("""
        --train_data_dir d --train_labels_path l --valid_data_dir v --valid_clients c
        --valid_impostors i --out_dir o --front_end VGG4L --window_size 3.5 --normalization cmn
        --kernel_size 1024 --embedding_size 400 --heads_number 32 --pooling_method DoubleMHA
        --mask_prob 0.3 --scalingFactor 30.0 --marginFactor 0.4 --annealing --optimizer Adam
        --learning_rate 0.0001 --weight_decay 0.001 --batch_size 64 --gradientAccumulation 2
        --max_epochs 1000000 --early_stopping 25 --requeue --validate_every 10000
    """)
    more = shlex.split("--print_every 1000 --randomSlicing --num_workers 2")
    ours = vars(parse(config, {}, "", read_checkpoint)[0])
    theirs = vars(parse([*config, *published, *more], {}, "", read_checkpoint)[0])
    changed = {
        "train_path": "d",
        "train_list": "l",
        "test_path": ["v"],
        "valid_clients": "c",
        "valid_impostors": "i",
        "save_path": "o",
        "print_every": 1000,
        "randomSlicing": True,
        "nDataLoaderThread": 2,
    }
    assert theirs == ours | changed
    assert not caplog.records


def log_of(folder):
    """The lines of a run's log."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_early_stopping(cut, tmp_path, program):
    """With a learning rate of zero the EER does not improve after the first evaluation."""
    more = ["--learning_rate", 0, "--optimizer", "sgd", "--early_stopping", 2, "--max_epochs", 50]
    code, out, err = program(*words(cut, tmp_path, "features", *more))
    lines = log_of(tmp_path)
    assert code == 0, err
    assert "Stopped early after 2 evaluations without a better EER." in out
    best = min(range(len(lines)), key=lambda i: lines[i]["EER"])
    assert len(lines) == best + 3 < 20
    # The second run has nothing to do.
    code, out, _ = program(*words(cut, tmp_path, "features", *more))
    assert code == 0
    assert "Stopped early after 2 evaluations" in out
    assert log_of(tmp_path) == lines
    without_trials = ["--valid_clients", "", "--valid_impostors", "", "--early_stopping", 2]
    code, _, err = program(*words(cut, tmp_path / "other", "features", *without_trials))
    assert code == 2
    assert "--early_stopping: expected labelled trials or validation data" in err
    config = (tmp_path / "config.yaml").read_bytes()
    code, _, err = program(*words(cut, tmp_path, "features", *more, "--no-requeue"))
    assert (tmp_path / "config.yaml").read_bytes() == config
    assert code == 2
    assert "this folder contains a run, and --no-requeue does not resume it." in err


@pytest.mark.slow
def test_validation_between_epochs_resumes_exactly(cut, tmp_path, program, monkeypatch):
    """Evaluations after every 5 updates, in epochs of 12 updates.

    The schedule follows the evaluations. A stop before, during or after any of them changes
    nothing.
    """
    more = ["--validate_every", 5, "--scheduler", "plateau", "--lr_follows", "EER"]
    more += ["--lr_patience", 0, "--lr_decay", 0.5, "--mask_prob", 0.3, "--keep", 20]
    more += ["--max_epochs", 2, "--print_every", 7]
    code, out, err = program(*words(cut, tmp_path / "whole", "features", *more))
    assert code == 0, err
    assert re.search(r"epoch 1/2  step +7 .*lr 0\.001\b", out)
    whole, whole_log = end_of(tmp_path / "whole")
    assert [(line["step"], "EER" in line) for line in whole_log] == [
        (5, True),
        (10, True),
        (12, False),
        (15, True),
        (20, True),
        (24, True),
    ]
    assert {path.stem for path in (tmp_path / "whole" / "model").glob("model*")} == {
        f"model{step:09d}" for step in (5, 10, 15, 20, 24)
    }
    # The schedule has lowered the learning rate.
    assert whole_log[-1]["lr"] < 1e-3
    update = Trainer._update
    represent = Scorer.represent
    stops = [("update", step) for step in (4, 5, 6, 10, 12, 20)]
    stops += [("represent", count) for count in (1, 2, 3)]
    keys = ("model", "optimizer", "scheduler", "step", "rng", "best", "stale", "validated")
    for i, (where, number) in enumerate(stops):
        calls = {"update": 0, "represent": 0}

        def call(name, result, calls=calls, where=where, number=number):
            calls[name] += 1
            if (name, calls[name]) == (where, number):
                os.kill(os.getpid(), signal.SIGTERM)
            return result

        monkeypatch.setattr(
            Trainer, "_update", lambda self, group, call=call: call("update", update(self, group))
        )
        monkeypatch.setattr(
            Scorer,
            "represent",
            lambda self, *loaded, call=call: call("represent", represent(self, *loaded)),
        )
        run = tmp_path / f"{i}"
        assert "Stopped at step" in program(*words(cut, run, "features", *more))[1]
        monkeypatch.undo()
        assert program(*words(cut, run, "features", *more))[0] == 0
        state, log = end_of(run)
        assert log == whole_log, (where, number)
        for key in (*keys, "result"):
            assert equal(state[key], whole[key]), (where, number, key)
