"""Reading the file of a checkpoint, of this program or of others. No code from a file is run."""

import hashlib
import math
import os
import pickle
import types
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from common.errors import InputError
from common.foreign_files import PythonUnpickler, foreign_file, require_regular_file
from common.run_paths import BEST_CHECKPOINT, LAST_CHECKPOINT

# The entries of a file may have at most this multiple of its size. They are not compressed, except
# in a file that another program has packed again.
MOST_EXPANSION = 4
# A checkpoint may have at most this number of values. Millions of speakers need fewer.
MOST_PARTS = 10_000_000
# The checksum of a checkpoint's contents is stored under this key.
CHECKSUM = "checksum"
# How files of torch.save begin, since PyTorch 1.6 and before.
PICKLES = (b"PK\x03\x04", b"\x80")


# ---------------------------------------------------------------------- pickles
class Inert:
    """Replaces the objects of a published checkpoint that are not tensors.

    Creating it, calling it and setting its items has no effect.
    """

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __call__(self, *_: Any, **__: Any) -> "Inert":
        return self

    def __setstate__(self, _: Any) -> None:
        pass

    def __setitem__(self, _: Any, __: Any) -> None:
        pass

    append = extend = update = add = __call__


class TensorUnpickler(PythonUnpickler):
    """Makes tensors and dicts. See BoundedUnpickler about memory.

    Any other class or function that a file names becomes Inert, so that no code of the file runs.
    """

    TRUSTED = {
        ("collections", "OrderedDict"),
        ("torch._utils", "_rebuild_tensor_v2"),
        ("torch._utils", "_rebuild_parameter"),
    }

    def find_class(self, module: str, name: str) -> Any:
        """Returns a trusted class or function, or Inert."""
        return super().find_class(module, name) if (module, name) in self.TRUSTED else Inert


def load_inert(file: Any, **settings: Any) -> Any:
    """Reads a pickle with TensorUnpickler."""
    return TensorUnpickler(file, **settings).load()


# What torch.load uses of the module pickle.
inert_pickle = types.ModuleType("inert_pickle")
inert_pickle.Unpickler = TensorUnpickler
inert_pickle.load = load_inert


# ---------------------------------------------------------------------- files
def read_pickle(path: str | Path) -> tuple[Any, bool]:
    """Reads a file of torch.save, and returns whether it holds only tensors and plain values.

    Raises InputError if the file is missing or damaged.
    """

    def problem(text: str) -> str:
        return known_problem(path) or (
            "cannot be read as a checkpoint. It is truncated or of another kind. Copy it again, or "
            "give another file."
        )

    require_file(path)
    with foreign_file(path, problem, "a checkpoint"):
        require_regular_file(path, "a checkpoint")
        require_intact_entries(path)
        try:
            return torch.load(path, map_location="cpu", weights_only=True), True
        except pickle.UnpicklingError:
            settings = {"weights_only": False, "pickle_module": inert_pickle}
            return torch.load(path, map_location="cpu", **settings), False


def require_file(path: str | Path) -> None:
    """Raises InputError if there is no file, or a folder in its place."""
    if os.path.isdir(path):
        raise InputError(f"{path}: {folder_problem(path)}")
    if not os.path.exists(path):
        raise InputError(f"{path}: there is no such checkpoint. Check the path.")


def require_intact_entries(path: str | Path) -> None:
    """Compares the entries of a file of torch.save with the checksums (CRC-32) in it.

    torch.load does not compare them. Files of PyTorch before 1.6 have no checksums. Raises
    InputError if an entry is damaged.
    """
    with open(path, "rb") as file:
        if file.read(4) != PICKLES[0]:
            return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        total = sum(entry.file_size for entry in entries)
        if total > MOST_EXPANSION * os.path.getsize(path):
            raise InputError(
                f"{path}: expected entries of at most {MOST_EXPANSION} times the size of the file, "
                f"found entries of {total:,} bytes. Give another file."
            )
        # An option of torch.save leaves the checksums out. All of them are 0 in this case.
        has_checksums = any(entry.CRC for entry in entries)
        damaged = archive.testzip() if has_checksums else None
    if damaged:
        raise InputError(
            f"{path}: expected the contents that were written, found a damaged part ({damaged}). "
            "Copy the file again, or give another checkpoint."
        )


def checksum_of(contents: Any, most: float = math.inf) -> str:
    """Returns the SHA-256 of dicts, lists, tensors and plain values, in their order.

    Raises ValueError if there are more than `most` parts. A list can contain another one many
    times, so a small file can hold more values than a computer can count.
    """
    digest = hashlib.sha256()
    number = 0

    def update(part: Any) -> None:
        nonlocal number
        number += 1
        if number > most:
            raise ValueError("it contains lists that contain each other many times")
        digest.update(part)

    add_to_digest(update, contents)
    return digest.hexdigest()


def add_to_digest(update: Callable[[Any], None], value: Any) -> None:
    """Passes the bytes of a value, and what separates it from its neighbours, to a digest."""
    if isinstance(value, torch.Tensor):
        update(f"tensor {value.dtype} {list(value.shape)} ".encode())
        flat = value.detach().cpu().contiguous().flatten()
        update(flat.view(torch.uint8).numpy())
    elif isinstance(value, Mapping):
        update(f"dict {len(value)} ".encode())
        for key, item in value.items():
            add_to_digest(update, key)
            add_to_digest(update, item)
    elif isinstance(value, (list, tuple)):
        update(f"list {len(value)} ".encode())
        for item in value:
            add_to_digest(update, item)
    else:
        update(f"{value!r} ".encode())


def require_checksum(path: str | Path, state: dict[str, Any]) -> None:
    """Compares the contents of a checkpoint with the checksum in it, and removes the checksum.

    Checkpoints of earlier versions have none. Raises InputError if they differ.
    """
    stored = state.pop(CHECKSUM, None)
    if stored is None:
        return
    problem = "the contents cannot be compared with their checksum ({}). Give another checkpoint."
    with foreign_file(path, problem.format):
        # A value needs at least one byte.
        found = checksum_of(state, min(os.path.getsize(path), MOST_PARTS))
    if found != stored:
        raise InputError(
            f"{path}: expected contents with the checksum {str(stored)[:12]}, found "
            f"{found[:12]}. The file is damaged or was changed after it was written. Copy it "
            f"again, or give another checkpoint. If you changed it yourself, remove the entry "
            f"{CHECKSUM!r}."
        )


# ---------------------------------------------------------------------- messages
def folder_problem(path: str | Path) -> str:
    """Returns the message about a folder in the place of a checkpoint, with files to use."""
    found = []
    for name in (LAST_CHECKPOINT, BEST_CHECKPOINT):
        for file in (Path(path, name), Path(path, Path(name).name)):
            if file.is_file():
                found.append(str(file))
    remedy = f"Give {' or '.join(found)}." if found else "Give a file."
    return f"expected a checkpoint, found a folder. {remedy}"


def known_problem(path: str | Path) -> str | None:
    """Returns the message about a file that is often found in the place of a checkpoint."""
    with open(path, "rb") as file:
        start = file.read(1000).lstrip().lower()
    if not start:
        return "expected a checkpoint, found an empty file. Download or copy it again."
    if start.startswith(b"version https://git-lfs.github.com/spec"):
        return (
            "expected a checkpoint, found a Git LFS pointer, which is a small text file in the "
            "place of the checkpoint. Run `git lfs pull` in the repository of this file."
        )
    if start.startswith((b"<!doctype html", b"<html")):
        return (
            "expected a checkpoint, found an HTML page. Download the file itself instead of the "
            "page that shows it."
        )
    return None
