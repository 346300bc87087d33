"""The formats of the lines of all lists.

corpus/rows.py recognises the format of a list and checks its lines. corpus/lists.py converts the
lines to utterances and trials.
"""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from common.trial_kinds import BONA_FIDE, SPOOF, TRIAL_KINDS


class LineFormat(NamedTuple):
    """The format of the lines of a list.

    fits: returns whether the words of a line have this format. columns: the columns of speaker and
    file; in a list of trials, the columns of the two sides. attack_column: the column of the
    attack, or None. key_column: the column of bonafide|spoof or of the kind of trial, or None.
    label_column: the column of 1|0 or target|nontarget of plain trials, or None. If columns of
    trials are read at once, this word and the number of words decide whether a line fits.
    header: the names of the columns in the first line of a list, if there are any.
    numbered_speakers: whether speakers have numbers as names. speaker_column: the column of the
    speaker, if `columns` contains only files. is_variant: whether errors do not name the format,
    because they name the same words in another order. phase_column: the column of the phase of a
    challenge, or None. codec_column: the column of the codec that the speech went through, or None.
    """

    fits: Callable[[Sequence[str]], object]
    columns: tuple[int, ...] = (0, 1)
    attack_column: int | None = None
    key_column: int | None = None
    label_column: int | None = None
    header: str = ""
    numbered_speakers: bool = False
    speaker_column: int | None = None
    is_variant: bool = False
    phase_column: int | None = None
    codec_column: int | None = None


# Description of a line for errors -> its format.
Formats = dict[str, LineFormat]


def attack_of(words: Sequence[str], line_format: LineFormat) -> str:
    """Returns the attack in the words of a line, "-" for a format without attacks."""
    return "-" if line_format.attack_column is None else words[line_format.attack_column]


def attack_agrees(attack: str, key: str) -> bool:
    """Returns whether an attack and the word bonafide|spoof of the same line agree."""
    return key in ("bonafide", SPOOF) and (attack in BONA_FIDE) == (key == "bonafide")


def attack_agrees_with_trial(attack: str, kind: str) -> bool:
    """Returns whether an attack and the kind of a trial agree: only spoof trials have an attack."""
    return kind in TRIAL_KINDS and (attack in BONA_FIDE) == (kind != SPOOF)


def is_labelled_file(words: Sequence[str]) -> bool:
    """Returns whether words are a file and a number, and None or -1 in most lists.

    Without the third word the file must have a folder, because '12 3' may be a speaker and a file.
    """
    if len(words) not in (2, 3) or not re.fullmatch("[0-9]+", words[1]):
        return False
    return "/" in words[0] if len(words) == 2 else words[2] in ("None", "-1")


