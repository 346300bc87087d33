"""Ctrl-C ends a program without a traceback, also while the program is being loaded."""

import os
import signal

# The exit code that shells report after Ctrl-C.
INTERRUPTED = 130


def end(*_) -> None:
    """The signal handler that ends this process at once."""
    os._exit(INTERRUPTED)


def end_at_interrupt() -> None:
    """Makes Ctrl-C end this process, which has nothing to clean up yet."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)


def raise_at_interrupt() -> None:
    """Makes Ctrl-C raise KeyboardInterrupt, after end_at_interrupt()."""
    if signal.getsignal(signal.SIGINT) is end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
