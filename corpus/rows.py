"""Reads a list line by line, recognises its format and checks every line.

This is the layer below corpus/lists.py, which converts the words to utterances and trials.
"""

import os
import stat
from collections.abc import Iterable, Iterator

from common.errors import InputError
from common.text import TextLines, word_columns
from corpus.line_formats import SPEAKER_AND_FILE, Formats, LineFormat

# {(path, device, inode) of a pipe: what it contained}
contents_of_pipes: dict[tuple[str, int, int], bytes] = {}


class Rows:
    """The words of each line of a list.

    lines: the lines without the header. expected: descriptions of a line, for errors. separator:
    the separator of the words, None for blanks. Iterating raises InputError for a line that does
    not fit.
    """

    def __init__(
        self,
        list_file: str | os.PathLike,
        lines: TextLines,
        line_format: LineFormat,
        expected: Iterable[str],
        separator: str | None,
    ):
        self.list_file = list_file
        self.lines = lines
        self.line_format = line_format
        self.expected = expected
        self.separator = separator

    def __iter__(self) -> Iterator[list[str]]:
        return self.checked_words(self.lines, self.line_format.first_line)

    def checked_words(self, lines: Iterable[str], first: int) -> Iterator[list[str]]:
        """Yields the words of some lines. first: number of the first of the lines, for errors."""
        for number, line in enumerate(lines, first):
            words = line.split(self.separator)
            if not self.line_format.fits(words):
                raise InputError(
                    f"{self.list_file}:{number}: expected {alternatives(self.expected)}, found "
                    f"{line!r}. {self.remedy(number)}"
                )
            yield words

    def remedy(self, number: int) -> str:
        """Returns the sentence that says what to do about line `number`."""
        if list(self.expected) == [SPEAKER_AND_FILE]:
            return "Write one speaker and one file per line, without blanks in their names."
        first_line = self.line_format.first_line
        if number > first_line:
            return f"Write every line in the format of line {first_line}."
        return "Correct this line, or choose another list."

    def columns(self) -> Iterator[list]:
        """Yields the words of blocks of lines as columns, much faster than line by line.

        The method works for formats in which the first word and the number of words decide whether
        a line fits.
        """

        def well_formed(columns):
            # One check for each different first word is enough for such formats.
            return all(self.line_format.fits([word, *columns[1:]]) for word in {*columns[0]})

        def words_of(first, last):
            return self.checked_words(self.lines[first:last], self.line_format.first_line + first)

        return word_columns(self.lines, well_formed, words_of)


def read_rows(list_file: str | os.PathLike, formats: Formats) -> tuple[LineFormat, TextLines, Rows]:
    """Reads a list -> (its format, its lines, the words of each line).

    The first line chooses one of the formats, and every other line must fit it. The first line of
    comma-separated values may be a header. Blank lines are allowed at the end only. Raises
    InputError if the list is empty, not UTF-8, or has a line that does not fit.
    """
    lines = read_text_lines(list_file)
    if lines == [""]:
        raise InputError(
            f"{list_file}: expected lines {alternatives(plain_formats(formats))}, found an empty "
            "file. Choose another list."
        )
    separator = "," if "," in lines[0] and len(lines[0].split()) == 1 else None
    has_header = False
    if separator and len(lines) > 1:
        words = lines[0].split(separator)
        has_header = not any(line_format.fits(words) for line_format in formats.values())
    if has_header:
        lines = TextLines(lines.text[lines.start_of(1) :])
    candidates = formats_of(lines[0].split(separator), formats)
    line_format = next(iter(candidates.values()))._replace(first_line=1 + has_header)
    return line_format, lines, Rows(list_file, lines, line_format, candidates, separator)


def formats_of(words: list[str], formats: Formats) -> Formats:
    """Returns the formats that fit the words of a first line.

    If no format fits, returns the formats that an error about this line should name.
    """
    fitting = {}
    of_same_length = {}
    for line, line_format in formats.items():
        if line_format.fits(words):
            fitting[line] = line_format
        if len(line.replace(",", " ").split()) == len(words):
            of_same_length[line] = line_format
    return fitting or of_same_length or plain_formats(formats)


def plain_formats(formats: Formats) -> Formats:
    """Returns the formats without spoofing-aware and numbered ones, to keep an error short."""
    plain = {}
    for line, line_format in formats.items():
        has_attacks = line_format.attack_column is not None or line_format.key_column is not None
        if not has_attacks and not line_format.numbered_speakers:
            plain[line] = line_format
    return plain


def alternatives(expected: Iterable[str]) -> str:
    """Joins the descriptions of a line for errors."""
    return " or ".join(repr(line) for line in expected)


def read_bytes(path: str | os.PathLike, first_line_only: bool = False) -> bytes:
    """Reads a list, or at least its first line.

    Several readers open the same list, but a pipe, such as <(command) of a shell, can be read only
    once. So the contents of pipes are kept.
    """
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):
            return file.readline() if first_line_only else file.read()
        pipe = (str(path), status.st_dev, status.st_ino)
        if pipe not in contents_of_pipes:
            contents_of_pipes[pipe] = file.read()
    return contents_of_pipes[pipe]


def first_line_of(path: str | os.PathLike) -> str:
    """Returns the first line of a list without blanks around it. Bytes outside UTF-8 are ?."""
    lines = read_bytes(path, first_line_only=True).decode("utf-8-sig", "replace").split("\n", 1)
    return lines[0].strip()


def read_text_lines(path: str | os.PathLike) -> TextLines:
    """Reads the lines of a text file, without the blank ones at its end.

    Raises InputError if the file is not UTF-8.
    """
    data = read_bytes(path)
    try:
        if not data.isascii():
            data = data.decode("utf-8-sig").encode()
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}:{number}: expected text in UTF-8, found the byte {data[error.start]:#04x}. "
            "Save the file as UTF-8."
        ) from None
    return TextLines(data.rstrip())
