"""Lists of utterances and of trials: one reader for each, the kind of a list is told from its first line and every line is checked.

Plain lists are those of voxceleb_trainer; spoofing-aware ones those of ASVspoof 2019 (Wang et al., arXiv:1911.01601), ASVspoof 5 and SpoofCeleb.
"""

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from common.text import Numbers, without_collector
from common.trial_kinds import BONA_FIDE, SPOOF, TRIAL_KINDS
from corpus.enrolment import read_enrolment
from corpus.rows import LineFormat, read_rows


class Utterance(NamedTuple):
    """attack: "-" for real speech, else the name of the attack. speed: the factor by which tempo and pitch are raised, see speed_copies."""

    speaker: str
    path: str
    attack: str = "-"
    speed: float = 1.0

    @property
    def spoofed(self):
        return self.attack != "-"


class Trials(NamedTuple):
    """Trial i compares reference models[enrol[i]], a tuple of enrolment files, with the file files[test[i]].

    lines: the trials as they stand in the list, those of spoofing-aware lists as '<speaker> <file> bonafide|<attack> target|nontarget|spoof';
    enrol, test: int64 [n]; label: bool [n], True = target, or None if there are none; attacks, kinds: last two words of a spoofing-aware line
    [n], or None.
    """

    lines: Sequence
    models: list
    files: list
    enrol: np.ndarray
    test: np.ndarray
    label: np.ndarray | None = None
    attacks: np.ndarray | None = None
    kinds: np.ndarray | None = None

    def paths(self):
        """Every file of the trials, once."""
        return list(dict.fromkeys(itertools.chain(*self.models, self.files)))

    def renamed(self, found):
        """The same trials of the files {name: path} as they were found."""
        return self._replace(
            models=[tuple(found[name] for name in model) for model in self.models],
            files=[found[name] for name in self.files],
        )

    @classmethod
    def of_pairs(cls, pairs, lines=None, label=None, models=None, attacks=None, kinds=None):
        """(enrolment file, or a name in `models`; test file) of every trial -> Trials. models: {name: enrolment files}."""
        return cls.of_columns(
            [zip(*pairs, strict=True)],
            lines or [f"{a} {b}" for a, b in pairs],
            label,
            models,
            attacks,
            kinds,
        )

    @classmethod
    def of_columns(cls, blocks, lines, label=None, models=None, attacks=None, kinds=None):
        """The same of blocks of trials, each of two columns, the enrolment's and the test's."""
        rows, files = Numbers(), Numbers()
        enrol, test = (
            np.concatenate(side)
            for side in zip(*((rows.of(a), files.of(b)) for a, b in blocks), strict=True)
        )
        return cls(
            lines,
            [models[a] if models else (a,) for a in rows],
            list(files),
            enrol,
            test,
            label,
            attacks,
            kinds,
        )


# ---------------------------------------------------------------------- what lines look like
def agree(attack, key):
    """The attack column and the column of bonafide|spoof say the same."""
    return key in ("bonafide", SPOOF) and (attack in BONA_FIDE) == (key == "bonafide")


TRAIN_FORMATS = {
    "<speaker> <file>": LineFormat(lambda w: len(w) == 2),
    # ASVspoof 2019, ASVspoof 5 and the form in which that was released, SpoofCeleb
    "<speaker> <file> - <attack>|- bonafide|spoof": LineFormat(
        lambda w: len(w) == 5 and agree(w[3], w[4]), attack=3, key=4
    ),
    "<speaker> <file> <gender> <codec> <attack>|- bonafide|spoof": LineFormat(
        lambda w: len(w) == 6 and agree(w[4], w[5]), attack=4, key=5
    ),
    "<speaker> <file> <gender> <codec> <quality> <seed> <tag> <attack>|bonafide bonafide|spoof -": LineFormat(
        lambda w: len(w) == 10 and agree(w[7], w[8]), attack=7, key=8
    ),
    # double multi-head attention
    "<file> <label> None|-1": LineFormat(
        lambda w: len(w) == 3 and re.fullmatch("[0-9]+", w[1]) and w[2] in ("None", "-1"),
        (1, 0),
        numbered=True,
    ),
    "<file>,<speaker>,<attack>": LineFormat(
        lambda w: len(w) == 3 and re.fullmatch(r"a\d+", w[2]), (1, 0), attack=2
    ),
}
UNLABELLED = "<file> <file>"
TRIAL_FORMATS = {
    "1|0 <file> <file>": LineFormat(lambda w: len(w) == 3 and w[0] in ("0", "1"), (1, 2)),
    UNLABELLED: LineFormat(lambda w: len(w) == 2),
    # ASVspoof 2019, ASVspoof 5 and SpoofCeleb, ASVspoof 5 as it was released
    "<speaker> <file> bonafide|<attack> target|nontarget|spoof": LineFormat(
        lambda w: len(w) == 4 and w[3] in TRIAL_KINDS and (w[2] in BONA_FIDE) == (w[3] != SPOOF),
        attack=2,
        key=3,
    ),
    "<speaker> <file> target|nontarget|spoof": LineFormat(
        lambda w: len(w) == 3 and w[2] in TRIAL_KINDS, key=2
    ),
    "<speaker> <file> ... <attack>|bonafide target|nontarget|spoof -": LineFormat(
        lambda w: len(w) > 4 and w[-2] in TRIAL_KINDS and (w[-3] in BONA_FIDE) == (w[-2] != SPOOF),
        attack=-3,
        key=-2,
    ),
}
TRIALS_WITH_LABELS = "1|0 <file> <file>"
# columns: of files
FILE_FORMATS = {
    "<file>": LineFormat(lambda w: len(w) == 1, (0,)),
    TRIALS_WITH_LABELS: TRIAL_FORMATS[TRIALS_WITH_LABELS],
    **{
        line: kind._replace(columns=kind.columns[1:], speaker=kind.columns[0])
        for line, kind in TRAIN_FORMATS.items()
    },
}
CLAIM_FORMATS = {line: kind for line, kind in TRIAL_FORMATS.items() if kind.key is not None}


