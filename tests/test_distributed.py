"""Several processes train, evaluate and extract as one does; a process that fails ends the others; torchrun starts them too."""

import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import small_run
from kill_resume import equal

import trainSpeakerNet
from SpeakerNet import Trainer

ROOT = Path(__file__).parent.parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def as_rank(rank, world, port, words, patch):
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    if patch:
        patch(rank)
    with open(os.devnull, "w") as nowhere:
        sys.stdout = sys.stderr = nowhere
        os._exit(trainSpeakerNet.main(words) or 0)


def processes(world, *words, patch=None):
    """Runs the program in forks of this process, which know each other as under torchrun -> their exit codes."""
    context, port = multiprocessing.get_context("fork"), free_port()
    runs = [
        context.Process(
            target=as_rank, args=(rank, world, port, [str(word) for word in words], patch)
        )
        for rank in range(world)
    ]
    for run in runs:
        run.start()
    for run in runs:
        run.join(120)
        run.kill()
    return [run.exitcode for run in runs]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Embeddings of 12 speakers, 8 each, a train list and trials."""
    folder, draw = tmp_path_factory.mktemp("vectors"), np.random.default_rng(0)
    names = [f"id{speaker:02d}/{i}.npy" for speaker in range(12) for i in range(8)]
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(
            folder / name,
            (draw.standard_normal((1, 16)) + np.eye(16)[i // 8] * 3).astype(np.float32),
        )
        np.save(folder / name.partition("/")[0], np.eye(16, dtype=np.float32)[i // 8])
    (folder / "train.txt").write_text("".join(f"{name[:4]} {name}\n" for name in names))
    (folder / "trials.txt").write_text(
        "".join(f"{int(a[:4] == b[:4])} {a} {b}\n" for a, b in zip(names, names[1:], strict=False))
    )
    return folder


def vector_run(folder, save_path, loss, *more):
    """A network without batch statistics, so that the size of a batch alone makes a difference."""
    return [
        "--model",
        "MyLinearNetv2",
        "--nOut",
        16,
        "--activation",
        "ELU",
        "--trainfunc",
        loss,
        "--optimizer",
        "sgd",
        "--lr",
        0.01,
        "--device",
        "cpu",
        "--train_list",
        folder / "train.txt",
        "--train_path",
        folder,
        "--test_list",
        folder / "trials.txt",
        "--test_path",
        folder,
        "--nPerSpeaker",
        2,
        "--max_epoch",
        3,
        "--test_interval",
        1,
        "--nDataLoaderThread",
        0,
        "--save_path",
        save_path,
        *more,
    ]


def weights(run):
    return torch.load(run / "model" / "last.model", weights_only=True)["model"]


def close(a, b):
    return all(torch.allclose(a[name], b[name], rtol=0, atol=1e-5) for name in a)


def log_of(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    "loss, more",
    [("softmax", []), ("angleproto", ["--gather_embeddings"]), ("softmax", ["--accumulate", 2])],
)
def test_two_train_as_one_with_batches_twice_as_large(loss, more, vectors, tmp_path):
    assert processes(1, *vector_run(vectors, tmp_path / "one", loss, "--batch_size", 8, *more)) == [
        0
    ]
    assert processes(2, *vector_run(vectors, tmp_path / "two", loss, "--batch_size", 4, *more)) == [
        0,
        0,
    ]
    one, two = (log_of(tmp_path / name) for name in ("one", "two"))
    assert close(weights(tmp_path / "one"), weights(tmp_path / "two")) and len(one) == len(two) == 3
    assert [line["loss"] for line in one] == pytest.approx(
        [line["loss"] for line in two], abs=1e-5
    ) and one[-1]["loss"] < one[0]["loss"]
    assert [line["EER"] for line in one] == pytest.approx([line["EER"] for line in two], abs=1e-3)


def test_gathering_makes_the_difference(vectors, tmp_path):
    """Without it each process contrasts the speakers of its own batch."""
    assert processes(
        1, *vector_run(vectors, tmp_path / "one", "angleproto", "--batch_size", 8)
    ) == [0]
    assert processes(
        2, *vector_run(vectors, tmp_path / "two", "angleproto", "--batch_size", 4)
    ) == [0, 0]
    assert not close(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_another_number_of_processes_goes_on(vectors, tmp_path):
    """From two to one and back, in the middle of epochs."""
    assert processes(1, *vector_run(vectors, tmp_path / "one", "softmax", "--batch_size", 8)) == [0]
    for world, steps in ((2, 5), (1, 11), (2, 1000)):
        words = vector_run(
            vectors,
            tmp_path / "changing",
            "softmax",
            "--batch_size",
            8 // world,
            "--max_steps",
            steps,
        )
        assert processes(world, *words) == [0] * world
    assert close(weights(tmp_path / "one"), weights(tmp_path / "changing"))


@pytest.mark.slow
def test_two_go_on_bit_for_bit(corpus, tmp_path):
    """Batch statistics and random masks of each process are its own, averages too; all evaluate with the statistics that the checkpoint holds."""
    # whole files, whose lengths make many batches
    words = ["--spec_augment", "--batch_size", 2, "--ema", 0.9, "--eval_frames", 0]
    assert processes(2, *small_run(corpus, tmp_path / "whole", *words)) == [0, 0]
    for more in (["--max_steps", 3], []):
        assert processes(2, *small_run(corpus, tmp_path / "parts", *words, *more)) == [0, 0]
    whole, parts = (
        torch.load(tmp_path / name / "model" / "last.model", weights_only=True)
        for name in ("whole", "parts")
    )
    assert len(whole["rng"]) == 2 and not equal(whole["rng"][0], whole["rng"][1])
    assert all(
        equal(whole[key], parts[key])
        for key in ("model", "loss", "trained", "optimizer", "step", "rng", "totals", "result")
    )
    assert processes(
        1,
        "--eval",
        "--initial_model",
        tmp_path / "whole" / "model" / "last.model",
        "--test_list",
        corpus / "trials.txt",
        "--test_path",
        corpus / "wav",
        "--output",
        tmp_path / "scores.txt",
    ) == [0]
    assert (tmp_path / "scores.txt").read_bytes() == (
        tmp_path / "whole" / "result" / "scores.txt"
    ).read_bytes()


def test_use_of_a_checkpoint_is_shared(checkpoint, corpus, tmp_path):
    what = [
        "--initial_model",
        checkpoint,
        "--test_list",
        corpus / "trials.txt",
        "--test_path",
        corpus / "wav",
        "--num_eval",
        3,
        "--nDataLoaderThread",
        1,
    ]
    for world in (1, 2):
        assert (
            processes(world, "--eval", *what, "--output", tmp_path / f"{world}.txt") == [0] * world
        )
        assert (
            processes(
                world,
                *what[:2],
                "--extract",
                corpus / "trials.txt",
                *what[4:],
                "--output",
                tmp_path / f"{world}",
            )
            == [0] * world
        )
    assert (tmp_path / "1.txt").read_bytes() == (tmp_path / "2.txt").read_bytes()
    one, two = (
        {
            str(path.relative_to(tmp_path / world)): path.read_bytes()
            for path in (tmp_path / world).rglob("*.npy")
        }
        for world in ("1", "2")
    )
    assert one == two and one


def test_what_cannot_work_is_told_once(vectors, tmp_path, program):
    assert processes(2, *vector_run(vectors, tmp_path / "run", "softmax", "--batch_size", 7)) == [
        2,
        2,
    ]
    assert not (tmp_path / "run").exists()
    for words, message in (
        (["--distributed"], "there is no GPU"),
        (["--distributed", "--device", "cuda:1"], "names one GPU"),
        (["--sync_batchnorm", "--batch_size", 4], "GPUs alone"),
    ):
        if words[0] == "--sync_batchnorm" or not torch.cuda.is_available():
            code, _, err = program(*vector_run(vectors, tmp_path / "run", "softmax", *words))
            assert code == 2 and message in err, err


def start(words, launcher=()):
    env = {
        name: value for name, value in os.environ.items() if name not in ("RANK", "WORLD_SIZE")
    } | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *launcher, str(ROOT / "trainSpeakerNet.py"), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def children(pid):
    """Processes that a process has started, by rank."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def rank_of(child):
        words = dict(
            word.split("=", 1)
            for word in Path(f"/proc/{child}/environ").read_text().split("\0")
            if "=" in word
        )
        return int(words["RANK"]) if "RANK" in words else -1

    return {rank_of(child): child for child in found}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in /proc")
