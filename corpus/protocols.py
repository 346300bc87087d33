"""Protocols of countermeasures: lists of single files, bona fide or spoofed, without enrolment.

The formats are of ASVspoof 2019 LA (Wang et al., arXiv:1911.01601), of ASVspoof 5 track 1, and of
the keys of ASVspoof 2021 LA and DF.
"""

import os

import numpy as np

from common.errors import InputError
from common.text import NumberedNames, without_garbage_collection
from common.trial_kinds import BONA_FIDE
from corpus.line_formats import PROTOCOL_FORMATS, TRIAL_FORMATS
from corpus.lists import ListFile, Trials
from corpus.recognition import first_lines
from corpus.rows import first_line_of, fits_any, read_rows


def is_protocol(list_file: ListFile) -> bool:
    """Returns whether the first lines of a list are files with their attack and bonafide|spoof.

    Lines with `spoof` can also be trials of ASVspoof 5. Then some line must say `bonafide`.
    """
    if not os.path.exists(list_file):
        return False
    lines = first_lines(str(list_file)) or [first_line_of(list_file)]
    rows = [line.split() for line in lines]
    of_files = all(fits_any(words, PROTOCOL_FORMATS) for words in rows)
    return of_files and not all(fits_any(words, TRIAL_FORMATS) for words in rows)


@without_garbage_collection
def read_protocol(list_file: ListFile) -> Trials:
    """Reads a list in one of PROTOCOL_FORMATS.

    Lines of the keys of ASVspoof 2021 count only if their phase is `eval`. The lines of the trials
    have the speaker and the codec if the list has codecs. Raises InputError unless there are bona
    fide and spoofed files, each of them once.
    """
    line_format, lines, rows = read_rows(list_file, PROTOCOL_FORMATS)
    speaker_column, file_column = line_format.columns
    codec_column = line_format.codec_column
    lines_of_file: dict[str, int] = {}
    kept = []
    attacks = []
    codecs = []
    for number, words in zip(lines.numbers, rows, strict=True):
        if line_format.phase_column is not None and words[line_format.phase_column] != "eval":
            continue
        file = words[file_column]
        earlier = lines_of_file.setdefault(file, number)
        if earlier != number:
            raise InputError(
                f"{list_file}:{number}: expected each file once, but {file} is also in line "
                f"{earlier}. Remove one of the two lines."
            )
        attack = words[line_format.attack_column or 0]
        attack = "-" if attack in BONA_FIDE else attack
        attacks.append(attack)
        start = file
        if codec_column is not None:
            codecs.append(words[codec_column])
            start = f"{file} {words[speaker_column]} {words[codec_column]}"
        kept.append(f"{start} {attack} {'bonafide' if attack == '-' else 'spoof'}")
    label = np.array([attack == "-" for attack in attacks], bool)
    if label.all() or not label.any():
        found = "no files" if not len(label) else "only one of the two kinds"
        raise InputError(
            f"{list_file}: expected bona fide and spoofed files, found {found}. Give the complete "
            "protocol."
        )
    files = NumberedNames()
    test = files.numbers_of(list(lines_of_file))
    enrol = np.zeros(len(test), np.int64)
    trials = Trials(kept, [], list(files), enrol, test, label, np.array(attacks))
    return trials._replace(codecs=np.array(codecs)) if codecs else trials
