"""Watches the worker processes of a loader: their end, and the shared memory for their batches.

A worker that has ended is reported at once. Without it, PyTorch raises an error in the middle of
whatever the main process does, which may be half of an update, and waits long for the other
workers.
"""

import contextlib
import multiprocessing.connection
import multiprocessing.queues
import os
import signal
import threading
import traceback
from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from common.errors import InputError

# Seconds that a worker continues after SIGTERM.
GRACE = 10
# Seconds until the system reports the end of a process whose connection has broken.
REPORT_TIME = 1
# Number of batches that each worker prepares, the default of PyTorch.
PREFETCHED = 2
# Where PyTorch puts batches that a worker hands over.
SHARED_MEMORY = "/dev/shm"
# Exit codes of a worker that cannot hand over a batch.
SHARED_MEMORY_IS_FULL = 80
FEWER_OPEN_FILES = 81
DAMAGED = (
    "Perhaps a damaged file has crashed the library that reads it. Check the files with "
    "dataprep.py check."
)
SHARED_MEMORY_REMEDY = (
    "In Docker, raise --shm-size. Otherwise lower --nDataLoaderThread, --batch_size, --max_frames "
    "or --num_eval. --nDataLoaderThread 0 needs no shared memory."
)
# {signal: its usual cause, and what to do}
CAUSES = {
    signal.SIGKILL: (
        "The system does this when the memory is full. Give fewer loader processes or a smaller "
        "batch, or use a machine with more memory."
    ),
    signal.SIGTERM: "Another program has sent this signal. Run the same command again.",
    signal.SIGBUS: f"Perhaps {SHARED_MEMORY} is full. {SHARED_MEMORY_REMEDY}",
}


# {exit code: what has happened, and what to do}
ENDS = {
    SHARED_MEMORY_IS_FULL: f"{SHARED_MEMORY} is full. {SHARED_MEMORY_REMEDY}",
    FEWER_OPEN_FILES: (
        "the loader processes need more open files than this shell allows. Raise the limit with "
        "ulimit -n 1024, or give --nDataLoaderThread 0."
    ),
}


class WorkerEnded(Exception):
    """A worker process has ended while the main process waited for a batch."""


def init_worker(_: int) -> None:
    """Prepares a worker process of a loader.

    A signal is often sent to all processes, but it is meant for the main process. The main process
    needs its workers until the end of the step, so they ignore SIGINT and SIGHUP, and end GRACE
    seconds after SIGTERM. The workers must end eventually: a Python process that ends sends SIGTERM
    to its workers and waits for them.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
    signal.signal(signal.SIGALRM, end_by_sigterm)
    queue_class: Any = multiprocessing.queues.Queue
    queue_class._on_queue_feeder_error = staticmethod(end_without_handover)
    # The main process reports crashes. PyTorch would print a second message.
    for number in (signal.SIGBUS, signal.SIGSEGV, signal.SIGFPE):
        signal.signal(number, signal.SIG_DFL)


def end_by_sigterm(*_) -> None:
    """Ends this process as SIGTERM does without a handler."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def end_without_handover(error: Exception, _: Any) -> None:
    """Ends this worker because it cannot hand over a batch.

    Otherwise the main process would wait for the batch for ever.
    """
    text = str(error)
    if "shared memory" in text or "No space left" in text:
        os._exit(SHARED_MEMORY_IS_FULL)
    if "Too many open files" in text:
        os._exit(FEWER_OPEN_FILES)
    traceback.print_exception(error)
    os._exit(1)


def check_shared_memory(needed: int, workers: int) -> None:
    """Raises InputError if the shared memory is too small for prefetched batches.

    needed: bytes of the batches of all processes on this machine. workers: the number of loader
    processes of each of them.
    """
    if not os.path.isdir(SHARED_MEMORY):
        return
    memory = os.statvfs(SHARED_MEMORY)
    free = memory.f_bavail * memory.f_frsize
    # The number of blocks is 0 if the size is not limited.
    if memory.f_blocks and needed > free:
        raise InputError(
            f"--nDataLoaderThread {workers}: expected {needed / 1e6:,.1f} MB of free shared memory "
            f"for batches, found {free / 1e6:,.1f} MB in {SHARED_MEMORY}. {SHARED_MEMORY_REMEDY}"
        )


