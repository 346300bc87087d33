"""--batch_size auto, and what it measures with."""

import types

import pytest
import torch
import yaml
from conftest import small_run

from network.checkpoints import read_checkpoint
from training import memory


@pytest.mark.parametrize("size", [20, 80])
def test_taken(size):
    kept = torch.zeros(10**6)
    assert memory.taken(
        torch.device("cpu"), lambda: torch.ones(size * 10**6 // 4)
    ) == pytest.approx(size, abs=8)
    assert kept.sum() == 0


class Machine:
    """Updates of n rows take 100 + 10 n MB; those that take more than `breaks` fail."""

    def __init__(self, monkeypatch, free, breaks=10**9, device="cuda"):
        self.device, self.breaks, self.tried = torch.device(device), breaks, []
        monkeypatch.setattr(memory, "update", self.update)
        monkeypatch.setattr(memory, "taken", lambda _, work: 100 + 10 * work())
        monkeypatch.setattr(memory, "free", lambda _: free)

    def update(self, trainer, row, rows):
        self.tried.append(rows)
        if 100 + 10 * rows > self.breaks:
            raise torch.OutOfMemoryError
        return rows

    def largest(self, most):
        return memory.largest_batch(types.SimpleNamespace(device=self.device), {}, most)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize(
    "free, most, want",
    [
        (10_000, 5000, 840),
        (10_000, 500, 500),
        (10_000, 21, 21),
        (10_000, 5, 5),
        (500, 5000, 32),
        (100, 5000, 24),
    ],
)
def test_largest_batch(free, most, want, device, monkeypatch):
    machine = Machine(monkeypatch, free, device=device)
    assert machine.largest(most) == want
    assert machine.tried[3:] == ([want] if device == "cuda" and want > 24 else [])


def test_what_fails_is_not_taken(monkeypatch):
    machine = Machine(monkeypatch, 10_000, breaks=8000)
    assert machine.largest(5000) == 752 and machine.tried[-2:] == [840, 756]


def test_from_the_command_line(corpus, tmp_path, program):
    words = [word for word in small_run(corpus, tmp_path) if word != "--batch_size"]
    words.remove(4)
    code, out, _ = program(*words, "--batch_size", "auto", "--max_epoch", 1)
    # all there are
    assert code == 0 and "--batch_size auto: 8 speakers in each process" in out
    assert yaml.safe_load((tmp_path / "config.yaml").read_text())["batch_size"] == 8
    code, out, _ = program(*words, "--batch_size", "auto", "--max_epoch", 2)
    assert (
        code == 0
        and "going on with" in out
        and "changed since: --max_epoch" in out
        and "--batch_size" not in out
    )
    state = read_checkpoint(tmp_path / "model" / "last.model")["model"]
    assert program(*small_run(corpus, tmp_path / "number"), "--batch_size", 8)[0] == 0
    assert all(
        torch.equal(value, state[name])
        for name, value in read_checkpoint(tmp_path / "number" / "model" / "last.model")[
            "model"
        ].items()
    )
    code, _, err = program(
        *small_run(corpus, tmp_path / "other"), "--batch_size", "auto", "--num_spk", 2
    )
    assert code == 2 and "with --num_spk" in err and not (tmp_path / "other").exists()
    code, _, err = program(*small_run(corpus, tmp_path / "other"), "--batch_size", "all")
    assert code == 2 and "--batch_size" in err and "'all'" in err
