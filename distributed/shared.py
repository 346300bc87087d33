"""Results of rank 0 whose arrays all processes of a machine share.

Sending a list of ten million lines to every process would need its memory in each of them. So rank
0 writes the large arrays of a result to a file, and all processes map this file. The other machines
of a run get a copy each.
"""

import contextlib
import mmap
import os
import pickle
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import torch.distributed as dist

import distributed
from common.errors import InputError

# Arrays with at least this number of bytes are shared. Others are copied.
LARGE = 2**20
# Arrays begin at multiples of this number of bytes.
ALIGNMENT = 64
# Bytes that are sent to another machine at a time.
BYTES_AT_ONCE = 2**26
# Folders for the file, the fastest first. The first one is in memory.
FOLDERS = ("/dev/shm", tempfile.gettempdir())


def shared_from_rank_zero(function: Callable, *args) -> Any:
    """Calls function(*args) on rank 0 only, and returns its result on all ranks.

    Large numpy arrays in the result are read-only, and their memory is shared by all processes of a
    machine. All ranks must call this function at the same time. Errors are as in on_rank_zero().
    """
    if distributed.world_size() == 1:
        return function(*args)
    arrays: list[pickle.PickleBuffer] = []

    def pickled() -> tuple[bytes, list[int], str]:
        """Returns the result without its large arrays, their sizes, and the name of the file."""

        def is_small(buffer: pickle.PickleBuffer) -> bool:
            if buffer.raw().nbytes < LARGE:
                return True
            arrays.append(buffer)
            return False

        data = pickle.dumps(function(*args), protocol=5, buffer_callback=is_small)
        return data, [array.raw().nbytes for array in arrays], f"speaker-{uuid.uuid4().hex}"

    data, sizes, name = distributed.on_rank_zero(pickled)
    if not sizes:
        return pickle.loads(data)
    # Not more memory than necessary: the arrays are removed before the file is mapped.
    with mapped_file(name, sizes, arrays) as memory:
        parts = [memory[start : start + size] for start, size in places(sizes)]
    return pickle.loads(data, buffers=parts)


def places(sizes: list[int]) -> list[tuple[int, int]]:
    """Returns for each array its first byte in the file, and its size."""
    found = []
    start = 0
    for size in sizes:
        found.append((start, size))
        start += -(-size // ALIGNMENT) * ALIGNMENT
    return found


@contextlib.contextmanager
def mapped_file(
    name: str, sizes: list[int], arrays: list[pickle.PickleBuffer]
) -> Iterator[memoryview]:
    """A context with the mapped file of arrays, which the first process of each machine writes.

    arrays: on rank 0. The file has no name any more when the context ends, so it disappears with
    the last process that uses it.
    """
    start, size = places(sizes)[-1]
    is_first = not distributed.local_rank()
    folder = folder_with_space(start + size) if is_first else ""
    own = folder and os.path.join(folder, f"{name}-{distributed.rank()}")
    files: list[Any] = [None] * distributed.world_size()
    dist.all_gather_object(files, own)
    if None in files:
        refuse_full_disks(start + size)
    path = Path(files[distributed.rank() - distributed.local_rank()])
    try:
        write_arrays(path if is_first else None, sizes, arrays)
        # A barrier: the file is complete.
        distributed.any_rank(False)
        arrays.clear()
        with path.open("rb") as file:
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        yield memoryview(memory)
        # A barrier: all processes have mapped the file.
        distributed.any_rank(False)
    finally:
        if is_first:
            path.unlink(missing_ok=True)


def folder_with_space(size: int) -> str | None:
    """Returns a folder that has space for a file of this size and as much again, or None."""
    for folder in FOLDERS:
        if os.path.isdir(folder) and shutil.disk_usage(folder).free > 2 * size:
            return folder
    return None


def refuse_full_disks(size: int) -> NoReturn:
    """Raises InputError because a machine has no space for a file of this size."""
    raise InputError(
        f"{' and '.join(FOLDERS)}: expected {2 * size / 1e9:.1f} GB of free space in one of them "
        "for the train list, which the processes share, found less. In Docker, raise --shm-size, "
        "or set TMPDIR to a folder with more space."
    )


def write_arrays(path: Path | None, sizes: list[int], arrays: list[pickle.PickleBuffer]) -> None:
    """Writes the arrays of rank 0 to a file of each machine.

    path: of the first process of each machine, None in the others.
    """
    several = distributed.world_size() > distributed.local_world_size()
    if not several and path is None:
        return
    with path.open("xb") if path else contextlib.nullcontext() as file:
        for number, (start, size) in enumerate(places(sizes)):
            if file:
                file.seek(start)
            for first in range(0, size, BYTES_AT_ONCE):
                count = min(BYTES_AT_ONCE, size - first)
                part = np.empty(count, np.uint8)
                if arrays:
                    part = np.frombuffer(arrays[number].raw(), np.uint8, count, first)
                if several:
                    sent = torch.from_numpy(part.copy())
                    dist.broadcast(sent, 0)
                    part = sent.numpy()
                if file:
                    file.write(part)
