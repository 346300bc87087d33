"""The speakers of the trials of a scores file: from the names of the files, or from a table."""

import argparse
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from common.trial_kinds import FILE_KINDS, SPOOF
from metrics.scores import Scores, read_file_lines

# The options by which the first folder of a file is its speaker.
FIRST_FOLDER = argparse.Namespace(speaker_level=None, speaker_regex=None, speaker_table=None)
# The second speaker of a trial that has one speaker.
NOBODY = -1

# The two names of a trial: enrolment file or claimed speaker, and test file.
Pair = tuple[str, str]


class Speakers(NamedTuple):
    """The speakers of trials.

    names: every speaker once, sorted. sides: int [n, 2], the rows of `names` of the two speakers of
    every trial. The second one is NOBODY if the trial has one speaker, if the other speaker is
    unknown, or if spoofed speech imitates the claimed speaker.
    unit: what the names are: "speakers", or "files" if single files name no speakers.
    """

    names: list[str]
    sides: np.ndarray
    unit: str = "speakers"

    @property
    def drawn(self) -> str:
        """What resamples draw, for a text after the number of names."""
        return "files, because nothing names their speakers" if self.unit == "files" else self.unit


def pairs_of_trials(read: Scores) -> list[Pair]:
    """Returns the enrolment file or claimed speaker, and the test file, of every trial."""
    first = 1 if read.kinds is None else 0
    pairs = []
    for line in read.lines:
        words = line.split(maxsplit=first + 2)
        pairs.append((words[first], words[first + 1]))
    return pairs


def files_of_trials(read: Scores) -> list[tuple[str, ...]]:
    """Returns the files of every trial: both, or the test file where a speaker is claimed.

    Scores of single files have one file.
    """
    if read.are_of_files:
        return [(line.partition(" ")[0],) for line in read.lines]
    pairs = pairs_of_trials(read)
    if read.kinds is None:
        return list(pairs)
    return [(file,) for _, file in pairs]


# ---------------------------------------------------------------------- names of speakers
def speaker_naming(args: argparse.Namespace) -> Callable[[str], str]:
    """Returns the function that names the speaker of a file, as the options say.

    Raises ValueError if the options are wrong.
    """
    if args.speaker_table:
        table = read_speakers_of_files(args.speaker_table)
        return lambda file: speaker_in_table(table, file, args.speaker_table)
    if args.speaker_regex:
        pattern = compile_speaker_regex(args.speaker_regex)
        return lambda file: speaker_by_regex(pattern, file)
    level = 1 if args.speaker_level is None else args.speaker_level
    if level < 1:
        raise ValueError(f"--speaker_level: expected at least 1 (the first folder), found {level}.")
    return lambda file: speaker_by_folder(file, level)


def read_speakers_of_files(path: str) -> dict[str, str]:
    """Reads lines '<file> <speaker>' or a protocol of spoofed speech -> {file: speaker}.

    The lines of a protocol have bonafide or spoof, and start with the speaker and the file. Raises
    ValueError naming the line.
    """
    table: dict[str, str] = {}
    for number, line in enumerate(read_file_lines(path, "'<file> <speaker>'"), 1):
        words = line.split()
        if len(words) > 4 and not {*FILE_KINDS}.isdisjoint(words[4:]):
            words = [words[1], words[0]]
        if len(words) != 2 or table.setdefault(words[0], words[1]) != words[1]:
            raise ValueError(
                f"{path}:{number}: expected '<file> <speaker>' with one speaker for each file, "
                f"found '{line}'."
            )
    return table


