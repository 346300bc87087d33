"""Scores files: one trial and its score per line. Countermeasure scores of the same trials.

A line is `1|0 file file score`. If some of the speech is spoofed (trials of the ASVspoof
challenges), a line is `speaker file bonafide|attack target|nontarget|spoof score`. There the third
word may be missing. metrics/score_formats.py has the other orders of the words.
"""

import functools
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.pipes import read_bytes
from common.text import LINES_AT_ONCE, TextLines, without_garbage_collection, word_columns
from common.trial_kinds import BONA_FIDE, SPOOF
from common.writing import write_atomically
from metrics.score_formats import (
    FILE_LINE,
    SCORES_FORMATS,
    UNLABELLED_FORMAT,
    UNLABELLED_LINE,
    trial_of,
    without_score,
)

FilePath = str | Path
# The words of many lines, one list for each column.
Table = Sequence[Sequence[str]]


class Scores(NamedTuple):
    """The contents of a scores file.

    lines: the trials, with one blank between words, without the score.
    scores: float64 [n].
    labels: bool [n], True for targets, or for bona fide files. They are None only if
        read_scores(labelled=False) reads lines without labels.
    kinds: [n], words of TRIAL_KINDS, or None for lines `1|0 file file score`.
    attacks: [n], one of BONA_FIDE for real speech, or None for lines `1|0 file file score`.

    Scores of single files, lines `file attack|- bonafide|spoof score`, have attacks and no kinds.
    speakers, codecs: [n] of single files whose lines name both, or None.
    """

    lines: Sequence[str]
    scores: np.ndarray
    labels: np.ndarray
    kinds: np.ndarray | None
    attacks: np.ndarray | None
    speakers: np.ndarray | None = None
    codecs: np.ndarray | None = None

    @property
    def are_of_files(self) -> bool:
        """Whether these are scores of single files, as a countermeasure writes them."""
        return self.kinds is None and self.attacks is not None


def read_text(path: FilePath, expected: str) -> bytes:
    """Reads a UTF-8 text file. Returns its bytes without the end of the last line.

    `expected` describes a line, for the message about an empty file. Raises ValueError if the file
    is empty or not UTF-8.
    """
    data = read_bytes(path)
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise ValueError(
                f"{path}: expected a text file in UTF-8, found the byte {byte:#04x}."
            ) from None
    if not data:
        raise ValueError(f"{path}: expected lines {expected}, found an empty file.")
    return data.removesuffix(b"\n")


def read_file_lines(path: FilePath, expected: str) -> list[str]:
    """Reads the lines of a UTF-8 text file, at least one. Raises the errors of read_text()."""
    return read_text(path, expected).decode().splitlines() or [""]


def parse_score(path: FilePath, number: int, word: str) -> float:
    """Converts the score in line `number`. Raises ValueError if it is not a finite number."""
    try:
        score = float(word)
    except ValueError:
        raise ValueError(
            f"{path}:{number}: expected a number as the score, found '{word}'."
        ) from None
    if not math.isfinite(score):
        raise ValueError(f"{path}:{number}: expected a finite score, found '{word}'.")
    return score


def parse_scores(path: FilePath, words: Sequence[str], first: int) -> np.ndarray:
    """Converts the scores [n] of the lines from number `first` on to float64 [n].

    Raises ValueError naming the line if a score is not a finite number.
    """
    try:
        scores = np.fromiter(map(float, words), float, len(words))
    except ValueError:
        scores = np.array([math.nan])
    if not np.isfinite(scores).all():
        # One call raises the error that names the line.
        for number, word in enumerate(words, first):
            parse_score(path, number, word)
    return scores


def is_contradiction(attack: str, kind: str) -> bool:
    """Returns whether real speech has the kind "spoof", or spoofed speech another kind."""
    return (attack in BONA_FIDE) == (kind == "spoof")


def are_files(lines: Iterable[str]) -> bool:
    """Returns whether lines of four words are files of a countermeasure, and not trials.

    The third word decides, but `spoof` is a word of both.
    """
    words = (line.split() for line in lines)
    found = next((each[2] for each in words if len(each) == 4 and each[2] != SPOOF), None)
    return found == "bonafide"


