"""Writing files so that a reader never finds an incomplete one."""

import contextlib
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from common.errors import InputError


def write_atomically(
    path: str | Path, data: bytes | memoryview | Iterable[bytes], flush: bool = True
) -> None:
    """Writes bytes, or the parts that an iterator yields, to a file.

    The file is written next to its place under a unique name, and then renamed. At every moment
    `path` is the complete old file or the complete new file, also if several processes write it.
    Missing folders are made.

    flush: write to the disk before the renaming, so that a power cut does no harm. Without flush,
    thousands of files are written faster.

    Raises InputError if the file cannot be written.
    """
    part = Path(f"{path}.{secrets.token_hex(4)}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            file.writelines([data] if isinstance(data, (bytes, memoryview)) else data)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
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
