"""The lines of a list, every one checked."""
from collections.abc import Callable
from typing import NamedTuple

from corpus import InputError


class Kind(NamedTuple):
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
    return {line: kind for line, kind in kinds.items() if kind.key is kind.attack is None and not kind.numbered}


def read_lines(path):
    """A text file -> its lines, without blanks around them, and without the blank ones at its end."""
    with open(path, "rb") as file:
        data = file.read()
    try:
        return [line.strip() for line in data.decode("utf-8-sig").rstrip().split("\n")]
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}:{number}: want text in UTF-8, got the byte {data[error.start]:#04x}; save it as UTF-8") from None


def read_rows(list_file, kinds):
    """A list -> (which of `kinds`, lines, iterator of the words of each line, which checks it).

    The first line chooses the kind, every other line must be of it; of comma-separated values it may be a header. Blank lines may only end
    the file.
    """
    lines = read_lines(list_file)
    if lines == [""]:
        raise InputError(f"{list_file}: is empty; want lines {' or '.join(map(repr, plain(kinds)))}")
    separator = "," if "," in lines[0] and len(lines[0].split()) == 1 else None
    header = separator == "," and len(lines) > 1 and not any(kind.fits(lines[0].split(separator)) for kind in kinds.values())
    lines = lines[header:]
    words = lines[0].split(separator)
    alike = {line: kind for line, kind in kinds.items() if len(line.replace(",", " ").split()) == len(words)}        # for complaints
    kinds = {line: kind for line, kind in kinds.items() if kind.fits(words)} or alike or plain(kinds)
    kind = next(iter(kinds.values()))._replace(first=1 + header)

    def rows():
        for number, line in enumerate(lines, kind.first):
            words = line.split(separator)
            if not kind.fits(words):
                raise InputError(f"{list_file}:{number}: want {' or '.join(map(repr, kinds))}, got {line!r}")
            yield words

    return kind, lines, rows()
