"""Arrays in NumPy's format (.npy), read so that no array needs more memory than its file."""

import math
from typing import IO

import numpy as np

# Kinds of NumPy's types that arrays of numbers and texts have. Objects are not among them.
KINDS = "biufcSU"


def is_array(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is an array of NumPy."""
    return head.startswith(np.lib.format.MAGIC_PREFIX)


def array_in(file: IO[bytes], size: int) -> np.ndarray:
    """Reads an array in .npy format from a file of `size` bytes that contains nothing else.

    The array is not writable. Any exception can be raised if the file is damaged.
    """
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise ValueError(f"version {version} of the .npy format is not for numbers")
    shape, by_columns, kind = np.lib.format.read_array_header_1_0(file)
    if kind.kind not in KINDS or not kind.itemsize:
        raise ValueError(f"it contains an array of the type {kind}")
    # Python's numbers have no limit, so a shape that claims terabytes is found here.
    stated = file.tell() + math.prod(shape) * kind.itemsize
    if stated != size:
        raise ValueError(f"{kind} {list(shape)} needs {stated:,} bytes, but it has {size:,} bytes")
    return shaped(file.read(), kind, shape, by_columns)


def shaped(data: bytes, kind: np.dtype, shape: tuple, by_columns: bool) -> np.ndarray:
    """Makes an array of bytes. Raises ValueError if their number is another one."""
    return np.frombuffer(data, kind).reshape(shape, order="F" if by_columns else "C")
