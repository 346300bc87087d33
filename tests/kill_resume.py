"""Kills a training run at random moments and compares the end with an undisturbed run.

After each SIGKILL the same command is started again. The script prints a line per number of loader
workers. The exit code is 1 if anything differs.

python tests/kill_resume.py --kills 20 --workers 0 1 3
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

# Entries of a log line that differ from run to run, because they are measured with a clock.
TIMES = ("seconds", "utt_per_s", "waiting")
# Entries of a checkpoint that have to be equal at the end.
COMPARED = ("model", "loss", "optimizer", "scheduler", "step", "rng", "best", "result")


def start(words):
    """Starts the program in a new process. Returns once it has begun or resumed the training."""
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "trainSpeakerNet.py"), *map(str, words)],
        stdout=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("Output"):
            break
    return process


def finish(words):
    """Runs the program to its end."""
    process = start(words)
    process.stdout.read()
    assert process.wait() == 0


def end_of(folder):
    """Returns the last checkpoint of a run, and its log without TIMES."""
    state = read_checkpoint(folder / "model" / "last.model")
    log = []
    for text in (folder / "log.jsonl").read_text().splitlines():
        line = json.loads(text)
        log.append({name: value for name, value in line.items() if name not in TIMES})
    return state, log


def equal(a, b):
    """Whether two values are equal bit for bit. They may be nested dicts, lists and tuples."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return torch.equal(a, b) if torch.is_tensor(a) else a == b


def run_words(corpus, save_path, workers, epochs):
    """Command line of a run with all kinds of random draws."""
    return small_run(
        corpus,
        save_path,
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


def trial(corpus, folder, kills, workers, seed, epochs):
    """Runs the program once undisturbed, and once with kills.

    Returns the number of kills that ended the program, the number of checkpoints that were read
    after kills, and whether checkpoint and log are equal in both runs.
    """
    whole = folder / "whole"
    killed = folder / "killed"
    finish(run_words(corpus, whole, workers, epochs))
    draw = random.Random(seed)
    hits = 0
    read = 0
    while hits < kills:
        process = start(run_words(corpus, killed, workers, epochs))
        time.sleep(draw.uniform(0, 2.5))
        process.kill()
        hits += process.wait() != 0
        for path in (killed / "model").glob("*.model"):
            # Raises an error if the checkpoint is incomplete.
            read_checkpoint(path)
            read += 1
        if process.returncode == 0:
            break
    finish(run_words(corpus, killed, workers, epochs))
    state, log = end_of(killed)
    whole_state, whole_log = end_of(whole)
    same = all(equal(state[key], whole_state[key]) for key in COMPARED)
    return hits, read, same and log == whole_log


def noise_corpus(folder, rooms=3, seconds=0.25):
    """Makes synthetic noise, music and speech for augmentation, and room impulse responses.

    rooms: number of impulse responses. seconds: their length.
    """
    # Imported here, so that --help is fast.
    import numpy as np
    import soundfile as sf

    draw = np.random.default_rng(1)
    for i, kind in enumerate(("noise", "music", "speech")):
        files = folder / "musan" / kind / "a" / "b"
        files.mkdir(parents=True, exist_ok=True)
        for n in range(4):
            wave = 0.1 * np.sin(np.cumsum(draw.uniform(0, 1 + i, 80000)))
            sf.write(files / f"{n:05d}.wav", wave, 16000)
    room = folder / "rir" / "small" / "Room001"
    room.mkdir(parents=True, exist_ok=True)
    samples = int(seconds * 16000)
    for n in range(rooms):
        response = 0.3 * draw.standard_normal(samples) * np.exp(-np.arange(samples) / 400)
        sf.write(room / f"{n}.wav", response, 16000)


def synthetic_corpus(folder):
    """Makes a small synthetic corpus with dataprep.py, and noise for augmentation."""
    command = [sys.executable, str(ROOT / "dataprep.py"), "--synthetic", str(folder)]
    sizes = ["--speakers", "8", "--files", "6", "--test_speakers", "4", "--trials", "60"]
    subprocess.run([*command, *sizes], check=True, capture_output=True)
    noise_corpus(folder)


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
        synthetic_corpus(corpus)
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
            result = "equal bit for bit" if same else "DIFFERENT"
            seconds = time.monotonic() - begun
            print(
                f"{workers} workers: killed {hits} times, {read} checkpoints read in between, "
                f"end {result} ({seconds:.0f} s)",
                flush=True,
            )
    return failed


if __name__ == "__main__":
    sys.exit(main())
