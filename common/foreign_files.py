"""Files of others: whatever reading them does becomes an InputError that names the file.

A file may be damaged, of another kind, or made to do harm. No code from a file is run, and a few
bytes cannot make a reader allocate gigabytes.
"""

import contextlib
import os
import pickle
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from common.errors import InputError, file_problem

# At most this number of characters of the text of an exception is shown.
SHOWN_CHARACTERS = 200
# A pickle may call a function at most this number of times. The arrays and the settings that are
# read here need fewer than ten calls.
MOST_CALLS = 100


@contextlib.contextmanager
def foreign_file(
    path: str | os.PathLike, problem: Callable[[str], str], expected: str = "a file"
) -> Iterator[None]:
    """Context in which a file of others is read. Every exception becomes an InputError.

    problem: makes the sentences after the path from the text of an exception. expected: what the
    path should be, for a path that cannot be opened. An InputError is not changed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except InputError:
        raise
    except OSError as error:
        text = problem(shortened(error)) if error.errno is None else file_problem(error, expected)
        raise InputError(f"{path}: {text}") from None
    except Exception as error:
        # A damaged file can raise any exception.
        raise InputError(f"{path}: {problem(shortened(error))}") from error


def shortened(error: Exception) -> str:
    """Returns the text of an exception as one short line of printable characters."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        # An exception of a deeply nested object may fail to describe it.
        text = ""
    text = "".join(character if character.isprintable() else "?" for character in text)
    if len(text) > SHOWN_CHARACTERS:
        text = f"{text[:SHOWN_CHARACTERS]}..."
    return text.rstrip(".") or type(error).__name__


def require_regular_file(path: str | os.PathLike, expected: str) -> None:
    """Raises InputError for a pipe or a device. Reading it twice, as here, would wait for ever.

    Raises OSError if there is no file.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(
            f"{path}: expected {expected}, found a pipe or a device. Write it to a file first."
        )


# typeshed does not declare the version of Unpickler that is written in Python.
LibraryUnpickler: Any = pickle._Unpickler  # type: ignore[attr-defined]


class PythonUnpickler(LibraryUnpickler):
    """An unpickler whose memory grows with the length of the file only.

    The unpickler of the C library allocates what a number in the file says. This one is written in
    Python, and reads the bytes of a bytearray before it makes one.
    """

    dispatch = dict(LibraryUnpickler.dispatch)

    def load_bytearray8(self) -> None:
        """Reads a bytearray, whose length is stated in 8 bytes."""
        length = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(length)))

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


class BoundedUnpickler(PythonUnpickler):
    """Makes plain values, and calls the few functions of ALLOWED.

    A file that names any other class or function is refused, so no code from the file runs.

    ALLOWED: {(module, name): the class or function to use}.
    """

    ALLOWED: dict[tuple[str, str], Callable] = {}

    def __init__(self, file: Any, **settings: Any) -> None:
        super().__init__(file, **settings)
        self.calls = 0

    def find_class(self, module: str, name: str) -> Any:
        """Returns an allowed function. Raises UnpicklingError for any other one."""
        function = self.ALLOWED.get((module, name))
        if function is None:
            raise pickle.UnpicklingError(f"it contains {module}.{name}")

        def counted(*arguments: Any) -> Any:
            self.calls += 1
            if self.calls > MOST_CALLS:
                raise pickle.UnpicklingError(f"it contains more than {MOST_CALLS} calls")
            return function(*arguments)

        return function if isinstance(function, type) else counted


def are_numbers(values: Iterable[object]) -> bool:
    """Whether values of a JSON file are numbers, and not texts or true and false."""
    return all(type(value) in (int, float) for value in values)


def are_texts(values: object) -> bool:
    """Whether a value of a JSON file is a list of texts."""
    return isinstance(values, list) and all(type(value) is str for value in values)
