"""Writing files so that a reader never finds half of one."""

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from common.errors import InputError


def write_atomically(
    path: str | Path, data: bytes | memoryview | Iterable[bytes], flush: bool = True
) -> None:
    """Writes bytes, or the parts that an iterator yields, to a file.

    The file is written beside its place and then renamed. At every moment `path` is the old file or
    the new file, and never half of one. Missing folders are made.

    flush: write to the disk before the renaming, so that a power cut does no harm. This is too slow
    for thousands of files that can be made again.

    Raises InputError if the file cannot be written.
    """
    part = Path(f"{path}.part")
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.writelines([data] if isinstance(data, (bytes, memoryview)) else data)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); what was there before is untouched"
        ) from error
    finally:
        # The part is gone if it was renamed, or if it could not even be opened.
        with contextlib.suppress(OSError):
            part.unlink()
