"""Where the files of a list are: below a folder, or in a pack.

A pack consists of few large files. It helps on disks on which opening a million small files is
slow. prep/pack.py writes packs. The folder of a pack contains INDEX, the table of its recordings,
and the shards 00000.pcm, 00001.pcm, ... A shard contains the samples of its recordings one after
another, as 16-bit integers or float32, little-endian. A JSON file next to each shard lists the
contents of the shard. The index is computed from the JSON files.
"""

import io
import itertools
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

import numpy as np

from common.errors import InputError
from corpus.audio import Audio, Recording, decode
from corpus.features import SUFFIXES, FeatureInput, Features
from corpus.pack_index import AGAIN, read_index
from corpus.records import check_record

# Files of a folder with these extensions are audio.
AUDIO = (".wav", ".flac", ".ogg")
MARK = "pack.json"
# The contents of MARK. Raise the version when the layout of a pack changes.
SETTINGS = {"version": 1}
# With fewer names in a folder than this, each file is looked up.
FEW_FILES = 4
# Rows of an index that are computed at a time.
ROWS_AT_ONCE = 2**20


class Folder:
    """The files below a folder, by their paths relative to it."""

    def __init__(self, path: str | os.PathLike):
        self.path = path

    def __contains__(self, name: object) -> bool:
        return os.path.isfile(os.path.join(self.path, str(name)))

    def present(self, names: Sequence[str]) -> list[bool]:
        """Returns for each name whether there is a file.

        Listing a folder is faster than asking for each of its files, most of all on a network disk.
        """
        found = []
        for inner, run in itertools.groupby(names, folder_part):
            names_in_folder = list(run)
            listed: set[str] = set()
            if len(names_in_folder) >= FEW_FILES:
                folder = os.path.join(self.path, inner) or os.curdir
                listed = some_files_in(folder, 4 * len(names_in_folder))
            for name in names_in_folder:
                found.append(name[len(inner) :] in listed or name in self)
        return found

    def audio(self) -> list[str]:
        """Returns the names of all audio files, also in linked folders, sorted."""
        return files_below(self.path, AUDIO)

    def glob(self, pattern: str) -> list[str]:
        """Returns the names of the files that match a pattern, sorted."""
        return matching(self.path, pattern)

    def open(self, name: str, expected: FeatureInput | None = None) -> Recording:
        """Opens a file. expected: the features that the network expects, None for audio.

        Raises InputError if the file cannot be used.
        """
        path = os.path.join(self.path, name)
        if expected and name.endswith(SUFFIXES):
            return Features(path, expected)
        return Audio(path)


class Pack:
    """The recordings of a pack, used like the files of a Folder.

    Raises InputError if the pack is not finished or damaged. The samples themselves are not
    checked.

    Each process opens a shard once and leaves it open. The shard is read at given positions
    (pread), so forked processes may share it. Only the index stays in memory. A process that is not
    forked reads the index again.
    """

    def __init__(self, path: str | os.PathLike):
        check_record(Path(path, MARK), SETTINGS, "pack")
        self.path = path
        self.files: dict[int, io.FileIO] = {}
        self.name, self.shard, self.first_byte, self.frames, self.bits = read_index(path).values()
        sizes = shard_sizes(self.shard, self.first_byte, self.frames, self.bits)
        for number, size in enumerate(sizes):
            file = shard_file(path, number)
            found = os.path.getsize(file) if os.path.isfile(file) else "no file"
            if size and found != size:
                raise InputError(
                    f"{file}: expected {size} bytes, found {found}. Copy the file again, or "
                    f"{AGAIN}."
                )

    def __reduce__(self):
        return Pack, (self.path,)

    def __contains__(self, name: object) -> bool:
        return self.present([str(name)])[0]

    def present(self, names: Sequence[str]) -> list[bool]:
        """See Folder."""
        if not len(self.name):
            return [False] * len(names)
        # The name of a file may contain bytes that are not UTF-8.
        encoded = [os.fsencode(name) for name in names]
        # numpy would copy the index for keys of another type.
        keys = np.array(encoded, self.name.dtype)
        rows = np.minimum(self.name.searchsorted(keys), len(self.name) - 1)
        whole = np.array(list(map(len, encoded))) <= self.name.itemsize
        return (whole & (self.name[rows] == keys)).tolist()

    def audio(self) -> list[str]:
        """Returns the names of all recordings, sorted by the bytes of the names."""
        return [os.fsdecode(name) for name in self.name.tolist()]

    def glob(self, pattern: str) -> list[str]:
        """Returns the names of the recordings that match a pattern, sorted."""
        found = []
        for name in self.audio():
            if name.count("/") == pattern.count("/") and fnmatchcase(name, pattern):
                found.append(name)
        return found

    def open(self, name: str, expected: FeatureInput | None = None) -> Recording:
        """Opens a recording. A pack has no features, so `expected` is not used.

        Raises InputError if there is no recording of this name.
        """
        # The name of a file may contain bytes that are not UTF-8.
        key = os.fsencode(name)
        row = self.name.searchsorted(key)
        if row == len(self.name) or self.name[row] != key:
            raise InputError(
                f"{self.path}: {name} is not in this pack. Correct the list, or add the file with "
                "'python dataprep.py pack'."
            )
        return PackedRecording(
            name,
            self.open_shard(int(self.shard[row])),
            first_byte=int(self.first_byte[row]),
            frames=int(self.frames[row]),
            bits=int(self.bits[row]),
        )

    def open_shard(self, number: int) -> io.FileIO:
        """Returns the open file of a shard."""
        if number not in self.files:
            path = shard_file(self.path, number)
            try:
                self.files[number] = io.FileIO(path)
            except OSError as error:
                raise InputError(f"{path}: the file cannot be opened ({error.strerror}).") from None
        return self.files[number]