class LineChecker:
    """Recognises the format of a scores file from its first line and checks every line."""

    def __init__(self, path: FilePath, lines: TextLines, labelled: bool) -> None:
        self.path = path
        self.lines = lines
        self.labelled = labelled
        words = lines[0].split()
        matching = [line for line, form in SCORES_FORMATS.items() if form.accepts(words)]
        # '1 a target 0.5' matches two formats: its speaker is called 1.
        named = [line for line, form in SCORES_FORMATS.items() if not form.is_variant]
        if FILE_LINE in matching and are_files(lines):
            matching = [FILE_LINE]
        self.expected = matching[-1:] or named
        self.format = SCORES_FORMATS[self.expected[-1]]
        if not labelled and len(words) == 3:
            self.expected = [UNLABELLED_LINE]
            self.format = UNLABELLED_FORMAT

    def is_well_formed(self, table: Table) -> bool:
        """Returns whether all lines of a table have the format."""
        line_format = self.format
        if len(table) != line_format.length:
            return False
        if line_format.keys and not set(table[line_format.key_place]) <= set(line_format.keys):
            return False
        place = line_format.attack_place
        if place is not None:
            pairs = set(zip(table[place], table[line_format.key_place], strict=True))
            return not any(is_contradiction(attack, kind) for attack, kind in pairs)
        return True

    def rows(self, first: int, last: int) -> Iterator[list[str]]:
        """Yields the words of the lines with the indices first, ..., last - 1.

        Raises ValueError naming the line if a line does not have the format.
        """
        for number, line in enumerate(self.lines[first:last], first + 1):
            words = line.split()
            if not self.format.accepts(words):
                expected = " or ".join(map(repr, self.expected))
                remedy = ""
                if self.labelled and len(words) == 3:
                    remedy = " Metrics need a label in each line."
                raise ValueError(
                    f"{self.path}:{number}: expected {expected}, found '{line}'.{remedy}"
                )
            place = self.format.attack_place
            if place is not None and is_contradiction(*words[place : place + 2]):
                real = "bonafide" if self.format.is_of_files else "target and nontarget"
                raise ValueError(
                    f"{self.path}:{number}: expected 'bonafide', '-' or 'a00' before {real}, and "
                    f"an attack before spoof, found '{' '.join(words[place : place + 2])}'."
                )
            yield words


@without_garbage_collection
def read_scores(path: FilePath, labelled: bool = True) -> Scores:
    """Reads a scores file. The first line decides the format, and every line is checked.

    With labelled=False, lines `file file score` are allowed too, which have no labels. Raises
    ValueError naming the line if the file is not a scores file.
    """
    lines = TextLines(read_text(path, "'1|0 <file> <file> <score>'"))
    checker = LineChecker(path, lines, labelled)
    line_format = checker.format
    scores_of_blocks: list[np.ndarray] = []
    keys_of_blocks: list[np.ndarray] = []
    words_of_blocks: dict[str, list[np.ndarray]] = {name: [] for name in line_format.word_places}
    first = 1
    for table in word_columns(lines, checker.is_well_formed, checker.rows):
        scores_of_blocks.append(parse_scores(path, table[line_format.score_place], first))
        if line_format.is_spoofing_aware:
            keys_of_blocks.append(np.array(table[line_format.key_place]))
        else:
            keys = table[line_format.key_place]
            keys_of_blocks.append(np.array([word in ("1", "bonafide") for word in keys]))
        for name, place in line_format.word_places.items():
            words_of_blocks[name].append(np.array(table[place]))
        first += len(table[-1])
    trials = lines.converted_by(without_score)
    scores = np.concatenate(scores_of_blocks)
    if not line_format.keys:
        return Scores(trials, scores, None, None, None)  # type: ignore[arg-type]
    keys = np.concatenate(keys_of_blocks)
    words = {name: np.concatenate(blocks) for name, blocks in words_of_blocks.items()}
    if line_format.is_of_files:
        return Scores(trials, scores, keys, None, **words)
    if not line_format.is_spoofing_aware:
        trials = lines.converted_by(functools.partial(trial_of, line_format, plain=True))
        return Scores(trials, scores, keys, None, None)
    if not line_format.has_attacks:
        # Two files and no spoof are plain trials, as Kaldi and wespeaker write them.
        plain = SPOOF not in keys
        trials = lines.converted_by(functools.partial(trial_of, line_format, plain=plain))
        if plain:
            return Scores(trials, scores, keys == "target", None, None)
    attacks = words.get("attacks", np.where(keys == "spoof", "spoof", "bonafide"))
    return Scores(trials, scores, keys == "target", keys, attacks)


def score_lines(lines: Sequence[str], scores: np.ndarray) -> bytes:
    """Returns a part of a scores file: trials [n], as in Scores, and their scores [n]."""
    pairs = zip(lines, scores.tolist(), strict=True)
    return "".join(f"{line} {score:.7g}\n" for line, score in pairs).encode()


def write_scores(path: FilePath, lines: Sequence[str], scores: np.ndarray) -> None:
    """Writes a scores file of trials [n], with lines as in Scores, and their scores [n]."""
    starts = range(0, max(len(lines), len(scores)), LINES_AT_ONCE)
    blocks = (
        score_lines(lines[i : i + LINES_AT_ONCE], scores[i : i + LINES_AT_ONCE]) for i in starts
    )
    write_atomically(path, blocks)


