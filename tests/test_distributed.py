"""Several processes train, evaluate and extract with the same results as one process.

A process that fails ends the others. torchrun can start the processes too.
"""

import contextlib
import itertools
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
from torch.distributed.elastic.multiprocessing import SignalException

import distributed
import trainSpeakerNet
from common.interrupts import LAUNCHER
from distributed.launch import LOST_CONNECTION, code_of_failures, launch
from SpeakerNet import Trainer

# Every test of this file trains in forks.
pytestmark = pytest.mark.forks
ROOT = Path(__file__).parent.parent


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def as_rank(rank, world, port, words, patch):
    """Runs the program in this process as one rank of several, and exits."""
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
    """Runs the program in forks of this process, connected as by torchrun. Returns exit codes.

    patch: function of the rank that is called before the program.
    """
    context = multiprocessing.get_context("fork")
    port = free_port()
    words = [str(word) for word in words]
    runs = []
    for rank in range(world):
        runs.append(context.Process(target=as_rank, args=(rank, world, port, words, patch)))
    for run in runs:
        run.start()
    for run in runs:
        run.join(120)
        run.kill()
    return [run.exitcode for run in runs]


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    """Embeddings of 12 speakers, 8 of each, a train list and trials."""
    folder = tmp_path_factory.mktemp("vectors")
    draw = np.random.default_rng(0)
    names = [f"id{speaker:02d}/{i}.npy" for speaker in range(12) for i in range(8)]
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        x = draw.standard_normal((1, 16)) + np.eye(16)[i // 8] * 3
        np.save(folder / name, x.astype(np.float32))
        np.save(folder / name.partition("/")[0], np.eye(16, dtype=np.float32)[i // 8])
    train = [f"{name[:4]} {name}\n" for name in names]
    trials = []
    for a, b in itertools.pairwise(names):
        trials.append(f"{int(a[:4] == b[:4])} {a} {b}\n")
    (folder / "train.txt").write_text("".join(train))
    (folder / "trials.txt").write_text("".join(trials))
    return folder


def vector_run(folder, save_path, loss, *more):
    """Words of a run of a network without batch statistics.

    Its result depends on the batch of all processes, not on how the batch is split.
    """
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
    one_run = vector_run(vectors, tmp_path / "one", loss, "--batch_size", 8, *more)
    two_run = vector_run(vectors, tmp_path / "two", loss, "--batch_size", 4, *more)
    assert processes(1, *one_run) == [0]
    assert processes(2, *two_run) == [0, 0]
    one = log_of(tmp_path / "one")
    two = log_of(tmp_path / "two")
    assert close(weights(tmp_path / "one"), weights(tmp_path / "two"))
    assert len(one) == len(two) == 3
    losses = [line["loss"] for line in one]
    assert losses == pytest.approx([line["loss"] for line in two], abs=1e-5)
    assert losses[-1] < losses[0]
    assert [line["EER"] for line in one] == pytest.approx([line["EER"] for line in two], abs=1e-3)


def test_gathering_makes_the_difference(vectors, tmp_path):
    """Without --gather_embeddings each process compares the speakers of its own batch only."""
    one_run = vector_run(vectors, tmp_path / "one", "angleproto", "--batch_size", 8)
    two_run = vector_run(vectors, tmp_path / "two", "angleproto", "--batch_size", 4)
    assert processes(1, *one_run) == [0]
    assert processes(2, *two_run) == [0, 0]
    assert not close(weights(tmp_path / "one"), weights(tmp_path / "two"))


def test_a_run_resumes_with_another_number_of_processes(vectors, tmp_path):
    """From two processes to one and back, in the middle of epochs."""
    assert processes(1, *vector_run(vectors, tmp_path / "one", "softmax", "--batch_size", 8)) == [0]
    changing = tmp_path / "changing"
    for world, steps in ((2, 5), (1, 11), (2, 1000)):
        sizes = ["--batch_size", 8 // world, "--max_steps", steps]
        words = vector_run(vectors, changing, "softmax", *sizes)
        assert processes(world, *words) == [0] * world
    assert close(weights(tmp_path / "one"), weights(changing))


def checkpoint_of(run):
    return torch.load(run / "model" / "last.model", weights_only=True)


@pytest.mark.slow
def test_two_resume_bit_for_bit(corpus, tmp_path):
    """Each process has its own batch statistics and random masks, and its own average.

    All processes evaluate with the batch statistics that the checkpoint holds.
    """
    # Whole files have different lengths, so they make many batches.
    words = ["--spec_augment", "--batch_size", 2, "--ema", 0.9, "--eval_frames", 0]
    # The warm-up and the growth of the margin are in progress when the run stops.
    words += ["--scheduler", "exponential_decrease", "--lr_wstep", 1.5]
    words += ["--trainfunc", "aamsoftmaxproto", "--margin_until_epoch", 1.5]
    assert processes(2, *small_run(corpus, tmp_path / "whole", *words)) == [0, 0]
    for more in (["--max_steps", 3], []):
        assert processes(2, *small_run(corpus, tmp_path / "parts", *words, *more)) == [0, 0]
    whole = checkpoint_of(tmp_path / "whole")
    parts = checkpoint_of(tmp_path / "parts")
    assert len(whole["rng"]) == 2
    assert not equal(whole["rng"][0], whole["rng"][1])
    for key in ("model", "loss", "trained", "optimizer", "step", "rng", "totals", "result"):
        assert equal(whole[key], parts[key]), key
    last = tmp_path / "whole" / "model" / "last.model"
    words = ["--initial_model", last, "--test_list", corpus / "trials.txt"]
    words += ["--test_path", corpus / "wav", "--output", tmp_path / "scores.txt"]
    assert processes(1, "--eval", *words) == [0]
    scores = tmp_path / "whole" / "result" / "scores.txt"
    assert (tmp_path / "scores.txt").read_bytes() == scores.read_bytes()


def files_in(folder):
    """Returns {path: content} of all embeddings in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.npy"))
    }


def test_use_of_a_checkpoint_is_shared(checkpoint, corpus, tmp_path):
    """Two processes write the same scores and embeddings as one."""
    model = ["--initial_model", checkpoint]
    data = ["--test_path", corpus / "wav", "--num_eval", 3, "--nDataLoaderThread", 1]
    trials = corpus / "trials.txt"
    for world in (1, 2):
        scores = ["--test_list", trials, *data, "--output", tmp_path / f"{world}.txt"]
        assert processes(world, "--eval", *model, *scores) == [0] * world
        embeddings = ["--extract", trials, *data, "--output", tmp_path / f"{world}"]
        assert processes(world, *model, *embeddings) == [0] * world
    assert (tmp_path / "1.txt").read_bytes() == (tmp_path / "2.txt").read_bytes()
    one = files_in(tmp_path / "1")
    assert one and one == files_in(tmp_path / "2")


def test_an_error_in_all_processes_is_reported_once(vectors, tmp_path, program):
    words = vector_run(vectors, tmp_path / "run", "softmax", "--batch_size", 7)
    assert processes(2, *words) == [2, 2]
    assert not (tmp_path / "run").exists()
    for words, message in (
        (["--distributed"], "this machine has no GPU"),
        (["--distributed", "--device", "cuda:1"], "this is one GPU"),
        (["--sync_batchnorm", "--batch_size", 4], "works on GPUs only"),
    ):
        if words[0] == "--sync_batchnorm" or not torch.cuda.is_available():
            code, _, err = program(*vector_run(vectors, tmp_path / "run", "softmax", *words))
            assert code == 2 and message in err, err


def start(words, launcher=()):
    """Starts the program in a new process, directly or by a launcher such as torchrun."""
    env = dict(os.environ)
    env.pop("RANK", None)
    env.pop("WORLD_SIZE", None)
    env["OMP_NUM_THREADS"] = "1"
    return subprocess.Popen(
        [sys.executable, *launcher, str(ROOT / "trainSpeakerNet.py"), *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def rank_of(pid):
    """Returns the rank of a process, or -1 if it has none."""
    for word in Path(f"/proc/{pid}/environ").read_text().split("\0"):
        if word.startswith("RANK="):
            return int(word.removeprefix("RANK="))
    return -1


def children(pid):
    """Returns {rank: process} of the processes that a process has started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return {rank_of(child): int(child) for child in text.split()}


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
    for action in ("kill one", "stop all"):
        before = last.stat().st_mtime_ns if last.exists() else 0
        run = start(words)
        try:
            while not last.exists() or last.stat().st_mtime_ns == before:
                assert run.poll() is None, run.communicate()[1]
                time.sleep(0.02)
            if action == "kill one":
                os.kill(children(run.pid)[1], signal.SIGKILL)
            else:
                os.kill(run.pid, signal.SIGTERM)
            out, err = run.communicate(timeout=60)
        finally:
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGKILL)
        if action == "kill one":
            assert run.returncode == 128 + signal.SIGKILL
            assert err.count("\n") == 1 and "process 1 was ended by signal 9 (SIGKILL)" in err
        else:
            assert run.returncode == 0, err
            assert "Stopped at step" in out and "Resuming" in out
    assert torch.load(last, weights_only=True)["step"] > 1


def fail(rank):
    """Makes the second update in process 1 fail."""
    update = Trainer._update

    def broken(self, group):
        if rank == 1 and self.step == 1:
            raise ZeroDivisionError("of process 1")
        return update(self, group)

    Trainer._update = broken


def test_a_process_that_fails_ends_the_others(vectors, tmp_path):
    """No launcher ends the forks. The other process notices that one is missing."""

    def patch(rank):
        fail(rank)
        report = tmp_path / f"{rank}"
        sys.excepthook = lambda kind, *_: report.write_text(kind.__name__)
        main = trainSpeakerNet.main

        def reporting_main(words):
            try:
                return main(words)
            except Exception:
                report.write_text(traceback.format_exc())
                return 1

        trainSpeakerNet.main = reporting_main

    words = vector_run(vectors, tmp_path / "run", "softmax", "--batch_size", 4)
    # Process 0 has only lost the connection.
    assert processes(2, *words, patch=patch) == [LOST_CONNECTION, 1]
    assert "of process 1" in (tmp_path / "1").read_text()
    assert not (tmp_path / "0").exists()


def test_a_missing_list_ends_all_processes(vectors, tmp_path):
    words = vector_run(vectors, tmp_path / "run", "softmax", "--train_list", tmp_path / "none.txt")
    assert processes(2, *words) == [2, 2]


@pytest.mark.parametrize(
    "exit_codes, code, reported",
    [
        ({0: LOST_CONNECTION, 1: -9}, 137, "process 1 was ended by signal 9 (SIGKILL)"),
        ({0: LOST_CONNECTION, 1: 1}, 1, ""),
        ({0: 2, 1: 2}, 2, ""),
        # The launcher ends the others after the first failure.
        ({0: -15, 1: 2}, 2, ""),
        ({0: 2, 1: -6}, 2, ""),
        ({0: 1, 1: -15}, 1, ""),
        ({0: LOST_CONNECTION, 1: -15}, 143, "process 1 was ended by signal 15 (SIGTERM)"),
    ],
)
def test_one_line_about_a_killed_process(exit_codes, code, reported, capsys):
    assert code_of_failures(exit_codes) == code
    err = capsys.readouterr().err
    assert reported in err and err.count("\n") == bool(reported)


def test_the_launcher_does_not_end_rank_zero_before_its_report(monkeypatch):
    """The other processes wait. They report an error that rank 0 has not met."""
    waits = []
    monkeypatch.setattr(time, "sleep", waits.append)
    monkeypatch.setattr(distributed, "rank", lambda: 0)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "run")
    assert not distributed.rank_zero_reports() and not waits
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    assert not distributed.rank_zero_reports() and sum(waits) >= 5
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert distributed.rank_zero_reports() and len(waits) == 1


# The other process never comes.
WAITING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import distributed, torch
torch.cuda.is_available = lambda: False
print("ready", flush=True)
distributed.join()
"""


def test_an_interrupt_while_a_process_waits_for_the_others():
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    ranks = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING],
        env=os.environ | address | ranks | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "ready\n"
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == -signal.SIGINT
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("saves, code", [(True, 0), (False, 128 + signal.SIGTERM)])
def test_a_signal_to_the_launcher_of_work_that_is_not_saved(saves, code, monkeypatch):
    """An evaluation that was ended has no result, so its exit code must not be 0."""

    def ended(config, entry):
        def run(*words):
            raise SignalException("", signal.SIGTERM)

        return run

    monkeypatch.setattr("torch.distributed.launcher.api.elastic_launch", ended)
    monkeypatch.setenv(LAUNCHER, "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert launch(2, 0, ["program"], saves=saves) == code


@pytest.mark.slow
@pytest.mark.parametrize(
    "more, message",
    [
        (["--train_list", "none.txt"], "--train_list none.txt: there is no such file."),
        (["--batch_size", 80], "--batch_size 80 in each of 2 processes: expected at least 160"),
    ],
)
def test_the_launcher_reports_an_error_once(more, message, vectors, tmp_path):
    run = start([*vector_run(vectors, tmp_path / "run", "softmax", "--nproc", 2), *more])
    _, err = run.communicate(timeout=120)
    assert run.returncode == 2 and err.count("\n") == 1 and message in err, err
    assert not (tmp_path / "run").exists()


# A process that says its number, and that has not yet imported torch.
LOADING = """
import os, time
from common.interrupts import end_with_launcher
time.sleep({before})
end_with_launcher()
print(os.getpid(), flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("before", [0, 1])
def test_a_launcher_that_is_killed_during_the_imports(before):
    """It may have gone before its processes ask for a signal."""
    process = [sys.executable, "-c", LOADING.format(before=before)]
    start_one = f"import subprocess, time; subprocess.Popen({process}); time.sleep({{}})"
    environ = os.environ | {"TORCHELASTIC_RUN_ID": "run"}
    script = f"import os; os.environ[{LAUNCHER!r}] = str(os.getpid()); {start_one}"
    launcher = subprocess.Popen(
        [sys.executable, "-c", script.format(0 if before else 60)],
        env=environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        number = launcher.stdout.readline()
        assert bool(number) == (not before)
        launcher.kill()
        # The end of the output is the end of the process, which would sleep longer.
        start = time.monotonic()
        assert launcher.stdout.read() == "" and time.monotonic() - start < 30
    finally:
        launcher.kill()
        launcher.communicate()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the processes in /proc")
@pytest.mark.slow
def test_a_killed_launcher_ends_its_processes(vectors, tmp_path):
    """The processes save and end."""
    sizes = ["--batch_size", 4, "--max_epoch", 10**6, "--test_interval", 10**6, "--nproc", 2]
    run = start(vector_run(vectors, tmp_path / "run", "softmax", *sizes))
    ranks = {}
    try:
        while not (tmp_path / "run" / "log.jsonl").exists():
            assert run.poll() is None, run.communicate()[1]
            time.sleep(0.05)
        ranks = children(run.pid)
        os.kill(run.pid, signal.SIGKILL)
        out, _ = run.communicate(timeout=60)
        assert "Stopped at step" in out
        for pid in ranks.values():
            with pytest.raises(ProcessLookupError):
                for _ in range(100):
                    os.kill(pid, 0)
                    time.sleep(0.1)
        ranks = {}
    finally:
        run.kill()
        for pid in ranks.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert checkpoint_of(tmp_path / "run")["step"] > 0


@pytest.mark.slow
def test_two_nodes(vectors, tmp_path):
    """Two agents of torchrun with one process each, which connect on the loopback device."""
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
    assert sum("Done: " in out for out, _ in outputs) == 1
    words = vector_run(vectors, tmp_path / "one", "softmax", "--batch_size", 8, "--max_epoch", 1)
    assert processes(1, *words) == [0]
    assert close(weights(tmp_path / "one"), weights(tmp_path / "two"))
