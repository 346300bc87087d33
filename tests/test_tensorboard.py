"""--tensorboard: what is in the events is what is in log.jsonl, after interruptions too; DET pictures, embeddings; the error without the package."""

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
from report import tensorboard as board_of
from report.tensorboard import write_trials

needs_tensorboard = pytest.mark.skipif(
    importlib.util.find_spec("tensorboard") is None,
    reason="tensorboard is not installed (requirements-dev.txt)",
)
SMALL = ("--model", "ECAPA_TDNN", "--eca_c", 64, "--num_eval", 1)


def run(corpus, folder, *more):
    assert trainSpeakerNet.main(
        [str(word) for word in small_run(corpus, folder, "--tensorboard", *SMALL, *more)]
    ) in (0, None)


def events(folder):
    """As TensorBoard reads them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(
        str(folder / "tensorboard"), size_guidance={"scalars": 0, "images": 0}
    ).Reload()


def scalars(folder):
    found = events(folder)
    return {
        name: [(event.step, event.value) for event in found.Scalars(name)]
        for name in found.Tags()["scalars"]
    }


def logged(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    names = {name for line in lines for name in line} - {"step"}
    return {
        name: [
            (line["step"], pytest.approx(line[name], rel=1e-5)) for line in lines if name in line
        ]
        for name in names
    }


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    folder = tmp_path_factory.mktemp("board") / "run"
    run(corpus, folder, "--eval_first")
    return folder


@needs_tensorboard
def test_scalars_are_those_of_the_log(trained):
    assert scalars(trained) == logged(trained)
    assert {"loss", "lr", "utt_per_s", "EER", "minDCF", "epoch"} <= {*scalars(trained)}


@needs_tensorboard
def test_det_pictures_and_embeddings(trained, corpus):
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    found = events(trained).Images("DET")
    assert [picture.step for picture in found] == [
        step for step, _ in scalars(trained)["EER"]
    ] and len(found) == 3
    assert (
        found[0].encoded_image_string[1:4] == b"PNG" and min(found[0].width, found[0].height) > 400
    )
    config = text_format.Parse(
        (trained / "tensorboard" / "projector_config.pbtxt").read_text(), ProjectorConfig()
    )
    (entry,) = config.embeddings
    vectors = np.loadtxt(trained / "tensorboard" / entry.tensor_path)
    header, *names = (trained / "tensorboard" / entry.metadata_path).read_text().splitlines()
    files = {
        word
        for line in (corpus / "trials.txt").read_text().splitlines()
        for word in line.split()[1:]
    }
    assert (
        header == "speaker\tfile"
        and {name.split("\t")[1] for name in names} == files
        and vectors.shape == (len(files), 32)
    )


@pytest.fixture
def copied(trained, tmp_path):
    """The run, to go on with."""
    return shutil.copytree(trained, tmp_path / "run")


@needs_tensorboard
def test_going_on_has_no_step_twice(corpus, copied):
    """What is in the events and not in the log, as after a kill between the two, is done again and is there once."""
    board = board_of.open_board(copied)
    for step in (14, 500):
        board_of.write_line(board, {"step": step, "loss": -1.0})
    board.close()
    assert len(scalars(copied)["loss"]) == 4
    run(corpus, copied, "--max_epoch", 3)
    assert scalars(copied) == logged(copied) and len(scalars(copied)["loss"]) == 3
    assert len(events(copied).Images("DET")) == 4


@needs_tensorboard
def test_stopped_between_events_and_log(corpus, copied, monkeypatch):
    original = board_of.write_line

    def interrupted(board, line):
        original(board, line)
        raise KeyboardInterrupt

    monkeypatch.setattr(board_of, "write_line", interrupted)
    words = small_run(corpus, copied, "--tensorboard", *SMALL, "--max_epoch", 3)
    assert trainSpeakerNet.main([str(word) for word in words]) == 130
    assert len(scalars(copied)["loss"]) == 3 and len(logged(copied)["loss"]) == 2
    monkeypatch.undo()
    run(corpus, copied, "--max_epoch", 3)
    assert scalars(copied) == logged(copied) and len(scalars(copied)["loss"]) == 3


@needs_tensorboard
def test_turned_on_later_it_has_the_whole_log(corpus, copied):
    shutil.rmtree(copied / "tensorboard")
    run(corpus, copied, "--no-tensorboard")
    assert not (copied / "tensorboard").exists()
    run(corpus, copied)
    assert scalars(copied) == logged(copied) and len(scalars(copied)["loss"]) == 2


def test_many_files_and_frames(tmp_path):
    """At most a thousand embeddings; representations that keep frames are left alone, and so are trials without labels."""
    board = SimpleNamespace(log_dir=tmp_path)
    write_trials(board, 1, None, {f"a/{i}.wav": torch.zeros(2, 8, 5) for i in range(3)}, 0)
    assert not any(tmp_path.iterdir())
    write_trials(
        board, 1, None, {f"a/{i}.wav": torch.full((2, 4), float(i)) for i in range(2500)}, 0
    )
    assert len((tmp_path / "embeddings" / "tensors.tsv").read_text().splitlines()) == 834


def test_without_the_package(corpus, tmp_path, program, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    code, _, err = program(*small_run(corpus, tmp_path / "run", "--tensorboard"))
    assert (
        code == 2 and "pip install -r requirements-optional.txt" in err and "Traceback" not in err
    )
    assert not (tmp_path / "run").exists()
