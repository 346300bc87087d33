"""Errors that users see.

Each is one line that says the place, what was expected, what was found and what to do. The exit
code is 2, there is no traceback, and no file is lost.
"""

import hashlib
import os
import pickle
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
import torch
from conftest import small_run

import dataprep
import tuneThreshold

ROOT = Path(__file__).parent.parent


class Workspace:
    """A folder with the pieces that cases are made of."""

    def __init__(self, folder, corpus, checkpoint):
        self.folder = folder
        self.corpus = corpus
        self.checkpoint = checkpoint
        self.lines = (corpus / "train_list.txt").read_text().splitlines()
        self.trials = (corpus / "trials.txt").read_text().splitlines()

    def write(self, name, text):
        """Writes a file of text or bytes and returns its path."""
        path = self.folder / name
        path.write_bytes(text if type(text) is bytes else text.encode())
        return path

    def train(self, *more, text=None):
        """A training run. text: of another train list."""
        train_list = []
        if text is not None:
            train_list = ["--train_list", self.write("train.txt", text)]
        return small_run(self.corpus, self.folder / "run", *train_list, *more)

    def test(self, text):
        """A training run with another trial list."""
        return self.train("--test_list", self.write("trials.txt", text))

    def with_audio(self, make, name="odd.wav"):
        """A training run whose last file was made by make(path)."""
        path = self.folder / name
        make(path)
        return self.train(text="\n".join([*self.lines[:-1], f"{self.lines[-1].split()[0]} {path}"]))

    def config(self, text):
        """A training run with a config."""
        return self.train("--config", self.write("options.yaml", text))

    def use(self, *words, model=None):
        """The use of a checkpoint."""
        checkpoint = ["--initial_model", model or self.checkpoint]
        output = ["--save_path", self.folder / "run"]
        return [*checkpoint, "--nDataLoaderThread", 0, *output, *words]

    def trials_of_corpus(self):
        return ["--test_list", self.corpus / "trials.txt", "--test_path", self.corpus / "wav"]

    def evaluate(self, *words, model=None):
        """The evaluation of a checkpoint."""
        return self.use("--eval", *self.trials_of_corpus(), *words, model=model)


NOISE = (0.1 * np.random.default_rng(0).standard_normal(32000)).astype(np.float32)


def audio(samples=NOISE, rate=16000, subtype="PCM_16", cut=None):
    """A function that writes an audio file. cut: bytes after which the file ends."""

    def make(path):
        sf.write(path, samples, rate, subtype=subtype)
        if cut:
            path.write_bytes(path.read_bytes()[:cut])

    return make


def spoiled(value):
    """A function that writes an audio file in which some samples have the given value."""
    samples = NOISE.copy()
    samples[1000::4000] = value
    return audio(samples, subtype="FLOAT")


class Code:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("code_of_the_pickle_was_run",)


def noise_folders(w, kinds):
    """Options of --augment, for folders with these kinds of noise and no impulse response."""
    for kind in kinds:
        (w.folder / "musan" / kind / "a" / "b").mkdir(parents=True)
        sf.write(w.folder / "musan" / kind / "a" / "b" / "00000.wav", NOISE, 16000)
    (w.folder / "rir").mkdir()
    return ["--augment", "--musan_path", w.folder / "musan", "--rir_path", w.folder / "rir"]


def other_speakers(w):
    """A training with other speakers in the run folder of the checkpoint."""
    shutil.copytree(w.checkpoint.parent.parent, w.folder / "run")
    return w.train(text="\n".join(w.lines[6:]))


