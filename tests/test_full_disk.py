"""A full disk: the error names the file. /dev/full is a device without free space."""

import errno
from types import SimpleNamespace

import numpy as np
import pytest

import dataprep
import tuneThreshold
from common.errors import InputError, file_problem
from metrics.rates import summarize
from report.curves import save_images
from report.det import plot_det
from report.tensorboard import write_line
from training.run_folder import RunFolder


def write_log_line(folder):
    """Writes a line of the log of a run."""
    RunFolder.write_log(SimpleNamespace(path=folder, board=None), {"epoch": 1}, "")


def draw_curves(folder):
    """Writes the picture of a training."""
    from matplotlib.figure import Figure

    save_images(Figure(), folder / "curves")


def draw_det(folder):
    """Writes the picture of a DET curve."""
    summary = summarize(np.array([0.0, 1, 2, 3]), np.array([0, 1, 0, 1]) > 0)
    plot_det(folder / "det.png", {"system": summary.curves})


def test_folder_of_tensorboard_is_named(tmp_path):
    """The names of the files in this folder contain the time, so the folder is named."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    board = SimpleNamespace(log_dir=str(tmp_path), add_scalar=full, flush=full)
    for line in ({"step": 1}, {"step": 1, "loss": 2.0}):
        with pytest.raises(OSError) as caught:
            write_line(board, line)
        assert caught.value.filename == str(tmp_path)


PICTURES = {"curves.png": draw_curves, "curves.svg": draw_curves, "det.png": draw_det}


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_named(name, tmp_path):
    (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(InputError) as caught:
        PICTURES[name](tmp_path)
    expected = f"{tmp_path / name}: the result cannot be written (No space left on device)."
    assert str(caught.value).startswith(expected)


def test_log_is_named(tmp_path, monkeypatch, capsys):
    name = "log.jsonl"
    (tmp_path / name).symlink_to("/dev/full")
    with pytest.raises(OSError) as caught:
        write_log_line(tmp_path)
    assert caught.value.filename == str(tmp_path / name)
    assert caught.value.errno == errno.ENOSPC
    assert file_problem(caught.value).startswith("No space left on device. Free some space")
    # The same error in a command of dataprep.py.
    command = SimpleNamespace(run=lambda _: write_log_line(tmp_path))
    monkeypatch.setattr(dataprep, "parse_command", lambda _: (command, None))
    assert dataprep.main([]) == 2
    assert f"error: {tmp_path}/{name}: No space left on device. Free" in capsys.readouterr().err


def test_the_remedy_of_tune_threshold_is_space(tmp_path, capsys):
    (tmp_path / "scores.txt").write_text("1 a b 0.9\n0 a c 0.1\n1 b c 0.7\n0 b d 0.2\n")
    image = tmp_path / "det.png"
    image.symlink_to("/dev/full")
    assert tuneThreshold.main([str(tmp_path / "scores.txt"), "--det", str(image)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {image}: the result cannot be written (No space left on device)")