class PackedRecording(Recording):
    """A recording in the open file of a shard.

    first_byte: position of its first sample. frames: number of samples. bits: 16 or 32 per sample.
    """

    def __init__(self, name: str, file: io.FileIO, *, first_byte: int, frames: int, bits: int):
        self.name = name
        self.file = file
        self.first_byte = first_byte
        self.frames = frames
        self.bits = bits

    def read(self, start: int, count: int) -> np.ndarray:
        """Returns `count` samples from number `start` on, float32 [count], as Audio.read does."""
        size = self.bits // 8
        raw = os.pread(self.file.fileno(), size * count, self.first_byte + size * start)
        if len(raw) != size * count:
            raise InputError(
                f"{self.file.name}: the file is truncated: expected {size * count} bytes of "
                f"{self.name}, found {len(raw)}. Copy the file again, or {AGAIN}."
            )
        return decode(raw, self.bits)


def folder_part(name: str) -> str:
    """Returns the part of a path before the name of the file, with the last slash."""
    return name[: name.rfind("/") + 1]


def some_files_in(folder: str, most: int) -> set[str]:
    """Returns the files among the first `most` entries of a folder, {} if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in itertools.islice(entries, most) if entry.is_file()}
    except (OSError, ValueError):
        return set()


def refuse_unreadable(error: OSError) -> NoReturn:
    """Raises InputError for a folder that cannot be read. Its files must not be left out."""
    raise InputError(
        f"{error.filename}: this folder cannot be read ({error.strerror}). Change its permissions, "
        "or move it to another place."
    ) from None


def files_below(folder: str | os.PathLike, suffixes: tuple[str, ...]) -> list[str]:
    """Returns the files with one of the extensions, below a folder and relative to it, sorted.

    suffixes: in lower case. Linked folders are searched too. Raises InputError if a folder cannot
    be read, and if a link leads to a folder above it.
    """
    folder = os.fspath(folder) or os.curdir
    start = len(os.path.join(folder, ""))
    found = []
    tree = os.walk(folder, onerror=refuse_unreadable, followlinks=True)
    for inner, folders, names in tree:
        for name in names:
            if name.lower().endswith(suffixes):
                found.append(os.path.join(inner, name)[start:])
        for name in folders:
            refuse_loop(inner, name)
    return sorted(found)


def refuse_loop(folder: str, name: str) -> None:
    """Raises InputError if a folder is a link to a folder above it, which has no end."""
    path = os.path.join(folder, name)
    if os.path.islink(path):
        target = os.path.join(os.path.realpath(path), "")
        if os.path.join(os.path.realpath(folder), "").startswith(target):
            raise InputError(
                f"{path}: this folder is a link to {target}, a folder above it, so the search for "
                "files has no end. Remove this link."
            )


def matching(folder: str | os.PathLike, pattern: str) -> list[str]:
    """Returns the paths below a folder that match a pattern as "*/*.wav", sorted.

    The paths are relative to the folder. Names that begin with a dot do not match. Raises
    InputError if a folder cannot be read.
    """
    found = [""]
    for part in pattern.split("/"):
        parents = [parent for parent in found if os.path.isdir(os.path.join(folder, parent))]
        found = []
        for parent in parents:
            try:
                names = os.listdir(os.path.join(folder, parent) or os.curdir)
            except OSError as error:
                refuse_unreadable(error)
            for name in names:
                if fnmatchcase(name, part) and not name.startswith("."):
                    found.append(os.path.join(parent, name))
    return sorted(found)


def is_pack(path: str | os.PathLike) -> bool:
    """Returns whether a folder is a pack, finished or not."""
    return os.path.isfile(os.path.join(path, MARK))


def refuse_pack(path: str | os.PathLike) -> None:
    """Raises InputError if the folder is a pack, for work that needs a file per recording."""
    if is_pack(path):
        raise InputError(
            f"{path}: expected a folder with a file for each recording, found a pack. A pack "
            "contains no features or embeddings. Give the folder of the files."
        )


def open_root(path: str | os.PathLike) -> Folder | Pack:
    """Opens the folder or the pack that an option names (--train_path, --test_path, ...)."""
    return Pack(path) if is_pack(path) else Folder(path)


def shard_file(pack: str | os.PathLike, number: int, suffix: str = ".pcm") -> str:
    """Returns the path of a file of shard `number`."""
    return os.path.join(pack, f"{number:05d}{suffix}")


def shard_sizes(
    shard: np.ndarray, first_byte: np.ndarray, frames: np.ndarray, bits: np.ndarray
) -> list[int]:
    """Computes the bytes of each shard from the columns of an index. A missing shard has 0."""
    ends = np.zeros(shard.max(initial=-1) + 1, np.int64)
    for start in range(0, len(shard), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        ends_of_rows = first_byte[rows] + frames[rows] * (bits[rows] // 8)
        np.maximum.at(ends, shard[rows], ends_of_rows)
    return ends.tolist()