@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_a_signal_saves(vectors, tmp_path):
    words = vector_run(
        vectors,
        tmp_path / "run",
        "softmax",
        "--batch_size",
        4,
        "--max_epoch",
        100000,
        "--test_interval",
        100000,
        "--save_minutes",
        0,
        "--nproc",
        2,
    )
    last = tmp_path / "run" / "model" / "last.model"
    for how in ("kill one", "stop all"):
        before = last.stat().st_mtime_ns if last.exists() else 0
        run = start(words)
        try:
            while not last.exists() or last.stat().st_mtime_ns == before:
                assert run.poll() is None, run.communicate()[1]
                time.sleep(0.02)
            if how == "kill one":
                os.kill(children(run.pid)[1], signal.SIGKILL)
            else:
                os.kill(run.pid, signal.SIGTERM)
            out, err = run.communicate(timeout=60)
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
        if how == "kill one":
            assert run.returncode == 128 + signal.SIGKILL
        else:
            assert run.returncode == 0 and "stopped at step" in out and "going on with" in out, err
    assert torch.load(last, weights_only=True)["step"] > 1


def fail(rank):
    """In process 1 the second update fails for a reason of its own."""
    update = Trainer._update

    def broken(self, group):
        if rank == 1 and self.step == 1:
            raise ZeroDivisionError("of process 1")
        return update(self, group)

    Trainer._update = broken


