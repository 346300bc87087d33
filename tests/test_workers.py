"""A loader process that ends, or that cannot hand over its batches, ends the run with one line.

A training saves before it ends.
"""

import errno
import mmap
import multiprocessing.connection
import os
import signal
import time
import types

import pytest
import torch
from test_distributed import checkpoint_of, close, processes, vector_run, vectors, weights
from test_embeddings import log_of

from common.errors import InputError
from corpus.embedding_datasets import EmbeddingDataset, EmbeddingEvalDataset
from corpus.loader_processes import workers_watched

assert vectors


def kill_workers(monkeypatch, number, dataset, is_deadly):
    """Makes a loader process of a data set send itself a signal at each item that is deadly."""
    read = dataset.__getitem__

    def deadly(self, item):
        if torch.utils.data.get_worker_info() and is_deadly(item):
            os.kill(os.getpid(), number)
        return read(self, item)

    monkeypatch.setattr(dataset, "__getitem__", deadly)


def close_files_and_end():
    """Ends a process as the system does: its files are closed before its exit code is known."""
    os.closerange(3, 1000)
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.forks
def test_a_connection_that_breaks_before_the_end_of_the_worker_is_known():
    worker = multiprocessing.get_context("fork").Process(target=close_files_and_end)
    worker.start()
    with (
        pytest.raises(InputError, match="SIGKILL"),
        workers_watched(types.SimpleNamespace(_workers=[worker])),
    ):
        multiprocessing.connection.wait([worker.sentinel], 10)
        raise ConnectionResetError


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


def is_in_validation(item):
    """The epoch of a validation batch is 0."""
    return item[0] == 0


IN_VALIDATION = (EmbeddingDataset, is_in_validation)
IN_TRIALS = (EmbeddingEvalDataset, lambda item: True)


@pytest.mark.forks
@pytest.mark.parametrize(
    "world, deadly",
    [
        (1, IN_TRIALS),
        pytest.param(2, IN_TRIALS, marks=pytest.mark.slow),
        pytest.param(2, IN_VALIDATION, marks=pytest.mark.slow),
    ],
)
def test_a_killed_worker_in_an_evaluation_saves_the_run(
    world, deadly, vectors, tmp_path, monkeypatch
):
    """The evaluation at the end of the epoch is repeated when the run resumes."""
    more = ["--test_interval", 1, "--max_epoch", 2]
    if deadly is IN_VALIDATION:
        more += ["--valid_list", vectors / "train.txt", "--valid_path", vectors]
    with monkeypatch.context() as context:

        def patch(rank):
            if rank == 0:
                kill_workers(context, signal.SIGKILL, *deadly)

        words = run_words(vectors, tmp_path / "run", *more)
        assert processes(world, *words, patch=patch) == [2] * world
    state = checkpoint_of(tmp_path / "run")
    assert (state["epoch"], state["position"]) == (1, state["step"]) and state["step"] > 1
    assert processes(world, *words) == [0] * world
    assert processes(world, *run_words(vectors, tmp_path / "whole", *more)) == [0] * world
    assert close(weights(tmp_path / "whole"), weights(tmp_path / "run"))
    errors = []
    for name in ("whole", "run"):
        errors.append([line["EER"] for line in log_of(tmp_path / name)])
    assert errors[0] == errors[1] and len(errors[0]) == 2


def test_a_killed_worker_ends_an_evaluation(vectors, tmp_path, program, monkeypatch):
    assert program(*run_words(vectors, tmp_path / "run", "--max_epoch", 1))[0] == 0
    kill_workers(monkeypatch, signal.SIGKILL, EmbeddingEvalDataset, lambda item: True)
    last = tmp_path / "run" / "model" / "last.model"
    words = ["--eval", "--initial_model", last, "--output", tmp_path / "scores.txt"]
    code, _, err = program(*words, "--test_list", vectors / "trials.txt", "--test_path", vectors)
    assert code == 2 and "SIGKILL" in err and "Traceback" not in err
    assert not (tmp_path / "scores.txt").exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EAGAIN])
def test_workers_that_cannot_be_started(number, vectors, tmp_path, program, monkeypatch):
    """Their queues are locked by files in the shared memory. The system may refuse a process."""

    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(torch.multiprocessing, "Queue", refuse)
    code, _, err = program(*run_words(vectors, tmp_path / "run"))
    assert code == 2 and err.count("\n") == 1
    assert "--nDataLoaderThread 2: the loader processes cannot be started" in err
    assert os.strerror(number) in err


def limit_shared_memory(monkeypatch, free):
    """Makes the system report `free` bytes of shared memory."""
    real = os.statvfs("/dev/shm")
    fields = [1, 1, free, free, free, *real[5:10], real.f_fsid]
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))


@pytest.mark.parametrize("batches, accumulate", [(6, 1), (7, 2)])
def test_too_little_shared_memory(batches, accumulate, vectors, tmp_path, program, monkeypatch):
    """Two batches of each of two processes must fit, those in use, and one on the way."""
    # Each of the five small tensors needs a page.
    size = 5 * mmap.PAGESIZE
    # The embeddings of the trials need more, so there are none.
    words = run_words(vectors, tmp_path / "run", "--test_list", "", "--accumulate", accumulate)
    limit_shared_memory(monkeypatch, batches * size - 1)
    code, _, err = program(*words)
    assert code == 2 and not (tmp_path / "run").exists()
    needed = f"{batches * size / 1e6:.1f}"
    assert f"--nDataLoaderThread 2: expected {needed} MB of free shared memory" in err
    assert "/dev/shm" in err and "--shm-size" in err and err.count("\n") == 1
    limit_shared_memory(monkeypatch, batches * size)
    assert program(*words)[0] == 0
    limit_shared_memory(monkeypatch, 0)
    assert program(*words, "--max_epoch", 4, "--nDataLoaderThread", 0)[0] == 0


def test_too_little_shared_memory_for_an_evaluation(vectors, tmp_path, program, monkeypatch):
    words = run_words(vectors, tmp_path / "run", "--max_epoch", 1)
    with monkeypatch.context() as patch:
        # 96 embeddings of 16 float32.
        limit_shared_memory(patch, 96 * 16 * 4 - 1)
        code, _, err = program(*words)
        assert code == 2 and "of free shared memory" in err
    assert program(*words)[0] == 0
    last = tmp_path / "run" / "model" / "last.model"
    words = ["--eval", "--initial_model", last, "--output", tmp_path / "scores.txt"]
    words += ["--test_list", vectors / "trials.txt", "--test_path", vectors]
    limit_shared_memory(monkeypatch, 96 * 16 * 4 - 1)
    code, _, err = program(*words)
    assert code == 2 and "of free shared memory" in err and err.count("\n") == 1
    limit_shared_memory(monkeypatch, 96 * 16 * 4)
    assert program(*words)[0] == 0


@pytest.mark.parametrize(
    "problem, message",
    [
        ("unable to allocate shared memory(shm) for file </torch_1_2_3>", "/dev/shm is full"),
        ("Too many open files (24)", "ulimit -n"),
    ],
)
def test_a_worker_that_cannot_hand_over(problem, message, vectors, tmp_path, program, monkeypatch):
    """It ends, and the main process does not wait for its batch for ever."""

    def fail(self):
        raise RuntimeError(problem)

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", fail)
    code, _, err = program(*run_words(vectors, tmp_path / "run"))
    assert code == 2 and message in err and err.strip().count("\n") == 0
