"""Reads lists of utterances and of trials.

There is one reader for each kind of list. The reader recognises the format from the first line and
checks every line (corpus/rows.py). Plain lists are as in voxceleb_trainer. Spoofing-aware lists are
as in ASVspoof 2019 (Wang et al., arXiv:1911.01601), ASVspoof 5 and SpoofCeleb.
"""

import itertools
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from common.text import NumberedNames, without_garbage_collection
from common.trial_kinds import BONA_FIDE, SPOOF
from corpus.enrolment import lists_beside, read_enrolment
from corpus.line_formats import (
    SPEAKER_AND_FILE,
    TARGET_LABELS,
    TRAIN_FORMATS,
    TRIAL_FORMATS,
    UNLABELLED,
    LineFormat,
    attack_of,
)
from corpus.plain_trials import check_names, has_only_files, plain_lines
from corpus.rows import Rows, looks_like_file, read_rows

ListFile = str | os.PathLike


class Utterance(NamedTuple):
    """A line of a train list.

    attack: "-" for real speech, or the name of the attack. speed: factor of tempo and pitch, see
    speed_copies().
    """

    speaker: str
    path: str
    attack: str = "-"
    speed: float = 1.0

    @property
    def spoofed(self) -> bool:
        """Whether the speech is spoofed."""
        return self.attack != "-"


class Trials(NamedTuple):
    """Trials: number i compares the reference models[enrol[i]] with the file files[test[i]].

    lines [n]: the lines of a scores file without the score, '1|0 <file> <file>' or '<file> <file>'.
    Spoofing-aware trials have lines '<speaker> <file> bonafide|<attack> target|nontarget|spoof'.
    Single files have lines '<file> -|<attack> bonafide|spoof', no models, attacks and no kinds.
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
def read_train_list(list_file: ListFile) -> list[Utterance]:
    """Reads a list in one of TRAIN_FORMATS. Raises InputError if a file is in it twice."""
    line_format, lines, rows = read_rows(list_file, TRAIN_FORMATS)
    speaker_column, path_column = line_format.columns
    word_lists: Iterable[list[str]] = rows
    if line_format.numbered_speakers:
        word_lists = list(rows)
        pad_numbers(word_lists, speaker_column)
    # One string for each name instead of one for each line saves memory.
    shared_names: dict[str, str] = {}
    utterances = []
    for words in word_lists:
        speaker = words[speaker_column]
        attack = attack_of(words, line_format)
        if attack in BONA_FIDE:
            attack = "-"
        speaker = shared_names.setdefault(speaker, speaker)
        attack = shared_names.setdefault(attack, attack)
        utterances.append(Utterance(speaker, words[path_column], attack))
    check_no_duplicates(utterances, list_file, lines.numbers, line_format)
    return utterances


def pad_numbers(word_lists: Iterable[list[str]], column: int) -> None:
    """Pads the numbers of speakers with zeros, so that their order as names is their order."""
    width = max(len(words[column]) for words in word_lists)
    for words in word_lists:
        words[column] = words[column].zfill(width)


def check_no_duplicates(
    utterances: list[Utterance],
    list_file: ListFile,
    numbers: Sequence[int],
    line_format: LineFormat,
) -> None:
    """Raises InputError if a file is in a train list twice. numbers: of the lines."""
    if len({utterance.path for utterance in utterances}) == len(utterances):
        return
    index_of: dict[str, int] = {}
    for i, utterance in enumerate(utterances):
        earlier = index_of.setdefault(utterance.path, i)
        if earlier != i:
            if line_format.fits is TRAIN_FORMATS[SPEAKER_AND_FILE].fits:
                check_not_swapped(utterances, list_file)
            other_speaker = utterances[earlier].speaker
            raise InputError(
                f"{list_file}:{numbers[i]}: expected each file once, but {utterance.path} (speaker "
                f"{utterance.speaker}) is also in line {numbers[earlier]} (speaker "
                f"{other_speaker}). Remove one of the two lines."
            )


def check_not_swapped(utterances: list[Utterance], list_file: ListFile) -> None:
    """Raises InputError if all speakers differ and the first file is no path: swapped columns."""
    names = {utterance.speaker for utterance in utterances}
    speaker, file = utterances[0][:2]
    if len(names) == len(utterances) and not looks_like_file(file):
        raise InputError(
            f"{list_file}: expected '<speaker> <file>', found '<file> <speaker>', first "
            f"'{speaker} {file}': {len(names):,} different words come first. Swap the columns."
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
        trials = read_claims(list_file, line_format, rows, enroll_list, spk_meta)
    elif line_format.label_column is None:
        trials = Trials.of_columns(rows.columns(), lines)
    else:
        label: list[np.ndarray] = []
        trials = Trials.of_columns(without_labels(rows, label), lines)
        trials = trials._replace(label=np.concatenate(label))
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


def read_claims(
    list_file: ListFile,
    line_format: LineFormat,
    rows: Rows,
    enroll_list: Sequence[str] | None,
    spk_meta: str | None,
) -> Trials:
    """Reads trials in which a speaker is claimed, as spoofing-aware lists have them."""
    speaker_column, file_column = line_format.columns
    assert line_format.key_column is not None
    pairs = []
    attacks = []
    kinds = []
    lines = []
    for words in rows:
        speaker = words[speaker_column]
        file = words[file_column]
        kind = words[line_format.key_column]
        if line_format.attack_column is None:
            attack = SPOOF if kind == SPOOF else "bonafide"
        else:
            attack = words[line_format.attack_column]
        pairs.append((speaker, file))
        attacks.append(attack)
        kinds.append(kind)
        lines.append(f"{speaker} {file} {attack} {kind}")
    models = read_enrolment(list_file, pairs, enroll_list, spk_meta)
    kinds_array = np.array(kinds)
    return Trials.of_pairs(
        pairs,
        lines,
        label=kinds_array == "target",
        models=models,
        attacks=np.array(attacks),
        kinds=kinds_array,
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
def counted(names: Iterable[str]) -> str:
    """Returns how often each name occurs, sorted by name: 'A01 3,800, A02 3,800'."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(Counter(names).items()))


