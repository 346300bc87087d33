"""Log-mel features in files: made by the command, read again, trained on and evaluated in place of audio; habits of the double-attention trainer."""

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
    """-> (exit code, stdout, stderr) of dataprep.py --features with these words."""
    capsys.readouterr()
    code = dataprep.main(["--features", "--processes", "1", *map(str, words)])
    return code, *capsys.readouterr()


@pytest.fixture
def recordings(corpus, tmp_path):
    """Some files of the corpus in a folder of their own, and a list of them without extensions."""
    names = [line.split()[1] for line in (corpus / "train_list.txt").read_text().splitlines()][:6]
    for name in names:
        (tmp_path / "wav" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(corpus / "wav" / name, tmp_path / "wav" / name)
    (tmp_path / "files.lst").write_text("".join(f"{name.removesuffix('.wav')}\n" for name in names))
    return tmp_path


# ---------------------------------------------------------------------- making
def test_features_equal_the_references(tmp_path, capsys):
    """Through the command and the reader: before normalisation, and with both kinds of it."""
    (case,) = golden.load_cases(REFERENCE / "features_dmha.npz")
    sf.write(tmp_path / "a.flac", case.inputs["wave"].reshape(-1), 16000, subtype="PCM_16")
    (tmp_path / "files.lst").write_text(f"{tmp_path}/a\n")
    code, out, err = make(capsys, "-i", tmp_path / "files.lst")
    assert code == 0 and "features of 1 files (1 made now" in out, err
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
    words = (
        "-i",
        recordings / "files.lst",
        "--path",
        recordings / "wav",
        "--output",
        recordings / kind,
        "--feature_type",
        kind,
        "--n_mels",
        24,
    )
    assert make(capsys, *words)[0] == 0
    names = (recordings / "files.lst").read_text().split()
    made = [load_array(recordings / kind / f"{name}.npy") for name in names]
    assert all(
        x.shape[1] == 24
        and abs(len(x) - sf.info(recordings / "wav" / f"{name}.wav").frames // 160) <= 4
        for name, x in zip(names, made, strict=True)
    )
    # not normalised
    assert min(abs(x.mean(0)).max() for x in made) > 0.1


def test_mirrored_in_parallel_and_gone_on_with(recordings, capsys):
    words = (
        "-i",
        recordings / "files.lst",
        "--path",
        recordings / "wav",
        "--output",
        recordings / "out",
    )
    names = (recordings / "files.lst").read_text().split()
    assert make(capsys, *words, "--processes", 2)[0] == 0
    made = [recordings / "out" / f"{name}.npy" for name in names]
    before = [path.read_bytes() for path in made]
    made[2].unlink()
    code, out, _ = make(capsys, *words)
    assert code == 0
    assert "features of 6 files (1 made now" in out
    assert [path.read_bytes() for path in made] == before
    assert not list((recordings / "wav").rglob("*.npy"))
    assert not list(recordings.rglob("*.part"))
    code, _, err = make(capsys, *words, "--feature_type", "sasv2")
    assert code == 2
    assert "holds other features than --feature_type sasv2 --n_mels 80" in err


def test_files_that_cannot_be_used_are_left_out_and_named(recordings, capsys):
    names = (recordings / "files.lst").read_text().split()
    good = (recordings / "wav" / f"{names[1]}.wav").read_bytes()
    sf.write(recordings / "wav" / f"{names[0]}.wav", np.zeros(511), 16000)
    (recordings / "wav" / f"{names[1]}.wav").write_bytes(good[:1000])
    code, _, err = make(capsys, "-i", recordings / "files.lst", "--path", recordings / "wav")
    assert code == 2
    assert "2 of 6 files cannot be used" in err
    assert "want 512 samples or more, got 511" in err
    assert len((recordings / "wav" / "features_failed.txt").read_text().splitlines()) == 2
    assert len(list((recordings / "wav").rglob("*.npy"))) == 4
    for name in names[:2]:
        (recordings / "wav" / f"{name}.wav").write_bytes(good)
    assert make(capsys, "-i", recordings / "files.lst", "--path", recordings / "wav")[0] == 0
    assert not (recordings / "wav" / "features_failed.txt").exists()


@pytest.mark.parametrize(
    "line, words, message",
    [
        ("nowhere/a", [], "1 of 1 files are missing"),
        ("../wav/a", ["--output", "out"], "want files below --path .*, got ../wav/a.wav"),
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
    def __reduce__(self):
        return exec, ("raise SystemExit('code of a pickle was run')",)


def test_old_pickles(tmp_path):
    """[bands, T] in any protocol, as NumPy of before and after 2.0 wrote them."""
    x = np.random.default_rng(0).standard_normal((80, 30))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "a.pickle").write_bytes(
            pickle.dumps(x.astype(np.float32 if protocol else np.float64), protocol)
        )
        np.testing.assert_allclose(load_array(tmp_path / "a.pickle"), x.T, rtol=1e-6)
    data = pickle.dumps(x, 2)
    (tmp_path / "a.pickle").write_bytes(
        data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    )
    np.testing.assert_array_equal(load_array(tmp_path / "a.pickle"), x.T)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.pickle", pickle.dumps(Code()), "it holds builtins.exec.*no code of it was run"),
        ("a.pickle", b"", "got something else"),
        ("a.pickle", pickle.dumps({"a": 1}), "got dict"),
        ("a.pickle", pickle.dumps(np.zeros((2, 3, 4))), r"got float64 \[2, 3, 4\]"),
        ("a.pickle", pickle.dumps(np.array([[1.0, np.nan]])), "NaN"),
        ("a.pickle", pickle.dumps(np.array([[Code()]])), "builtins.exec"),
        ("a.pickle", pickle.dumps(np.zeros((80, 0))), r"got float64 \[80, 0\]"),
        ("a.npy", b"no array", "got something else"),
        ("b.npy", None, "no such file"),
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
    with pytest.raises(InputError, match="a.npy: want 80 bands, got 8"):
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
    """As long as evaluation makes every file at least."""
    assert MFSC(80, normalization="cmn")(torch.randn(2, 400)).shape == (2, 1, 80)


# ---------------------------------------------------------------------- lists
def text(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_labelled_list(tmp_path):
    """Classes are in the order of the numbers, as in published heads."""
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
        with pytest.raises(InputError, match="l:2: want '<file> <label> None|-1', got"):
            read_train_list(text(tmp_path / "l", "a 0 None", bad))


def test_clients_and_impostors(tmp_path):
    clients, impostors = (
        text(tmp_path / "clients", "a b", "a c"),
        text(tmp_path / "impostors", "a d", "b d", "c d"),
    )
    trials = read_clients_and_impostors(clients, impostors)
    assert trials.lines == [
        "1 a b",
        "1 a c",
        "0 a d",
        "0 b d",
        "0 c d",
    ]
    assert trials.label.tolist() == [True, True, False, False, False]
    assert trials.paths() == ["a", "b", "c", "d"]
    with pytest.raises(InputError, match="impostors:1: want '<file> <file>', got '1 a b'"):
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
    """Every file of the corpus cut to exactly FRAMES frames, so that a crop is the whole file; in audio/ as it is, in features/ extracted; lists of the
    project: train.lst, clients.lst, impostors.lst."""
    folder = tmp_path_factory.mktemp("cut")
    train = [line.split() for line in (corpus / "train_list.txt").read_text().splitlines()]
    trials = [line.split() for line in (corpus / "trials.txt").read_text().splitlines()]
    names = dict.fromkeys(
        [name for _, name in train] + [name for _, *pair in trials for name in pair]
    )
    for name in names:
        (folder / "audio" / name).parent.mkdir(parents=True, exist_ok=True)
        sf.write(
            folder / "audio" / name,
            sf.read(corpus / "wav" / name, dtype="int16")[0][
                4000 : 4000 + N_FFT + (FRAMES - 1) * HOP
            ],
            16000,
        )
    speakers = sorted({who for who, _ in train})
    stem = {name: name.removesuffix(".wav") for name in names}
    text(folder / "train.lst", *(f"{stem[name]} {speakers.index(who)} None" for who, name in train))
    for key, name in (("1", "clients.lst"), ("0", "impostors.lst")):
        text(folder / name, *(f"{stem[a]} {stem[b]}" for k, a, b in trials if k == key))
    text(folder / "files.lst", *stem.values())
    assert (
        dataprep.main(
            [
                "--features",
                "-i",
                str(folder / "files.lst"),
                "--path",
                str(folder / "audio"),
                "--output",
                str(folder / "features"),
                "--processes",
                "1",
            ]
        )
        == 0
    )
    return folder


def words(cut, run, kind="features", *more):
    """A run in the spellings of the double-attention trainer."""
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
    """{features, audio: run folder} of the same training."""
    folder = tmp_path_factory.mktemp("trained")
    for kind in ("features", "audio"):
        assert not trainSpeakerNet.main([str(word) for word in words(cut, folder / kind, kind)])
    return folder


def test_training_on_features_equals_training_on_audio(trained):
    """Where a crop is the whole file, and so is normalised as a whole in both."""
    (state, log), (other, other_log) = end_of(trained / "features"), end_of(trained / "audio")
    assert [line["step"] for line in log] == [12, 24, 36]
    for key in ("loss", "EER"):
        np.testing.assert_allclose(
            [line[key] for line in log], [line[key] for line in other_log], rtol=1e-4
        )
    for name, value in state["model"].items():
        torch.testing.assert_close(value, other["model"][name], rtol=1e-3, atol=1e-5)
    assert state["classes"] == {str(i): i for i in range(8)}


def scores_of(path):
    lines = path.read_text().splitlines()
    return [line.rsplit(" ", 1)[0] for line in lines], np.array(
        [float(line.rsplit(" ", 1)[1]) for line in lines]
    )


def test_evaluation_and_extraction_from_features_equal_those_from_audio(
    trained, cut, tmp_path, program
):
    model = "--initial_model", trained / "features" / "model" / "last.model"
    pairs = "--valid_clients", cut / "clients.lst", "--valid_impostors", cut / "impostors.lst"
    lines, scores = scores_of(trained / "features" / "result" / "scores.txt")
    assert {line[0] for line in lines} == {"0", "1"}
    assert len(lines) == len((cut / "clients.lst").read_text().splitlines()) * 2
    for kind in ("features", "audio"):
        code, out, err = program(
            "--eval", *model, *pairs, "--valid_data_dir", cut / kind, "--output", tmp_path / "s.txt"
        )
        assert code == 0 and "EER" in out, err
        assert scores_of(tmp_path / "s.txt")[0] == lines
        np.testing.assert_allclose(scores_of(tmp_path / "s.txt")[1], scores, atol=1e-5)
    stem = (cut / "files.lst").read_text().split()[0]
    assert (
        program(
            "--extract",
            cut / "files.lst",
            *model,
            "--test_path",
            cut / "features",
            "--output",
            tmp_path / "list",
        )[0]
        == 0
    )
    assert (
        program("--extract", cut / "audio" / f"{stem}.wav", *model, "--output", tmp_path / "one")[0]
        == 0
    )
    (one,) = (tmp_path / "one").rglob("*.npy")
    np.testing.assert_allclose(np.load(one), np.load(tmp_path / "list" / f"{stem}.npy"), atol=1e-5)


def test_whole_files_are_normalised_before_they_are_cut(cut, tmp_path):
    """[window x bands] of features: a stretch of the normalised file; evaluation crops too."""
    x = np.random.default_rng(0).standard_normal((90, 80)).astype(np.float32) + 3
    np.save(tmp_path / "a.npy", x)
    whole = normalise(torch.from_numpy(x), "cmn").numpy()
    data = TrainDataset(
        [Utterance("s", "a.npy")], tmp_path, max_frames=30, seed=0, features=FeatureInput(80, "cmn")
    )
    batches = [data[epoch, [[0]]]["x"] for epoch in range(5)]
    assert all(batch.shape == (1, 1, 30, 80) for batch in batches)
    assert len({batch.sum().item() for batch in batches}) > 1
    assert all(
        any(np.array_equal(batch[0, 0], whole[s : s + 30]) for s in range(61)) for batch in batches
    )
    index, crops = EvalDataset(
        ["a.npy"], tmp_path, eval_frames=30, num_eval=3, features=FeatureInput(80, "cmn")
    )[0]
    np.testing.assert_array_equal(crops[0], np.stack([whole[s : s + 30] for s in (0, 30, 60)]))


@pytest.mark.parametrize("suffix", ["npy", "wav"])
def test_random_slicing(suffix, tmp_path):
    """Lengths from 200 frames to the window, all of them; a pure function of seed, epoch and batch; the rest of the batch is as without it."""
    if suffix == "npy":
        np.save(tmp_path / "a.npy", np.random.default_rng(0).standard_normal((300, 80)))
    else:
        sf.write(
            tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(300 * HOP), 16000
        )
    utterances = [Utterance(str(i), f"a.{suffix}") for i in range(4)]
    options = {"max_frames": 206, "seed": 1, "features": FeatureInput(80, "cmn")}
    data, whole = (
        TrainDataset(utterances, tmp_path, random_slicing=True, **options),
        TrainDataset(utterances, tmp_path, **options),
    )
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
        match="--randomSlicing: cuts batches to 200 frames or more; want .* --max_frames, got 199",
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
            "train.lst: want features for all of the 48 files or for none, got them for 47, but not for .*wav; extract the others",
        ),
        (
            lambda folder, stem: np.save(folder / f"{stem}.npy", np.zeros((50, 40), np.float32)),
            [],
            "npy: want 80 bands, got 40",
        ),
        (
            lambda folder, stem: (folder / f"{stem}.npy").write_bytes(b"torn"),
            [],
            "npy: want an array of finite numbers",
        ),
        (
            None,
            ["--speed_perturb"],
            "--augment and --speed_perturb change audio, but the files of the train list are features",
        ),
        (None, ["--model", "ResNetSE34L"], "train.lst: 48 of 48 files are missing"),
        (None, ["--valid_impostors", ""], "want both --valid_clients and --valid_impostors"),
        (None, ["--test_list", "trials.txt"], "and then no --test_list"),
        (None, ["--randomSlicing"], "--randomSlicing: cuts batches to 200 frames or more"),
        (
            None,
            ["--randomSlicing", "--compile", "--max_frames", 210],
            "--compile: makes a program for one length",
        ),
    ],
)
def test_what_cannot_be_trained_on(spoil, more, message, cut, tmp_path, program):
    if spoil:
        shutil.copytree(cut / "features", tmp_path / "features")
        spoil(tmp_path / "features", (cut / "train.lst").read_text().split()[0])
        more = ["--train_data_dir", tmp_path / "features"]
    code, _, err = program(*words(cut, tmp_path / "run", "features", *more))
    assert code == 2 and re.search(message, err) and "Traceback" not in err, err
    assert not (tmp_path / "run").exists()


def test_features_for_a_model_that_takes_none(cut, tmp_path, program):
    stem = (cut / "train.lst").read_text().split()[0]
    code, _, err = program(
        *words(
            cut,
            tmp_path / "run",
            "features",
            "--train_list",
            text(tmp_path / "l", f"s {stem}.npy"),
            "--model",
            "ResNetSE34L",
        )
    )
    assert code == 2
    assert "want speech, which the model takes, got embeddings or features (" in err


# ---------------------------------------------------------------------- habits of its trainer
def test_published_options_are_accepted(caplog):
    """All of them, with their published defaults, after the config that has the same: nothing changes but the folders."""
    config = ["--config", str(Path(__file__).parent.parent / "configs" / "DoubleMHA.yaml")]
    published = shlex.split("""--train_data_dir d --train_labels_path l --valid_data_dir v --valid_clients c --valid_impostors i --out_dir o --front_end VGG4L
                   --window_size 3.5 --normalization cmn --kernel_size 1024 --embedding_size 400 --heads_number 32 --pooling_method DoubleMHA
                   --mask_prob 0.3 --scalingFactor 30.0 --marginFactor 0.4 --annealing --optimizer Adam --learning_rate 0.0001 --weight_decay 0.001
                   --batch_size 64 --gradientAccumulation 2 --max_epochs 1000000 --early_stopping 25 --requeue --validate_every 10000""")
    more = shlex.split("--print_every 1000 --randomSlicing --num_workers 2")
    ours, theirs = (
        vars(parse([*config, *words], {}, "", read_checkpoint)[0])
        for words in ([], [*published, *more])
    )
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
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_early_stopping(cut, tmp_path, program):
    """With a learning rate of zero nothing gets better after the first evaluation."""
    more = "--learning_rate", 0, "--early_stopping", 2, "--max_epochs", 50, "--optimizer", "sgd"
    code, out, err = program(*words(cut, tmp_path, "features", *more))
    lines = log_of(tmp_path)
    assert code == 0 and "done, after 2 evaluations without a better EER" in out, err
    best = min(range(len(lines)), key=lambda i: lines[i]["EER"])
    assert len(lines) == best + 3 < 20
    # nothing is left to do
    code, out, _ = program(*words(cut, tmp_path, "features", *more))
    assert code == 0
    assert "done, after 2 evaluations" in out
    assert log_of(tmp_path) == lines
    code, _, err = program(
        *words(
            cut,
            tmp_path / "other",
            "features",
            "--valid_clients",
            "",
            "--valid_impostors",
            "",
            "--early_stopping",
            2,
        )
    )
    assert code == 2
    assert "--early_stopping: follows the EER or the validation loss; want labelled trials" in err
    config = (tmp_path / "config.yaml").read_bytes()
    code, _, err = program(*words(cut, tmp_path, "features", *more, "--no-requeue"))
    assert (tmp_path / "config.yaml").read_bytes() == config
    assert code == 2
    assert "there is a run already, which --no-requeue does not go on with" in err


@pytest.mark.slow
def test_validation_between_epochs_resumes_exactly(cut, tmp_path, program, monkeypatch):
    """Every 5 of 12 updates an epoch; a stop before, in and after every evaluation, with a schedule that follows them, changes nothing."""
    more = [
        "--validate_every",
        5,
        "--scheduler",
        "plateau",
        "--lr_follows",
        "EER",
        "--lr_patience",
        0,
        "--lr_decay",
        0.5,
        "--mask_prob",
        0.3,
        "--keep",
        20,
        "--max_epochs",
        2,
        "--print_every",
        7,
    ]
    code, out, err = program(*words(cut, tmp_path / "whole", "features", *more))
    assert code == 0 and "step 7  lr 0.001" in out, err
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
    # the schedule was at work
    assert whole_log[-1]["lr"] < 1e-3
    update, extract = Trainer._update, Scorer.represent
    stops = [("update", step) for step in (4, 5, 6, 10, 12, 20)] + [
        ("extract", count) for count in (1, 2, 3)
    ]
    for i, (where, number) in enumerate(stops):
        calls = {"update": 0, "extract": 0}

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
            lambda self, *loaded, call=call: call("extract", extract(self, *loaded)),
        )
        run = tmp_path / f"{i}"
        assert "stopped at step" in program(*words(cut, run, "features", *more))[1]
        monkeypatch.undo()
        assert program(*words(cut, run, "features", *more))[0] == 0
        state, log = end_of(run)
        assert log == whole_log and all(
            equal(state[key], whole[key])
            for key in (
                "model",
                "optimizer",
                "scheduler",
                "step",
                "rng",
                "best",
                "stale",
                "validated",
                "result",
            )
        ), (where, number)
