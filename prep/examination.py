"""Reads the files of lists once, and finds the problems of single files."""

import hashlib
import logging
import os
from collections import defaultdict
from functools import partial
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from common.constants import SAMPLE_RATE, SILENT
from common.errors import InputError
from corpus.audio import Audio, AudioError
from corpus.files import find_files, report_unfinished
from corpus.missing import MissingFiles
from corpus.raw_lists import RawList
from corpus.weak_speech import level_of
from prep.constants import CLIPPED
from prep.workers import in_parallel

log = logging.getLogger(__name__)
# Number of files per job of a worker.
CHUNK = 64
# Kind, figure and text of a problem.
Fault = tuple[str, float | None, str]
MISSING: list[Fault] = [("missing", None, "the file does not exist")]


class Examined(NamedTuple):
    """The problems of one file, and what identifies its contents.

    frames: number of samples, 0 if the file cannot be read.
    digest: SHA-1 of the samples, or None if the file cannot be read.
    unfinished: see Recording.
    """

    faults: list[Fault]
    frames: int = 0
    digest: bytes | None = None
    unfinished: bool = False


# (folder, file) -> Examined
Results = dict[tuple[str, str], Examined]


def clipped_share(x: np.ndarray) -> float:
    """Returns the share of the samples [T] that equal the highest or lowest value.

    One sample at each of the two values is normal and is not counted.
    """
    return (np.count_nonzero(x == x.max()) + np.count_nonzero(x == x.min()) - 2) / len(x)


def examine(path: str, least: int) -> Examined:
    """Reads a file. `least` is the smallest number of samples that it should have."""
    try:
        with Audio(path) as audio:
            x = audio.read(0, audio.frames)  # [T]
    except AudioError as error:
        return Examined([(error.kind, None, str(error))])
    level = level_of(x)
    clipped = clipped_share(x)
    faults: list[Fault] = []
    # A silent file has too few different values to detect clipping.
    if level < SILENT:
        faults.append(("silent", round(level, 1), f"{level:.1f} dB"))
    elif clipped > CLIPPED:
        faults.append(("clipped", round(clipped, 4), f"{clipped:.1%} of the samples"))
    if len(x) < least:
        seconds = len(x) / SAMPLE_RATE
        text = f"expected at least {least / SAMPLE_RATE:.2f} s, found {seconds:.3f} s"
        faults.append(("short", round(seconds, 3), text))
    # Equal samples have equal digests in all file formats.
    pcm = np.clip(x * 32768, -32768, 32767).astype("<i2")
    digest = hashlib.sha1(pcm, usedforsecurity=False).digest()
    return Examined(faults, len(x), digest, audio.unfinished)


def examine_chunk(least: int, job: tuple[str, list[str]]) -> Results:
    """Examines the files of one job, a folder and names of files in it."""
    root, names = job
    results = {}
    for name, path in find_files(root, names).items():
        if path is None:
            results[root, name] = Examined(MISSING)
        else:
            results[root, name] = examine(os.path.join(root, path), least)
    return results


def examine_all(listings: list[RawList], least: int, processes: int | None) -> Results:
    """Examines every file of the lists once.

    `least` is the smallest number of samples that a file should have.
    """
    names: dict[str, dict[str, None]] = defaultdict(dict)
    for listing in listings:
        names[listing.root].update(dict.fromkeys(listing.files()))
    jobs = []
    for root, files in names.items():
        files = list(files)
        jobs += [(root, files[i : i + CHUNK]) for i in range(0, len(files), CHUNK)]
    results: Results = {}
    total = sum(len(files) for files in names.values())
    log.info("Reading %s files.", f"{total:,}")
    with tqdm(total=total, unit="file", desc="check", disable=None) as bar:
        for result in in_parallel(partial(examine_chunk, least), jobs, processes):
            results |= result
            bar.update(len(result))
    return results


def check_paths(listings: list[RawList], results: Results) -> None:
    """Raises InputError if none of the files of a list exists. Warns about unfinished files."""
    for listing in listings:
        names = listing.files()
        unfinished = [name for name in names if results[listing.root, name].unfinished]
        report_unfinished(listing.list_file, unfinished)
        if all(results[listing.root, name].faults[:1] == MISSING for name in names):
            problem = MissingFiles(listing.root, names, len(names), listing.list_file, "--path")
            raise InputError(problem.message())


def identity(results: Results, root: str, name: str) -> bytes | str:
    """Returns the digest of the samples of a file, or its path if it cannot be read.

    Two files with the same identity are the same recording.
    """
    return results[root, name].digest or os.path.join(root, name)