# ---------------------------------------------------------------------- readers
@without_collector
def read_train_list(list_file):
    """A list of TRAIN_FORMATS -> list of Utterance; a file that is on the list twice is an InputError."""
    kind, _, rows = read_rows(list_file, TRAIN_FORMATS)
    speaker, path = kind.columns
    # so that the order of the names is that of the numbers
    if kind.numbered:
        rows = list(rows)
        width = max(len(words[speaker]) for words in rows)
        for words in rows:
            words[speaker] = words[speaker].zfill(width)
    # names: one string for each
    names, utterances = {}, []
    for words in rows:
        attack = (
            "-" if kind.attack is None or words[kind.attack] in BONA_FIDE else words[kind.attack]
        )
        utterances.append(
            Utterance(
                names.setdefault(words[speaker], words[speaker]),
                words[path],
                names.setdefault(attack, attack),
            )
        )
    if len({u.path for u in utterances}) < len(utterances):
        first = {}
        for number, u in enumerate(utterances, kind.first):
            before = first.setdefault(u.path, number)
            if before != number:
                raise InputError(
                    f"{list_file}:{number}: {u.path} of speaker {u.speaker} is in line {before} already, of speaker "
                    f"{utterances[before - kind.first].speaker}; remove one of them"
                )
    return utterances


@without_collector
def read_trials(list_file, enroll_list=None, spk_meta=None):
    """A list of TRIAL_FORMATS -> Trials. enroll_list, spk_meta: see read_enrolment; for lists whose trials name a speaker."""
    kind, lines, rows = read_rows(list_file, TRIAL_FORMATS)
    a, b = kind.columns
    if kind.key is not None:
        rows = list(rows)
        pairs = [(words[a], words[b]) for words in rows]
        kinds = [words[kind.key] for words in rows]
        attacks = (
            [SPOOF if key == SPOOF else "bonafide" for key in kinds]
            if kind.attack is None
            else [words[kind.attack] for words in rows]
        )
        lines = [
            f"{claimed} {file} {attack} {key}"
            for (claimed, file), attack, key in zip(pairs, attacks, kinds, strict=True)
        ]
        models = read_enrolment(list_file, pairs, enroll_list, spk_meta)
        kinds = np.array(kinds)
        return checked(
            list_file,
            Trials.of_pairs(pairs, lines, kinds == "target", models, np.array(attacks), kinds),
        )
    if a == 0:
        return Trials.of_columns(rows.columns(), lines)
    label = []

    def sides():
        for key, *names in rows.columns():
            label.append(np.array(key) == "1")
            yield names

    trials = Trials.of_columns(sides(), lines)
    return checked(list_file, trials._replace(label=np.concatenate(label)))


def read_clients_and_impostors(clients, impostors):
    """Two lists '<file> <file>', of target and of non-target trials -> Trials, lines '1|0 <file> <file>'."""
    pairs, lines = [], []
    for list_file, key in ((clients, 1), (impostors, 0)):
        rows = list(read_rows(list_file, {UNLABELLED: TRIAL_FORMATS[UNLABELLED]})[2])
        pairs += map(tuple, rows)
        lines += [f"{key} {a} {b}" for a, b in rows]
    return Trials.of_pairs(pairs, lines, np.array([line.startswith("1") for line in lines]))


def checked(list_file, trials):
    if trials.label.all() or not trials.label.any():
        only = "target" if trials.label.all() else "non-target"
        raise InputError(
            f"{list_file}: want target and non-target (or spoof) trials, got {len(trials.label)} {only} trials alone; add the others, or leave "
            "out the labels to get scores without metrics"
        )
    return trials


