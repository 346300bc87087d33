"""Lists and scores files of ten million lines, in memory as they stand in the file: a string for each line would take twice as much, its words ten times."""

import copy
import functools
import gc
import itertools
import operator
from collections.abc import Sequence

import numpy as np

LINES_AT_ONCE = 2**16


class Lines(Sequence):
    """The lines of a UTF-8 text (bytes), like a list of strings, which are made when they are asked for. form: what is made of each, by default the line
    without blanks around it."""

    def __init__(self, text, form=str.strip):
        self.text, self.form, parts = text, form, range(0, len(text), 2**24)
        ends = [
            np.flatnonzero(np.frombuffer(text, np.uint8, min(2**24, len(text) - i), i) == ord("\n"))
            + i
            for i in parts
        ]
        # of each line, int64 [n]
        self.end = np.concatenate([*ends, [len(text)]])

    def formed(self, form):
        """The same lines with another form."""
        other = copy.copy(self)
        other.form = form
        return other

    def __len__(self):
        return len(self.end)

    def __getitem__(self, i):
        if not isinstance(i, slice):
            i = range(len(self))[i]
            return self.between(i, i + 1)[0]
        first, last, step = i.indices(len(self))
        return (
            self.between(first, max(first, last))
            if step == 1
            else [self[n] for n in range(first, last, step)]
        )

    def __iter__(self):
        return itertools.chain.from_iterable(itertools.starmap(self.between, self.blocks()))

    def __eq__(self, other):
        return (
            isinstance(other, Sequence)
            and len(self) == len(other)
            and all(map(operator.eq, self, other))
        )

    def between(self, first, last):
        """Lines first, ..., last - 1 -> list."""
        return (
            [self.form(line) for line in self.stretch(first, last).decode().split("\n")]
            if first < last
            else []
        )

    def stretch(self, first, last):
        """The same -> bytes as they stand there."""
        return self.text[self.begin(first) : self.end[last - 1]]

    def begin(self, i):
        return self.end[i - 1] + 1 if i else 0

    def blocks(self):
        """-> (first, last) of LINES_AT_ONCE lines each, but for the last of them."""
        return [
            (first, min(first + LINES_AT_ONCE, len(self)))
            for first in range(0, len(self), LINES_AT_ONCE)
        ]

    def table(self, first, last):
        """Their words by columns; None unless these are plain lines, of equally many words with a blank between."""
        text = self.stretch(first, last)
        byte = np.frombuffer(text, np.uint8)
        if not text.isascii() or ((byte < ord(" ")) & (byte != ord("\n"))).any():
            return None
        words = text.decode().split()
        # in each line
        blanks = np.diff(
            np.searchsorted(
                np.flatnonzero(byte == ord(" ")), self.end[first:last] - self.begin(first)
            ),
            prepend=0,
        )
        size = blanks[0] + 1
        return (
            [words[i::size] for i in range(size)]
            if (blanks == blanks[0]).all() and len(words) == size * len(blanks)
            else None
        )


class Numbers(dict):
    """{name: its number in the order of appearance}; a name that is asked for and not there gets the next one."""

    def __missing__(self, name):
        self[name] = number = len(self)
        return number

    def of(self, names):
        """Names [n] -> int64 [n]."""
        return np.fromiter(map(self.__getitem__, names), np.int64, len(names))


def columns(lines, fits, rows):
    """Lines -> yields their words by columns, of LINES_AT_ONCE lines at a time. fits(table): are these as wanted? Where they are not, or not plain,
    rows(first, last) gives the words of each of these lines, or complains of one."""
    for first, last in lines.blocks():
        table = lines.table(first, last)
        yield table if table and fits(table) else [*zip(*rows(first, last), strict=True)]


def without_collector(read):
    """A function that makes a million objects, none of them garbage: Python would go through all of them again and again to see that."""

    @functools.wraps(read)
    def reading(*args, **options):
        enabled = gc.isenabled()
        gc.disable()
        try:
            return read(*args, **options)
        finally:
            if enabled:
                gc.enable()

    return reading