def compile_speaker_regex(text: str) -> re.Pattern:
    """Compiles a regular expression with one group. Raises ValueError if it is wrong."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise ValueError(
            f"--speaker_regex {text}: expected a regular expression, but {error}."
        ) from None
    if pattern.groups != 1:
        raise ValueError(
            f"--speaker_regex {text}: expected one group, which is the speaker, "
            f"found {pattern.groups} groups. Put parentheses around the speaker."
        )
    return pattern


def speaker_of(path: str, level: int | None, regex: re.Pattern | None = None) -> str | None:
    """Returns the speaker of a path, None if the path names none.

    The speaker is folder number `level` of the path, from 1, or the group of the compiled
    expression.
    """
    if regex:
        found = regex.search(path)
        return found[1] if found else None
    folders = path.split("/")[:-1]
    if level is None or len(folders) < level:
        return None
    return folders[level - 1]


def speaker_in_table(table: dict[str, str], file: str, path: str) -> str:
    """Returns the speaker of a file in a table that was read from `path`."""
    if file not in table:
        raise ValueError(
            f"{path}: expected the speakers of all files of the trials, but {file} is missing."
        )
    return table[file]


def speaker_by_regex(pattern: re.Pattern, file: str) -> str:
    """Returns the speaker that the expression finds in the name of a file."""
    speaker = speaker_of(file, None, pattern)
    if not speaker:
        raise ValueError(
            f"--speaker_regex {pattern.pattern}: the expression finds no speaker in {file}."
        )
    return speaker


def speaker_by_folder(file: str, level: int) -> str:
    """Returns the name of folder number `level` of a file."""
    speaker = speaker_of(file, level)
    if speaker is None:
        raise ValueError(
            f"{file}: the name has no folder number {level}, which would be the speaker. "
            "Give --speaker_level, --speaker_regex or --speaker_table."
        )
    return speaker


# ---------------------------------------------------------------------- speakers of trials
def speakers_of(read: Scores, args: argparse.Namespace) -> Speakers:
    """Returns the speakers of all trials.

    Spoofing-aware trials name the claimed speaker. The names of the files of spoofing corpora
    contain no speakers. So the speaker of the test file of a non-target trial is known only if an
    option says how files name speakers. Raises ValueError if the speakers contradict the labels of
    the trials.

    Single files have the speakers that an option or the scores file names. If neither names them,
    the names are the files.
    """
    plain = read.kinds is None
    options_given = args.speaker_level is not None or args.speaker_regex or args.speaker_table
    if read.are_of_files:
        return speakers_of_single_files(read, speaker_naming(args) if options_given else None)
    name = speaker_naming(args) if plain or options_given else None
    known = {}
    if name:
        for files in files_of_trials(read):
            for file in files:
                if file not in known:
                    known[file] = name(file)
    named = named_pairs(read, known)
    every_name: set[str] = set()
    for pair in named:
        every_name.update(pair)
    # Sorted, so that resampling does not depend on the order of the trials.
    names = sorted(every_name)
    row = {name: i for i, name in enumerate(names)}
    sides = np.array([(row[a], row[b]) for a, b in named])
    one = sides[:, 0] == sides[:, 1]
    check_labels_of_speakers(read, named, one, has_names=name is not None)
    sides[one, 1] = NOBODY
    return Speakers(names, sides)


def speakers_of_single_files(read: Scores, naming: Callable[[str], str] | None) -> Speakers:
    """Returns the speakers of single files. naming: returns the speaker of a file, or None."""
    unit = "speakers"
    if naming:
        of_files = [naming(file) for (file,) in files_of_trials(read)]
    elif read.speakers is not None:
        of_files = read.speakers.tolist()
    else:
        of_files = [file for (file,) in files_of_trials(read)]
        unit = "files"
    names, rows = np.unique(of_files, return_inverse=True)
    return Speakers(names.tolist(), np.stack([rows, np.full_like(rows, NOBODY)], 1), unit)


def named_pairs(read: Scores, known: dict[str, str]) -> list[Pair]:
    """Returns the two speakers of every trial, twice the same one if there is one speaker.

    known: {file: speaker}.
    """
    pairs = pairs_of_trials(read)
    if read.kinds is None:
        return [(known[a], known[b]) for a, b in pairs]
    named = []
    for (claimed, file), kind in zip(pairs, read.kinds, strict=True):
        tested = known.get(file, claimed) if kind == "nontarget" else claimed
        named.append((claimed, tested))
    return named


def check_labels_of_speakers(
    read: Scores, named: list[Pair], one: np.ndarray, has_names: bool
) -> None:
    """Raises ValueError if the labels contradict the speakers.

    one: bool [n], whether a trial has one speaker. has_names: whether files name speakers.
    """
    nontarget_of_one = np.zeros(len(one), bool)
    if has_names:
        is_spoof = np.zeros(len(one), bool) if read.kinds is None else read.kinds == SPOOF
        nontarget_of_one = one & ~read.labels & ~is_spoof
    wrong = nontarget_of_one | (~one & read.labels)
    if not wrong.any():
        return
    i = int(np.argmax(wrong))
    found = f"two speakers, {' and '.join(named[i])}"
    if one[i]:
        found = f"one speaker, {named[i][0]}"
    raise ValueError(
        f"trial {i + 1}, '{read.lines[i]}': the names of its files have {found}. This contradicts "
        "the label. Give --speaker_level, --speaker_regex or --speaker_table."
    )
