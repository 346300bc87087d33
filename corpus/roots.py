"""Where the files of a list are: below a folder, or in a pack, few large files for disks on which a million small ones are slow to open.

A pack is a folder that corpus/pack.py fills: INDEX, the table of its recordings; shards 00000.pcm, ... with their samples one after another, 16-bit
integers or float32, little-endian; beside each shard its contents in JSON, of which the index is made.
"""

import glob
import io
import os
import zipfile
import zlib
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from common.errors import InputError
from corpus.audio import Audio, Recording, decode
from corpus.features import SUFFIXES, Features
from corpus.records import check_record

# files of a folder that are taken for audio
AUDIO = (".wav", ".flac", ".ogg")
MARK, INDEX = "pack.json", "index.npz"
# of MARK; raise it when the layout changes
SETTINGS = {"version": 1}
# of INDEX, sorted by name
COLUMNS = ("name", "shard", "first_byte", "frames", "bits")
AGAIN = "run the dataprep.py --pack command that made it again"


class Folder:
    """Files below a folder, by their paths relative to it."""

    def __init__(self, path):
        self.path = path

    def __contains__(self, name):
        return os.path.isfile(os.path.join(self.path, name))

    def contents(self):
        """What can be asked about many names whether they are in."""
        return self

    def audio(self):
        """Names of all audio files, in linked folders too, sorted."""
        folder = self.path or os.curdir
        start = len(os.path.join(folder, ""))
        return sorted(
            os.path.join(inner, name)[start:]
            for inner, _, names in os.walk(folder, followlinks=True)
            for name in names
            if name.lower().endswith(AUDIO)
        )

    def glob(self, pattern):
        """Names of the files that fit a pattern, sorted."""
        return sorted(glob.glob(pattern, root_dir=self.path))

    def open(self, name, wanted=None):
        """Name of a file -> Recording; wanted: a FeatureInput where it may hold features."""
        path = os.path.join(self.path, name)
        return Features(path, wanted) if wanted and name.endswith(SUFFIXES) else Audio(path)


class Pack:
    """The same of a pack. InputError if it is not finished or damaged; the samples themselves are not looked at.

    A shard is opened once in each process and stays open. It is read at given places (pread), so that forked processes may share it and nothing stays in
    memory but the index; a process that starts from nothing reads that again.
    """

    def __init__(self, path):
        check_record(Path(path, MARK), SETTINGS, "pack")
        self.path, self.files = path, {}
        self.name, self.shard, self.first_byte, self.frames, self.bits = read_index(path).values()
        for number, want in enumerate(sizes(self.shard, self.first_byte, self.frames, self.bits)):
            file = shard_file(path, number)
            got = os.path.getsize(file) if os.path.isfile(file) else "no file"
            if want and got != want:
                raise InputError(f"{file}: want {want} bytes, got {got}; copy it again, or {AGAIN}")

    def __reduce__(self):
        return Pack, (self.path,)

    def contents(self):
        return frozenset(self.audio())

    def audio(self):
        return [os.fsdecode(name) for name in self.name.tolist()]

    def glob(self, pattern):
        return [
            name
            for name in self.audio()
            if name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)
        ]

    def open(self, name, wanted=None):
        # as strange as names on a disk may be
        key = os.fsencode(name)
        row = self.name.searchsorted(key)
        if row == len(self.name) or self.name[row] != key:
            raise InputError(
                f"{self.path}: {name} is not in this pack; correct the list, or add the file: python dataprep.py --pack"
            )
        return Packed(
            name,
            self.file(int(self.shard[row])),
            *(int(x[row]) for x in (self.first_byte, self.frames, self.bits)),
        )

    def file(self, number):
        """The open file of a shard."""
        if number not in self.files:
            path = shard_file(self.path, number)
            try:
                self.files[number] = io.FileIO(path)
            except OSError as error:
                raise InputError(f"{path}: cannot be opened: {error.strerror}") from None
        return self.files[number]


class Packed(Recording):
    """A recording in the open file of a shard."""

    def __init__(self, name, file, first_byte, frames, bits):
        self.name, self.file, self.first_byte, self.frames, self.bits = (
            name,
            file,
            first_byte,
            frames,
            bits,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, start, count):
        """`count` samples from number `start` on -> [count] float32, as Audio.read gives them."""
        size = self.bits // 8
        raw = os.pread(self.file.fileno(), size * count, self.first_byte + size * start)
        if len(raw) != size * count:
            raise InputError(
                f"{self.file.name}: truncated: want {size * count} bytes of {self.name}, got {len(raw)}; copy it again, or {AGAIN}"
            )
        return decode(raw, self.bits)


def is_pack(path):
    return os.path.isfile(os.path.join(path, MARK))


def refuse_pack(path):
    """InputError if what wants a file for each recording is given a pack."""
    if is_pack(path):
        raise InputError(
            f"{path}: want a folder with a file for each recording, got a pack, which holds audio for training and evaluation and no features or "
            "embeddings; give the folder of the files"
        )


def open_root(path):
    """What --train_path, --test_path, ... name -> Folder or Pack."""
    return Pack(path) if is_pack(path) else Folder(path)


def shard_file(pack, number, suffix=".pcm"):
    return os.path.join(pack, f"{number:05d}{suffix}")


def sizes(shard, first_byte, frames, bits):
    """Columns of an index -> bytes of each shard, 0 for numbers that are not used."""
    ends = np.zeros(shard.max(initial=-1) + 1, np.int64)
    np.maximum.at(ends, shard, first_byte + frames * (bits // 8))
    return ends.tolist()


def read_index(pack):
    """-> {column: array} in the order of COLUMNS."""
    path = os.path.join(pack, INDEX)
    try:
        # the file has a CRC of each column, which is checked
        with np.load(path, allow_pickle=False) as table:
            return {column: table[column] for column in COLUMNS}
    except FileNotFoundError:
        raise InputError(
            f"{pack}: want a finished pack, got one without {INDEX}; {AGAIN}, it goes on where it stopped"
        ) from None
    except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(
            f"{path}: damaged ({error}); remove it, and {AGAIN}, which makes it anew without reading the recordings"
        ) from None
