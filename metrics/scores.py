"""Scores files: a trial and its score a line, `1|0 file file score`, or where some speech is spoofed (trials of the ASVspoof challenges)
`speaker file bonafide|attack target|nontarget|spoof score`, the attack of which may be left out. Countermeasure scores of the same trials."""

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.text import LINES_AT_ONCE, TextLines, without_garbage_collection, word_columns
from common.trial_kinds import BONA_FIDE, TRIAL_KINDS
from common.writing import write_atomically

# What a line looks like -> its number of words, the place of the one that tells the kind of trial, what that may be.
FAMILIES = {
    "1|0 <file> <file> <score>": (4, 0, ("0", "1")),
    "<speaker> <file> bonafide|<attack> target|nontarget|spoof <score>": (5, 3, TRIAL_KINDS),
    "<speaker> <file> target|nontarget|spoof <score>": (4, 2, TRIAL_KINDS),
}


class Scores(NamedTuple):
    """A scores file. lines: the trials, one blank between words, without the score; scores float64 [n]; labels bool [n], True for targets, or None;
    kinds [n] of TRIAL_KINDS and attacks [n], one of BONA_FIDE for real speech, or None both where the file is of lines `1|0 file file score`."""

    lines: Sequence[str]
    scores: np.ndarray
    labels: np.ndarray
    kinds: np.ndarray | None
    attacks: np.ndarray | None


def read_text(path, want):
    """Text file -> its bytes, UTF-8, without the end of its last line; `want`, what a line looks like, is for the message about an empty one."""
    data = Path(path).read_bytes()
    try:
        data.isascii() or data.decode()
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: want a text file in UTF-8, got byte {error.object[error.start]:#04x}"
        ) from None
    if not data:
        raise ValueError(f"{path}: empty: want lines {want}")
    return data.removesuffix(b"\n")


def read_text_lines(path, want):
    """The same -> list of lines."""
    return read_text(path, want).decode().splitlines() or [""]


def score_of(path, number, word):
    """The score that stands in line `number`."""
    try:
        score = float(word)
    except ValueError:
        raise ValueError(f"{path}:{number}: want a number as the score, got '{word}'") from None
    if not math.isfinite(score):
        raise ValueError(f"{path}:{number}: want a finite score, got '{word}'")
    return score


def scores_of(path, words, first):
    """The same of words [n] that stand in the lines from number `first` on -> float64 [n]."""
    try:
        scores = np.fromiter(map(float, words), float, len(words))
    except ValueError:
        scores = np.array([math.nan])
    if not np.isfinite(scores).all():
        # complains of one
        for number, word in enumerate(words, first):
            score_of(path, number, word)
    return scores


def fits(words, length, place, values):
    return len(words) == length and words[place] in values


def contradiction(attack, key):
    return (attack in BONA_FIDE) == (key == "spoof")


def without_score(line):
    return " ".join(line.split()[:-1])


@without_garbage_collection
def read_scores(path, labelled=True) -> Scores:
    """Scores file, its family told from the first line and every line checked. Raises ValueError naming the line.
    labelled: else lines `file file score` will do, which have no labels."""
    lines = TextLines(read_text(path, " or ".join(map(repr, FAMILIES))))
    fitting = [want for want, family in FAMILIES.items() if fits(lines[0].split(), *family)]
    # '1 a target 0.5' is of a speaker called 1
    wanted = fitting[-1:] or list(FAMILIES)
    length, place, values = FAMILIES[wanted[-1]]
    if not labelled and len(lines[0].split()) == 3:
        wanted, length, place, values = ["<file> <file> <score>"], 3, 0, None

    def well_formed(table):
        return (
            len(table) == length
            and (not values or {*table[place]} <= {*values})
            and not (
                length == 5
                and any(itertools.starmap(contradiction, {*zip(table[2], table[3], strict=True)}))
            )
        )

    def rows(first, last):
        for number, line in enumerate(lines[first:last], first + 1):
            words = line.split()
            if len(words) != length or values and words[place] not in values:
                remedy = (
                    ": without a label nothing to evaluate" if labelled and len(words) == 3 else ""
                )
                raise ValueError(
                    f"{path}:{number}: want {' or '.join(map(repr, wanted))}, got '{line}'{remedy}"
                )
            if length == 5 and contradiction(*words[2:4]):
                raise ValueError(
                    f"{path}:{number}: want 'bonafide', '-' or 'a00' before target and nontarget, an attack before spoof, "
                    f"got '{words[2]} {words[3]}'"
                )
            yield words

    scores, keys, attacks, first = [], [], [], 1
    for table in word_columns(lines, well_formed, rows):
        scores.append(scores_of(path, table[-1], first))
        keys.append(
            np.array(table[place] if values is TRIAL_KINDS else [*map("1".__eq__, table[0])])
        )
        if values is TRIAL_KINDS:
            attacks.append(np.array(table[2]))
        first += len(table[-1])
    trials, scores = lines.converted_by(without_score), np.concatenate(scores)
    if not values:
        return Scores(trials, scores, None, None, None)
    keys = np.concatenate(keys)
    if values is not TRIAL_KINDS:
        return Scores(trials, scores, keys, None, None)
    return Scores(
        trials,
        scores,
        keys == "target",
        keys,
        np.concatenate(attacks) if length == 5 else np.where(keys == "spoof", "spoof", "bonafide"),
    )


