"""Lists of any corpus that is a tree of audio files.

There are a train list, and a list and trials of separate test speakers. The speaker of a file is a
folder above the file, or a part of its name. Random draws depend on the names and the seed, not on
the order of the files on the disk.
"""

import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import InputError
from corpus.files import audio_below
from corpus.missing import first_names
from corpus.roots import AUDIO, files_below, refuse_unreadable
from corpus.rows import read_text_lines
from metrics.speakers import speaker_of
from prep.constants import TEST_LIST, TRAIN_LIST, TRIALS
from prep.output import check_words, require_folder, write_lists
from prep.trial_drawing import draw_trials

log = logging.getLogger(__name__)
SEXES = {"m": "m", "male": "m", "f": "f", "female": "f"}
# {speaker: paths}
Files = dict[str, list[str]]


class TreeOptions(NamedTuple):
    """Options of the lists of a tree.

    `level` is the number of the folder below `folder` that is the speaker, 1 for the first.
    `regex` has one group, which finds the speaker in the path. If it is given, `level` is not used.
    Speakers with fewer than `min_files` files are left out. `test_speakers` is the number of test
    speakers, or their share as a float. `trials` is the largest number of trials. `table` is a file
    of the sexes of the speakers, or None.
    """

    folder: Path
    output: Path
    level: int = 1
    regex: re.Pattern | None = None
    min_files: int = 1
    test_speakers: int | float = 0
    trials: int = 2000
    table: Path | None = None
    seed: int = 0


# ---------------------------------------------------------------------- speakers
def files_of_tree(options: TreeOptions) -> Files:
    """Returns {speaker: paths}, both sorted.

    Files without a speaker and speakers with few files are left out. A warning counts them. Raises
    InputError if no file or no speaker is left, or if a name cannot be written to a list.
    """
    require_folder(options.folder, "Give a folder of audio files.")
    files: dict[Any, list[str]] = {}
    for path in audio_below(options.folder):
        files.setdefault(speaker_of(path, options.level, options.regex), []).append(path)
    option = f"--speaker_level {options.level}"
    if options.regex:
        option = f"--speaker_regex {options.regex.pattern}"
    without_speaker = files.pop(None, []) + files.pop("", [])
    if not files:
        raise InputError(
            f"{options.folder}: {option} finds no speaker in the paths of the "
            f"{len(without_speaker):,} files, for example {without_speaker[0]}. Correct this "
            "option."
        )
    if without_speaker:
        log.warning(
            "warning: %s finds no speaker in some paths, for example %s. Files left out of the "
            "lists: %s.",
            option,
            without_speaker[0],
            f"{len(without_speaker):,}",
        )
    files = drop_small_speakers(options, files)
    names = [*files]
    for paths in files.values():
        names += paths
    check_words(names, options.folder)
    return files


