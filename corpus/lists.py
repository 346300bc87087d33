"""Reads lists of utterances and of trials.

There is one reader for each kind of list. The reader recognises the format from the first line and
checks every line (corpus/rows.py). Plain lists are as in voxceleb_trainer. Spoofing-aware lists are
as in ASVspoof 2019 (Wang et al., arXiv:1911.01601), ASVspoof 5 and SpoofCeleb.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from common.text import LINES_AT_ONCE, NumberedNames, without_garbage_collection
from common.trial_kinds import BONA_FIDE, SPOOF
from corpus.claims import claims_of, has_spoof, models_of
from corpus.enrolment import Enrolments, lists_beside
from corpus.line_formats import (
    SPEAKER_AND_FILE,
    TARGET_LABELS,
    TRAIN_FORMATS,
    TRIAL_FORMATS,
    UNLABELLED,
    LineFormat,
)
from corpus.plain_trials import check_names, has_only_files, plain_lines
from corpus.rows import Rows, looks_like_file, read_rows
from corpus.utterances import (
    REAL,
    Block,
    Utterances,
    counted,
    rows_with_repeated_paths,
)
from corpus.utterances import Utterance as Utterance
from corpus.utterances import classes_of as classes_of
from corpus.utterances import described as described
from corpus.utterances import speed_copies as speed_copies

ListFile = str | os.PathLike


class Trials(NamedTuple):
    """Trials: number i compares the reference models[enrol[i]] with the file files[test[i]].

    lines [n]: the lines of a scores file without the score, '1|0 <file> <file>' or '<file> <file>'.
    Spoofing-aware trials have lines '<speaker> <file> bonafide|<attack> target|nontarget|spoof'.
    Single files have lines '<file> -|<attack> bonafide|spoof', no models, attacks and no kinds, or
    lines '<file> <speaker> <codec> -|<attack> bonafide|spoof' and codecs [n].
    models: a tuple of enrolment files for each reference. files: the tested files. enrol, test:
    int64 [n]. label: bool [n], True for target trials, or None for a list without labels. attacks,
    kinds: the last two words of the lines of spoofing-aware trials [n], or None.
    """

    lines: Sequence[str]
    models: list[tuple[str, ...]]
    files: list[str]
    enrol: np.ndarray
    test: np.ndarray
    label: np.ndarray | None = None
    attacks: np.ndarray | None = None
    kinds: np.ndarray | None = None
    codecs: np.ndarray | None = None

    def paths(self) -> list[str]:
        """Returns the files of all trials, each file once."""
        return list(dict.fromkeys(itertools.chain(*self.models, self.files)))

    def renamed(self, found: Mapping[str, str]) -> "Trials":
        """Returns the same trials with the paths of the files. found: {name: path}."""
        models = []
        for model in self.models:
            models.append(tuple(found[name] for name in model))
        return self._replace(models=models, files=[found[name] for name in self.files])

    @classmethod
    def of_pairs(
        cls,
        pairs: Sequence[Sequence[str]],
        lines: Sequence[str] | None = None,
        label: np.ndarray | None = None,
        models: Mapping[str, tuple[str, ...]] | None = None,
        attacks: np.ndarray | None = None,
        kinds: np.ndarray | None = None,
    ) -> "Trials":
        """Makes trials of (enrolment, tested file) pairs.

        An enrolment is a file, or a name in `models`, {name: enrolment files}.
        """
        lines = lines or [f"{enrolment} {file}" for enrolment, file in pairs]
        trials = cls.of_columns([zip(*pairs, strict=True)], lines, models)
        return trials._replace(label=label, attacks=attacks, kinds=kinds)

    @classmethod
    def of_columns(
        cls,
        blocks: Iterable[Iterable[Sequence[str]]],
        lines: Sequence[str],
        models: Mapping[str, tuple[str, ...]] | None = None,
    ) -> "Trials":
        """Makes trials of blocks. A block has two columns: the enrolments, and the tested files."""
        references = NumberedNames()
        files = NumberedNames()
        enrol = []
        test = []
        for enrolments, tested in blocks:
            enrol.append(references.numbers_of(enrolments))
            test.append(files.numbers_of(tested))
        return cls(
            lines,
            [models[name] if models else (name,) for name in references],
            list(files),
            np.concatenate(enrol),
            np.concatenate(test),
        )


# ---------------------------------------------------------------------- train lists
@without_garbage_collection
def read_train_list(list_file: ListFile) -> Utterances:
    """Reads a list in one of TRAIN_FORMATS. Raises InputError if a file is in it twice."""
    line_format, lines, rows = read_rows(list_file, TRAIN_FORMATS)
    utterances = Utterances.of_blocks(train_blocks(rows), line_format.numbered_speakers)
    check_no_duplicates(utterances, list_file, lines.numbers, line_format)
    return utterances


def train_blocks(rows: Rows) -> Iterator[Block]:
    """Yields speakers, paths and attacks of blocks of a train list."""
    line_format = rows.line_format
    speaker, path = line_format.columns
    blocks: Iterator[list] = in_blocks(rows)
    if is_speaker_and_file(line_format):
        blocks = rows.columns()
    for columns in blocks:
        attacks = None
        if line_format.attack_column is not None:
            attacks = [
                REAL if name in BONA_FIDE else name for name in columns[line_format.attack_column]
            ]
        yield columns[speaker], columns[path], attacks


def in_blocks(rows: Rows) -> Iterator[list]:
    """Yields the words of blocks of lines as columns. Columns that some lines lack are left out."""
    words = iter(rows)
    while block := list(itertools.islice(words, LINES_AT_ONCE)):
        yield list(zip(*block, strict=False))


def is_speaker_and_file(line_format: LineFormat) -> bool:
    """Returns whether lines have the words '<speaker> <file>'."""
    return line_format.fits is TRAIN_FORMATS[SPEAKER_AND_FILE].fits


def check_no_duplicates(
    utterances: Utterances, list_file: ListFile, numbers: Sequence[int], line_format: LineFormat
) -> None:
    """Raises InputError if a file is in a train list twice. numbers: of the lines."""
    index_of: dict[str, int] = {}
    for i in rows_with_repeated_paths(utterances).tolist():
        utterance = utterances[i]
        earlier = index_of.setdefault(utterance.path, i)
        if earlier != i:
            if is_speaker_and_file(line_format):
                check_not_swapped(utterances, list_file)
            other_speaker = utterances[earlier].speaker
            raise InputError(
                f"{list_file}:{numbers[i]}: expected each file once, but {utterance.path} (speaker "
                f"{utterance.speaker}) is also in line {numbers[earlier]} (speaker "
                f"{other_speaker}). Remove one of the two lines."
            )


def check_not_swapped(utterances: Utterances, list_file: ListFile) -> None:
    """Raises InputError if all speakers differ and the first file is no path: swapped columns."""
    names = len(utterances.speakers)
    speaker, file = utterances[0][:2]
    if names == len(utterances) and not looks_like_file(file):
        raise swapped(list_file, speaker, file, f"{names:,} different words come first")


def swapped(list_file: ListFile, first: str, second: str, reason: str) -> InputError:
    """Returns the error about a train list with swapped columns. first, second: its first words."""
    return InputError(
        f"{list_file}: expected '<speaker> <file>', found '<file> <speaker>', first "
        f"'{first} {second}': {reason}. Swap the columns."
    )


# ---------------------------------------------------------------------- trials
@without_garbage_collection
def read_trials(
    list_file: ListFile, enroll_list: Sequence[str] | None = None, spk_meta: str | None = None
) -> Trials:
    """Reads a list in one of TRIAL_FORMATS, see parse_trials().

    Raises InputError for a list with only target or only non-target trials.
    """
    trials = parse_trials(list_file, enroll_list, spk_meta)
    if trials.label is not None:
        check_labels(list_file, trials)
    return trials


def parse_trials(
    list_file: ListFile, enroll_list: Sequence[str] | None = None, spk_meta: str | None = None
) -> Trials:
    """Reads a list in one of TRIAL_FORMATS, with any labels.

    enroll_list, spk_meta: enrolment of the speakers, see read_enrolment(), for lists in which a
    speaker is claimed.
    """
    line_format, lines, rows = read_rows(list_file, TRIAL_FORMATS)
    lines = plain_lines(lines, line_format, rows.separator)
    needs_enrolment = enroll_list or spk_meta or lists_beside(list_file)
    if line_format.key_column is not None and (
        needs_enrolment or not has_only_files(rows, list_file)
    ):
        if has_spoof(rows):
            trials = read_claims(list_file, rows, enroll_list, spk_meta)
        else:
            models = models_of(list_file, rows.columns(), enroll_list, spk_meta)
            trials = labelled_trials(rows, lines, models)
    elif line_format.label_column is None:
        trials = Trials.of_columns(rows.columns(), lines)
    else:
        trials = labelled_trials(rows, lines)
    if rows.separator:
        check_names(list_file, trials.paths())
    return trials


def without_labels(rows: Rows, label: list[np.ndarray]) -> Iterator[list]:
    """Yields the columns of files of each block of trials, and appends its labels to a list."""
    place = rows.line_format.label_column
    assert place is not None
    for columns in rows.columns():
        keys = np.array(columns[place])
        label.append(np.isin(keys, TARGET_LABELS))
        yield [columns[i] for i in rows.line_format.columns]


def labelled_trials(rows: Rows, lines: Sequence[str], models: Enrolments | None = None) -> Trials:
    """Makes plain trials with labels. models: {speaker: enrolment files} for claimed speakers."""
    label: list[np.ndarray] = []
    trials = Trials.of_columns(without_labels(rows, label), lines, models)
    return trials._replace(label=np.concatenate(label))


def read_claims(
    list_file: ListFile, rows: Rows, enroll_list: Sequence[str] | None, spk_meta: str | None
) -> Trials:
    """Reads trials in which a speaker is claimed, as spoofing-aware lists have them."""
    claims = claims_of(rows)
    sides = [[*zip(*claims.pairs, strict=True)]]
    kinds = np.array(claims.kinds)
    return Trials.of_pairs(
        claims.pairs,
        claims.lines,
        label=kinds == "target",
        models=models_of(list_file, sides, enroll_list, spk_meta),
        attacks=np.array(claims.attacks),
        kinds=kinds,
    )


def read_clients_and_impostors(clients: ListFile, impostors: ListFile) -> Trials:
    """Reads two lists '<file> <file>', of target and of non-target trials.

    The lines of the trials are '1|0 <file> <file>'.
    """
    pairs = []
    lines = []
    for list_file, key in ((clients, 1), (impostors, 0)):
        for a, b in read_rows(list_file, {UNLABELLED: TRIAL_FORMATS[UNLABELLED]})[2]:
            pairs.append((a, b))
            lines.append(f"{key} {a} {b}")
    return Trials.of_pairs(pairs, lines, np.array([line.startswith("1") for line in lines]))


def check_labels(list_file: ListFile, trials: Trials) -> None:
    """Raises InputError unless labelled trials include target and non-target ones."""
    label = trials.label
    assert label is not None
    if label.all() or not label.any():
        only = "target" if label.all() else "non-target"
        raise InputError(
            f"{list_file}: expected target and non-target (or spoof) trials, found only {only} "
            f"trials ({len(label):,}). Add the other trials, or remove the labels to get scores "
            "without metrics."
        )


# ---------------------------------------------------------------------- summaries
def described_trials(trials: Trials) -> str:
    """Summarises trials: their number, files, references and kinds."""
    size = f"{len(trials.lines):,} trials"
    if not trials.models and trials.attacks is not None:
        names = np.where(trials.attacks == "-", "bonafide", trials.attacks).tolist()
        return f"{len(names):,} single files: {counted(names)}"
    if trials.kinds is None:
        kinds = "no labels"
        if trials.label is not None:
            targets = np.count_nonzero(trials.label)
            nontargets = np.count_nonzero(~trials.label)
            kinds = f"target {targets:,}, nontarget {nontargets:,}"
        return f"{size} of {len(trials.paths()):,} files: {kinds}"
    assert trials.attacks is not None
    attacks = counted(trials.attacks[trials.kinds == SPOOF].tolist())
    text = (
        f"{size} of {len(trials.files):,} files against {len(trials.models):,} enrolled speakers: "
        f"{counted(trials.kinds.tolist())}"
    )
    return f"{text} ({attacks})" if attacks else text
