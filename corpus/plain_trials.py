"""Trials of two files with a label, in whatever order the words are."""

import logging
import os
from collections.abc import Iterable

from common.errors import InputError
from common.text import TextLines
from common.trial_kinds import SPOOF
from corpus.enrolment import names_files
from corpus.line_formats import LABELLED, TARGET_LABELS, TRIAL_FORMATS, LineFormat
from corpus.rows import Rows, split

log = logging.getLogger(__name__)


def plain_lines(lines: TextLines, line_format: LineFormat, separator: str | None) -> TextLines:
    """Returns the lines of plain trials as '1|0 <file> <file>' or '<file> <file>'."""
    label = line_format.label_column
    a, b = line_format.columns
    if separator is None and (label is None or line_format == TRIAL_FORMATS[LABELLED]):
        return lines

    def plain(line: str) -> str:
        words = split(line, separator)
        files = f"{words[a]} {words[b]}"
        return files if label is None else f"{int(words[label] in TARGET_LABELS)} {files}"

    return lines.converted_by(plain)


def has_only_files(rows: Rows, list_file: str | os.PathLike) -> bool:
    """Returns whether trials '<speaker> <file> target|nontarget|spoof' are two files and no spoof.

    Kaldi and wespeaker write such trials. list_file has no enrolment list, so the first name is a
    file too. Warns if it could be a speaker: names of utterances of Kaldi have no folder.
    """
    if rows.line_format.label_column is None:
        return False
    like_paths = True
    for claims, _, kinds in rows.columns():
        if SPOOF in kinds:
            return False
        like_paths = like_paths and names_files(claims)
    if not like_paths:
        log.warning(
            "warning: %s: both names of a trial are read as files, because no enrolment list was "
            "found. If the first name is a speaker, add --enroll_list LIST.",
            list_file,
        )
    return True


def check_names(list_file: str | os.PathLike, names: Iterable[str]) -> None:
    """Raises InputError if comma-separated trials have names with blanks."""
    with_blank = next((name for name in names if len(name.split()) > 1), None)
    if with_blank:
        raise InputError(
            f"{list_file}: expected files without blanks in their names, because blanks separate "
            f"the words of scores files, found '{with_blank}'. Rename the file."
        )
