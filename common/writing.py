"""Writing files so that a reader never finds an incomplete one."""

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from common.errors import InputError
from common.outputs import is_special, open_descriptor


def write_atomically(
    path: str | Path,
    data: bytes | memoryview | Iterable[bytes],
    flush: bool = True,
    unique: bool = True,
) -> None:
    """Writes bytes, or the parts that an iterator yields, to a file.

    The file is written next to its place and then renamed. At every moment `path` is the complete
    old file or the complete new file. Missing folders are made. A link stays, and the file that it
    names is written. A device or a pipe receives the bytes.

    flush: write to the disk before the renaming, so that a power cut does no harm. Without flush,
    thousands of files are written faster. unique: several processes may write the same file. After
    a kill its part stays under a unique name. Without it, the next command replaces the part. This
    suits a folder of thousands of files that one command makes.

    Raises InputError if the file cannot be written.
    """
    chunks = [data] if isinstance(data, (bytes, memoryview)) else data
    if is_special(path):
        write_to_device(path, chunks)
        return
    target = os.path.realpath(path) if os.path.islink(path) else path
    part = Path(f"{target}.{secrets.token_hex(4)}.part" if unique else f"{target}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        # The part of a killed process, or a link to another file.
        part.unlink(missing_ok=True)
        with part.open("xb") as file:
            file.writelines(chunks)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        part.replace(target)
    except (FileExistsError, NotADirectoryError):
        raise InputError(
            f"{path}: expected a folder {part.parent} for this file, found a file in its place. "
            "Choose another folder."
        ) from None
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