def speakers_of_tree(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yields the speaker and the sorted audio files of every folder in `folder`, in their order.

    The files are relative to the folder of the speaker. The memory holds the files of one speaker
    and the names of all speakers. A speaker without files has an empty list. Raises InputError for
    a folder that cannot be read, and for names that a list cannot contain.
    """
    require_folder(folder, "Give a folder with one folder for each speaker.")
    try:
        with os.scandir(folder) as entries:
            speakers = sorted(entry.name for entry in entries if entry.is_dir())
    except OSError as error:
        refuse_unreadable(error)
    for speaker in speakers:
        files = files_below(folder / speaker, AUDIO)
        check_words([speaker, *files], folder / speaker)
        yield speaker, files


def drop_small_speakers(options: TreeOptions, files: Files) -> Files:
    """Returns the speakers with at least --min_files files, sorted.

    Raises InputError if no speaker is left.
    """
    small = {speaker for speaker, paths in files.items() if len(paths) < options.min_files}
    if len(small) == len(files):
        raise InputError(
            f"--min_files: expected speakers with at least {options.min_files} files, but the "
            f"{len(files):,} speakers of {options.folder} have at most "
            f"{max(map(len, files.values()))} files. Use a smaller number."
        )
    if small:
        log.warning(
            "warning: some speakers have fewer than %d files (--min_files). Speakers left out of "
            "the lists: %s of %s.",
            options.min_files,
            f"{len(small):,}",
            f"{len(files):,}",
        )
    return {speaker: files[speaker] for speaker in sorted(files.keys() - small)}


def read_speaker_table(path: Path) -> dict[str, str]:
    """Reads a table of the sexes of speakers, {speaker: "m" or "f"}.

    A line begins with the speaker. The first word of m, f, male, female in any case is the sex.
    Other words do not matter, and blanks, commas and bars separate words. Examples are Kaldi's
    spk2gender, VoxCeleb's metadata, and LibriSpeech's SPEAKERS.TXT. The first line can be a header.
    Raises InputError for a line without sex, and for a speaker with two sexes.
    """
    sexes: dict[str, str] = {}
    lines = read_text_lines(path)
    for number, line in zip(lines.numbers, lines, strict=True):
        speaker, *words = re.split(r"[\s,|]+", line)
        found = [SEXES[word.lower()] for word in words if word.lower() in SEXES]
        is_header = not found and number == 1
        if line.startswith((";", "#")) or is_header:
            continue
        if not found:
            raise InputError(
                f"{path}:{number}: expected '<speaker> ... m|f ...', found {line!r}. Add the sex "
                "of this speaker."
            )
        sex = found[0]
        if sexes.setdefault(speaker, sex) != sex:
            raise InputError(
                f"{path}:{number}: speaker {speaker} is '{sex}' here, but '{sexes[speaker]}' in an "
                "earlier line. Remove one of the two lines."
            )
    return sexes


def split_speakers(files: Files, test_speakers: int | float, seed: int) -> tuple[Files, Files]:
    """Returns {speaker: paths} for training, and {speaker: paths} for tests.

    `test_speakers` is the number of the test speakers, or their share as a float. Raises InputError
    if there are fewer speakers, or if the share is no speaker.
    """
    is_share = isinstance(test_speakers, float)
    count = round(test_speakers * len(files)) if is_share else int(test_speakers)
    if count > len(files) or test_speakers and not count:
        raise InputError(
            f"--test_speakers: expected 1 to {len(files)} speakers (the corpus has {len(files)}), "
            f"found {count}. Use another number or share."
        )
    drawn = np.random.default_rng((seed, 0)).choice(len(files), count, replace=False)
    numbers = set(drawn.tolist())
    train: Files = {}
    test: Files = {}
    for number, (speaker, paths) in enumerate(files.items()):
        if number in numbers:
            test[speaker] = paths
        else:
            train[speaker] = paths
    return train, test


# ---------------------------------------------------------------------- trials
def make_trials(
    files: Files, count: int, seed: int, sex: Mapping[str, str] | None = None
) -> list[str]:
    """Draws at most `count` lines of trials from {speaker: paths}, see draw_trials.

    `sex` is {speaker: "m" or "f"}. Raises InputError if a speaker has no sex in it, and if there
    are no target or no non-target trials.
    """
    missing = [speaker for speaker in files if speaker not in sex] if sex is not None else []
    if missing:
        raise InputError(
            f"--speaker_table: expected the sex of all {len(files):,} test speakers, found no sex "
            f"of {first_names(missing)}. Add these speakers to the table."
        )
    lines = draw_trials(np.random.default_rng((seed, 1)), files, count, sex)
    targets = count_targets(lines)
    if not 0 < targets < len(lines):
        problem = "no test speaker has two files for a target trial"
        if targets:
            problem = "there are no two test speakers for a non-target trial"
            if sex:
                problem = "no two test speakers of the same sex exist for a non-target trial"
        raise InputError(
            f"--trials: {problem}. Use more --test_speakers (found {len(files)}), speakers with "
            "several files (--min_files 2), or --trials 0."
        )
    return lines


def count_targets(lines: Sequence[str]) -> int:
    """Returns the number of target trials."""
    return sum(line.startswith("1") for line in lines)


# ---------------------------------------------------------------------- the mode of dataprep.py
def train_list_lines(files: Files) -> list[str]:
    """Returns the lines '<speaker> <file>' of {speaker: paths}."""
    lines = []
    for speaker, paths in files.items():
        lines += [f"{speaker} {path}" for path in paths]
    return lines


def make_list(options: TreeOptions) -> None:
    """Writes the train list, the test list and the trials, but no list without speakers.

    Raises InputError before it writes anything, if the tree or the options cannot be used.
    """
    files = files_of_tree(options)
    train, test = split_speakers(files, options.test_speakers, options.seed)
    lists = {TRAIN_LIST: train_list_lines(train), TEST_LIST: train_list_lines(test)}
    if test and options.trials:
        sex = read_speaker_table(options.table) if options.table else None
        lists[TRIALS] = make_trials(test, options.trials, options.seed, sex)
    write_lists({options.output / name: lines for name, lines in lists.items() if lines})
    if train:
        log.info(
            "Wrote %s with %s speakers and %s files.",
            options.output / TRAIN_LIST,
            f"{len(train):,}",
            f"{len(lists[TRAIN_LIST]):,}",
        )
    if test:
        log.info(
            "Wrote %s with %s test speakers and %s files.",
            options.output / TEST_LIST,
            f"{len(test):,}",
            f"{len(lists[TEST_LIST]):,}",
        )
    if TRIALS in lists:
        log_trials(options, lists[TRIALS])
    log_trainer_options(options, [name for name, lines in lists.items() if lines])


def log_trials(options: TreeOptions, lines: Sequence[str]) -> None:
    """Logs the numbers of trials."""
    targets = count_targets(lines)
    log.info(
        "Wrote %s with %s target trials and %s non-target trials.%s",
        options.output / TRIALS,
        f"{targets:,}",
        f"{len(lines) - targets:,}",
        " No more trials are possible." if len(lines) < options.trials else "",
    )


def log_trainer_options(options: TreeOptions, names: Sequence[str]) -> None:
    """Logs the options of trainSpeakerNet.py that use the written lists."""
    words = []
    if TRAIN_LIST in names:
        words += ["--train_list", options.output / TRAIN_LIST, "--train_path", options.folder]
    if TRIALS in names:
        words += ["--test_list", options.output / TRIALS, "--test_path", options.folder]
    if words:
        log.info("Options of trainSpeakerNet.py: %s", " ".join(map(str, words)))
