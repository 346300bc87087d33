"""Lists of utterances and of trials: one reader for each, the kind of a list is told from its first line and every line is checked."""
import itertools
import os
from typing import NamedTuple

import numpy as np

from corpus import InputError
from corpus.audio import Audio

HEADERS_CHECKED = 20_000


class Utterance(NamedTuple):
    """speed: the factor by which tempo and pitch are raised, see speed_copies."""
    speaker: str
    path: str
    speed: float = 1.0


class Trials(NamedTuple):
    """Trial i compares reference models[enrol[i]], a tuple of enrolment files, with the file files[test[i]].

    lines: the trials as they stand in the list; enrol, test: int64 [n]; label: bool [n], True = target, or None if there are none.
    """
    lines: list
    models: list
    files: list
    enrol: np.ndarray
    test: np.ndarray
    label: np.ndarray | None = None

    def paths(self):
        """Every file of the trials, once."""
        return list(dict.fromkeys(itertools.chain(*self.models, self.files)))

    @classmethod
    def of_pairs(cls, pairs, lines=None, label=None):
        """(enrolment file, test file) of every trial -> Trials."""
        models, files = {}, {}
        enrol = np.array([models.setdefault(a, len(models)) for a, _ in pairs])
        test = np.array([files.setdefault(b, len(files)) for _, b in pairs])
        return cls(lines or [f"{a} {b}" for a, b in pairs], [(a,) for a in models], list(files), enrol, test, label)


def read_rows(list_file, kinds):
    """A list -> (kind, lines, words of each line). kinds: what a line looks like, for users -> do these words look like it?

    The first line chooses the kind, every other line must be of it. Blank lines may only end the file.
    """
    with open(list_file, "rb") as file:
        data = file.read()
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").rstrip().split("\n")]
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{list_file}:{number}: want text in UTF-8, got the byte {data[error.start]:#04x}; save it as UTF-8") from None
    if lines == [""]:
        raise InputError(f"{list_file}: is empty; want lines {' or '.join(map(repr, kinds))}")
    rows = [line.split() for line in lines]
    kinds = {kind: fits for kind, fits in kinds.items() if fits(rows[0])} or kinds
    fits = next(iter(kinds.values()))
    for number, words in enumerate(rows, 1):
        if not fits(words):
            raise InputError(f"{list_file}:{number}: want {' or '.join(map(repr, kinds))}, got {lines[number - 1]!r}")
    return next(iter(kinds)), lines, rows


TRAIN_KINDS = {"<speaker> <file>": lambda words: len(words) == 2}
TRIAL_KINDS = {"1|0 <file> <file>": lambda words: len(words) == 3 and words[0] in ("0", "1"),
               "<file> <file>": lambda words: len(words) == 2}
FILE_KINDS = {"<file>": lambda words: len(words) == 1} | TRAIN_KINDS


def read_train_list(list_file):
    """Lines '<speaker> <file>' -> list of Utterance; a file that is on the list twice is an InputError."""
    _, _, rows = read_rows(list_file, TRAIN_KINDS)
    names, first = {}, {}
    utterances = [Utterance(names.setdefault(speaker, speaker), path) for speaker, path in rows]     # one string per speaker
    for number, (speaker, path, _) in enumerate(utterances, 1):
        before = first.setdefault(path, number)
        if before != number:
            raise InputError(f"{list_file}:{number}: {path} of speaker {speaker} is in line {before} already, of speaker "
                             f"{utterances[before - 1].speaker}; remove one of them")
    return utterances


def read_trials(list_file):
    """Lines '1|0 <file> <file>', 1 = same speaker, or '<file> <file>' without labels -> Trials."""
    kind, lines, rows = read_rows(list_file, TRIAL_KINDS)
    if kind == "<file> <file>":
        return Trials.of_pairs(rows, lines)
    label = np.array([words[0] == "1" for words in rows])
    if label.all() or not label.any():
        raise InputError(f"{list_file}: want target (1) and non-target (0) trials, got {len(label)} with {rows[0][0]} alone; add the "
                         "others, or leave out the labels to get scores without metrics")
    return Trials.of_pairs([words[1:] for words in rows], lines, label)


def read_file_list(list_file):
    """Lines '<file>', or a train list -> its files, each once."""
    _, _, rows = read_rows(list_file, FILE_KINDS)
    return list(dict.fromkeys(words[-1] for words in rows))


def classes_of(utterances):
    """Utterances -> {speaker: class}, classes counted from 0 in the sorted order of the names."""
    return {name: i for i, name in enumerate(sorted({u.speaker for u in utterances}))}


def speed_copies(utterances, factors):
    """Adds a copy of all utterances at every speed: another pitch and tempo make another speaker, named 'id@0.9' (Yamamoto et al. 2019)."""
    if len({1.0, *factors}) <= len(factors):
        raise InputError(f"--speed_factors: want different speeds other than 1, got {' '.join(f'{f:g}' for f in factors)}")
    return [*utterances, *(u._replace(speaker=f"{u.speaker}@{f:g}", speed=f) for f in factors for u in utterances)]


def check_files(root, paths, list_file):
    """InputError unless all files are there and the headers of all, or of 20,000 spread over the list, tell of audio that can be used."""
    paths = list(dict.fromkeys(paths))
    missing = [path for path in paths if not os.path.isfile(os.path.join(root, path))]
    if missing:
        raise InputError(f"{list_file}: {len(missing)} of {len(paths)} files are missing in {root or 'the current folder'}; correct the "
                         f"folder or the list: {', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}")
    bad = []
    for i in np.linspace(0, len(paths) - 1, min(len(paths), HEADERS_CHECKED)).astype(int):
        try:
            with Audio(os.path.join(root, paths[i])) as audio:
                audio.read(audio.frames - 1, 1)                          # only this tells that the end of a FLAC file is missing
        except InputError as error:
            bad.append(error)
    if bad:
        raise InputError(f"{bad[0]}{f' (the first of {len(bad)} such files of {list_file})' if len(bad) > 1 else ''}")