def watched(loader: Iterable) -> Iterator:
    """Yields the items of a loader of PyTorch.

    Raises InputError if a worker process has ended by a signal or with an error, and ends the other
    workers.
    """
    # An earlier iteration has started persistent workers.
    before = getattr(loader, "_iterator", None)
    try:
        with workers_watched(before):
            items = iter(loader)
    except OSError as error:
        number = getattr(loader, "num_workers", 0)
        raise InputError(
            f"--nDataLoaderThread {number}: the loader processes cannot be started "
            f"({error.strerror}). They need locks in {SHARED_MEMORY}, memory, and the right to "
            "start processes (ulimit -u). --nDataLoaderThread 0 needs none of them."
        ) from None
    workers = getattr(items, "_workers", [])
    if workers and items is not before:
        threading.Thread(target=report_ends, args=(workers,), daemon=True).start()
    while True:
        with workers_watched(items):
            item = next(items, None)
        if item is None:
            return
        yield item


def report_ends(workers: Sequence[BaseProcess]) -> None:
    """Sends SIGCHLD to the main thread whenever a worker has ended.

    The system sends it to any thread. Then the main thread may continue to wait for a batch.
    """
    # {sentinel: process number}
    running: dict[Any, Any] = {worker.sentinel: worker.pid for worker in workers}
    main_thread: Any = threading.main_thread().ident
    while running:
        for sentinel in multiprocessing.connection.wait(list(running)):
            with contextlib.suppress(ChildProcessError):
                # The files of a process are closed before its exit code is known.
                os.waitid(os.P_PID, running.pop(sentinel), os.WEXITED | os.WNOWAIT)
            signal.pthread_kill(main_thread, signal.SIGCHLD)


@contextlib.contextmanager
def workers_watched(items: Iterator | None) -> Iterator[None]:
    """A context that waits for a loader. It raises InputError if a worker process is lost.

    items: the iterator of the loader.
    """
    workers = getattr(items, "_workers", [])
    try:
        with interrupted_by_end_of(workers):
            yield
    except Exception as error:
        if isinstance(error, (OSError, EOFError)):
            wait_for_broken(workers)
        lost = lost_worker(workers)
        if lost is None:
            raise
        for worker in workers:
            worker.kill()
        raise InputError(text_of_end(lost.exitcode or 0, len(workers))) from None


@contextlib.contextmanager
def interrupted_by_end_of(workers: Sequence[BaseProcess]) -> Iterator[None]:
    """A context that raises WorkerEnded when a worker is lost.

    It keeps the handler of SIGCHLD, which PyTorch replaces when it starts workers. In another
    thread than the main thread, PyTorch notices a lost worker after some seconds.
    """

    def check(*_) -> None:
        if lost_worker(workers):
            raise WorkerEnded

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, check)
    try:
        check()
        yield
    finally:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


def wait_for_broken(workers: Sequence[BaseProcess]) -> None:
    """Waits for the exit codes of workers that are ending.

    The files of a process are closed before its exit code is known.
    """
    sentinels = [worker.sentinel for worker in workers]
    ending = multiprocessing.connection.wait(sentinels, REPORT_TIME)
    for worker in workers:
        if worker.sentinel in ending:
            worker.join(REPORT_TIME)


def lost_worker(workers: Sequence[BaseProcess]) -> BaseProcess | None:
    """Returns the first worker that a signal or an error has ended, None if there is none."""
    return next((worker for worker in workers if worker.exitcode), None)


def text_of_end(code: int, number: int) -> str:
    """Returns the message about a lost worker. code: its exit code. number: of all workers."""
    place = f"--nDataLoaderThread {number}"
    if code in ENDS:
        return f"{place}: {ENDS[code]}"
    if code > 0:
        return f"{place}: a loader process has ended with exit code {code}. {DAMAGED}"
    cause = CAUSES.get(signal.Signals(-code), DAMAGED)
    name = signal.Signals(-code).name
    return f"{place}: a loader process was ended by signal {-code} ({name}). {cause}"
