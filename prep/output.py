"""What the makers of corpora share: audio files, the record of the options that a folder was filled with, and work on all cores."""

import contextlib
import io
import itertools
import multiprocessing.connection
import os
import re
import shutil
import signal
import sys
from multiprocessing.pool import ExceptionWithTraceback
from pathlib import Path

import numpy as np
import soundfile

from common.constants import SAMPLE_RATE
from common.errors import InputError
from common.writing import write_atomically

# on the way to a process
JOBS_AT_ONCE = 4
STOPS = {signal.SIGINT, signal.SIGTERM}
FORMATS = {".wav": "WAV", ".flac": "FLAC"}
# a byte order mark would be lost; bytes that are no UTF-8
UNWRITABLE = re.compile("^\ufeff|[\ud800-\udfff]")


def write_audio(path, x):
    """x [T] between -1 and 1 -> a 16-bit file, WAV or FLAC by the extension of the Path."""
    data = io.BytesIO()
    soundfile.write(
        data,
        np.rint(x * 32767).astype(np.int16),
        SAMPLE_RATE,
        subtype="PCM_16",
        format=FORMATS[path.suffix.lower()],
    )
    write_atomically(path, data.getbuffer(), flush=False)


def check_words(names, place):
    """InputError unless each of the names, of speakers or files, can stand in a list; place: where they are from, for complaints."""
    for name in names:
        if name.split() != [name]:
            raise InputError(
                f"{place}: want names without blanks, which separate the columns of a list, got {name!r}; rename it"
            )
        if UNWRITABLE.search(name):
            raise InputError(f"{place}: want names in UTF-8, got {name!r}; rename it")


def write_lists(lists):
    """{path: lines} -> text files. InputError, before anything is written, if one of them is there and says something else."""
    texts = {
        Path(path): "".join(f"{line}\n" for line in lines).encode() for path, lines in lists.items()
    }
    for path, text in texts.items():
        if path.exists() and path.read_bytes() != text:
            raise InputError(
                f"{path}: is there already, with other lines; give another --output, or remove it"
            )
    for path, text in texts.items():
        write_atomically(path, text)


def report_failures(path, jobs, failed):
    """failed: {job: complaint} of those of the jobs that could not be done. Writes the complaints to `path`, or removes it if there are none;
    InputError with the first of them."""
    path.unlink(missing_ok=True)
    if failed:
        complaints = [failed[job] for job in jobs if job in failed]
        write_atomically(path, "".join(f"{line}\n" for line in complaints).encode())
        raise InputError(
            f"{len(failed)} of {len(jobs)} files cannot be used and are left out, all in {path}; "
            f"the first: {'; '.join(complaints[:10])}"
        )


def check_space(folder, needed, what):
    """InputError unless `needed` bytes are free where the folder is or will be."""
    free = shutil.disk_usage(
        next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    ).free
    if needed > free:
        raise InputError(
            f"{folder}: want {needed / 1e9:,.1f} GB of free disk for {what}, got {free / 1e9:,.1f} GB; make room, or choose a folder elsewhere"
        )


def serve(work, here, there):
    """A worker: lists of jobs come, lists of results go, until an empty one comes or the main process was killed."""
    # Ctrl-C is for the main process, which then
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # ends the jobs; they end what they have started
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    there.close()
    with contextlib.suppress(EOFError, OSError):
        while jobs := here.recv():
            try:
                results = [work(job) for job in jobs]
            except Exception as error:
                results = ExceptionWithTraceback(error, error.__traceback__)
            here.send(results)


def in_parallel(work, jobs, processes):
    """Yields work(job) of all jobs in any order; processes: 1 to stay in this one, None for all cores. When this is left early the jobs at work end.

    multiprocessing.Pool and concurrent.futures have locks, which a signal at the wrong moment leaves locked; a pipe to each worker needs none.
    """
    processes, jobs, workers = processes or os.cpu_count(), iter(jobs), {}
    if processes == 1:
        yield from map(work, jobs)
        return
    some = list(itertools.islice(jobs, JOBS_AT_ONCE))
    try:
        while some and len(workers) < processes:
            here, there = multiprocessing.Pipe()
            workers[here] = multiprocessing.Process(
                target=serve, args=(work, there, here), daemon=True
            )
            # until the worker has its own handlers
            signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
            try:
                workers[here].start()
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
            there.close()
            here.send(some)
            some = list(itertools.islice(jobs, JOBS_AT_ONCE))
        while workers:
            for here in multiprocessing.connection.wait([*workers]):
                results = here.recv()
                here.send(some)
                if not some:
                    workers.pop(here).join()
                some = list(itertools.islice(jobs, JOBS_AT_ONCE))
                if isinstance(results, Exception):
                    raise results
                yield from results
    except (EOFError, ConnectionError):
        raise InputError(
            "a worker process was killed, perhaps because memory ran out; with fewer --processes the same command goes on"
        ) from None
    finally:
        while left := [worker for worker in workers.values() if worker.is_alive()]:
            # again and again: a job may hold an exception back
            for worker in left:
                worker.terminate()
            multiprocessing.connection.wait([worker.sentinel for worker in left], 0.1)
