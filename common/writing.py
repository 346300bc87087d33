"""Writing of files."""

import contextlib
import os
from pathlib import Path

from common.errors import InputError


def write_atomically(path, data, flush=True):
    """bytes, or an iterator of parts of them -> file: written beside it and renamed, so that `path` is the old file or the new one and never half of one; its
    folder is made. flush: to the disk first, which a power cut survives; too slow for thousands of files that can be made again."""
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
        # has its name, or could not even be begun
        with contextlib.suppress(OSError):
            part.unlink()
