"""The index of a pack: the table of its recordings.

corpus/roots.py describes a pack. The index is a .npz file without compression, with a checksum of
each column. A damaged or crafted file never needs more memory than the size of the file.
"""

import os
import zipfile

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
        with zipfile.ZipFile(path) as file:
            columns = {name: read_column(file, name, os.path.getsize(path)) for name in COLUMNS}
        check_columns(columns)
    return columns


def read_column(file: zipfile.ZipFile, name: str, size: int) -> np.ndarray:
    """Reads a column. size: bytes of the index. Raises any exception if the file is damaged."""
    info = file.getinfo(f"{name}.npy")
    if info.compress_type != zipfile.ZIP_STORED or info.file_size > size:
        raise ValueError(f"column {name} is compressed or too large")
    # The file contains a checksum of each column, which zipfile compares at the end of the column.
    with file.open(info) as stream:
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
