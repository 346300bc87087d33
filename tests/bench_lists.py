"""Measures lists of VoxBlink2's size: time and memory of all processes of a machine, and the head.

    python tests/bench_lists.py --lines 10000000 --speakers 111284 --ranks 8 --workers 8

The ranks read a generated list, draw an epoch, and take batches from their loader processes, which
use the names as opening files does, but read no audio. Memory is the sum of the proportional set
sizes (PSS) of all processes: a shared page counts once.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

import distributed  # noqa: E402
from corpus.lists import read_train_list  # noqa: E402
from corpus.utterances import classes_of  # noqa: E402
from DatasetLoader import TrainDataset, batches, train_loader  # noqa: E402
from distributed.shared import shared_from_rank_zero  # noqa: E402
from loss.softmaxproto import LossFunction  # noqa: E402
from network.components import build_model  # noqa: E402
from SpeakerNet import SpeakerNet, Trainer  # noqa: E402
from training.memory import megabytes  # noqa: E402
from training.sampling import GroupSampler  # noqa: E402

LINES_AT_ONCE = 100_000


def write_list(path, lines, speakers):
    """Write a list with names as long as the names of VoxBlink2: speaker, video, utterance."""
    with path.open("w") as file:
        for first in range(0, lines, LINES_AT_ONCE):
            block = []
            for i in range(first, min(first + LINES_AT_ONCE, lines)):
                speaker = f"id{i * speakers // lines:06d}"
                block.append(f"{speaker} {speaker}/{i // 7 * 7919:011x}/{i % 7:05d}.wav\n")
            file.writelines(block)


class NamesOnly(TrainDataset):
    """Crops of one sample, from the names of the files."""

    def crop(self, utterance, rng):
        return np.float32(len(utterance.path))


# ---------------------------------------------------------------------- memory
def children_of(parent):
    """Return the numbers of the processes that a process has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == parent:
            found.append(int(path.parent.name))
    return found


def pss_of(process):
    """Return the proportional set size of a process in MB."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return 0.0


def report(step, start):
    """Print the seconds since the start and the PSS of all processes, on rank 0."""
    distributed.any_rank(False)
    seconds = time.time() - start
    own = sum(map(pss_of, [os.getpid(), *children_of(os.getpid())]))
    # Pages of the parent and of another rank are shared too.
    found = distributed.gather((own, time.process_time(), megabytes("VmHWM")))
    if not distributed.rank():
        total = sum(memory for memory, _, _ in found)
        print(
            f"{step:18}{seconds:8.1f} s{found[0][1]:8.1f} s CPU of rank 0{total:9.0f} MB PSS"
            f"{found[0][2]:8.0f} MB peak of rank 0",
            flush=True,
        )


def run_rank(options):
    """Read, index and sample as one of several ranks."""
    torch.set_num_threads(1)
    distributed.join()
    rank = distributed.rank()
    start = time.time()
    report("imports", start)
    utterances = shared_from_rank_zero(read_train_list, options.list)
    report("list", start)
    data = NamesOnly(utterances, "", classes_of(utterances), max_frames=1, seed=0, crop_margin=0)
    data.length = 1
    sampler = GroupSampler(
        utterances,
        batch_size=options.batch_size,
        nPerSpeaker=1,
        max_seg_per_spk=500,
        seed=0,
        processes=(rank, options.ranks),
    )
    next(iter(sampler))
    report("first epoch drawn", start)
    loaded = batches(train_loader(data, sampler, workers=options.workers))
    for _ in range(min(options.batches, len(sampler))):
        next(loaded)
    report(f"{options.batches} batches each", start)
    # Loaders that are not at their end need seconds to stop.
    os._exit(0)


def run_ranks(options, list_file):
    """Start the ranks and return their output."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    variables = {"WORLD_SIZE": options.ranks, "LOCAL_WORLD_SIZE": options.ranks}
    variables |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    words = [sys.executable, "-W", "ignore", __file__, "--list", list_file]
    for name in ("ranks", "workers", "batches", "batch_size"):
        words += [f"--{name}", getattr(options, name)]
    started = []
    for rank in range(options.ranks):
        named = variables | {"RANK": rank, "LOCAL_RANK": rank}
        environment = os.environ | {name: str(value) for name, value in named.items()}
        started.append(
            subprocess.Popen(
                [str(word) for word in words], env=environment, stdout=subprocess.PIPE, text=True
            )
        )
    return "".join(process.communicate()[0] for process in started)


# ---------------------------------------------------------------------- the head
def update_with_head(classes, size, utterances=100):
    """Make updates of a small network with a large head on the CPU.

    Returns the number of its weights, the loss and the seconds of the second update, and the peak
    in MB.
    """
    model = build_model("ResNetSE34L", nOut=size)
    loss = LossFunction(dim=size, num_classes=classes)
    trainer = Trainer(SpeakerNet(model, loss))
    trainer.optimizer = torch.optim.Adam(trainer.net.parameters(), lr=0.001)
    trainer.scheduler = torch.optim.lr_scheduler.LambdaLR(trainer.optimizer, lambda step: 1.0)
    draw = torch.Generator().manual_seed(0)
    batch = {
        "x": torch.randn(utterances // 2, 2, 16240, generator=draw),
        "label": torch.randint(classes, (utterances // 2,), generator=draw),
        "spoof": torch.zeros(utterances // 2, dtype=torch.bool),
        "index": torch.arange(utterances).view(-1, 2),
    }
    list(trainer.train_epoch([batch]))
    start = time.process_time()
    (terms,) = trainer.train_epoch([batch])
    seconds = time.process_time() - start
    weights = sum(map(torch.numel, trainer.net.parameters()))
    return weights, terms["loss"], seconds, megabytes("VmHWM")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        *(("lines", 1_000_000), ("speakers", 11_128), ("ranks", 2), ("workers", 2)),
        *(("batches", 100), ("batch_size", 200), ("head", 0)),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--list", type=Path)
    options = parser.parse_args()
    if options.head:
        before = megabytes("VmRSS")
        for size in (192, 512):
            weights, loss, seconds, peak = update_with_head(options.head, size)
            print(
                f"{options.head:,} classes, nOut {size}: {weights / 1e6:.1f} million weights, "
                f"loss {loss:.2f}, {seconds:.1f} s of CPU time per update, peak "
                f"{peak - before:.0f} MB above the imports",
                flush=True,
            )
    elif "RANK" in os.environ:
        run_rank(options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            list_file = options.list or Path(folder, "list.txt")
            if not options.list:
                write_list(list_file, options.lines, options.speakers)
            print(run_ranks(options, list_file), end="")


if __name__ == "__main__":
    main()
