"""Ctrl-C, or the end of the launcher, ends a program while it is being loaded too."""

import ctypes
import os
import signal

# From <linux/prctl.h>.
PR_SET_PDEATHSIG = 1
# The variable in which distributed/launch.py passes its process number to the processes of a run.
LAUNCHER = "SPEAKER_LAUNCHER"
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


def end_with_launcher() -> None:
    """Asks Linux to send SIGTERM to this process when its launcher ends, even if it is killed.

    During a training the processes then save and end, as if the launcher had sent the signal. The
    process ends here if its launcher has already gone. Nothing changes without a launcher.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.environ.get(LAUNCHER, str(os.getppid())) != str(os.getppid()):
        os._exit(128 + signal.SIGTERM)
