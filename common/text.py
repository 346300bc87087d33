"""Lists and scores files of ten million lines.

A Python string for each line would take twice the memory of the file, and a string for each word
ten times as much. So TextLines keeps the bytes of the file and makes the strings of a line on
demand. word_columns() splits many lines at a time. NumberedNames replaces names by integers.
"""

import copy
import functools
import gc
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

# Lines that are decoded and split at a time.
LINES_AT_ONCE = 2**16
# Bytes in which line ends are searched at a time.
BYTES_AT_ONCE = 2**24
NEWLINE = ord("\n")
BLANK = ord(" ")


class TextLines(Sequence):
    """The lines of a UTF-8 text, used like a list of strings. text: bytes, or an array of uint8.

    A line is decoded when it is asked for. convert: a function of a decoded line, which makes the
    item of the sequence. By default it removes the blanks around the line. numbers: the number of
    each line in its file, for messages, by default 1, 2, ...
    """

    def __init__(
        self,
        text: Any,
        convert: Callable[[str], Any] = str.strip,
        numbers: Sequence[int] | None = None,
    ):
        self.text = text
        self.convert = convert
        ends = []
        for start in range(0, len(text), BYTES_AT_ONCE):
            size = min(BYTES_AT_ONCE, len(text) - start)
            part = np.frombuffer(text, np.uint8, size, start)
            ends.append(np.flatnonzero(part == NEWLINE) + start)
        # Position in the text where each line ends, int64 [n].
        self.end = np.concatenate([*ends, [len(text)]])
        self.numbers = range(1, len(self.end) + 1) if numbers is None else numbers

    def converted_by(self, convert: Callable[[str], Any]) -> "TextLines":
        """Returns the same lines with another function `convert`."""
        other = copy.copy(self)
        other.convert = convert
        return other

    def without_first(self) -> "TextLines":
        """Returns the same lines without the first one."""
        return TextLines(self.text[self.start_of(1) :], self.convert, self.numbers[1:])

    def without_blank_lines(self) -> "TextLines":
        """Returns the same lines without blank ones. The last line must not be blank."""
        byte = np.frombuffer(self.text, np.uint8)
        starts = np.append(0, self.end[:-1] + 1)
        # Nearly all lines start with another byte.
        candidates = np.flatnonzero(byte[starts] <= BLANK).tolist()
        blank = [i for i in candidates if not self.raw(i, i + 1).strip()]
        if not blank:
            return self
        kept = np.delete(np.arange(len(self)), blank).tolist()
        text = b"\n".join(self.raw(i, i + 1) for i in kept)
        return TextLines(text, self.convert, [self.numbers[i] for i in kept])

    def __len__(self) -> int:
        return len(self.end)

    def __getitem__(self, i: Any) -> Any:
        if not isinstance(i, slice):
            # Indexing a range handles negative numbers and raises IndexError.
            i = range(len(self))[i]
            return self.items(i, i + 1)[0]
        first, last, step = i.indices(len(self))
        if step == 1:
            return self.items(first, max(first, last))
        return [self[n] for n in range(first, last, step)]

    def __iter__(self) -> Iterator:
        return itertools.chain.from_iterable(itertools.starmap(self.items, self.blocks()))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(map(operator.eq, self, other))

    def items(self, first: int, last: int) -> list:
        """Returns the converted lines first, ..., last - 1."""
        if first >= last:
            return []
        return [self.convert(line) for line in self.raw(first, last).decode().split("\n")]

    def raw(self, first: int, last: int) -> bytes:
        """Returns the bytes of lines first, ..., last - 1, with the line ends between them."""
        return bytes(self.text[self.start_of(first) : self.end[last - 1]])

    def start_of(self, i: int) -> int:
        """Returns the position in the text where line i starts."""
        return self.end[i - 1] + 1 if i else 0

    def blocks(self) -> list[tuple[int, int]]:
        """Returns (first, last) of blocks of at most LINES_AT_ONCE lines."""
        return [
            (first, min(first + LINES_AT_ONCE, len(self)))
            for first in range(0, len(self), LINES_AT_ONCE)
        ]

    def columns(self, first: int, last: int) -> list[list[str]] | None:
        """Splits lines first, ..., last - 1 into columns of words, [columns][lines].

        Returns None unless all lines are plain: ASCII, with the same number of words, and with one
        blank between two words.
        """
        text = self.raw(first, last)
        byte = np.frombuffer(text, np.uint8)
        has_control_characters = ((byte < BLANK) & (byte != NEWLINE)).any()
        if not text.isascii() or has_control_characters:
            return None
        words = text.decode().split()
        line_ends = self.end[first:last] - self.start_of(first)
        blanks_before_end = np.searchsorted(np.flatnonzero(byte == BLANK), line_ends)
        # Number of blanks in each line.
        blanks = np.diff(blanks_before_end, prepend=0)
        size = blanks[0] + 1
        if not (blanks == blanks[0]).all() or len(words) != size * len(blanks):
            return None
        return [words[i::size] for i in range(size)]


def word_columns(
    lines: TextLines,
    well_formed: Callable[[list[list[str]]], bool],
    words_of: Callable[[int, int], Iterable[list[str]]],
) -> Iterator[list]:
    """Yields the words of the lines as columns, [columns][lines], LINES_AT_ONCE lines at a time.

    well_formed(columns) says whether the lines of a block are as expected. If they are not, or if
    they are not plain (see TextLines.columns), words_of(first, last) is used. It yields the words
    of lines first, ..., last - 1, or raises an error about one of them.
    """
    for first, last in lines.blocks():
        columns = lines.columns(first, last)
        if columns and well_formed(columns):
            yield columns
        else:
            yield list(zip(*words_of(first, last), strict=True))


class NumberedNames(dict[str, int]):
    """{name: number}, numbered from 0 in the order of appearance.

    Looking up a new name gives it the next number.
    """

    def __missing__(self, name: str) -> int:
        number = len(self)
        self[name] = number
        return number

    def numbers_of(self, names: Sequence[str]) -> np.ndarray:
        """Returns the numbers of names [n], int64 [n]."""
        return np.fromiter(map(self.__getitem__, names), np.int64, len(names))


def without_garbage_collection(read: Callable) -> Callable:
    """Decorates a function that makes millions of objects which all stay in use.

    While such a function runs, the collector would look through all objects again and again and
    find no garbage.
    """

    @functools.wraps(read)
    def read_without_collection(*args, **options):
        enabled = gc.isenabled()
        gc.disable()
        try:
            return read(*args, **options)
        finally:
            if enabled:
                gc.enable()

    return read_without_collection
