"""The contents of a tar file, compressed with gzip or not, with a limit for its headers.

A tar header can claim any size. Without the limit tarfile reads all bytes into memory.
"""

import gzip
import io
import tarfile
from pathlib import Path
from typing import Any

# Bytes of the longest tar header that is read. Real headers are shorter.
HEADER = 1 << 24


class Unzipped(gzip.GzipFile):
    """A gzip file that reads at most HEADER bytes at once."""

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= HEADER:
            raise tarfile.ReadError("a header has an absurd size")
        return super().read(size)


class Plain(io.BufferedReader):
    """A file that reads at most HEADER bytes at once."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not 0 <= size <= HEADER:
            raise tarfile.ReadError("a header has an absurd size")
        return super().read(size)


def tar_stream(archive: Path, raw: Any) -> Unzipped | Plain:
    """Returns the contents of a tar.gz file or of a tar file that is open as `raw`."""
    if archive.suffix == ".tar":
        return Plain(raw)
    return Unzipped(fileobj=raw)
