"""Lines of trials in which a speaker is claimed, whom one or several files enrol."""

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from common.trial_kinds import SPOOF
from corpus.enrolment import Enrolments, read_enrolment
from corpus.line_formats import attack_of
from corpus.rows import Rows


class Claims(NamedTuple):
    """Spoofing-aware trials.

    pairs: (claimed speaker, tested file) of each. lines: '<speaker> <file> <attack> <kind>'.
    attacks, kinds: the last two words of the lines.
    """

    pairs: list[tuple[str, str]]
    lines: list[str]
    attacks: list[str]
    kinds: list[str]


def has_spoof(rows: Rows) -> bool:
    """Returns whether a list in which speakers are claimed is about spoofed speech.

    Lists with a column of attacks always are. A list '<speaker> <file> target|nontarget|spoof' may
    also be a list of plain trials of speakers whom several files enrol.
    """
    if rows.line_format.label_column is None:
        return True
    return any(SPOOF in kinds for _, _, kinds in rows.columns())


def claims_of(rows: Rows) -> Claims:
    """Returns the spoofing-aware trials of a list."""
    line_format = rows.line_format
    speaker_column, file_column = line_format.columns
    assert line_format.key_column is not None
    claims = Claims([], [], [], [])
    for words in rows:
        speaker = words[speaker_column]
        file = words[file_column]
        kind = words[line_format.key_column]
        attack = attack_of(words, line_format)
        if line_format.attack_column is None:
            attack = SPOOF if kind == SPOOF else "bonafide"
        claims.pairs.append((speaker, file))
        claims.lines.append(f"{speaker} {file} {attack} {kind}")
        claims.attacks.append(attack)
        claims.kinds.append(kind)
    return claims


def models_of(
    list_file: str | os.PathLike,
    blocks: Iterable[Sequence[Sequence[str]]],
    enroll_list: Sequence[str] | None,
    spk_meta: str | None,
) -> Enrolments:
    """Returns the enrolment files of all claimed speakers, see read_enrolment().

    blocks: the columns of claimed speakers and of tested files; other columns may follow.
    """
    claimed: dict[str, None] = {}
    tested: dict[str, None] = {}
    for speakers, files, *_ in blocks:
        claimed |= dict.fromkeys(speakers)
        tested |= dict.fromkeys(files)
    return read_enrolment(list_file, claimed, tested, enroll_list, spk_meta)
