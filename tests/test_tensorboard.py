"""--tensorboard: the events equal the lines of log.jsonl, also after interruptions.

The tests also check the DET pictures, the embeddings, and the error without the package.
"""

import importlib.util
import json
import shutil
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import small_run

import trainSpeakerNet
from report import tensorboard as run_board
from report.tensorboard import write_trials

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None,
    reason="tensorboard is not installed (requirements-dev.txt)",
)
SMALL = ("--model", "ECAPA_TDNN", "--eca_c", 64, "--num_eval", 1)


def train(corpus, folder, *more):
    """Train a small network. Returns the exit code."""
    words = small_run(corpus, folder, "--tensorboard", *SMALL, *more)
    return trainSpeakerNet.main([str(word) for word in words])


def events(folder):
    """Read the events of a run as TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sizes = {"scalars": 0, "images": 0}
    return EventAccumulator(str(folder / "tensorboard"), size_guidance=sizes).Reload()


def scalars(folder):
    """Read the numbers in the events of a run: {name: [(step, value)]}."""
    found = events(folder)
    numbers = {}
    for name in found.Tags()["scalars"]:
        numbers[name] = [(event.step, event.value) for event in found.Scalars(name)]
    return numbers


def logged(folder):
    """Read the numbers in log.jsonl of a run: {name: [(step, value)]}."""
    numbers = {}
    for text in (folder / "log.jsonl").read_text().splitlines():
        line = json.loads(text)
        step = line.pop("step")
        for name, value in line.items():
            numbers.setdefault(name, []).append((step, pytest.approx(value, rel=1e-5)))
    return numbers


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("board") / "run"
    assert train(corpus, folder, "--eval_first") in (0, None)
    return folder


@needs_tensorboard
def test_scalars_equal_the_log(trained):
    assert scalars(trained) == logged(trained)
    assert {"loss", "lr", "utt_per_s", "EER", "minDCF", "epoch"} <= {*scalars(trained)}


@needs_tensorboard
def test_det_pictures(trained):
    found = events(trained).Images("DET")
    assert [picture.step for picture in found] == [step for step, _ in scalars(trained)["EER"]]
    assert len(found) == 3
    assert found[0].encoded_image_string[1:4] == b"PNG"
    assert min(found[0].width, found[0].height) > 400


@needs_tensorboard
def test_embeddings_of_the_projector(trained, corpus):
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    board = trained / "tensorboard"
    text = (board / "projector_config.pbtxt").read_text()
    (entry,) = text_format.Parse(text, ProjectorConfig()).embeddings
    vectors = np.loadtxt(board / entry.tensor_path)
    header, *names = (board / entry.metadata_path).read_text().splitlines()
    files = set()
    for line in (corpus / "trials.txt").read_text().splitlines():
        files |= {*line.split()[1:]}
    assert header == "speaker\tfile"
    assert {name.split("\t")[1] for name in names} == files
    assert vectors.shape == (len(files), 32)


@pytest.fixture
def copied(trained, tmp_path):
    """A copy of the run, which a test resumes."""
    return shutil.copytree(trained, tmp_path / "run")


@needs_tensorboard
def test_a_resumed_run_has_no_step_twice(corpus, copied):
    """A run that was killed after the events and before the log repeats the epoch.

    The events of the repeated epoch replace the earlier events.
    """
    board = run_board.open_board(copied)
    for step in (14, 500):
        run_board.write_line(board, {"step": step, "loss": -1.0})
    board.close()
    assert len(scalars(copied)["loss"]) == 4
    assert train(corpus, copied, "--max_epoch", 3) in (0, None)
    assert scalars(copied) == logged(copied)
    assert len(scalars(copied)["loss"]) == 3
    assert len(events(copied).Images("DET")) == 4


@needs_tensorboard
def test_stopped_between_events_and_log(corpus, copied, monkeypatch):
    original = run_board.write_line

    def interrupted(board, line):
        original(board, line)
        raise KeyboardInterrupt

    monkeypatch.setattr(run_board, "write_line", interrupted)
    assert train(corpus, copied, "--max_epoch", 3) == 130
    assert len(scalars(copied)["loss"]) == 3
    assert len(logged(copied)["loss"]) == 2
    monkeypatch.undo()
    assert train(corpus, copied, "--max_epoch", 3) in (0, None)
    assert scalars(copied) == logged(copied)
    assert len(scalars(copied)["loss"]) == 3


@needs_tensorboard
def test_the_option_given_later_writes_the_whole_log(corpus, copied):
    shutil.rmtree(copied / "tensorboard")
    assert train(corpus, copied, "--no-tensorboard") in (0, None)
    assert not (copied / "tensorboard").exists()
    assert train(corpus, copied) in (0, None)
    assert scalars(copied) == logged(copied)
    assert len(scalars(copied)["loss"]) == 2


def test_many_files_and_frames(tmp_path):
    """At most a thousand embeddings are written, and none for representations with frames.

    Trials without labels have no DET picture.
    """
    board = SimpleNamespace(log_dir=tmp_path)
    frames = {f"a/{i}.wav": torch.zeros(2, 8, 5) for i in range(3)}
    write_trials(board, 1, None, frames, 0)
    assert not any(tmp_path.iterdir())
    vectors = {f"a/{i}.wav": torch.full((2, 4), float(i)) for i in range(2500)}
    write_trials(board, 1, None, vectors, 0)
    lines = (tmp_path / "embeddings" / "tensors.tsv").read_text().splitlines()
    # Every third of the 2,500 files.
    assert len(lines) == 834


def test_without_the_package(corpus, tmp_path, program, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, _, err = program(*small_run(corpus, tmp_path / "run", "--tensorboard"))
    assert code == 2
    assert "pip install -r requirements-optional.txt" in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()