def score_lines(lines, scores):
    """Trials, as in Scores, and their scores -> bytes of a scores file."""
    return "".join(
        f"{line} {score:.7g}\n" for line, score in zip(lines, scores.tolist(), strict=True)
    ).encode()


def write_scores(path, lines, scores):
    """Scores file of trials [n], lines as in Scores, and their scores [n]."""
    blocks = range(0, max(len(lines), len(scores)), LINES_AT_ONCE)
    write_atomically(
        path,
        (score_lines(lines[i : i + LINES_AT_ONCE], scores[i : i + LINES_AT_ONCE]) for i in blocks),
    )


def check_same_trials(path, lines, wanted, first=1):
    """ValueError unless the trials `lines` of a file, which begin in line `first`, are those `wanted`, in their order."""
    if lines != wanted:
        wrong = next(
            (i for i, (a, b) in enumerate(zip(lines, wanted, strict=False)) if a != b),
            min(len(lines), len(wanted)),
        )
        theirs, ours = (
            f"'{some[wrong]}'" if wrong < len(some) else "nothing" for some in (wanted, lines)
        )
        raise ValueError(
            f"{path}:{wrong + first}: want the trials of the scores file in their order, here {theirs}, got {ours}"
        )


def read_cm_scores(path, trials: Scores):
    """Countermeasure scores [n] of the spoofing-aware trials: a scores file of the same trials in their order, or lines `<file> ... <score>` for every
    tested file. Raises ValueError naming line or file."""
    want = "'<file> ... <score>'"
    lines, scores, by_file, twice = [], [], {}, None
    for number, line in enumerate(read_text_lines(path, want), 1):
        words = line.split()
        if len(words) < 2:
            raise ValueError(f"{path}:{number}: want {want}, got '{line}'")
        scores.append(score_of(path, number, words.pop()))
        lines.append(" ".join(words))
        if by_file.setdefault(words[0], scores[-1]) != scores[-1]:
            twice = twice or (number, words[0])
    if lines[0] == trials.lines[0]:
        check_same_trials(path, lines, trials.lines)
        return np.array(scores)
    if twice:
        raise ValueError(
            f"{path}:{twice[0]}: want one score for {twice[1]}, got another above; give lines {want}, or the trials of the scores file in order"
        )
    tested = [line.split()[1] for line in trials.lines]
    missing = list(dict.fromkeys(file for file in tested if file not in by_file))
    if missing:
        raise ValueError(
            f"{path}: want {want} for every tested file, {len(missing):,} are missing, the first {missing[0]}"
        )
    return np.array([by_file[file] for file in tested])


def in_order_of(first, read, path):
    """Scores of the same trials as the Scores `first`, read from `path` -> the same in their order. Raises ValueError where they are other trials."""
    if read.lines == first.lines:
        return read
    counts = Counter(first.lines)
    counts.subtract(read.lines)
    wrong = sorted(line for line, count in counts.items() if count)
    if wrong:
        raise ValueError(
            f"{path}: want the trials of the other scores file, {len(first.lines):,} in any order, got {len(read.lines):,}; {len(wrong):,} are "
            f"not as often in both, the first: {wrong[0]}"
        )
    ours, theirs = (
        sorted(range(len(some.lines)), key=[*some.lines].__getitem__) for some in (read, first)
    )
    order = np.empty(len(ours), int)
    order[theirs] = ours
    return select_trials(read, order)


def select_trials(read, which):
    """Scores of some trials: which, their indices or bool [n]."""
    indices = np.arange(len(read.lines))[which]
    return Scores(
        [read.lines[i] for i in indices],
        *(None if column is None else column[indices] for column in read[1:]),
    )
