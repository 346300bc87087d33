"""Work on all CPU cores by worker processes that end together with the main process."""

import contextlib
import itertools
import multiprocessing.connection
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.pool import ExceptionWithTraceback
from typing import Any

from common.errors import InputError

# Number of jobs that one message carries to a worker.
JOBS_AT_ONCE = 4
# Signals that end the program.
STOPS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}


def in_parallel(work: Callable[[Any], Any], jobs: Iterable, processes: int | None) -> Iterator[Any]:
    """Yields work(job) for every job, in any order.

    `processes` is the number of worker processes. 1 means no worker process, and None means one
    process per core. If the caller stops before the last result, the workers end their current
    jobs. `work` must be picklable where new processes do not inherit memory. Exceptions of
    `work` are raised here. Raises InputError if a worker process was killed.

    multiprocessing.Pool and concurrent.futures have locks. A signal at the wrong moment leaves
    these locks locked. Here every worker has one pipe, which needs no lock.
    """
    processes = processes or os.cpu_count() or 1
    if processes == 1:
        yield from map(work, jobs)
        return
    chunks = job_chunks(jobs)
    workers: dict[Connection, multiprocessing.Process] = {}
    chunk = next(chunks)
    try:
        while chunk and len(workers) < processes:
            connection = start_worker(work, workers)
            connection.send(chunk)
            chunk = next(chunks)
        while workers:
            for connection in multiprocessing.connection.wait([*workers]):
                results = connection.recv()
                connection.send(chunk)
                if not chunk:
                    workers.pop(connection).join()
                chunk = next(chunks)
                if isinstance(results, Exception):
                    raise results
                yield from results
    except (EOFError, ConnectionError):
        raise InputError(
            "--processes: a worker process was killed, perhaps because the memory is full. Run the "
            "same command with fewer --processes. It resumes the work."
        ) from None
    finally:
        terminate_workers(list(workers.values()))


def job_chunks(jobs: Iterable) -> Iterator[list]:
    """Yields lists of up to JOBS_AT_ONCE jobs, and then empty lists without end."""
    remaining = iter(jobs)
    while True:
        yield list(itertools.islice(remaining, JOBS_AT_ONCE))


def start_worker(
    work: Callable[[Any], Any], workers: dict[Connection, multiprocessing.Process]
) -> Connection:
    """Starts a worker, adds it to `workers`, and returns the pipe to it."""
    connection, worker_end = multiprocessing.Pipe()
    process = multiprocessing.Process(
        target=serve, args=(work, worker_end, connection), daemon=True
    )
    workers[connection] = process
    # The signals stay blocked until the worker has its own handlers.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    worker_end.close()
    return connection


def serve(work: Callable[[Any], Any], connection: Connection, main_end: Connection) -> None:
    """Runs a worker: receives lists of jobs and sends lists of results.

    The worker ends after an empty list, or when the main process was killed. `main_end` is the
    other end of the pipe, which the worker inherits and closes.
    """
    # Ctrl-C and SIGHUP are for the main process, which ends the workers by SIGTERM.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # SystemExit lets a job end the programs that the job has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    main_end.close()
    with contextlib.suppress(EOFError, OSError):
        while jobs := connection.recv():
            try:
                results = [work(job) for job in jobs]
            except Exception as error:
                results = ExceptionWithTraceback(error, error.__traceback__)
            connection.send(results)


def terminate_workers(processes: list[multiprocessing.Process]) -> None:
    """Ends the processes. It repeats SIGTERM, because a job can catch the first SystemExit."""
    while alive := [process for process in processes if process.is_alive()]:
        for process in alive:
            process.terminate()
        multiprocessing.connection.wait([process.sentinel for process in alive], 0.1)
