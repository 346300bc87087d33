"""Output files and checks that several commands of dataprep.py share."""

import contextlib
import fcntl
import io
import itertools
import logging
import os
import re
import shutil
import signal
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import soundfile

from common.constants import SAMPLE_RATE
from common.errors import InputError
from common.outputs import is_special
from common.trial_kinds import BONA_FIDE, SPOOF
from common.writing import remove_parts, write_atomically
from prep.workers import STOPS

log = logging.getLogger(__name__)
# The file that a command locks while it works in the folder.
LOCK = ".dataprep.lock"
# Largest number of error messages of files that one error shows.
MOST_SHOWN = 10
FORMATS = {".wav": "WAV", ".flac": "FLAC"}
# A byte order mark, which a reader of the list would remove, and bytes that are not UTF-8.
UNWRITABLE = re.compile("^\ufeff|[\ud800-\udfff]")


@contextlib.contextmanager
def exclusive_access(folder: Path) -> Iterator[None]:
    """Context in which no other command works in an existing folder. Waits for the other one.

    Two commands would use the same temporary files. The other one may also be a worker that
    outlived its main process. Nothing is locked on file systems without locks.
    """
    path = folder / LOCK
    file = None
    with contextlib.suppress(OSError):
        file = locked(path)
    try:
        remove_parts(folder.glob("*.part"))
        yield
    finally:
        if file:
            path.unlink(missing_ok=True)
            file.close()


def locked(path: Path) -> IO[str]:
    """Returns an open and locked file of this name. Raises OSError if it cannot be locked."""
    while True:
        # "w" would empty the file that a link leads to. The caller closes the file.
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("%s: another command works in this folder.", path.parent)
            fcntl.flock(file, fcntl.LOCK_EX)
        # The other command removes the file when it ends.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                return file
        file.close()


def write_audio(path: Path, x: np.ndarray) -> None:
    """Writes samples x [T] between -1 and 1 as a 16-bit file.

    The extension of the path chooses WAV or FLAC. Raises InputError if the file cannot be written.
    """
    data = audio_bytes(np.rint(x * 32767).astype(np.int16), FORMATS[path.suffix.lower()])
    write_atomically(path, data, flush=False)


def audio_bytes(x: np.ndarray, format: str) -> memoryview:
    """Returns the contents of an audio file with the samples x, int16 [T].

    The signals that end the program wait. soundfile writes to memory by callbacks of libsndfile,
    where the exception of a signal handler would be printed and lost.
    """
    data = io.BytesIO()
    with waiting_signals():
        soundfile.write(data, x, SAMPLE_RATE, subtype="PCM_16", format=format)
    return data.getbuffer()


@contextlib.contextmanager
def waiting_signals() -> Iterator[None]:
    """Context at whose end the signals of STOPS act that came in the meantime.

    A mask would not suffice: the system may deliver a signal to any thread. Python runs handlers in
    the main thread alone, so other threads need nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    before = {}
    for number in STOPS:
        before[number] = signal.signal(number, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in received:
        signal.raise_signal(number)


def check_words(names: Iterable[str], place: object) -> None:
    """Checks that a list can contain every name of a speaker or a file.

    `place` is the file or folder of the names, for error messages. Raises InputError for a name
    with blanks, and for a name that is not UTF-8.
    """
    for name in names:
        if name.split() != [name]:
            raise InputError(
                f"{place}: expected a name without blanks, found {name!r}. Rename this speaker "
                "or file, because blanks separate the columns of a list."
            )
        if UNWRITABLE.search(name):
            raise InputError(
                f"{place}: expected a name in UTF-8, found {name!r}. Rename this speaker or file."
            )


def protocol_line(speaker: str, path: str, attack: str) -> str:
    """Returns the line of a file in a protocol of countermeasures, in the format of ASVspoof 2019.

    attack: the name of the attack, or a word of BONA_FIDE for real speech.
    """
    kind = "- bonafide" if attack in BONA_FIDE else f"{attack} {SPOOF}"
    return f"{speaker} {path} - {kind}"


def encode_lines(lines: Iterable[str]) -> bytes:
    """Returns the contents of a text file that has these lines."""
    return "".join(f"{line}\n" for line in lines).encode()


def write_lists(lists: Mapping[Any, Iterable[str]]) -> None:
    """Writes {path: lines} as text files. A path is a str or a Path.

    Raises InputError before it writes anything, if one of the files exists with other contents.
    """
    texts = {Path(path): encode_lines(lines) for path, lines in lists.items()}
    for path, text in texts.items():
        require_new_or_equal(path, text.splitlines(keepends=True))
    for path, text in texts.items():
        write_atomically(path, text)


def write_long_list(path: Path, lines: Iterator[bytes]) -> None:
    """Writes the lines that an iterator yields as a text file, and never holds all of them.

    Nothing is written if the file has these lines already. Raises InputError if it has other lines.
    """
    if path.exists() and not is_special(path):
        require_new_or_equal(path, lines)
    else:
        write_atomically(path, lines)


def require_new_or_equal(path: Path, lines: Iterable[bytes]) -> None:
    """Raises InputError if a file exists that has other lines. A device or a pipe is not read."""
    if not path.exists() or is_special(path):
        return
    with path.open("rb") as file:
        is_equal = all(old == new for old, new in itertools.zip_longest(file, lines))
    if not is_equal:
        raise InputError(
            f"{path}: this file exists already and has other lines. Choose another place for the "
            "list, or remove this file."
        )


def report_failures(path: Path, jobs: Collection, failed: Mapping) -> None:
    """Writes the error messages of failed jobs to `path`, in the order of the jobs.

    A job is a file, and `failed` maps the failed jobs to their messages. Without failures the
    report is removed. Raises InputError with the first ten messages if there are failures.
    """
    path.unlink(missing_ok=True)
    if failed:
        messages = [failed[job] for job in jobs if job in failed]
        write_atomically(path, encode_lines(messages))
        first = "".join(f"\n  {message}" for message in messages[:MOST_SHOWN])
        raise InputError(
            f"{path}: skipped {len(failed):,} of {len(jobs):,} files, which cannot be used. This "
            f"report lists all errors. The first errors are:{first}"
        )


def require_folder(folder: str | os.PathLike, remedy: str, option: str = "") -> None:
    """Raises InputError unless the folder exists.

    `remedy` is a sentence that says what to do. `option` is the option that names the folder, if
    there is one.
    """
    if not os.path.isdir(folder):
        problem = "this folder does not exist"
        if os.path.exists(folder):
            problem = "expected a folder, found a file"
        raise InputError(f"{option} {folder}: {problem}. {remedy}".lstrip())


def check_space(folder: Path, needed: int, what: str) -> None:
    """Raises InputError unless `needed` bytes are free on the disk of the folder.

    The folder does not have to exist yet. `what` names the files that need the space.
    """
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise InputError(
            f"{folder}: expected {needed / 1e9:,.1f} GB of free disk space for {what}, found "
            f"{free / 1e9:,.1f} GB. Free some space, or choose a folder on another disk."
        )