SPEAKER_AND_FILE = "<speaker> <file>"
LABELLED_FILE = "<file> <label> None|-1"
TRAIN_FORMATS: Formats = {
    # The trainer of double multi-head attention. The last line of its README has no third word.
    LABELLED_FILE: LineFormat(is_labelled_file, (1, 0), numbered_speakers=True),
    SPEAKER_AND_FILE: LineFormat(lambda words: len(words) == 2),
    # ASVspoof 2019
    "<speaker> <file> - <attack>|- bonafide|spoof": LineFormat(
        lambda words: len(words) == 5 and attack_agrees(words[3], words[4]),
        attack_column=3,
        key_column=4,
    ),
    # ASVspoof 5
    "<speaker> <file> <gender> <codec> <attack>|- bonafide|spoof": LineFormat(
        lambda words: len(words) == 6 and attack_agrees(words[4], words[5]),
        attack_column=4,
        key_column=5,
        codec_column=3,
    ),
    # ASVspoof 5 in the format of its release
    (
        "<speaker> <file> <gender> <codec> <quality> <seed> <tag> <attack>|bonafide "
        "bonafide|spoof -"
    ): LineFormat(
        lambda words: len(words) == 10 and attack_agrees(words[7], words[8]),
        attack_column=7,
        key_column=8,
        codec_column=3,
    ),
    # SpoofCeleb
    "<file>,<speaker>,<attack>": LineFormat(
        lambda words: len(words) == 3 and re.fullmatch(r"a\d+", words[2]),
        (1, 0),
        attack_column=2,
    ),
}
# Lists of single files for countermeasures: the train lists with bonafide|spoof, and others.
PROTOCOL_FORMATS: Formats = {
    **{
        line: line_format
        for line, line_format in TRAIN_FORMATS.items()
        if line_format.key_column is not None
    },
    # Keys of ASVspoof 2021 LA
    "<speaker> <file> <codec> <channel> <attack>|- bonafide|spoof <trim> <phase>": LineFormat(
        lambda words: len(words) == 8 and attack_agrees(words[4], words[5]),
        attack_column=4,
        key_column=5,
        phase_column=7,
        codec_column=2,
    ),
    # Keys of ASVspoof 2021 DF
    (
        "<speaker> <file> <codec> <source> <attack>|- bonafide|spoof <trim> <phase> <vocoder> "
        "<task> <team> <gender pair> <language>"
    ): LineFormat(
        lambda words: len(words) == 13 and attack_agrees(words[4], words[5]),
        attack_column=4,
        key_column=5,
        phase_column=7,
        codec_column=2,
    ),
}
UNLABELLED = "<file> <file>"
GENDERS = ("f", "m", "female", "male")
TARGET_LABELS = ("1", "target")
LABEL_WORDS = ("target", "nontarget")
LABELLED = "1|0 <file> <file>"
TRIAL_FORMATS: Formats = {
    LABELLED: LineFormat(
        lambda words: len(words) == 3 and words[0] in ("0", "1"), (1, 2), label_column=0
    ),
    "<file> <file> 1|0": LineFormat(
        lambda words: len(words) == 3 and words[2] in ("0", "1"), label_column=2, is_variant=True
    ),
    "target|nontarget <file> <file>": LineFormat(
        lambda words: len(words) == 3 and words[0] in LABEL_WORDS,
        (1, 2),
        label_column=0,
        is_variant=True,
    ),
    UNLABELLED: LineFormat(lambda words: len(words) == 2),
    # ASVspoof 2019
    "<speaker> <file> bonafide|<attack> target|nontarget|spoof": LineFormat(
        lambda words: len(words) == 4 and attack_agrees_with_trial(words[2], words[3]),
        attack_column=2,
        key_column=3,
    ),
    # ASVspoof 5 and SpoofCeleb. Kaldi and wespeaker write two files and no spoof.
    "<speaker> <file> target|nontarget|spoof": LineFormat(
        lambda words: len(words) == 3 and words[2] in TRIAL_KINDS, key_column=2, label_column=2
    ),
    # ASVspoof 5, track 2
    "<speaker> <file> F|M <attack>|bonafide target|nontarget|spoof": LineFormat(
        lambda words: (
            len(words) == 5
            and words[2].lower() in GENDERS
            and attack_agrees_with_trial(words[3], words[4])
        ),
        attack_column=3,
        key_column=4,
    ),
    # ASVspoof 5 in the format of its release
    "<speaker> <file> ... <attack>|bonafide target|nontarget|spoof -": LineFormat(
        lambda words: len(words) > 4 and attack_agrees_with_trial(words[-3], words[-2]),
        attack_column=-3,
        key_column=-2,
    ),
}
FILE_ALONE: Formats = {"<file>": LineFormat(lambda words: len(words) == 1, (0,))}


def with_files_alone(line_format: LineFormat) -> LineFormat:
    """Returns a format of train lists whose `columns` contains only the file."""
    speaker, file = line_format.columns
    return line_format._replace(columns=(file,), speaker_column=speaker)


# Lists of plain trials with labels.
PLAIN_FORMATS: Formats = {
    line: line_format
    for line, line_format in TRIAL_FORMATS.items()
    if line_format.label_column is not None and line_format.key_column is None
}
# Lists of files of any kind. Their `columns` contains only files.
FILE_FORMATS: Formats = {
    **FILE_ALONE,
    **PLAIN_FORMATS,
    # Trials of Kaldi and wespeaker
    "<file> <file> target|nontarget": LineFormat(
        lambda words: len(words) == 3 and words[2] in LABEL_WORDS, is_variant=True
    ),
    **{line: with_files_alone(line_format) for line, line_format in TRAIN_FORMATS.items()},
}
# Lists of trials in which a speaker is claimed.
CLAIM_FORMATS: Formats = {
    line: line_format
    for line, line_format in TRIAL_FORMATS.items()
    if line_format.key_column is not None
}
