"""Arrays of numbers in files of others: NumPy's format (.npy) and pickled arrays.

No code from a file runs, and no array needs more memory than the size of its file.
"""

import math
import os
import pickle
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from common.foreign_files import BoundedUnpickler, foreign_file, require_regular_file

# Kinds of NumPy's types that arrays of numbers and texts have. Objects are not among them.
KINDS = "biufcSU"


def read_npy(path: str | os.PathLike, problem: Callable[[str], str]) -> np.ndarray:
    """Reads an array in .npy format. It is not writable.

    problem: makes the message from what is wrong, see foreign_file(). Raises InputError.
    """
    with foreign_file(path, problem):
        require_regular_file(path, "an array in .npy format")
        with open(path, "rb") as file:
            return array_in(file, os.fstat(file.fileno()).st_size)


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


# ---------------------------------------------------------------------- pickled arrays
class PickledType:
    """What a pickle says about the type of an array: its name, and the order of the bytes."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name = name
        self.order: Any = "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype:
        """Returns the type. Raises ValueError for another one than of real numbers."""
        kind = np.dtype(str(self.name))
        if kind.kind not in "iuf":
            raise ValueError(f"it contains an array of the type {kind}")
        return kind if self.order == "|" else kind.newbyteorder(self.order)


class PickledArray:
    """What a pickle says about an array. NumPy's own objects would allocate what it says."""

    def __init__(self, *_: Any) -> None:
        self.parts: tuple = ()

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, by_columns, data = state
        # Python 2 writes the bytes as a text.
        data = data.encode("latin1") if isinstance(data, str) else data
        self.parts = (data, kind, shape, by_columns)

    def numpy(self) -> np.ndarray:
        """Returns the array. Any exception can be raised if the pickle is damaged."""
        data, kind, shape, by_columns = self.parts
        return shaped(data, kind.numpy(), shape, by_columns)


def array_of_buffer(data: bytes, kind: PickledType, shape: tuple, order: str) -> PickledArray:
    """Replaces the function that NumPy's pickles of protocol 5 call."""
    x = PickledArray()
    x.parts = (data, kind, shape, order == "F")
    return x


def encoded(text: str, coding: str) -> bytes:
    """Replaces _codecs.encode. Pickles of protocols 0 to 2 call it with latin1 only."""
    if coding != "latin1":
        raise pickle.UnpicklingError(f"it contains the coding {coding!r:.20}")
    return text.encode("latin1")


class ArrayUnpickler(BoundedUnpickler):
    """Makes PickledArrays. The modules have other names before NumPy 2.0."""

    ALLOWED = {
        ("numpy", "ndarray"): PickledArray,
        ("numpy", "dtype"): PickledType,
        ("_codecs", "encode"): encoded,
        ("numpy.core.multiarray", "_reconstruct"): PickledArray,
        ("numpy.core.numeric", "_frombuffer"): array_of_buffer,
        ("numpy._core.multiarray", "_reconstruct"): PickledArray,
        ("numpy._core.numeric", "_frombuffer"): array_of_buffer,
    }


def read_pickled_array(path: str | os.PathLike, problem: Callable[[str], str]) -> Any:
    """Reads a pickled array of real numbers, or another plain value.

    problem: makes the message from what is wrong, see foreign_file(). Raises InputError.
    """
    with foreign_file(path, problem):
        require_regular_file(path, "a pickled array")
        with open(path, "rb") as file:
            x = ArrayUnpickler(file, encoding="latin1").load()
        return x.numpy() if isinstance(x, PickledArray) else x
