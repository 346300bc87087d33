"""Kills a training run with SIGKILL at random moments, starts the same command again each time, and compares the end with an undisturbed run.

python tests/kill_resume.py --kills 20 --workers 0 1 3        prints a line per number of loader workers; exit code 1 if anything differs
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from conftest import small_run  # noqa: E402

from network.checkpoints import read_checkpoint  # noqa: E402


def start(words):
    """The program in a process of its own, once it has said that it begins or goes on with the training."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "trainSpeakerNet.py"), *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "steps an epoch" in line:
            break
    return process


def end_of(folder):
    """Final weights, and the log without what a clock says."""
    state = read_checkpoint(folder / "model" / "last.model")
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return state, [
        {k: v for k, v in line.items() if k not in ("seconds", "utt_per_s", "waiting")}
        for line in lines
    ]


def equal(a, b):
    """Bit for bit, whatever is nested."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


def trial(corpus, folder, kills, workers, seed, epochs):
    """-> (kills that hit, checkpoints read after them, whether weights, optimizer and log equal those of the undisturbed run)."""

    def words(name):
        return small_run(
            corpus,
            folder / name,
            "--max_epoch",
            epochs,
            "--test_interval",
            20,
            "--save_minutes",
            0.01,
            "--nDataLoaderThread",
            workers,
            "--augment",
            "--musan_path",
            corpus / "musan",
            "--rir_path",
            corpus / "rir",
            "--spec_augment",
            "--eval_first",
        )

    process = start(words("whole"))
    process.stdout.read()
    assert process.wait() == 0
    draw, hits, read = random.Random(seed), 0, 0
    while hits < kills:
        process = start(words("killed"))
        time.sleep(draw.uniform(0, 2.5))
        process.kill()
        hits += process.wait() != 0
        for path in (folder / "killed" / "model").glob("*.model"):
            # raises if it is not whole
            read_checkpoint(path)
            read += 1
        if process.returncode == 0:
            break
    process = start(words("killed"))
    process.stdout.read()
    assert process.wait() == 0
    (state, log), (whole, whole_log) = end_of(folder / "killed"), end_of(folder / "whole")
    same = all(
        equal(state[key], whole[key])
        for key in ("model", "loss", "optimizer", "scheduler", "step", "rng", "best", "result")
    )
    return hits, read, same and log == whole_log


def noise_corpus(folder, rooms=3, seconds=0.25):
    """Noise, music and speech to mix in, and so many impulse responses of so many seconds, from numbers alone."""
    import numpy as np
    import soundfile as sf

    draw = np.random.default_rng(1)
    for i, kind in enumerate(("noise", "music", "speech")):
        (folder / "musan" / kind / "a" / "b").mkdir(parents=True, exist_ok=True)
        for n in range(4):
            sf.write(
                folder / "musan" / kind / "a" / "b" / f"{n:05d}.wav",
                0.1 * np.sin(np.cumsum(draw.uniform(0, 1 + i, 80000))),
                16000,
            )
    (folder / "rir" / "small" / "Room001").mkdir(parents=True, exist_ok=True)
    samples = int(seconds * 16000)
    for n in range(rooms):
        sf.write(
            folder / "rir" / "small" / "Room001" / f"{n}.wav",
            0.3 * draw.standard_normal(samples) * np.exp(-np.arange(samples) / 400),
            16000,
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 3])
    parser.add_argument("--epochs", type=int, default=80)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "corpus"
        subprocess.run(
            [
                sys.executable,
                str(ROOT / "dataprep.py"),
                "--synthetic",
                str(corpus),
                "--speakers",
                "8",
                "--files",
                "6",
                "--test_speakers",
                "4",
                "--trials",
                "60",
            ],
            check=True,
            capture_output=True,
        )
        noise_corpus(corpus)
        failed = False
        for workers in args.workers:
            begun = time.monotonic()
            hits, read, same = trial(
                corpus,
                Path(folder) / str(workers),
                args.kills,
                workers,
                args.seed + workers,
                args.epochs,
            )
            failed |= not same or hits < args.kills
            print(
                f"{workers} workers: killed {hits} times, {read} checkpoints read in between, end {'equal bit for bit' if same else 'DIFFERENT'} "
                f"({time.monotonic() - begun:.0f} s)",
                flush=True,
            )
    return failed


if __name__ == "__main__":
    sys.exit(main())
