"""Standard output and standard error of the programs.

A program writes its results with logging. Whatever happens to standard output, the work continues:
the reader of a pipe may be gone, the disk may be full, the locale may know ASCII alone. File names
with control characters cannot change what a terminal shows.
"""

import contextlib
import io
import logging
import os
import re
import resource
import sys
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TextIO

from common.errors import InputError
from common.interrupts import INTERRUPTED

# Characters that a terminal acts on, except for the end of a line and the tabulator, and bytes of
# file names that are not UTF-8.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
# With a lower limit of open files, the loader processes stop or wait for ever.
OPEN_FILES = 256
# Open files of a program if the shell allows them.
MOST_OPEN_FILES = 4096


def printable(text: str) -> str:
    """Returns a text whose control characters are visible, such as \\x1b."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


class ResultHandler(logging.StreamHandler):
    """Writes log lines to standard output."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns the text of a record without control characters."""
        return printable(super().format(record))


class Output(io.TextIOWrapper):
    """Standard output, until it cannot be written any more. It raises no system errors.

    failure: the first error of standard output, None without one.
    """

    failure: OSError | None = None

    def write(self, text: str) -> int:
        """Writes a text. Returns its length."""
        try:
            return super().write(text)
        except OSError as error:
            report_failure(error)
            return len(text)

    def flush(self) -> None:
        """Writes what is still in the buffer."""
        try:
            super().flush()
        except OSError as error:
            report_failure(error)


def report_failure(error: OSError) -> None:
    """Says that standard output cannot be written, and gives up standard output.

    The reader of a pipe that is gone, for instance `head`, has seen enough. That is no error.
    """
    if Output.failure is None:
        Output.failure = error
        if not isinstance(error, BrokenPipeError):
            write_error(
                f"standard output cannot be written ({error.strerror}), so that lines of this "
                "program are lost. Its files are complete. Write its output to another place."
            )
    with contextlib.suppress(OSError, ValueError, AttributeError):
        # What is still in the buffer must not raise the error again at the end of the program.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def start_logging() -> None:
    """Makes logging write its lines to standard output."""
    handler = ResultHandler(sys.stdout)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler], force=True)


@contextlib.contextmanager
def log_to_stderr() -> Iterator[None]:
    """Context in which logging writes to standard error, so that standard output has data only."""
    handlers = [h for h in logging.getLogger().handlers if isinstance(h, ResultHandler)]
    for handler in handlers:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(sys.stdout)


def write_error(text: str) -> None:
    """Writes an error to standard error, if standard error can be written."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"error: {printable(text)}\n")


def open_stream(stream: TextIO | None) -> TextIO:
    """Returns a stream that can write every text in the encoding of the terminal.

    A stream that the shell has closed is replaced by one without effect.
    """
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream


def without_failures(stream: TextIO) -> TextIO:
    """Returns standard output as an Output, which takes over its buffer."""
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    encoding = stream.encoding
    errors = stream.errors
    line_buffering = stream.line_buffering
    write_through = stream.write_through
    buffer: Any = stream.detach()
    return Output(
        buffer,
        encoding,
        errors,
        line_buffering=line_buffering,
        write_through=write_through,
    )


def allow_open_files() -> None:
    """Raises the limit of open files. Raises InputError if the shell allows too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    endless = resource.RLIM_INFINITY
    if soft == endless or soft >= MOST_OPEN_FILES:
        return
    allowed = MOST_OPEN_FILES if hard == endless else min(hard, MOST_OPEN_FILES)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < OPEN_FILES:
        raise InputError(
            f"ulimit -n: expected at least {OPEN_FILES} open files, found {allowed}. Run `ulimit "
            "-n 1024` in a new shell, and this command again."
        )


def is_interrupted(error: BaseException | None) -> bool:
    """Returns whether Ctrl-C is the cause of an error.

    Libraries that are loaded turn it into an ImportError of their own.
    """
    while error and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def run_program(main: Callable[[], int | None]) -> NoReturn:
    """Runs a program and ends the process with its exit code.

    The code is 2 if standard output could not be written, except for a pipe without a reader.
    """
    sys.stdout = without_failures(open_stream(sys.stdout))
    sys.stderr = open_stream(sys.stderr)
    try:
        allow_open_files()
        code = main() or 0
    except InputError as error:
        write_error(str(error))
        code = 2
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except Exception as error:
        if not is_interrupted(error):
            raise
        code = INTERRUPTED
    sys.stdout.flush()
    failure = Output.failure
    if code == 0 and failure and not isinstance(failure, BrokenPipeError):
        code = 2
    sys.exit(code)
