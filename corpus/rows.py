"""The lines of a list, every one checked."""

from collections.abc import Callable
from typing import NamedTuple

from common.errors import InputError
from common.text import Lines, columns


class LineFormat(NamedTuple):
    """fits: do these words look like it? columns: of speaker and file; in trials of the two sides. attack, key: columns, where there are any.
    first: number of the list's first line of this kind. numbered: speakers are called by numbers. speaker: its column where `columns` are of files alone."""

    fits: Callable
    columns: tuple = (0, 1)
    attack: int | None = None
    key: int | None = None
    first: int = 1
    numbered: bool = False
    speaker: int | None = None


def plain(kinds):
    return {
        line: kind
        for line, kind in kinds.items()
        if kind.key is kind.attack is None and not kind.numbered
    }


def read_lines(path):
    """A text file -> its Lines, without the blank ones at its end."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        if not data.isascii():
            data = data.decode("utf-8-sig").encode()
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}:{number}: want text in UTF-8, got the byte {data[error.start]:#04x}; save it as UTF-8"
        ) from None
    return Lines(data.rstrip())


class Rows:
    """The words of each line of a list; one that is not of the `kind` is an InputError, which says that `wanted` is."""

    def __init__(self, list_file, lines, kind, wanted, separator):
        self.list_file, self.lines, self.kind, self.wanted, self.separator = (
            list_file,
            lines,
            kind,
            wanted,
            separator,
        )

    def __iter__(self):
        return self.checked(self.lines, self.kind.first)

    def checked(self, lines, first):
        for number, line in enumerate(lines, first):
            words = line.split(self.separator)
            if not self.kind.fits(words):
                raise InputError(
                    f"{self.list_file}:{number}: want {' or '.join(map(repr, self.wanted))}, got {line!r}"
                )
            yield words

    def columns(self):
        """Yields blocks of them by columns, much faster; of kinds that are told by the first word and the number of words."""
        return columns(
            self.lines,
            lambda table: all(self.kind.fits([word, *table[1:]]) for word in {*table[0]}),
            lambda first, last: self.checked(self.lines[first:last], self.kind.first + first),
        )


def read_rows(list_file, kinds):
    """A list -> (which of `kinds`, lines, Rows).

    The first line chooses the kind, every other line must be of it; of comma-separated values it may be a header. Blank lines may only end
    the file.
    """
    lines = read_lines(list_file)
    if lines == [""]:
        raise InputError(
            f"{list_file}: is empty; want lines {' or '.join(map(repr, plain(kinds)))}"
        )
    separator = "," if "," in lines[0] and len(lines[0].split()) == 1 else None
    header = (
        separator == ","
        and len(lines) > 1
        and not any(kind.fits(lines[0].split(separator)) for kind in kinds.values())
    )
    lines = lines[1:] if header else lines
    words = lines[0].split(separator)
    # for complaints
    alike = {
        line: kind
        for line, kind in kinds.items()
        if len(line.replace(",", " ").split()) == len(words)
    }
    kinds = (
        {line: kind for line, kind in kinds.items() if kind.fits(words)} or alike or plain(kinds)
    )
    kind = next(iter(kinds.values()))._replace(first=1 + header)
    return kind, lines, Rows(list_file, lines, kind, kinds, separator)
