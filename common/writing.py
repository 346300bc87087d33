"""Writing files so that a reader never finds an incomplete one."""

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

from common.errors import InputError
from common.outputs import is_special, open_descriptor

# The end of the name of a file that is being written.
PART = re.compile(r"\.[0-9a-f]{8}\.part$")


def write_atomically(
    path: str | Path,
    data: bytes | memoryview | Iterable[bytes],
    flush: bool = True,
) -> None:
    """Writes bytes, or the parts that an iterator yields, to a file.

    The file is written next to its place and then renamed. At every moment `path` is the complete
    old file or the complete new file. Missing folders are made. A link stays, and the file that it
    names is written. A device or a pipe receives the bytes.

    Until then it has a name of its own, so that several processes may write the same file.
    remove_parts() removes what a kill leaves.

    flush: write to the disk before the renaming, so that a power cut does no harm. Without flush,
    thousands of files are written faster.

    Raises InputError if the file cannot be written.
    """
    chunks = [data] if isinstance(data, (bytes, memoryview)) else data
    if is_special(path):
        write_to_device(path, chunks)
        return
    target = os.path.realpath(path) if os.path.islink(path) else path
    part = Path(f"{target}.{secrets.token_hex(4)}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            # The lock shows remove_parts() that the process lives. Some file systems have no locks.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.writelines(chunks)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise InputError(
            f"{path}: the file cannot be written ({error.strerror}). An older file is unchanged. "
            "Check the space on the disk and the permissions of the folder."
        ) from error
    finally:
        # The part is gone if it was renamed, or if it could not even be opened. "x" never opens a
        # file or a link of somebody else.
        with contextlib.suppress(OSError):
            part.unlink()


def remove_parts(paths: Iterable[Path]) -> None:
    """Removes, among the paths, what killed processes have left of files that they wrote.

    The parts of other processes are locked, and stay. Everything stays on a file system without
    locks.
    """
    for path in paths:
        if PART.search(path.name):
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()


def write_to_device(path: str | Path, chunks: Iterable[bytes | memoryview]) -> None:
    """Appends bytes to a device, a pipe or a file that is open already, such as /dev/stdout.

    Raises InputError if they cannot be written.
    """
    try:
        descriptor = open_descriptor(path)
        # A copy of an open descriptor shares its position in the file.
        with open(path if descriptor is None else os.dup(descriptor), "ab") as file:
            file.writelines(chunks)
    except OSError as error:
        raise InputError(
            f"{path}: the result cannot be written ({error.strerror}). Give another name."
        ) from error
