"""The error of everything that a user can correct."""

import contextlib
import errno
from collections.abc import Iterator


class InputError(ValueError):
    """An option, a list or a file of the user cannot be used.

    The message says where the problem is, what was expected, what was found and what to do. The
    programs print it without a traceback.
    """


def file_problem(error: OSError, expected: str = "a file") -> str:
    """Returns a sentence about a file that cannot be read. expected: what it should be."""
    if isinstance(error, IsADirectoryError):
        return f"expected {expected}, found a folder."
    if isinstance(error, FileNotFoundError):
        return "there is no such file. Check the path."
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{error.strerror}. Free some space on the disk, and run the same command again."
    return f"{error.strerror or error}. Check the path."


@contextlib.contextmanager
def naming(path: object) -> Iterator[None]:
    """Adds the path of a file to an OSError of its writing, which names no file by itself.

    Only opening a file gives the name. A full disk is noticed later.
    """
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise
