"""A loader process that ends, or that cannot hand over its batches, ends the run with one line.

A training saves before it ends.
"""

import os
import signal
import time

import pytest
import torch
from test_distributed import checkpoint_of, close, processes, vector_run, vectors, weights

from corpus.embedding_datasets import EmbeddingDataset, EmbeddingEvalDataset

assert vectors


def kill_workers(monkeypatch, number, dataset, is_deadly):
    """Makes a loader process of a data set send itself a signal at each item that is deadly."""
    read = dataset.__getitem__

    def deadly(self, item):
        if torch.utils.data.get_worker_info() and is_deadly(item):
            os.kill(os.getpid(), number)
        return read(self, item)

    monkeypatch.setattr(dataset, "__getitem__", deadly)


def in_second_epoch(item):
    return item[0] == 2


def run_words(vectors, save_path, *more):
    sizes = ["--batch_size", 4, "--test_interval", 100, "--nDataLoaderThread", 2]
    return vector_run(vectors, save_path, "softmax", *sizes, *more)


@pytest.mark.parametrize(
    "number, cause",
    [(signal.SIGKILL, "when the memory is full"), (signal.SIGSEGV, "damaged file")],
)
def test_a_killed_worker_saves_the_run(number, cause, vectors, tmp_path, program, monkeypatch):
    """The run is saved after its last update. It resumes as if nothing had happened."""
    with monkeypatch.context() as patch:
        kill_workers(patch, number, EmbeddingDataset, in_second_epoch)
        start = time.monotonic()
        code, out, err = program(*run_words(vectors, tmp_path / "run"))
        assert time.monotonic() - start < 10
    assert code == 2
    (line,) = [line for line in err.splitlines() if line.strip()]
    name = signal.Signals(number).name
    assert line.startswith("error: --nDataLoaderThread 2: a loader process was ended by signal ")
    assert f"({name})" in line and cause in line
    step = checkpoint_of(tmp_path / "run")["step"]
    assert step > 1 and f"Saved at step {step}." in out
    code, out, err = program(*run_words(vectors, tmp_path / "run"))
    assert code == 0 and f"step {step}." in out
    assert program(*run_words(vectors, tmp_path / "whole"))[0] == 0
    whole = weights(tmp_path / "whole")
    resumed = weights(tmp_path / "run")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_killed_worker_of_one_process_saves_the_run_of_all(vectors, tmp_path, monkeypatch):
    with monkeypatch.context() as context:

        def patch(rank):
            if rank == 1:
                kill_workers(context, signal.SIGKILL, EmbeddingDataset, in_second_epoch)

        assert processes(2, *run_words(vectors, tmp_path / "run"), patch=patch) == [2, 2]
    assert checkpoint_of(tmp_path / "run")["step"] > 0
    assert processes(2, *run_words(vectors, tmp_path / "run")) == [0, 0]
    assert processes(2, *run_words(vectors, tmp_path / "whole")) == [0, 0]
    assert close(weights(tmp_path / "whole"), weights(tmp_path / "run"))


def test_a_killed_worker_ends_an_evaluation(vectors, tmp_path, program, monkeypatch):
    assert program(*run_words(vectors, tmp_path / "run", "--max_epoch", 1))[0] == 0
    kill_workers(monkeypatch, signal.SIGKILL, EmbeddingEvalDataset, lambda item: True)
    last = tmp_path / "run" / "model" / "last.model"
    words = ["--eval", "--initial_model", last, "--output", tmp_path / "scores.txt"]
    code, _, err = program(*words, "--test_list", vectors / "trials.txt", "--test_path", vectors)
    assert code == 2 and "SIGKILL" in err and "Traceback" not in err
    assert not (tmp_path / "scores.txt").exists()
