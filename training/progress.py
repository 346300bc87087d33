"""Progress of a run: requests to stop, time spent waiting for data, the progress bar."""

import logging
import os
import signal
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

import distributed

log = logging.getLogger("trainSpeakerNet")
# Above this share of the time spent waiting for data, a warning names remedies.
MUCH_WAITING = 0.2


class StopRequest:
    """A context in which SIGTERM, SIGHUP and Ctrl-C only set `requested`.

    The second Ctrl-C raises KeyboardInterrupt as usual. SIGTERM and SIGHUP often come twice: from
    the system or a shell, and from a launcher. A program that nohup has started ignores SIGHUP.
    """

    def __init__(self):
        self.requested = False

    def __enter__(self):
        self.handlers_before = {}
        # After SIGHUP the terminal is gone. What is written to it would raise errors.
        self.terminals = [number for number in (1, 2) if os.isatty(number)]
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self.handlers_before[number] = signal.signal(number, self.request)
        return self

    def __exit__(self, *_):
        for number, handler in self.handlers_before.items():
            signal.signal(number, handler)

    def request(self, number, _):
        """The signal handler."""
        self.requested = True
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
        if number == signal.SIGHUP:
            self.leave_terminal()

    def raise_if_unrelated(self, error: Exception) -> None:
        """Raises the error if it is a system error, except when the terminal has been closed.

        A line that is written to such a terminal may fail before SIGHUP arrives.
        """
        closed = any(not os.isatty(number) for number in self.terminals)
        if isinstance(error, OSError) and not (self.requested or closed):
            raise error
        if closed:
            self.leave_terminal()

    def before_it(self, items: Iterable) -> Iterator:
        """Yields items until a stop is requested."""
        for item in items:
            if self.requested:
                return
            yield item

    def end_if_compiling(self, error: RuntimeError) -> None:
        """Raises KeyboardInterrupt if Ctrl-C has ended the compilers of --compile."""
        # Imported here, because it takes a second to load.
        from torch._dynamo.exc import TorchDynamoException

        if self.requested and isinstance(error, TorchDynamoException):
            log.info("Stopped while --compile was compiling. The last checkpoint is unchanged.")
            raise KeyboardInterrupt from None

    def leave_terminal(self) -> None:
        """Discards what is written to a terminal that has been closed."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in self.terminals:
            if not os.isatty(number):
                os.dup2(nowhere, number)
        os.close(nowhere)


class Clock:
    """Measures a stretch of training: the seconds, and the part of them spent waiting for data."""

    def __init__(self):
        self.start = time.monotonic()
        self.waited = 0.0

    def watch(self, items: Iterable) -> Iterator:
        """Yields the items and adds up the time spent waiting for each of them."""
        before = time.monotonic()
        for item in items:
            self.waited += time.monotonic() - before
            yield item
            before = time.monotonic()

    def waiting_share(self) -> float:
        """Returns the share of the time spent waiting for data, from 0 to 1."""
        return self.waited / (time.monotonic() - self.start)

    def report(self, utterances: int) -> dict[str, float]:
        """Returns the entries of a log line about speed. utterances: number since the start."""
        seconds = time.monotonic() - self.start
        return {
            "utt_per_s": round(utterances / seconds, 1),
            "seconds": round(seconds, 2),
            "waiting": round(self.waiting_share(), 4),
        }


def warn_of_waiting(line: dict, threads: int) -> bool:
    """Warns if an epoch of at least 10 s spent much of its time waiting for data.

    line: the log line of the epoch. threads: number of loader processes. Returns whether it warned.
    """
    if line["seconds"] < 10 or line["waiting"] <= MUCH_WAITING:
        return False
    cores = (os.cpu_count() or 1) // distributed.world_size()
    remedies = ""
    if threads < cores:
        remedies = (
            f"Raise --nDataLoaderThread (now {threads}; each process has {cores} CPU cores). "
        )
    remedies += "Read a pack from a fast disk (dataprep.py pack), or WAV files instead of FLAC."
    log.warning(
        "warning: training spends %.0f %% of the time waiting for data. %s",
        100 * line["waiting"],
        remedies,
    )
    return True


def show_terms(bar: tqdm, terms: dict, clock: Clock) -> None:
    """Advances the progress bar by one update."""
    bar.update()
    shown = {name: f"{value:.3g}" for name, value in terms.items()}
    shown["waiting"] = f"{clock.waiting_share():.0%}"
    bar.set_postfix(shown, refresh=False)