def check_same_trials(
    path: FilePath, lines: Sequence[str], expected: Sequence[str], first: int = 1
) -> None:
    """Checks that the trials `lines` of a file equal the expected trials, in the same order.

    `first` is the number of the first of the lines. Raises ValueError naming the first line that
    differs.
    """
    if lines == expected:
        return
    wrong = min(len(lines), len(expected))
    for i, (line, expected_line) in enumerate(zip(lines, expected, strict=False)):
        if line != expected_line:
            wrong = i
            break
    raise ValueError(
        f"{path}:{wrong + first}: expected the trials of the scores file in the same order, "
        f"here {quoted_line(expected, wrong)}, found {quoted_line(lines, wrong)}."
    )


def quoted_line(lines: Sequence[str], i: int) -> str:
    """Returns line i in quotes, or the word nothing if there is no such line."""
    if i < len(lines):
        return f"'{lines[i]}'"
    return "nothing"


# What a line of countermeasure scores looks like.
CM_LINE = "'<file> ... <score>'"


class CmScores(NamedTuple):
    """The contents of a file of countermeasure scores.

    lines: the words of each line without the score, with one blank between words.
    scores: the score of each line.
    by_file: {file: its first score}.
    repeated: (line number, file) of the first line with another score for the same file, or None.
    """

    lines: list[str]
    scores: list[float]
    by_file: dict[str, float]
    repeated: tuple[int, str] | None


def read_cm_lines(path: FilePath) -> CmScores:
    """Reads a file of countermeasure scores. Raises ValueError naming the line."""
    lines: list[str] = []
    scores: list[float] = []
    by_file: dict[str, float] = {}
    repeated = None
    for number, line in enumerate(read_file_lines(path, CM_LINE), 1):
        words = line.split()
        if len(words) < 2:
            raise ValueError(f"{path}:{number}: expected {CM_LINE}, found '{line}'.")
        score = parse_score(path, number, words.pop())
        scores.append(score)
        lines.append(" ".join(words))
        file = words[0]
        if by_file.setdefault(file, score) != score and repeated is None:
            repeated = (number, file)
    return CmScores(lines, scores, by_file, repeated)


def read_cm_scores(path: FilePath, trials: Scores) -> np.ndarray:
    """Reads the countermeasure scores [n] of the spoofing-aware trials.

    The file is a scores file of the same trials in the same order, or it has lines
    `<file> ... <score>` for every tested file. Raises ValueError naming the line or the file.
    """
    found = read_cm_lines(path)
    if found.lines[0] == trials.lines[0]:
        check_same_trials(path, found.lines, trials.lines)
        return np.array(found.scores)
    if found.repeated:
        number, file = found.repeated
        raise ValueError(
            f"{path}:{number}: expected one score for {file}, found another one in a line above. "
            f"Give one line {CM_LINE} for each file, or the trials of the scores file in order."
        )
    tested = [line.split()[1] for line in trials.lines]
    missing = list(dict.fromkeys(file for file in tested if file not in found.by_file))
    if missing:
        raise ValueError(
            f"{path}: expected {CM_LINE} for every tested file, but {len(missing):,} files are "
            f"missing. The first one is {missing[0]}."
        )
    return np.array([found.by_file[file] for file in tested])


def reorder_like(first: Scores, other: Scores, path: FilePath) -> Scores:
    """Returns the trials of `other` in the order of the trials of `first`.

    `path` is the file of `other`, for the message. Raises ValueError if the trials are not the
    same.
    """
    if other.lines == first.lines:
        return other
    counts = Counter(first.lines)
    counts.subtract(other.lines)
    wrong = sorted(line for line, count in counts.items() if count)
    if wrong:
        raise ValueError(
            f"{path}: expected the {len(first.lines):,} trials of the other scores file in any "
            f"order, found {len(other.lines):,} trials. The number of occurrences differs for "
            f"{len(wrong):,} trials, first for '{wrong[0]}'."
        )
    order = np.empty(len(other.lines), int)
    order[sorting_indices(first.lines)] = sorting_indices(other.lines)
    return select_trials(other, order)


def sorting_indices(lines: Sequence[str]) -> list[int]:
    """Returns the indices that sort the lines. Equal lines keep their order."""
    return sorted(range(len(lines)), key=[*lines].__getitem__)


def select_trials(scores: Scores, which: np.ndarray) -> Scores:
    """Returns the Scores of some trials. `which` holds their indices, or is bool [n]."""
    indices = np.arange(len(scores.lines))[which]
    parts: dict[str, Any] = {"lines": [scores.lines[i] for i in indices]}
    for name, values in scores._asdict().items():
        if name not in parts:
            parts[name] = None if values is None else values[indices]
    return Scores(**parts)
