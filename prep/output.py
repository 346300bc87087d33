"""Output files that several modes of dataprep.py share: audio, lists and reports of failures."""

import io
import re
import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from common.constants import SAMPLE_RATE
from common.errors import InputError
from common.writing import write_atomically

FORMATS = {".wav": "WAV", ".flac": "FLAC"}
# A byte order mark, which a reader of the list would drop, and bytes that are not UTF-8.
UNWRITABLE = re.compile("^\ufeff|[\ud800-\udfff]")


def write_audio(path: Path, x: np.ndarray) -> None:
    """Writes samples x [T] between -1 and 1 as a 16-bit file.

    The extension of the path chooses WAV or FLAC. Raises InputError if the file cannot be written.
    """
    data = io.BytesIO()
    soundfile.write(
        data,
        np.rint(x * 32767).astype(np.int16),
        SAMPLE_RATE,
        subtype="PCM_16",
        format=FORMATS[path.suffix.lower()],
    )
    write_atomically(path, data.getbuffer(), flush=False)


def check_words(names: Iterable[str], place: object) -> None:
    """Checks that a list can hold each of these names of speakers or files.

    `place` says where the names come from; error messages start with it. Raises InputError for a
    name with blanks, and for a name that is not UTF-8.
    """
    for name in names:
        if name.split() != [name]:
            raise InputError(
                f"{place}: want names without blanks, which separate the columns of a list, "
                f"got {name!r}; rename it"
            )
        if UNWRITABLE.search(name):
            raise InputError(f"{place}: want names in UTF-8, got {name!r}; rename it")


def encode_lines(lines: Iterable[str]) -> bytes:
    """Returns the contents of a text file with these lines."""
    return "".join(f"{line}\n" for line in lines).encode()


def write_lists(lists: Mapping[Any, Iterable[str]]) -> None:
    """Writes {path: lines} as text files. A path is a str or a Path.

    Raises InputError before it writes anything, if one of the files exists with other contents.
    """
    texts = {Path(path): encode_lines(lines) for path, lines in lists.items()}
    for path, text in texts.items():
        if path.exists() and path.read_bytes() != text:
            raise InputError(
                f"{path}: is there already, with other lines; give another --output, or remove it"
            )
    for path, text in texts.items():
        write_atomically(path, text)


def report_failures(path: Path, jobs: Collection, failed: Mapping) -> None:
    """Writes the error messages of failed jobs to `path`, in the order of the jobs.

    `failed` maps the failed jobs to their messages. Without failures the file is removed. Raises
    InputError with the first ten messages if there are failures.
    """
    path.unlink(missing_ok=True)
    if failed:
        messages = [failed[job] for job in jobs if job in failed]
        write_atomically(path, encode_lines(messages))
        raise InputError(
            f"{len(failed)} of {len(jobs)} files cannot be used and are left out, all in {path}; "
            f"the first: {'; '.join(messages[:10])}"
        )


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raises InputError unless `needed` bytes are free on the disk of the folder.

    The folder does not have to exist yet. `what` says what needs the space.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise InputError(
            f"{folder}: want {needed / 1e9:,.1f} GB of free disk for {what}, "
            f"got {free / 1e9:,.1f} GB; make room, or choose a folder elsewhere"
        )