def test_a_process_that_fails_ends_the_others(vectors, tmp_path):
    """Forks have nobody who ends them: the others notice by themselves that one is missing."""

    def patch(rank):
        fail(rank)
        sys.excepthook = lambda kind, *_: (tmp_path / f"{rank}").write_text(kind.__name__)
        main = trainSpeakerNet.main

        def told(words):
            try:
                return main(words)
            except Exception:
                (tmp_path / f"{rank}").write_text(traceback.format_exc())
                return 1

        trainSpeakerNet.main = told

    assert processes(
        2, *vector_run(vectors, tmp_path / "run", "softmax", "--batch_size", 4), patch=patch
    ) == [1, 1]
    assert (
        "of process 1" in (tmp_path / "1").read_text()
        and "of process 1" not in (tmp_path / "0").read_text()
    )


@pytest.mark.slow
def test_two_nodes(vectors, tmp_path):
    """Two agents of torchrun, one process each, that meet on the loopback device."""
    agent = [
        "-m",
        "torch.distributed.run",
        "--nnodes",
        "2",
        "--nproc-per-node",
        "1",
        "--rdzv-backend",
        "c10d",
        "--rdzv-endpoint",
        f"127.0.0.1:{free_port()}",
        "--local-addr",
        "127.0.0.1",
    ]
    words = vector_run(vectors, tmp_path / "two", "softmax", "--batch_size", 4, "--max_epoch", 1)
    agents = [start(words, agent) for _ in range(2)]
    outputs = [run.communicate(timeout=120) for run in agents]
    assert [run.returncode for run in agents] == [0, 0], outputs
    assert sum("done: " in out for out, _ in outputs) == 1
    assert processes(
        1, *vector_run(vectors, tmp_path / "one", "softmax", "--batch_size", 8, "--max_epoch", 1)
    ) == [0]
    assert close(weights(tmp_path / "one"), weights(tmp_path / "two"))