# What goes wrong -> (a function that prepares it and returns the command line, the error).
CASES = {
    # The train list
    "train list missing": (
        lambda w: w.train("--train_list", w.folder / "no.txt"),
        r"no\.txt: No such file",
    ),
    "train list empty": (lambda w: w.train(text=""), r"train\.txt.*empty"),
    "train list of one column": (
        lambda w: w.train(text="\n".join([*w.lines[:3], "id001", *w.lines[3:]])),
        r"train\.txt:4: want '<speaker> <file>', got 'id001'",
    ),
    "train list of three columns": (
        lambda w: w.train(text=w.lines[0] + "\n" + w.lines[1] + " 7"),
        r"train\.txt:2: want '<speaker> <file>'",
    ),
    "train list of bytes": (
        lambda w: w.train(text=b"id1 a.wav\n\xff\xfe\x00 b.wav\n"),
        r"train\.txt.*(UTF-8|utf-8)",
    ),
    "train list not given": (lambda w: ["--save_path", w.folder / "run"], r"--train_list"),
    "train list is a folder": (lambda w: w.train("--train_list", w.folder), r"directory|folder"),
    "files missing": (lambda w: w.train("--train_path", w.folder), r"48 .*missing"),
    "one speaker only": (lambda w: w.train(text="\n".join(w.lines[:6])), r"batch_size"),
    "nPerSpeaker too large": (lambda w: w.train("--nPerSpeaker", 7), r"nPerSpeaker"),
    "batch_size too large": (lambda w: w.train("--batch_size", 9), r"batch_size"),
    "nClasses too small": (
        lambda w: w.train("--nClasses", 7),
        r"--nClasses: expected at least the 8 classes .*found 7",
    ),
    "pairwise loss, one utterance": (lambda w: w.train("--nPerSpeaker", 1), r"nPerSpeaker 2"),
    # Audio
    "audio of zero bytes": (
        lambda w: w.with_audio(lambda path: path.write_bytes(b"")),
        r"odd\.wav",
    ),
    "audio of zero samples": (
        lambda w: w.with_audio(audio(NOISE[:0])),
        r"odd\.wav.*(empty|no samples)",
    ),
    "audio truncated (wav)": (lambda w: w.with_audio(audio(cut=30000)), r"odd\.wav.*truncated"),
    "audio truncated (flac)": (
        lambda w: w.with_audio(audio(cut=20000), "odd.flac"),
        r"odd\.flac.*truncated",
    ),
    "audio truncated in the header": (lambda w: w.with_audio(audio(cut=30)), r"odd\.wav"),
    "audio stereo": (
        lambda w: w.with_audio(audio(np.stack([NOISE, NOISE], 1))),
        r"odd\.wav.*2 channels.*ffmpeg",
    ),
    "audio at 8 kHz": (lambda w: w.with_audio(audio(rate=8000)), r"odd\.wav.*8000 Hz.*ffmpeg"),
    "audio with NaN": (lambda w: w.with_audio(spoiled(np.nan)), r"odd\.wav.*(NaN|finite)"),
    "audio with infinity": (lambda w: w.with_audio(spoiled(np.inf)), r"odd\.wav.*(inf|finite)"),
    "audio is text": (lambda w: w.with_audio(lambda path: path.write_text("hello")), r"odd\.wav"),
    "audio in a worker": (
        lambda w: [*w.with_audio(spoiled(np.nan)), "--nDataLoaderThread", 1],
        r"odd\.wav.*(NaN|finite)",
    ),
    # Trials
    "trial list missing": (
        lambda w: w.train("--test_list", w.folder / "no.txt"),
        r"no\.txt: No such file",
    ),
    "trial list empty": (lambda w: w.test(""), r"trials\.txt.*empty"),
    "trial of four columns": (
        lambda w: w.test(w.trials[0] + "\n" + w.trials[1] + " x"),
        r"trials\.txt:2: want '1\|0 <file> <file>'",
    ),
    "trial with label 2": (
        lambda w: w.test(w.trials[0] + "\n" + "2" + w.trials[1][1:]),
        r"trials\.txt:2: want '1\|0 <file> <file>'",
    ),
    "trials labelled and not": (
        lambda w: w.test(w.trials[0] + "\n" + w.trials[1][2:]),
        r"trials\.txt:2: want '1\|0 <file> <file>'",
    ),
    "trial names an unknown file": (
        lambda w: w.test(w.trials[0] + "\n1 who.wav " + w.trials[1].split()[2]),
        r"who\.wav",
    ),
    "trials all target": (
        lambda w: w.test("\n".join("1" + line[1:] for line in w.trials)),
        r"trials\.txt.*non-?target",
    ),
    # Options
    "option unknown": (
        lambda w: w.train("--margn", 0.2),
        r"unknown option --margn. Did you mean --margin",
    ),
    "option of nonsense": (lambda w: w.train("--qqqqq"), r"unknown option --qqqqq.*--help"),
    "option of the wrong type": (
        lambda w: w.train("--lr", "fast"),
        r"--lr.*invalid float value: 'fast'",
    ),
    "option out of range": (
        lambda w: w.train("--batch_size", 0),
        r"--batch_size: want at least 1, got 0",
    ),
    "option without value": (lambda w: [*w.train(), "--lr"], r"--lr"),
    "word too many": (lambda w: w.train("--seed", 1, "extra"), r"'extra' belongs to no option"),
    "model unknown": (lambda w: w.train("--model", "ResNet"), r"--model.*'ResNet'.*ResNetSE34L"),
    "loss unknown": (
        lambda w: w.train("--trainfunc", "hinge"),
        r"--trainfunc.*'hinge'.*softmaxproto",
    ),
    "pooling unknown": (lambda w: w.train("--encoder_type", "MEAN"), r"--encoder_type.*'MEAN'"),
    "device not there": (lambda w: w.train("--device", "cuda:77"), r"--device cuda:77"),
    "device of nonsense": (lambda w: w.train("--device", "toaster"), r"--device toaster"),
    "--config without a file": (lambda w: [*w.train(), "--config"], r"--config: want a file"),
    "config missing": (lambda w: w.train("--config", w.folder / "no.yaml"), r"no\.yaml"),
    "config empty": (lambda w: w.config(""), r"options\.yaml.*nothing"),
    "config not a mapping": (
        lambda w: w.config("- lr\n- 0.1\n"),
        r"options\.yaml.*want lines 'option: value', got list",
    ),
    "config not YAML": (lambda w: w.config("lr: [0.1\nseed: 1"), r"options\.yaml.*not YAML.*line"),
    "config with an unknown key": (
        lambda w: w.config("nPerSpeakr: 2\n"),
        r"options\.yaml: nPerSpeakr: unknown option.*Did you mean --nPerSpeaker",
    ),
    "config with the wrong type": (
        lambda w: w.config("lr: fast\n"),
        r"options\.yaml: lr:.*invalid float value: 'fast'",
    ),
    "config with a word for a flag": (
        lambda w: w.config("mixedprec: sometimes\n"),
        r"options\.yaml: mixedprec: want true or false, got 'sometimes'",
    ),
    "config with a flag for a number": (
        lambda w: w.config("lr: true\n"),
        r"options\.yaml: lr: want one value.*got True",
    ),
    "config with a list for a number": (
        lambda w: w.config("lr: [1, 2]\n"),
        r"options\.yaml: lr: want one value",
    ),
    "config with an unset variable": (
        lambda w: w.config("train_path: ${NO_SUCH_VARIABLE}/x\n"),
        r"NO_SUCH_VARIABLE is not set",
    ),
    "augment without folders": (lambda w: w.train("--augment"), r"musan_path"),
    "augment without a kind of noise": (
        lambda w: w.train(*noise_folders(w, ["noise", "speech"])),
        r"music",
    ),
    "augment without impulse responses": (
        lambda w: w.train(*noise_folders(w, ["noise", "speech", "music"])),
        r"rir",
    ),
    # Checkpoints
    "checkpoint missing": (
        lambda w: w.evaluate(model=w.folder / "no.model"),
        r"no\.model: there is no such checkpoint",
    ),
    "checkpoint truncated": (
        lambda w: w.evaluate(model=w.write("cut.model", w.checkpoint.read_bytes()[:100000])),
        r"cut\.model.*truncated",
    ),
    "checkpoint is text": (
        lambda w: w.evaluate(model=w.write("text.model", "hello world, this is no checkpoint")),
        r"text\.model",
    ),
    "checkpoint with code in it": (
        lambda w: w.evaluate(model=with_code(w)),
        r"code\.model: want a checkpoint.*code in it was not run",
    ),
    "pickle with code in it": (
        lambda w: w.evaluate(model=w.write("code.model", pickle.dumps({"model": Code()}))),
        r"code\.model: cannot be read",
    ),
    "checkpoint of another model": (
        lambda w: w.evaluate("--model", "ECAPA_TDNN"),
        r"--model ECAPA_TDNN contradicts .*--model ResNetSE34L",
    ),
    "checkpoint of another size": (
        lambda w: w.evaluate("--nOut", 64),
        r"--nOut 64 contradicts .*--nOut 32",
    ),
    "checkpoint of other weights": (
        lambda w: w.train("--initial_model", published(w), "--model", "ECAPA_TDNN"),
        r"missing: .*\n.*and \d+ more",
    ),
    "nothing fits, --partial": (
        lambda w: w.train("--initial_model", nonsense(w), "--partial"),
        r"nothing in it fits",
    ),
    "run folder of other speakers": (
        other_speakers,
        r"last\.model: this run was trained on other speakers",
    ),
    "run folder of another model": (
        lambda w: [*other_speakers(w), "--model", "ECAPA_TDNN"],
        r"--model ECAPA_TDNN contradicts",
    ),
    # Using a checkpoint
    "--eval without checkpoint": (
        lambda w: ["--eval", *w.trials_of_corpus()],
        r"--initial_model",
    ),
    "--eval without trials": (lambda w: w.use("--eval"), r"--test_list"),
    "--extract without output": (
        lambda w: w.use("--extract", w.corpus / "train_list.txt"),
        r"--output",
    ),
    "--extract of no list": (
        lambda w: w.use("--extract", w.folder / "no.txt", "--output", w.folder / "emb"),
        r"no\.txt",
    ),
    "--verify with one file": (lambda w: w.use("--verify", "a.wav"), r"--verify.*2"),
    "--verify with a missing file": (
        lambda w: w.use("--verify", "a.wav", "b.wav"),
        r"2 .*missing.*a\.wav",
    ),
    # The run folder
    "save_path below a file": (
        lambda w: w.train("--save_path", w.write("file", "x") / "run"),
        r"file/run/model: Not a directory",
    ),
    "save_path cannot be made": (
        lambda w: w.train("--save_path", "/proc/nowhere/run"),
        r"/proc/nowhere",
    ),
}


