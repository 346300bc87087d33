"""What many tests share: a synthetic corpus, the program in this process, a small checkpoint."""

import os
from pathlib import Path

# See trainSpeakerNet.py.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import pytest
import torch
from loopback import server  # noqa: F401
from torch import nn

import dataprep
import trainSpeakerNet
from models import SpeakerModel

torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    """Move the tests that train in forks to the front.

    PyTorch cannot train in a fork of a process in which autograd has started threads. Gradients on
    the device "meta", which other tests compute, start such threads.
    """
    items.sort(key=lambda item: item.get_closest_marker("forks") is None)


class Tiny(SpeakerModel):
    """Two convolutions on waves [N, T], the mean over time, and embeddings [N, 16]."""

    dim = 16

    def __init__(self):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv1d(1, 24, 64, stride=32),
            nn.BatchNorm1d(24),
            nn.ReLU(),
            nn.Conv1d(24, 24, 5, stride=2),
            nn.BatchNorm1d(24),
            nn.ReLU(),
        )
        self.fc = nn.Linear(24, 16)

    def forward(self, x):
        return self.fc(self.conv(x.unsqueeze(1)).mean(-1))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """A folder with 8 training and 4 test speakers of the synthetic corpus.

    It contains wav/, train_list.txt and trials.txt.
    """
    folder = tmp_path_factory.mktemp("corpus")
    sizes = "--speakers 8 --files 6 --test_speakers 4 --trials 60"
    assert dataprep.main(["synthetic", str(folder), *sizes.split()]) in (0, None)
    return folder


@pytest.fixture
def program(capsys):
    """A function that runs trainSpeakerNet.py: program(*words) -> (exit code, stdout, stderr)."""

    def call(*words):
        capsys.readouterr()
        try:
            code = trainSpeakerNet.main([str(word) for word in words]) or 0
        except SystemExit as exit:
            code = exit.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def small_run(corpus: Path, save_path, *more):
    """The words of a training run that takes about a second."""
    options = {
        "train_list": corpus / "train_list.txt",
        "train_path": corpus / "wav",
        "test_list": corpus / "trials.txt",
        "test_path": corpus / "wav",
        "batch_size": 4,
        "nPerSpeaker": 2,
        "max_frames": 40,
        "eval_frames": 40,
        "num_eval": 2,
        "max_epoch": 2,
        "test_interval": 1,
        "nDataLoaderThread": 0,
        "nOut": 32,
        "device": "cpu",
        "save_path": save_path,
    }
    words = []
    for name, value in options.items():
        words += [f"--{name}", value]
    return [*words, *more]


@pytest.fixture(scope="session")
def checkpoint(corpus, tmp_path_factory):
    """last.model of a two-epoch ResNetSE34L run."""
    folder = tmp_path_factory.mktemp("trained")
    assert not trainSpeakerNet.main([str(word) for word in small_run(corpus, folder)])
    return folder / "model" / "last.model"