def read_file_list(list_file):
    """Lines '<file>', a train list or trials -> its files, each once."""
    kind, _, rows = read_rows(list_file, FILE_FORMATS)
    return list(dict.fromkeys(words[column] for words in rows for column in kind.columns))


def read_speakers(list_file, enroll_list=None, spk_meta=None):
    """As read_file_list -> {file: its speaker, "" where the list tells none}. Of trials that name a speaker the files that enrol the speaker too, see
    read_enrolment."""
    kind, _, rows = read_rows(list_file, FILE_FORMATS | CLAIM_FORMATS)
    if kind.speaker is None and kind.key is not None:
        return dict.fromkeys(read_trials(list_file, enroll_list, spk_meta).paths(), "")
    return {
        words[column]: "" if kind.speaker is None else words[kind.speaker]
        for words in rows
        for column in kind.columns
    }


def read_utterances(list_file):
    """Lines '<speaker> <file>' or '<file>' -> {file: its speaker, None where the list tells none}."""
    kind, _, rows = read_rows(
        list_file,
        {line: (FILE_FORMATS | TRAIN_FORMATS)[line] for line in ("<file>", "<speaker> <file>")},
    )
    if len(kind.columns) == 1:
        return {words[0]: None for words in rows}
    return {u.path: u.speaker for u in read_train_list(list_file)}


def read_cohort(list_file, by="utterance"):
    """Lines '<file>' or a train list, whose spoofed speech is left out -> the cohort's members, tuples of files; by: utterance, a file each, or speaker,
    all files of one."""
    kind, _, rows = read_rows(list_file, {"<file>": FILE_FORMATS["<file>"], **TRAIN_FORMATS})
    if len(kind.columns) == 1:
        files = dict.fromkeys(words[0] for words in rows)
        if by == "speaker":
            raise InputError(
                f"{list_file}: want the speakers of the cohort's files for --cohort_by speaker, lines '<speaker> <file>', got "
                f"'{next(iter(files))}'; list them, or take --cohort_by utterance"
            )
        return [(file,) for file in files]
    files = {}
    for u in read_train_list(list_file):
        if not u.spoofed:
            files.setdefault(u.speaker if by == "speaker" else u.path, []).append(u.path)
    return [*map(tuple, files.values())]


def counted(names):
    """Names -> 'A01 3,800, A02 3,800': how often each occurs, in the order of the names."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(Counter(names).items()))


def described(utterances):
    """-> a line about a train list: its speakers and utterances; of spoofed speech the attacks."""
    real = [u for u in utterances if not u.spoofed]
    text = f"{len({u.speaker for u in real}):,} speakers, {len(real):,} utterances"
    spoofed = [u.attack for u in utterances if u.spoofed]
    return f"{text}; {len(spoofed):,} spoofed: {counted(spoofed)}" if spoofed else text


def described_trials(trials):
    if trials.kinds is None:
        kinds = (
            "no labels"
            if trials.label is None
            else f"target {np.count_nonzero(trials.label):,}, nontarget {np.count_nonzero(~trials.label):,}"
        )
        return f"{len(trials.lines):,} trials of {len(trials.paths()):,} files: {kinds}"
    attacks = counted(trials.attacks[trials.kinds == SPOOF].tolist())
    return (
        f"{len(trials.lines):,} trials of {len(trials.files):,} files against {len(trials.models):,} enrolled speakers: "
        f"{counted(trials.kinds.tolist())}{f' ({attacks})' if attacks else ''}"
    )


def classes_of(utterances, size=None):
    """Utterances -> {speaker: class}, classes counted from 0 in the sorted order of the names; all spoofed speech is the last of `size`."""
    names = sorted({u.speaker for u in utterances if not u.spoofed})
    classes = {name: i for i, name in enumerate(names)}
    if any(u.spoofed for u in utterances):
        if SPOOF in classes:
            raise InputError(
                f"a speaker is called {SPOOF!r}, which is the name of the class of spoofed speech; call the speaker otherwise"
            )
        classes[SPOOF] = max((size or 0) - 1, len(names))
    return classes


def class_of(utterance):
    """The name of its class."""
    return SPOOF if utterance.spoofed else utterance.speaker


@without_collector
def speed_copies(utterances, factors):
    """Adds a copy of all utterances at every speed: another pitch and tempo make another speaker, named 'id@0.9' (Yamamoto et al. 2019)."""
    if len({1.0, *factors}) <= len(factors):
        raise InputError(
            f"--speed_factors: want different speeds other than 1, got {' '.join(f'{f:g}' for f in factors)}"
        )
    copies = list(utterances)
    for factor in factors:
        names = {name: f"{name}@{factor:g}" for name in {u.speaker for u in utterances}}
        copies += [Utterance(names[u.speaker], u.path, u.attack, factor) for u in utterances]
    return copies
