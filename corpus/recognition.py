"""Recognises lists that were given to the wrong option, or that belong to another program.

The first lines decide. A list is recognised only where it is certain, because many lists of names
fit several kinds.
"""

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from common.errors import InputError
from common.shell import shell_command
from corpus.files import is_recording
from corpus.line_formats import TRAIN_FORMATS, TRIAL_FORMATS
from corpus.rows import fits_any, looks_like_file

# Number of lines, and of bytes, that are looked at.
MOST_LINES = 100
MOST_BYTES = 1 << 16
SCORE = re.compile(r"-?(\d+\.\d+(e[-+]?\d+)?|inf|nan)", re.I)
KALDI = ("wav.scp", "utt2spk", "spk2utt", "segments", "utt2dur", "feats.scp")
TRAIN = "a train list"
TRIALS = "a list of trials"
SCORES = "a scores file"
ENROLMENT = "a list of enrolment files"
KALDI_FILE = "a file of a Kaldi data folder"
# {kind of list: what to do with it}
REMEDIES = {
    TRAIN: "Give it to --train_list",
    TRIALS: "Give it to --test_list",
    SCORES: "Give it to tuneThreshold.py",
    ENROLMENT: "Give it to --enroll_list",
}

Rows = Sequence[Sequence[str]]


class Expected(NamedTuple):
    """What an option expects. option: as it is typed. kind: TRAIN or TRIALS."""

    option: str
    kind: str


def require_kind(list_file: str, expected: Expected) -> None:
    """Raises InputError if a list is certainly of another kind than expected."""
    lines = first_lines(list_file)
    kind = kind_of(list_file, [line.split() for line in lines])
    if kind is None or kind == expected.kind:
        return
    remedy = REMEDIES.get(kind)
    if kind == KALDI_FILE:
        folder = os.path.dirname(list_file) or "."
        command = shell_command("python", "dataprep.py", "from-kaldi", folder, "--output", "LIST")
        remedy = f"Make a list with {command}"
    raise InputError(
        f"{list_file}: expected {expected.kind} for {expected.option}, found {kind}, first line "
        f"{lines[0][:120]!r}. {remedy}. {expected.option} needs another list."
    )


def first_lines(list_file: str) -> list[str]:
    """Returns the first complete lines of a regular file, without blank ones.

    Returns [] for anything else, because a pipe can be read only once.
    """
    if not os.path.isfile(list_file):
        return []
    with open(list_file, "rb") as file:
        data = file.read(MOST_BYTES)
    lines = data.decode("utf-8-sig", "replace").split("\n")
    # The last one may be incomplete.
    kept = lines[:-1] if len(data) == MOST_BYTES else lines
    return [line.strip() for line in kept if line.strip()][:MOST_LINES]


def kind_of(list_file: str, rows: Rows) -> str | None:
    """Returns the kind of a list, or None if it is not certain. rows: words of its first lines."""
    if not rows:
        return None
    tests = {
        KALDI_FILE: lambda: is_of_kaldi(os.path.basename(list_file), rows),
        SCORES: lambda: all(map(is_scored, rows)),
        ENROLMENT: lambda: all(map(is_enrolment, rows)),
        TRIALS: lambda: all(map(is_trial, rows)),
        TRAIN: lambda: all(map(is_training, rows)),
    }
    return next((kind for kind, holds in tests.items() if holds()), None)


def is_of_kaldi(name: str, rows: Rows) -> bool:
    """Returns whether a list is a file of a Kaldi data folder: its names, or commands in it.

    The first words of such files are different names of utterances.
    """
    if all(len(words) > 2 and words[-1] == "|" for words in rows):
        return True
    first = {words[0] for words in rows}
    return name in KALDI and len(first) == len(rows)


def is_scored(words: Sequence[str]) -> bool:
    """Returns whether a line is a trial with a score."""
    if not SCORE.fullmatch(words[-1]):
        return False
    trial = words[:-1]
    return is_trial(trial) or (len(trial) > 2 and fits_any(list(trial), TRIAL_FORMATS))


def is_enrolment(words: Sequence[str]) -> bool:
    """Returns whether a line is a speaker and several files, separated by commas."""
    return len(words) == 2 and "," not in words[0] and words[1].strip(",").count(",") > 0


def is_trial(words: Sequence[str]) -> bool:
    """Returns whether a line is certainly a trial: its files look like files, or it has a kind."""
    names = [word for word in words if is_recording(word)]
    if len(words) == 2:
        return len(names) == 2
    for line_format in TRIAL_FORMATS.values():
        if line_format.fits(words):
            is_plain = line_format.key_column is None
            train = fits_any(list(words), TRAIN_FORMATS)
            return len(names) == 2 if is_plain else not train
    return False


def is_training(words: Sequence[str]) -> bool:
    """Returns whether a line is certainly of a train list: the speaker looks like no file."""
    if len(words) == 2:
        return not looks_like_file(words[0]) and is_recording(words[1])
    is_protocol = len(words) > 4 and fits_any(list(words), TRAIN_FORMATS)
    return is_protocol and not fits_any(list(words), TRIAL_FORMATS)