def described(utterances: Sequence) -> str:
    """Summarises a train list: speakers and utterances, and the attacks of spoofed speech.

    utterances: Utterances, or Examples of corpus/embeddings.py.
    """
    real = [utterance for utterance in utterances if not utterance.spoofed]
    spoofed = [utterance.attack for utterance in utterances if utterance.spoofed]
    speakers = {utterance.speaker for utterance in real}
    text = f"{len(speakers):,} speakers, {len(real):,} utterances"
    return f"{text}; {len(spoofed):,} spoofed: {counted(spoofed)}" if spoofed else text


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


# ---------------------------------------------------------------------- classes
def classes_of(utterances: Sequence, size: int | None = None) -> dict[str, int]:
    """Numbers the classes of the training speakers -> {speaker: class}.

    utterances: Utterances, or Examples of corpus/embeddings.py. Classes are counted from 0 in the
    sorted order of the names. All spoofed speech is one class, the last of `size`. Raises
    InputError if a speaker has the name of that class.
    """
    names = sorted({utterance.speaker for utterance in utterances if not utterance.spoofed})
    classes = {name: i for i, name in enumerate(names)}
    if any(utterance.spoofed for utterance in utterances):
        if SPOOF in classes:
            raise InputError(
                f"--train_list: a speaker is named {SPOOF!r}, which is the name of the class of "
                "spoofed speech. Rename the speaker in the list."
            )
        classes[SPOOF] = max((size or 0) - 1, len(names))
    return classes


def class_of(utterance: Utterance) -> str:
    """Returns the name of an utterance's class."""
    return SPOOF if utterance.spoofed else utterance.speaker


@without_garbage_collection
def speed_copies(utterances: Sequence[Utterance], factors: Sequence[float]) -> list[Utterance]:
    """Adds a copy of all utterances at every speed, after the utterances themselves.

    A copy with another pitch and tempo counts as another speaker, with the name 'id@0.9'
    (Yamamoto et al. 2019). Raises InputError if factors are equal to each other or to 1.
    """
    if len({1.0, *factors}) <= len(factors):
        raise InputError(
            "--speed_factors: expected different factors other than 1, found "
            f"{' '.join(f'{factor:g}' for factor in factors)}. Remove the factor 1 and repeated "
            "factors."
        )
    speakers = {utterance.speaker for utterance in utterances}
    copies = list(utterances)
    for factor in factors:
        names = {speaker: f"{speaker}@{factor:g}" for speaker in speakers}
        for utterance in utterances:
            name = names[utterance.speaker]
            copies.append(Utterance(name, utterance.path, utterance.attack, factor))
    return copies
