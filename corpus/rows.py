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


def read_rows(list_file, kinds):
    """A list -> (which of `kinds`, lines, words of each line).

    The first line chooses the kind, every other line must be of it; of comma-separated values it may be a header. Blank lines may only end
    the file.
    """
    with open(list_file, "rb") as file:
        data = file.read()
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").rstrip().split("\n")]
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{list_file}:{number}: want text in UTF-8, got the byte {data[error.start]:#04x}; save it as UTF-8") from None
    if lines == [""]:
        raise InputError(f"{list_file}: is empty; want lines {' or '.join(map(repr, plain(kinds)))}")
    commas = "," in lines[0] and len(lines[0].split()) == 1
    rows = [line.split("," if commas else None) for line in lines]
    header = commas and len(rows) > 1 and not any(kind.fits(rows[0]) for kind in kinds.values())
    lines, rows = lines[header:], rows[header:]
    alike = {line: kind for line, kind in kinds.items() if len(line.replace(",", " ").split()) == len(rows[0])}      # for complaints
    kinds = {line: kind for line, kind in kinds.items() if kind.fits(rows[0])} or alike or plain(kinds)
    kind = next(iter(kinds.values()))
    for number, words in enumerate(rows, 1 + header):
        if not kind.fits(words):
            raise InputError(f"{list_file}:{number}: want {' or '.join(map(repr, kinds))}, got {lines[number - 1 - header]!r}")
    return kind._replace(first=1 + header), lines, rows
