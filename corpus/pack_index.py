"""The index of a pack: the table of its recordings.

corpus/roots.py describes a pack. The index is a .npz file without compression, with a checksum of
each column. It is mapped, so all processes of a machine share its memory. A damaged or crafted file
never needs more memory than the size of the file.
"""

import mmap
import os
import zipfile
import zlib
from typing import Any

import numpy as np

from common.errors import InputError
from common.foreign_files import foreign_file, require_regular_file
from common.npy import array_in

INDEX = "index.npz"
# The columns of INDEX, which is sorted by name: the types, the smallest value and the largest one.
# The limits are far above real values, and keep sums and products within 64 bits.
COLUMNS: dict[str, tuple[str, int, int]] = {
    "name": ("S", 0, 0),
    "shard": ("iu", 0, 99_999),
    "first_byte": ("iu", 0, 1 << 50),
    "frames": ("iu", 1, 1 << 40),
    "bits": ("iu", 16, 32),
}
AGAIN = "run the 'python dataprep.py pack' command of this pack again"


def read_index(pack: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads the index of a pack -> {column: array}, in the order of COLUMNS.

    Raises InputError if the index is missing or damaged.
    """
    path = os.path.join(pack, INDEX)
    if not os.path.exists(path):
        raise InputError(
            f"{pack}: expected a finished pack, found a pack without {INDEX}. To finish the pack, "
            f"{AGAIN}."
        )

    def problem(text: str) -> str:
        return (
            f"the index of the pack is damaged ({text}). Remove this file and {AGAIN}. The command "
            "writes a new index without reading the recordings."
        )

    with foreign_file(path, problem):
        require_regular_file(path, "the index of a pack")
        with open(path, "rb") as file:
            mapped = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            with zipfile.ZipFile(file) as archive:
                columns = {name: read_column(archive, name, mapped) for name in COLUMNS}
        check_columns(columns)
    return columns


class MemoryFile:
    """A file in memory, which is read without copying. data: its bytes."""

    def __init__(self, data: memoryview):
        self.data = data
        self.position = 0

    def tell(self) -> int:
        """Returns the position of the next byte."""
        return self.position

    def read(self, count: int = -1) -> memoryview:
        """Returns the next bytes, by default all."""
        start = self.position
        self.position = len(self.data) if count < 0 else min(start + count, len(self.data))
        return self.data[start : self.position]


def read_column(archive: zipfile.ZipFile, name: str, mapped: memoryview) -> np.ndarray:
    """Reads a column. mapped: the index. Raises any exception if the file is damaged."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > len(mapped):
        raise ValueError(f"column {name} is compressed or too large")
    # Opening checks the header of the column, which states the lengths of two fields before it.
    archive.open(info).close()
    fields = mapped[info.header_offset + 26 : info.header_offset + 30].tobytes()
    start = info.header_offset + 30 + sum(np.frombuffer(fields, "<u2").tolist())
    data = mapped[start : start + info.file_size]
    if len(data) != info.file_size or zlib.crc32(data) != info.CRC:
        raise ValueError(f"column {name} has a wrong checksum")
    stream: Any = MemoryFile(data)
    column = array_in(stream, info.file_size)
    if column.dtype.kind not in COLUMNS[name][0] or column.ndim != 1:
        raise ValueError(f"column {name} has the type {column.dtype} {list(column.shape)}")
    return column if name == "name" else column.astype(np.int64, copy=False)


def check_columns(columns: dict[str, np.ndarray]) -> None:
    """Raises ValueError if the columns of an index cannot belong to a pack."""
    names = columns["name"]
    for name, (_, least, most) in COLUMNS.items():
        column = columns[name]
        if len(column) != len(names):
            raise ValueError(f"column {name} has {len(column)} values instead of {len(names)}")
        if name != "name" and len(column) and not least <= column.min() <= column.max() <= most:
            raise ValueError(f"column {name} has values from {column.min()} to {column.max()}")
    bits = columns["bits"]
    if not ((bits == 16) | (bits == 32)).all():
        raise ValueError("column bits has other values than 16 and 32")
