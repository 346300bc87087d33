"""Lists with the unchanged lines of the file, for checking and comparing lists.

The readers of corpus/lists.py raise an error for a file that is in a list twice, and do not keep
the lines. A RawList keeps every line, so that its user can report problems and write other lists.
"""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from common.trial_kinds import BONA_FIDE
from corpus.files import is_recording
from corpus.line_formats import (
    LABELLED_FILE,
    SPEAKER_AND_FILE,
    TRAIN_FORMATS,
    TRIAL_FORMATS,
    UNLABELLED,
    Formats,
    attack_of,
)
from corpus.lists import parse_trials, swapped
from corpus.rows import first_line_of, looks_like_file, read_rows


class RawList(NamedTuple):
    """A train list, or a list of trials, whose files are below `root`.

    header: the lines before `lines`. named: the files that each line names. owners: (speaker,
    whether the speech is spoofed) of each line of a train list, None for trials.
    """

    list_file: str
    root: str
    header: list[str]
    lines: Sequence[str]
    named: list[tuple[str, ...]]
    owners: list[tuple[str, bool]] | None

    def files(self) -> list[str]:
        """Returns the files in the order of the list, each file once."""
        files: dict[str, None] = {}
        for names in self.named:
            files.update(dict.fromkeys(names))
        return list(files)


def read_raw_list(list_file: str | os.PathLike, root: str | os.PathLike) -> RawList:
    """Reads a list in one of TRAIN_FORMATS or TRIAL_FORMATS.

    A list with two words per line contains trials if its first word looks like a file.
    """
    first_line = first_line_of(list_file)
    first_word = (first_line.split() or [""])[0]
    train, trials = possible_formats(starts_with_file="/" in first_word or is_recording(first_word))
    line_format, lines, rows = read_rows(
        list_file, {LABELLED_FILE: train[LABELLED_FILE]} | trials | train
    )
    word_lists = list(rows)
    header = [line_format.header] if line_format.header else []
    owners = None
    if line_format.fits in [train_format.fits for train_format in train.values()]:
        speaker, path = line_format.columns
        named: list[tuple[str, ...]] = [(words[path],) for words in word_lists]
        owners = [
            (words[speaker], attack_of(words, line_format) not in BONA_FIDE) for words in word_lists
        ]
    elif line_format.key_column is None:
        a, b = line_format.columns
        named = [(words[a], words[b]) for words in word_lists]
        if line_format.label_column is None and not any(looks_like_file(y) for _, y in named):
            first, second = named[0][:2]
            reason = "no word that comes second looks like a file"
            raise swapped(list_file, first, second, reason)
    else:
        named = files_of_claims(list_file)
    return RawList(str(list_file), str(root), header, lines, named, owners)


def possible_formats(starts_with_file: bool) -> tuple[Formats, Formats]:
    """Returns the formats of train lists and of trials; two words have only one meaning."""
    train = dict(TRAIN_FORMATS)
    trials = dict(TRIAL_FORMATS)
    if starts_with_file:
        del train[SPEAKER_AND_FILE]
    else:
        del trials[UNLABELLED]
    return train, trials


def files_of_claims(list_file: str | os.PathLike) -> list[tuple[str, ...]]:
    """Returns the files of each trial in which a speaker is claimed: enrolment and test."""
    trials = parse_trials(list_file)
    files = []
    for enrol, test in zip(trials.enrol.tolist(), trials.test.tolist(), strict=True):
        files.append((*trials.models[enrol], trials.files[test]))
    return files


def folder_of(path: str, level: int) -> str:
    """Returns the folder of a path at a level, counted from 0; "" if the path is not that deep."""
    return path.split("/", level + 1)[level] if path.count("/") > level else ""


def speakers_by_folder(speakers: Sequence[str], paths: Sequence[str]) -> tuple[int, dict[str, str]]:
    """Finds the level of the paths that names the speaker -> (level, {folder: speaker}).

    speakers, paths: the columns of a train list. Only the first and the last file of each speaker
    are compared. Returns (0, {}) if no level has exactly one folder for every speaker.
    """
    last_files = dict(zip(speakers, paths, strict=True))
    first_files = dict(zip(reversed(speakers), reversed(paths), strict=True))
    files = {*last_files.items(), *first_files.items()}
    depth = min((path.count("/") for _, path in files), default=0)
    for level in range(depth):
        folders = {path.split("/")[level]: speaker for speaker, path in files}
        pairs = {(speaker, path.split("/")[level]) for speaker, path in files}
        if 1 < len(folders) == len(set(folders.values())) == len(pairs):
            return level, folders
    return 0, {}


def shared_speakers(level: int, folders: dict[str, str], paths: Iterable[str]) -> list[str]:
    """Returns the training speakers who also speak in the files of trials, sorted.

    level, folders: from speakers_by_folder(). paths: the files of the trials.
    """
    folders_of_trials = {folder_of(path, level) for path in paths}
    return sorted(folders[name] for name in folders_of_trials & folders.keys())
