"""--batch_size auto, and the measurement of memory that it is based on."""

import subprocess
import sys
import types

import pytest
import torch
import yaml
from conftest import small_run
from pages import ROOT

from network.checkpoints import read_checkpoint
from training import memory

PEAKS = """
import torch
from training import memory

kept = torch.zeros(10**6)
for size in (20, 80):
    print(memory.peak_memory(torch.device("cpu"), lambda: torch.ones(size * 10**6 // 4)))
"""


def test_peak_memory():
    """In a new process, because freed memory of other tests would be used again."""
    command = [sys.executable, "-c", PEAKS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert [float(line) for line in done.stdout.split()] == pytest.approx([20, 80], abs=8)


class Machine:
    """A device on which an update of n rows needs 100 + 10 n MB.

    Updates that need more than `limit` MB run out of memory. tried: rows of all updates.
    """

    def __init__(self, monkeypatch, free, limit=10**9, device="cuda"):
        self.device = torch.device(device)
        self.limit = limit
        self.tried = []
        monkeypatch.setattr(memory, "update", self.update)
        monkeypatch.setattr(memory, "peak_memory", lambda _, work: 100 + 10 * work())
        monkeypatch.setattr(memory, "free_memory", lambda _: free)

    def update(self, trainer, row, rows):
        self.tried.append(rows)
        if 100 + 10 * rows > self.limit:
            raise torch.OutOfMemoryError
        return rows

    def largest(self, most):
        return memory.largest_batch(types.SimpleNamespace(device=self.device), {}, most)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "free, most, expected",
    [
        (10_000, 5000, 840),
        (10_000, 500, 500),
        (10_000, 21, 21),
        (10_000, 5, 5),
        (500, 5000, 32),
        (100, 5000, 24),
    ],
)
def test_largest_batch(free, most, expected, device, monkeypatch):
    machine = Machine(monkeypatch, free, device=device)
    assert machine.largest(most) == expected
    assert machine.tried[3:] == ([expected] if device == "cuda" and expected > 24 else [])


def test_a_batch_that_runs_out_of_memory_is_not_chosen(monkeypatch):
    machine = Machine(monkeypatch, 10_000, limit=8000)
    assert machine.largest(5000) == 752
    assert machine.tried[-2:] == [840, 756]


def test_from_the_command_line(corpus, tmp_path, program):
    words = [word for word in small_run(corpus, tmp_path) if word != "--batch_size"]
    words.remove(4)
    code, out, err = program(*words, "--batch_size", "auto", "--max_epoch", 1)
    # The corpus has 8 speakers, so the batch has all of them.
    assert code == 0, err
    assert "--batch_size auto: 8 speakers per batch in each process" in out
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["batch_size"] == 8
    code, out, _ = program(*words, "--batch_size", "auto", "--max_epoch", 2)
    assert code == 0
    assert "Resuming" in out
    assert "--max_epoch was " in out
    assert "--batch_size" not in out
    assert program(*small_run(corpus, tmp_path / "number"), "--batch_size", 8)[0] == 0
    auto = read_checkpoint(tmp_path / "model" / "last.model")["model"]
    number = read_checkpoint(tmp_path / "number" / "model" / "last.model")["model"]
    for name, value in number.items():
        assert torch.equal(value, auto[name]), name


def test_what_auto_refuses(corpus, tmp_path, program):
    words = small_run(corpus, tmp_path / "other")
    code, _, err = program(*words, "--batch_size", "auto", "--num_spk", 2)
    assert code == 2
    assert "with --num_spk" in err
    assert not (tmp_path / "other").exists()
    code, _, err = program(*words, "--batch_size", "all")
    assert code == 2
    assert "--batch_size" in err
    assert "'all'" in err
