"""The memory that updates need, and the largest batch that fits into the free memory."""

import argparse
import ctypes
import platform
import re
from collections.abc import Callable
from pathlib import Path

import torch

from common.errors import InputError
from SpeakerNet import Trainer

# Rows of the two small batches whose updates are measured.
PROBE_ROWS = 8, 24
# Share of the free memory that a batch may use. The rest is lost by memory fragmentation.
USABLE_SHARE = 0.85


def keep_freed_memory() -> None:
    """Makes glibc keep the memory of large blocks that the program frees.

    By default glibc returns large blocks to the system at once. To get the memory again, page by
    page, costs a fifth of the time of an update on a CPU. Without glibc nothing changes.
    """
    libc = ctypes.CDLL(None)
    if platform.libc_ver()[0] == "glibc":
        # M_MMAP_MAX = 0: large blocks come from the heap.
        libc.mallopt(-4, 0)
        # M_TRIM_THRESHOLD: the heap is not returned to the system.
        libc.mallopt(-1, 2**31 - 1)


def megabytes(field: str, file: str | Path = "/proc/self/status") -> float:
    """Returns a field of a /proc file in MB.

    VmRSS is the memory that this process uses. VmHWM is the largest value of VmRSS so far.
    """
    return int(re.search(rf"{field}:\s+(\d+) kB", Path(file).read_text())[1]) / 1000


def peak_memory(device: torch.device, work: Callable[[], object]) -> float:
    """Returns the most memory in MB that work() uses, beyond the memory that was used before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    if platform.libc_ver()[0] == "glibc":
        # Return the freed memory that the process kept. Its reuse would not be measured.
        ctypes.CDLL(None).malloc_trim(0)
    # Writing 5 resets VmHWM.
    Path("/proc/self/clear_refs").write_text("5")
    before = megabytes("VmRSS")
    work()
    return megabytes("VmHWM") - before


def free_memory(device: torch.device) -> float:
    """Returns the memory in MB that is still free."""
    if device.type == "cuda":
        # Memory that torch has reserved and does not use is free too.
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (torch.cuda.mem_get_info(device)[0] + unused) / 1e6
    return megabytes("MemAvailable", "/proc/meminfo")


def largest_batch(trainer: Trainer, row: dict, limit: int) -> int:
    """Returns the number of rows of the largest batch whose update fits into memory.

    It measures two trial updates, with 8 and 24 rows, and extrapolates. On a GPU it also tries the
    largest batch. The updates change the trainer.

    row: a batch of one row, which is repeated to make the batches. limit: largest number to return.
    A result below the limit is a multiple of 8. Raises InputError on a CPU without the /proc files
    of Linux.
    """
    device = trainer.device
    if device.type == "cpu" and not Path("/proc/meminfo").exists():
        raise InputError(
            "--batch_size: auto needs a GPU or Linux, because other systems do not report their "
            "free memory. Give a number."
        )
    # The first update makes the state of the optimizer, which stays in memory. Many losses need two
    # speakers.
    update(trainer, row, 2)
    if limit < PROBE_ROWS[0]:
        return limit
    small = peak_memory(device, lambda: update(trainer, row, PROBE_ROWS[0]))
    if limit < PROBE_ROWS[1]:
        return limit
    large = peak_memory(device, lambda: update(trainer, row, PROBE_ROWS[1]))
    per_row = max((large - small) / (PROBE_ROWS[1] - PROBE_ROWS[0]), 1e-3)
    fitting = int(PROBE_ROWS[0] + (USABLE_SHARE * free_memory(device) - small) / per_row)
    rows = min(max(fitting, PROBE_ROWS[1]), limit)
    if device.type == "cuda":
        rows = largest_that_works(trainer, row, rows)
    return rows if rows == limit else rows // 8 * 8


def largest_that_works(trainer: Trainer, row: dict, rows: int) -> int:
    """Lowers the number of rows until an update of this size does not run out of memory.

    Batches of PROBE_ROWS[1] rows have worked before.
    """
    while rows > PROBE_ROWS[1]:
        try:
            update(trainer, row, rows)
            return rows
        except torch.OutOfMemoryError:
            rows = int(0.9 * rows)
    return rows


def update(trainer: Trainer, row: dict, rows: int) -> None:
    """Makes one update with a batch that repeats `row`, a batch of one row, `rows` times."""
    batch = {}
    for name, value in row.items():
        batch[name] = value.repeat(rows, *[1] * (value.dim() - 1))
    list(trainer.train_epoch([batch]))


def memory_remedy(options: argparse.Namespace, in_training: bool) -> str:
    """Returns the advice for a GPU that has run out of memory.

    in_training: whether a network was trained; else a checkpoint was used.
    """
    if not in_training:
        return (
            f"Lower --num_eval (now {options.num_eval}) or --eval_frames (now "
            f"{options.eval_frames}; 0 means complete files), or give --mixedprec or "
            "--cache_precision float16."
        )
    return (
        f"Lower --batch_size (now {options.batch_size}), --nPerSpeaker (now {options.nPerSpeaker}) "
        f"or --max_frames (now {options.max_frames}), or give --mixedprec or --batch_size auto. "
        "Half of --batch_size with --accumulate 2 makes the same update, except for losses that "
        "compare utterances. The last checkpoint is unchanged."
    )
