"""Reads a list line by line, recognises its format and checks every line.

This is the layer below corpus/lists.py, which converts the words to utterances and trials.
"""

import functools
import logging
import os
from collections.abc import Iterable, Iterator

from common.errors import InputError
from common.pipes import read_bytes
from common.text import TextLines, word_columns
from corpus.line_formats import SPEAKER_AND_FILE, Formats, LineFormat

log = logging.getLogger(__name__)


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
        return self.checked_words(self.lines, self.lines.numbers)

    def checked_words(self, lines: Iterable[str], numbers: Iterable[int]) -> Iterator[list[str]]:
        """Yields the words of some lines. numbers: of the lines, for errors."""
        for number, line in zip(numbers, lines, strict=True):
            words = split(line, self.separator)
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
        first_line = self.lines.numbers[0]
        if number > first_line:
            return f"Write every line in the format of line {first_line}."
        return "Correct this line, or choose another list."

    def columns(self) -> Iterator[list]:
        """Yields the words of blocks of lines as columns, much faster than line by line.

        The method works for formats in which the label and the number of words decide whether a
        line fits.
        """
        label = self.line_format.label_column

        def well_formed(columns):
            if self.separator:
                # The columns were split at blanks.
                return False
            if label is None or label >= len(columns):
                return self.line_format.fits(columns)
            # One check for each different label is enough for such formats.
            before, after = columns[:label], columns[label + 1 :]
            return all(self.line_format.fits([*before, w, *after]) for w in {*columns[label]})

        def words_of(first, last):
            return self.checked_words(self.lines[first:last], self.lines.numbers[first:last])

        return word_columns(self.lines, well_formed, words_of)


def read_rows(list_file: str | os.PathLike, formats: Formats) -> tuple[LineFormat, TextLines, Rows]:
    """Reads a list -> (its format, its lines, the words of each line).

    The first line chooses one of the formats, and every other line must fit it. The first line of
    comma-separated values may be a header. Blank lines are skipped. Raises InputError if the list
    is empty, not UTF-8, or has a line that does not fit.
    """
    lines = read_text_lines(list_file)
    if lines == [""]:
        raise InputError(
            f"{list_file}: expected lines {alternatives(plain_formats(formats))}, found an empty "
            "file. Choose another list."
        )
    separator = separator_of(lines[0], formats)
    header = ""
    if separator and len(lines) > 1 and is_header(lines[0], lines[1], formats):
        header = lines[0]
        lines = lines.without_first()
    candidates = formats_of(split(lines[0], separator), formats)
    line_format = next(iter(candidates.values()))._replace(header=header)
    return line_format, lines, Rows(list_file, lines, line_format, candidates, separator)


def separator_of(line: str, formats: Formats) -> str | None:
    """Returns the separator of the words of a line: a comma, or None for blanks."""
    if "," not in line:
        return None
    words = line.split()
    if len(words) == 1:
        return ","
    # A blank may follow each comma. But a comma can also be a part of a name.
    if not all(word.endswith(",") for word in words[:-1]):
        return None
    values = split(line, ",")
    fits_commas = all(values) and fits_any(values, formats)
    return "," if fits_commas or not fits_any(words, formats) else None


def fits_any(words: list[str], formats: Formats) -> bool:
    """Returns whether the words of a line have one of the formats."""
    return any(line_format.fits(words) for line_format in formats.values())


def split(line: str, separator: str | None) -> list[str]:
    """Returns the words of a line."""
    if separator is None:
        return line.split()
    return [word.strip() for word in line.split(separator)]


def is_header(first: str, second: str, formats: Formats) -> bool:
    """Returns whether the first line of comma-separated values contains the names of columns.

    Names of columns fit no format, or do not look like files where the second line has files.
    """
    words = split(first, ",")
    if not fits_any(words, formats):
        return True
    pairs = zip(words, split(second, ","), strict=False)
    names_of_files = [name for name, word in pairs if looks_like_file(word)]
    return bool(names_of_files) and not any(map(looks_like_file, names_of_files))


def looks_like_file(word: str) -> bool:
    """Returns whether a word has a folder or an extension."""
    return "/" in word or "." in word


def formats_of(words: list[str], formats: Formats) -> Formats:
    """Returns the formats that fit the words of a first line.

    If no format fits, returns the formats that an error about this line should name.
    """
    fitting = {}
    of_same_length = {}
    for line, line_format in formats.items():
        if line_format.fits(words):
            fitting[line] = line_format
        size = len(line.replace(",", " ").split())
        if size == len(words) and not line_format.is_variant:
            of_same_length[line] = line_format
    return fitting or of_same_length or plain_formats(formats)


def plain_formats(formats: Formats) -> Formats:
    """Returns the formats that short errors name: no spoofing-aware, numbered, variant ones."""
    plain = {}
    for line, line_format in formats.items():
        has_attacks = line_format.attack_column is not None or line_format.key_column is not None
        is_special = line_format.numbered_speakers or line_format.is_variant
        if not has_attacks and not is_special:
            plain[line] = line_format
    return plain


def alternatives(expected: Iterable[str]) -> str:
    """Joins the descriptions of a line for errors."""
    return " or ".join(repr(line) for line in expected)


def first_line_of(path: str | os.PathLike) -> str:
    """Returns the first line of a list that is not blank, without blanks around it."""
    text = read_bytes(path, first_line_only=True).decode("utf-8-sig", "replace")
    return text.strip().split("\n", 1)[0].strip()


def read_text_lines(path: str | os.PathLike) -> TextLines:
    """Reads the lines of a text file that are not blank, with their numbers.

    A file without such lines has one empty line. Raises InputError if the file is not UTF-8.
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
    data = data.rstrip()
    if not data:
        return TextLines(data)
    lines = TextLines(data)
    kept = lines.without_blank_lines()
    if len(kept) < len(lines):
        note_blank_lines(str(path), len(lines) - len(kept))
    return kept


@functools.cache
def note_blank_lines(path: str, number: int) -> None:
    """Reports skipped lines, once for each file."""
    log.info("%s: skipped %s blank %s.", path, f"{number:,}", "lines" if number > 1 else "line")
