"""Files of the format safetensors: tensors with names, and texts about them. They hold no code.

A file begins with the length of its header in 8 bytes. The header is JSON: for each tensor its type
of numbers, its shape and its place in the rest of the file. The hubs for models use this format.
Source: https://github.com/huggingface/safetensors
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from common.errors import InputError
from common.foreign_files import foreign_file, require_regular_file
from network.foreign_checkpoints import PICKLES, known_problem, require_file

SUFFIX = ".safetensors"
# Bytes of the number in front of the header.
LENGTH = 8
# A header of more bytes than this is refused. 100,000 tensors need fewer.
MOST_HEADER = 10_000_000
# The entry of the header with texts about the file.
METADATA = "__metadata__"
# Name of a type of numbers in the header -> bytes of one number.
DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
DTYPES |= {"I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
# What a header may say about a tensor.
ENTRIES = {"dtype", "shape", "data_offsets"}


class SafetensorsFile(NamedTuple):
    """The contents of a file. weights: name -> tensor. metadata: texts about the file."""

    weights: dict[str, torch.Tensor]
    metadata: dict[str, str]


def is_safetensors(path: str | Path) -> bool:
    """Returns whether a file has this format. Its beginning decides, or the end of its name."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        start = file.read(LENGTH + 1)
    length = int.from_bytes(start[:LENGTH], "little")
    if start[LENGTH:] == b"{" and length <= os.path.getsize(path) - LENGTH:
        return True
    return Path(path).suffix == SUFFIX and not start.startswith(PICKLES)


def library() -> Any:
    """Returns the package safetensors.torch. Raises InputError if it is not installed."""
    # Imported here, because most commands read no such file.
    try:
        import safetensors.torch
    except ImportError:
        raise InputError(
            "a safetensors file needs the package safetensors, which is not installed. Run: pip "
            "install -r requirements.txt"
        ) from None
    return safetensors


# ---------------------------------------------------------------------- reading
def read_safetensors(path: str | Path) -> SafetensorsFile:
    """Reads a file. The tensors stay in the file until they are used (memory-mapped).

    Raises InputError if the file is missing or damaged, or has numbers of an unknown type.
    """

    def problem(text: str) -> str:
        return known_problem(path) or (
            f"cannot be read as a safetensors file ({text}). It is truncated, damaged or of "
            "another kind. Copy it again, or give another file."
        )

    require_file(path)
    package = library()
    with foreign_file(path, problem, "a checkpoint"):
        require_regular_file(path, "a checkpoint")
        header = read_header(path)
        metadata = header.pop(METADATA, {})
        require_metadata(metadata)
        size = os.path.getsize(path) - LENGTH - header_length(path)
        require_places(header, size)
        with package.safe_open(path, framework="pt", device="cpu") as file:
            weights = {name: file.get_tensor(name) for name in header}
    return SafetensorsFile(weights, metadata)


def header_length(path: str | Path) -> int:
    """Returns the length of the header of a file. Raises ValueError if it is impossible."""
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        start = file.read(LENGTH)
    length = int.from_bytes(start, "little")
    if size < LENGTH or length > size - LENGTH:
        raise ValueError(f"the header needs {length:,} bytes, and the file has {size:,}")
    if length > MOST_HEADER:
        raise ValueError(f"expected a header of at most {MOST_HEADER:,} bytes, found {length:,}")
    return length


def read_header(path: str | Path) -> dict[str, Any]:
    """Returns the header of a file. Raises ValueError if it is damaged or names a tensor twice."""
    length = header_length(path)
    with open(path, "rb") as file:
        file.seek(LENGTH)
        text = file.read(length).decode()
    header = json.loads(text, object_pairs_hook=without_repetition)
    if not isinstance(header, dict):
        raise ValueError("its header is no table of tensors")
    return header


def without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a dict of the pairs of a JSON object. Raises ValueError if a name occurs twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"its header has the name {repeated!r:.50} twice")
    return found


def require_metadata(metadata: Any) -> None:
    """Raises ValueError unless the metadata are texts with names."""
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("its metadata are no texts")


def require_places(header: Mapping[str, Any], size: int) -> None:
    """Raises ValueError unless the tensors fill the rest of a file, `size` bytes, without overlap.

    header: name -> dtype, shape and place of a tensor.
    """
    places = sorted(place_of(name, entry) for name, entry in header.items())
    end = 0
    for begin, next_end, name in places:
        if begin != end:
            what = "overlap" if begin < end else "leave a gap"
            raise ValueError(f"its tensors {what} in front of {name!r:.50}")
        end = next_end
    if end != size:
        raise ValueError(f"its tensors need {end:,} bytes, and the file has {size:,} for them")


def place_of(name: str, entry: Any) -> tuple[int, int, str]:
    """Returns the beginning and the end of a tensor, and its name.

    entry: what the header says about it. Raises ValueError if this is impossible.
    """
    if not isinstance(entry, dict) or entry.keys() != ENTRIES:
        raise ValueError(f"its header does not describe {name!r:.50}")
    dtype = entry["dtype"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        known = ", ".join(DTYPES)
        raise ValueError(f"expected numbers of the types {known}, found {dtype!r:.20}")
    shape = entry["shape"]
    offsets = entry["data_offsets"]
    numbers = []
    for part in (shape, offsets):
        numbers += part if isinstance(part, list) else [None]
    if not all(type(number) is int and number >= 0 for number in numbers) or len(offsets) != 2:
        raise ValueError(f"the shape or the place of {name!r:.50} is impossible")
    begin, end = offsets
    if end - begin != math.prod(shape) * DTYPES[dtype]:
        raise ValueError(f"the place of {name!r:.50} does not have the size of its shape")
    return begin, end, name


# ---------------------------------------------------------------------- writing
def safetensors_bytes(weights: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Returns the contents of a file with these tensors and texts.

    The same tensors and texts give the same bytes. The package writes the texts in random order.
    """
    stored = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    data = library().torch.save(stored, dict(metadata))
    length = int.from_bytes(data[:LENGTH], "little")
    header = json.loads(data[LENGTH : LENGTH + length])
    header[METADATA] = dict(sorted(metadata.items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    # Blanks at the end of the header align the numbers.
    text += b" " * (-len(text) % LENGTH)
    return len(text).to_bytes(LENGTH, "little") + text + data[LENGTH + length :]