def published(w):
    """The weights of the checkpoint with the names that voxceleb_trainer gives them."""
    path = w.folder / "published.model"
    weights = torch.load(w.checkpoint, weights_only=True)["model"]
    torch.save({f"__S__.{name}": value for name, value in weights.items()}, path)
    return path


def with_code(w):
    """A checkpoint that would run code."""
    path = w.folder / "code.model"
    torch.save({"model": Code()}, path)
    return path


def nonsense(w):
    """A checkpoint with weights of no network."""
    path = w.folder / "nonsense.model"
    torch.save({"a": torch.zeros(3), "b": torch.ones(2)}, path)
    return path


def fingerprint(folder):
    """{file: checksum} of all files below a folder."""
    checksums = {}
    for path in folder.rglob("*"):
        if path.is_file():
            checksums[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return checksums


@pytest.mark.parametrize("name", CASES)
def test_error_is_reported_and_nothing_is_lost(
    name, corpus, checkpoint, tmp_path, program, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    make, message = CASES[name]
    words = make(Workspace(tmp_path, corpus, checkpoint))
    before = fingerprint(tmp_path) | fingerprint(checkpoint.parent)
    code, out, err = program(*words)
    assert code == 2, (out, err)
    assert err.startswith("error: ")
    assert "Traceback" not in err + out
    assert re.search(message, err, re.S), err
    after = fingerprint(tmp_path) | fingerprint(checkpoint.parent)
    # These two record every command, also one that fails.
    for path, checksum in before.items():
        if path.name not in ("command.txt", "config.yaml"):
            assert after.get(path) == checksum
    assert not (tmp_path / "code_of_the_pickle_was_run").exists()


def test_there_are_enough_cases():
    assert len(CASES) >= 40


@pytest.mark.slow
def test_full_disk(corpus, tmp_path):
    """If a checkpoint cannot be written, the previous one stays as it was.

    A limit on the size of files takes the place of a full disk.
    """
    run = [str(word) for word in small_run(corpus, tmp_path / "run")]
    command = [sys.executable, str(ROOT / "trainSpeakerNet.py"), *run]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    before = fingerprint(tmp_path / "run" / "model")
    limited = subprocess.run(
        [*command, "--max_epoch", "3"],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000)),
    )
    assert limited.returncode == 2
    assert "cannot be written" in limited.stderr
    assert "Traceback" not in limited.stderr
    assert fingerprint(tmp_path / "run" / "model") == before


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "empty"),
        ("1 a b\n", "want"),
        ("1 a b 0.5\n0 a c nan\n", "nan|NaN|finite"),
        ("1 a b 0.5\n0 a c high\n", "high"),
        ("1 a b 0.1\n1 a c 0.2\n", "target"),
        ("a b 0.5\n", "label"),
    ],
)
def test_scores_file(text, message, tmp_path, capsys):
    path = tmp_path / "scores.txt"
    path.write_text(text)
    assert tuneThreshold.main([str(path)]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and re.search(message, err), err


def test_synthetic_corpus_is_not_overwritten(corpus, capsys):
    before = fingerprint(corpus)
    assert dataprep.main(["--synthetic", str(corpus), "--speakers", "3"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert fingerprint(corpus) == before
