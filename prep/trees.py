"""Lists of any corpus that is a tree of audio files: a train list, and of speakers kept apart a list and trials.

The speaker of a file is a folder above it or a part of its name. What is drawn depends on the names and the seed, not on the order of the disk.
"""

import logging
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from corpus.files import audio_below
from corpus.rows import read_text_lines
from metrics.speakers import speaker_of
from prep.constants import TEST_LIST, TRAIN_LIST, TRIALS
from prep.output import check_words, write_lists
from prep.trial_drawing import draw_trials

log = logging.getLogger(__name__)
SEXES = {"m": "m", "male": "m", "f": "f", "female": "f"}


class TreeOptions(NamedTuple):
    """level: which folder below `folder` is the speaker, 1 = the first. regex: compiled, with one group, the speaker; in place of level. min_files: of a
    speaker. test_speakers: their number, or their share as a float. table: file of the speakers' sexes, or None."""

    folder: Path
    output: Path
    level: int = 1
    regex: re.Pattern | None = None
    min_files: int = 1
    test_speakers: int | float = 0
    trials: int = 2000
    table: Path | None = None
    seed: int = 0


def files_of_speakers(options):
    """-> {speaker: paths}, both sorted. Files without a speaker and speakers with few files are left out, with a warning that counts them."""
    files = {}
    for path in audio_below(options.folder):
        files.setdefault(speaker_of(path, options.level, options.regex), []).append(path)
    wanted = (
        f"--speaker_regex {options.regex.pattern}"
        if options.regex
        else f"--speaker_level {options.level}"
    )
    strange = files.pop(None, []) + files.pop("", [])
    if not files:
        raise InputError(
            f"{options.folder}: {wanted} finds no speaker in the paths of its {len(strange)} files, as {strange[0]}; give another one"
        )
    if strange:
        log.warning(
            "warning: left out: %s files in whose paths %s finds no speaker, as %s",
            f"{len(strange):,}",
            wanted,
            strange[0],
        )
    few = [speaker for speaker in files if len(files[speaker]) < options.min_files]
    if len(few) == len(files):
        raise InputError(
            f"--min_files {options.min_files}: the {len(files)} speakers of {options.folder} have at most "
            f"{max(map(len, files.values()))} files; lower it"
        )
    if few:
        log.warning(
            "warning: left out: %s of %s speakers, who have fewer than %d files (--min_files)",
            f"{len(few):,}",
            f"{len(files):,}",
            options.min_files,
        )
    files = {speaker: files[speaker] for speaker in sorted(files.keys() - few)}
    check_words([*files, *(path for paths in files.values() for path in paths)], options.folder)
    return files


def read_speaker_table(path):
    """{speaker: "m" or "f"}. A line begins with the speaker, and its first word of m, f, male, female in any case is the sex, whatever else it says and
    however the words are separated: Kaldi's spk2gender, VoxCeleb's metadata, LibriSpeech's SPEAKERS.TXT. The first line may be a header."""
    sexes = {}
    for number, line in enumerate(read_text_lines(path), 1):
        speaker, *words = re.split(r"[\s,|]+", line)
        sex = next((SEXES[word.lower()] for word in words if word.lower() in SEXES), None)
        if line.startswith((";", "#")) or not sex and number == 1:
            continue
        if not sex:
            raise InputError(f"{path}:{number}: want '<speaker> ... m|f ...', got {line!r}")
        if sexes.setdefault(speaker, sex) != sex:
            raise InputError(
                f"{path}:{number}: {speaker} is {sex} here and {sexes[speaker]} before; remove one of the lines"
            )
    return sexes


def split(files, test_speakers, seed):
    """-> ({speaker: paths}, {speaker: paths}), for training and for tests, which take so many of the speakers or, of a float, this share."""
    count = round(test_speakers * len(files)) if isinstance(test_speakers, float) else test_speakers
    if count > len(files) or test_speakers and not count:
        raise InputError(
            f"--test_speakers: want 1 to {len(files)}, all that there are, got {count}"
        )
    drawn = {
        int(i) for i in np.random.default_rng((seed, 0)).choice(len(files), count, replace=False)
    }
    train, test = (
        {speaker: files[speaker] for i, speaker in enumerate(files) if (i in drawn) == testing}
        for testing in (False, True)
    )
    return train, test


def make_trials(files, count, seed, sex=None):
    """{speaker: paths} -> at most `count` lines of trials, by seed, see draw_trials. sex: {speaker: "m" or "f"}. InputError unless there are of both kinds."""
    missing = [speaker for speaker in files if speaker not in sex] if sex is not None else []
    if missing:
        raise InputError(
            f"--speaker_table: want the sex of {len(files)} test speakers, got none for {len(missing)}: {', '.join(missing[:10])}; add them"
        )
    lines = draw_trials(np.random.default_rng((seed, 1)), files, count, sex)
    targets = sum(line.startswith("1") for line in lines)
    if not 0 < targets < len(lines):
        pair = (
            f"two{' of one sex' * bool(sex)} for non-target"
            if targets
            else "one with two files for target"
        )
        raise InputError(
            f"--trials {count}: want target and non-target trials, but among the {len(files)} test speakers are no {pair} trials; "
            "take more speakers, or those with several files (--min_files 2), or --trials 0"
        )
    return lines


def lines_of(files):
    return [f"{speaker} {path}" for speaker, paths in files.items() for path in paths]


def make_list(options):
    """Writes the lists, those of no speakers left out; all is checked before."""
    files = files_of_speakers(options)
    train, test = split(files, options.test_speakers, options.seed)
    lists = {TRAIN_LIST: lines_of(train), TEST_LIST: lines_of(test)}
    if test and options.trials:
        lists[TRIALS] = make_trials(
            test,
            options.trials,
            options.seed,
            read_speaker_table(options.table) if options.table else None,
        )
    write_lists({options.output / name: lines for name, lines in lists.items() if lines})
    if train:
        log.info(
            "%s: %s speakers, %s files; train with --train_list %s --train_path %s",
            options.output / TRAIN_LIST,
            f"{len(train):,}",
            f"{len(lists[TRAIN_LIST]):,}",
            options.output / TRAIN_LIST,
            options.folder,
        )
    if test:
        log.info(
            "%s: %s test speakers, %s files",
            options.output / TEST_LIST,
            f"{len(test):,}",
            f"{len(lists[TEST_LIST]):,}",
        )
    if TRIALS in lists:
        targets = sum(line.startswith("1") for line in lists[TRIALS])
        log.info(
            "%s: %s target and %s non-target trials%s; test with --test_list %s --test_path %s",
            options.output / TRIALS,
            f"{targets:,}",
            f"{len(lists[TRIALS]) - targets:,}",
            " (there are no more)" * (len(lists[TRIALS]) < options.trials),
            options.output / TRIALS,
            options.folder,
        )
