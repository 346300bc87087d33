"""Checks packs: the checksums of the shards, and whether the index belongs to the shards."""

import contextlib
import logging
import zlib
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from common.errors import InputError
from common.shell import shell_command
from corpus.pack_index import AGAIN, INDEX, read_index
from corpus.roots import Pack, is_pack, shard_file
from prep.pack import MB, Shard, in_threads, index_of, read_shards

log = logging.getLogger(__name__)


def checksum(folder: str | Path, number: int) -> tuple[int, int, int]:
    """Reads a shard, and returns its number, its bytes and its CRC32.

    The number of bytes is 0 if the file cannot be read.
    """
    size = 0
    crc = 0
    with contextlib.suppress(OSError), open(shard_file(folder, number), "rb") as file:
        while block := file.read(MB):
            size += len(block)
            crc = zlib.crc32(block, crc)
    return number, size, crc


def check_pack(folder: str | Path, threads: int) -> None:
    """Reads a complete pack.

    Raises InputError if a shard has changed since it was written, and if the index has other
    recordings than the shards, or other places of the recordings.
    """
    if not is_pack(folder):
        words = ["python", "dataprep.py", "pack", "LIST", "--path", "DIR", "--output", str(folder)]
        raise InputError(
            f"{folder}: expected a pack, found none. Make a pack with {shell_command(*words)}."
        )
    shards = read_shards(folder)
    log.info("Checking the pack %s. Number of shards: %d.", folder, len(shards))
    damaged = []
    with tqdm(total=len(shards), unit="shard", desc="check", disable=None) as bar:
        for number, size, crc in in_threads(partial(checksum, folder), shards, threads):
            if (size, crc) != (shards[number].bytes, shards[number].crc32):
                damaged.append(Path(shard_file(folder, number)))
            bar.update()
    if damaged:
        tables = " ".join(str(path.with_suffix(".json")) for path in damaged)
        raise InputError(
            f"{folder}: {len(damaged)} of {len(shards)} shards are damaged. Remove {tables} and "
            f"{AGAIN}. It makes these shards again."
        )
    check_index(folder, shards)
    log.info(
        "%s is undamaged. Number of recordings: %s.",
        folder,
        f"{len(Pack(folder).name):,}",
    )


def check_index(folder: str | Path, shards: dict[int, Shard]) -> None:
    """Raises InputError if the index is not the index of {number: Shard}."""
    found = read_index(folder)
    right = index_of(shards) if shards else {name: column[:0] for name, column in found.items()}
    for name, column in found.items():
        if not np.array_equal(column, right[name]):
            raise InputError(
                f"{Path(folder, INDEX)}: expected the recordings that the JSON files of the shards "
                f"list ({len(right['name']):,} recordings), found another column '{name}' "
                f"({len(column):,} recordings). Remove this file and {AGAIN}. The command writes "
                "a new index without reading the recordings."
            )
