"""How much memory updates take, and the largest batch that fits into what there is."""

import ctypes
import platform
import re
from pathlib import Path

import torch

from common.errors import InputError

# rows of the batches that are tried
PROBES = 8, 24
# share of the free memory that may be used: its blocks do not fit together
ROOM = 0.85


def keep_freed_memory():
    """glibc hands large blocks back to the system as soon as they are free, and getting them again, page by page, takes a fifth of a step on a CPU."""
    libc = ctypes.CDLL(None)
    if platform.libc_ver()[0] == "glibc":
        # M_MMAP_MAX: large blocks come from the heap, which
        libc.mallopt(-4, 0)
        # M_TRIM_THRESHOLD: is kept
        libc.mallopt(-1, 2**31 - 1)


def megabytes(field, file="/proc/self/status"):
    """VmRSS, the memory of this process that is in use, or VmHWM, the most it ever was."""
    return int(re.search(rf"{field}:\s+(\d+) kB", Path(file).read_text())[1]) / 1000


def taken(device, work):
    """MB that work() takes at most, beyond what is in use before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    if platform.libc_ver()[0] == "glibc":
        # what is free but kept would be taken unseen
        ctypes.CDLL(None).malloc_trim(0)
    # VmHWM begins anew
    Path("/proc/self/clear_refs").write_text("5")
    before = megabytes("VmRSS")
    work()
    return megabytes("VmHWM") - before


def free(device):
    """MB that are left."""
    if device.type == "cuda":
        # by torch itself
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return (torch.cuda.mem_get_info(device)[0] + unused) / 1e6
    return megabytes("MemAvailable", "/proc/meminfo")


def largest_batch(trainer, row, most):
    """Rows of the largest batch whose update fits into memory, at most `most`, a multiple of 8 unless it is that. The updates of small batches tell, made
    of `row`, a batch of one row; the largest one is tried on a GPU. They change the trainer."""
    device, used = trainer.device, []
    if device.type == "cpu" and not Path("/proc/meminfo").exists():
        raise InputError(
            "--batch_size auto: wants a GPU, or Linux, which tells how much memory there is; give a number"
        )
    # makes the state of the optimizer, which stays
    update(trainer, row, 1)
    for rows in PROBES:
        if rows > most:
            return most
        used.append(taken(device, lambda rows=rows: update(trainer, row, rows)))
    each = max((used[1] - used[0]) / (PROBES[1] - PROBES[0]), 1e-3)
    fits = min(max(int(PROBES[0] + (ROOM * free(device) - used[0]) / each), PROBES[1]), most)
    while device.type == "cuda" and fits > PROBES[1]:
        try:
            update(trainer, row, fits)
            break
        except torch.OutOfMemoryError:
            fits = int(0.9 * fits)
    return fits if fits == most else fits // 8 * 8


def update(trainer, row, rows):
    batch = {name: value.repeat(rows, *[1] * (value.dim() - 1)) for name, value in row.items()}
    list(trainer.train_epoch([batch]))


def memory_remedy(options, in_training):
    """What to change where a GPU's memory runs out. in_training: else while a checkpoint is used."""
    if not in_training:
        return (
            f"lower --num_eval (now {options.num_eval}) or --eval_frames (now {options.eval_frames}; 0 = whole files), or give --mixedprec or "
            "--cache_precision float16"
        )
    return (
        f"lower --batch_size (now {options.batch_size}; with --accumulate 2 half of it makes the same update, but for losses that compare utterances), "
        f"--nPerSpeaker (now {options.nPerSpeaker}) or --max_frames (now {options.max_frames}), give --mixedprec, or --batch_size auto; "
        "the last checkpoint is untouched"
    )
