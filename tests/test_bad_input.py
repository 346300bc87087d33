"""Errors that users see.

Each message is one line with the place, what was expected, what was found and what to do. Names of
weights follow in lines of their own. The exit code is 2, there is no traceback, and no file is
lost.
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
from network.components import build_model

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


LFS_POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a21\nsize 132735\n"


def weights_of(w, model, **options):
    """A file with the bare weights of a model, as others publish them."""
    path = w.folder / "weights.model"
    torch.save(build_model(model, **options).state_dict(), path)
    return path


def same_speakers(w):
    """The training of the checkpoint in a copy of its run folder."""
    shutil.copytree(w.checkpoint.parent.parent, w.folder / "run")
    return w.train()


def other_speakers(w):
    """A training with other speakers in the run folder of the checkpoint."""
    shutil.copytree(w.checkpoint.parent.parent, w.folder / "run")
    return w.train(text="\n".join(w.lines[6:]))


# What goes wrong -> (a function that prepares it and returns the command line, the error).
CASES = {
    # The train list
    "train list missing": (
        lambda w: w.train("--train_list", w.folder / "no.txt"),
        r"^error: --train_list \S*no\.txt: there is no such file\. Check the path\.$",
    ),
    "train list empty": (lambda w: w.train(text=""), r"train\.txt.*empty"),
    "train list of one column": (
        lambda w: w.train(text="\n".join([*w.lines[:3], "id001", *w.lines[3:]])),
        r"train\.txt:4: expected '<speaker> <file>', found 'id001'",
    ),
    "train list of three columns": (
        lambda w: w.train(text=w.lines[0] + "\n" + w.lines[1] + " 7"),
        r"train\.txt:2: expected '<speaker> <file>'",
    ),
    "train list of bytes": (
        lambda w: w.train(text=b"id1 a.wav\n\xff\xfe\x00 b.wav\n"),
        r"train\.txt.*(UTF-8|utf-8)",
    ),
    "train list not given": (lambda w: ["--save_path", w.folder / "run"], r"--train_list"),
    "train list is a folder": (
        lambda w: w.train("--train_list", w.folder),
        r"^error: --train_list \S+: expected a file, found a folder\.$",
    ),
    "train list is a folder, other spelling": (
        lambda w: w.train("--train_labels_path", w.folder),
        r"^error: --train_labels_path \S+: expected a file, found a folder\.$",
    ),
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
        r"^error: --test_list \S*no\.txt: there is no such file\. Check the path\.$",
    ),
    "trial list empty": (lambda w: w.test(""), r"trials\.txt.*empty"),
    "trial of four columns": (
        lambda w: w.test(w.trials[0] + "\n" + w.trials[1] + " x"),
        r"trials\.txt:2: expected '1\|0 <file> <file>'",
    ),
    "trial with label 2": (
        lambda w: w.test(w.trials[0] + "\n" + "2" + w.trials[1][1:]),
        r"trials\.txt:2: expected '1\|0 <file> <file>'",
    ),
    "trials labelled and not": (
        lambda w: w.test(w.trials[0] + "\n" + w.trials[1][2:]),
        r"trials\.txt:2: expected '1\|0 <file> <file>'",
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
        r"^error: --lr: expected a number, found 'fast'\.$",
    ),
    "option out of range": (
        lambda w: w.train("--batch_size", 0),
        r"^error: --batch_size: expected at least 1, found 0\.$",
    ),
    "option out of range, other spelling": (
        lambda w: w.train("--num_utt", 0),
        r"^error: --num_utt: expected at least 1, found 0\.$",
    ),
    "option out of range, other spelling in a config": (
        lambda w: w.config("nSpeakers: 0\n"),
        r"^error: \S*options\.yaml: nSpeakers: expected at least 1, found 0\.$",
    ),
    "option refused later, other spelling": (
        lambda w: w.train("--num_utt", 7),
        r"--num_utt\b(?!.*--nPerSpeaker)",
    ),
    "option refused later, other spelling in a config": (
        lambda w: w.config("num_utt: 7\n"),
        r"--num_utt\b(?!.*--nPerSpeaker)",
    ),
    "option of the wrong type, other spelling": (
        lambda w: w.train("--learning_rate", "fast"),
        r"^error: --learning_rate: expected a number, found 'fast'\.$",
    ),
    "flag with a value": (
        lambda w: w.train("--log_input", "True"),
        r"^error: --log_input: expected no value because this is a flag, found 'True'\. Write "
        r"--log_input or --no-log_input\.$",
    ),
    "option without value": (
        lambda w: [*w.train(), "--lr"],
        r"^error: --lr: expected a value, found none\.$",
    ),
    "blank after a backslash": (
        lambda w: [*w.train("--max_frames", 50), " "],
        r"^error: found a blank word after --max_frames 50\. Probably there is a blank after a "
        r"backslash at the end of a line\. Remove this blank\.$",
    ),
    "word before all options": (
        lambda w: ["train", *w.train()],
        r"^error: expected an option, found 'train'\.",
    ),
    "word too many": (
        lambda w: w.train("--seed", 1, "extra"),
        r"^error: --seed: expected one value \(1\), found also 'extra'\. Remove 'extra'\.$",
    ),
    "model unknown": (
        lambda w: w.train("--model", "ResNetSE35L"),
        r"^error: --model: expected one of .*, found 'ResNetSE35L'\. Did you mean ResNetSE34L\?$",
    ),
    "word that is not the name of a model": (
        lambda w: w.train("--front_end", "xyz"),
        r"^error: --front_end: expected one of .*ResNetSE34L.*, found 'xyz'\.$",
    ),
    "loss unknown": (
        lambda w: w.train("--trainfunc", "hinge"),
        r"--trainfunc.*softmaxproto.*'hinge'",
    ),
    "pooling unknown": (lambda w: w.train("--encoder_type", "MEAN"), r"--encoder_type.*'MEAN'"),
    "device not there": (lambda w: w.train("--device", "cuda:77"), r"--device cuda:77"),
    "device of nonsense": (lambda w: w.train("--device", "toaster"), r"--device toaster"),
    "--config without a file": (
        lambda w: [*w.train(), "--config"],
        r"--config: expected a file after it",
    ),
    "config missing": (lambda w: w.train("--config", w.folder / "no.yaml"), r"no\.yaml"),
    "config is a folder": (
        lambda w: w.train("--config", w.folder),
        r"^error: --config \S+: expected a YAML file, found a folder\.$",
    ),
    "config empty": (lambda w: w.config(""), r"options\.yaml.*nothing"),
    "config not a mapping": (
        lambda w: w.config("- lr\n- 0.1\n"),
        r"options\.yaml: expected lines 'option: value', found list",
    ),
    "config not YAML": (lambda w: w.config("lr: [0.1\nseed: 1"), r"options\.yaml.*not YAML.*line"),
    "config with an unknown key": (
        lambda w: w.config("nPerSpeakr: 2\n"),
        r"^error: \S*options\.yaml: nPerSpeakr: unknown option\. Did you mean nPerSpeaker\?$",
    ),
    "config with the wrong type": (
        lambda w: w.config("lr: fast\n"),
        r"^error: \S*options\.yaml: lr: expected a number, found 'fast'\.$",
    ),
    "config with a word for a flag": (
        lambda w: w.config("mixedprec: sometimes\n"),
        r"options\.yaml: mixedprec: expected true or false, found 'sometimes'\.",
    ),
    "config with a flag for a number": (
        lambda w: w.config("lr: true\n"),
        r"options\.yaml: lr: expected one value.*found True\.",
    ),
    "config with a list for a number": (
        lambda w: w.config("lr: [1, 2]\n"),
        r"options\.yaml: lr: expected one value",
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
        r"code\.model: expected a checkpoint.*No code of this file was run\.",
    ),
    "pickle with code in it": (
        lambda w: w.evaluate(model=w.write("code.model", pickle.dumps({"model": Code()}))),
        r"code\.model: cannot be read",
    ),
    "checkpoint is a run folder": (
        lambda w: w.evaluate(model=w.checkpoint.parent.parent),
        r"^error: --initial_model (\S+): expected a checkpoint, found a folder\. Give "
        r"\1/model/last\.model or \1/model/best\.model\.$",
    ),
    "checkpoint is another folder": (
        lambda w: w.evaluate(model=w.folder),
        r"^error: --initial_model \S+: expected a checkpoint, found a folder\. Give a file\.$",
    ),
    "checkpoint is a Git LFS pointer": (
        lambda w: w.evaluate(model=w.write("lfs.model", LFS_POINTER)),
        r"lfs\.model: expected a checkpoint, found a Git LFS pointer.*`git lfs pull`",
    ),
    "checkpoint is a web page": (
        lambda w: w.evaluate(model=w.write("page.model", "\n<!DOCTYPE html>\n<html></html>\n")),
        r"page\.model: expected a checkpoint, found an HTML page\. Download the file itself",
    ),
    "checkpoint is empty": (
        lambda w: w.evaluate(model=w.write("empty.model", "")),
        r"empty\.model: expected a checkpoint, found an empty file\.",
    ),
    "published checkpoint without --model": (
        lambda w: w.use("--eval", *w.trials_of_corpus(), model=weights_of(w, "VGG4L", nOut=24)),
        r"ResNetSE34L was assumed because no --model was given\. All shapes fit with --model VGG4L "
        r"--nOut 24\. Give these options\.(\n  .*){10}\n  and \d+ more\n$",
    ),
    "published checkpoint with another pooling": (
        lambda w: w.evaluate(
            *("--model", "ResNetSE34L"),
            model=weights_of(w, "ResNetSE34L", encoder_type="ASP"),
        ),
        r"\(names: 1 misshaped\)\. All shapes fit with --encoder_type ASP\. Give this option\.\n"
        r"  misshaped: model\.fc\.weight, \[512, 256\] in the file, \[512, 128\] here\n$",
    ),
    "published checkpoint of another size": (
        lambda w: w.evaluate(
            *("--model", "ResNetSE34L", "--pooling_type", "SAP"),
            model=weights_of(w, "ResNetSE34L", nOut=48),
        ),
        r"All shapes fit with --nOut 48\. Give this option\.",
    ),
    "checkpoint of another model": (
        lambda w: w.evaluate("--model", "ECAPA_TDNN"),
        r"--model ECAPA_TDNN contradicts .*--model ResNetSE34L\. Leave --model out to use the "
        r"network of the checkpoint\.$",
    ),
    "checkpoint of another size": (
        lambda w: w.evaluate("--nOut", 64),
        r"--nOut 64 contradicts .*--nOut 32",
    ),
    "checkpoint of another size, other spelling": (
        lambda w: w.evaluate("--embedding_size", 64),
        r"--embedding_size 64 contradicts .*--embedding_size 32\. Leave --embedding_size out",
    ),
    "checkpoint of other weights": (
        lambda w: w.train("--initial_model", published(w), "--model", "ECAPA_TDNN"),
        r"missing: .*\n.*and \d+ more",
    ),
    "nothing fits, --partial": (
        lambda w: w.train("--initial_model", nonsense(w), "--partial"),
        r"no weight fits the network",
    ),
    "run folder of other speakers": (
        other_speakers,
        r"last\.model: this run was trained on other speakers",
    ),
    "run folder of another model": (
        lambda w: [*other_speakers(w), "--model", "ECAPA_TDNN"],
        r"--model ECAPA_TDNN contradicts \S*last\.model, which was trained with --model ResNetSE34L"
        r"\. To resume this run, give --model ResNetSE34L\. To start a new run, give a new "
        r"--save_path\.$",
    ),
    "run folder of another loss": (
        lambda w: [*same_speakers(w), "--trainfunc", "softmax"],
        r"was trained with --trainfunc softmaxproto\. .*To start a new run, give a new --save_path",
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
        r"^error: --save_path \S*/file/run/model: Not a directory\. Check the path\.$",
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
        ("1 a b\n", "expected"),
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
