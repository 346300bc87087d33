"""Which files enrol a speaker of spoofing-aware trials.

They come from lists '<speaker> <file>,<file>,...', or from the pickled tables of the SASV 2022
baseline.
"""

import io
import os
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from common.errors import InputError
from common.foreign_files import BoundedUnpickler, foreign_file
from common.pipes import read_bytes
from corpus.line_formats import LineFormat
from corpus.missing import first_names
from corpus.rows import read_rows

# Part of the name of a list of trials -> the same part of the name of its enrolment list.
ENROLMENT_NAMES = (
    (".gi.trl", ".female.trn"),
    (".gi.trl", ".male.trn"),
    (".gi.trl", ".gi.trn"),
    (".trl", ".trn"),
    ("trial", "enroll"),
)
ENROLMENT_FORMATS = {"<speaker> <file>,<file>,...": LineFormat(lambda words: len(words) == 2)}

# {speaker: {"bonafide": [utterance, ...], "spoof": [utterance, ...]}}
SpeakerMeta = dict[str, dict[str, list[str]]]
# {claimed speaker: files that enrol the speaker}
Enrolments = dict[str, tuple[str, ...]]


def read_speaker_meta(path: str | os.PathLike) -> SpeakerMeta:
    """Reads a pickled table {speaker: {"bonafide": [utterance, ...], "spoof": [...]}}.

    No code from the file runs. Raises InputError if the file has another structure.
    """

    def problem(text: str) -> str:
        return (
            f"expected a pickled dict of dicts of lists of names, found another content ({text}). "
            "No code from the file was run. Choose the file that the SASV 2022 baseline writes."
        )

    # Only dicts, lists, strings and numbers are made: nothing is in BoundedUnpickler.ALLOWED.
    with foreign_file(path, problem):
        table = BoundedUnpickler(io.BytesIO(read_bytes(path))).load()
    if not is_speaker_meta(table):
        raise InputError(
            f"{path}: expected {{speaker: {{'bonafide': [utterance, ...], 'spoof': [utterance, "
            "...]}}, found another structure. Choose the file that the SASV 2022 baseline writes."
        )
    return table


def is_speaker_meta(table: object) -> bool:
    """Whether an object has the structure of SpeakerMeta. The speakers are not checked."""
    if not isinstance(table, dict):
        return False
    for utterances in table.values():
        if not isinstance(utterances, dict) or not set(utterances) <= {"bonafide", "spoof"}:
            return False
        for names in utterances.values():
            if not isinstance(names, list):
                return False
            if not all(isinstance(name, str) for name in names):
                return False
    return True


def check_against_meta(utterances: Iterable, path: str | os.PathLike, list_file: str) -> None:
    """Raises InputError if a pickled table contradicts a list about an utterance.

    utterances: the Utterances of the list. Utterances that the table lacks are not checked. Folders
    and extensions do not matter.
    """
    known = {}
    for speaker, kinds in read_speaker_meta(path).items():
        for kind, names in kinds.items():
            for name in names:
                known[name] = (speaker, kind)
    for utterance in utterances:
        in_list = (utterance.speaker, "spoof" if utterance.spoofed else "bonafide")
        in_table = known.get(Path(utterance.path).stem, in_list)
        if in_table != in_list:
            raise InputError(
                f"{list_file}: {utterance.path} is {in_list[1]} speech of speaker {in_list[0]} in "
                f"this list, but {in_table[1]} speech of speaker {in_table[0]} in {path}. Correct "
                "one of the two files."
            )


def lists_beside(list_file: str | os.PathLike) -> list[str]:
    """Returns the enrolment lists that a list of trials was published with, if they exist.

    The lists are stored in the same folder and are found by their names.
    """
    path = Path(list_file)
    names: dict[str, None] = {}
    for part, enrolment_part in ENROLMENT_NAMES:
        if part in path.name:
            names[path.name.replace(part, enrolment_part)] = None
    return [str(path.with_name(name)) for name in names if path.with_name(name).is_file()]


def read_enrolment(
    list_file: str | os.PathLike,
    claims: Collection[str],
    tested: Iterable[str],
    enroll_list: Sequence[str] | None = None,
    spk_meta: str | None = None,
) -> Enrolments:
    """Returns {claimed speaker: enrolment files} for the trials of list_file.

    claims: the claimed speakers or files, each once. tested: the tested files. enroll_list:
    enrolment lists, by default the lists next to list_file. spk_meta: a pickled table. It enrols
    the speakers that the lists lack, with their bona fide utterances that no trial tests.

    Without lists and table, a claim that looks like a path is itself the enrolment file. Raises
    InputError if a speaker has no enrolment.
    """
    lists = enroll_list or lists_beside(list_file)
    if not lists and not spk_meta and names_files(claims):
        return {claim: (claim,) for claim in claims}
    models = read_enrolment_lists(lists)
    if spk_meta:
        for claim, files in untested_utterances(spk_meta, claims, {*tested}).items():
            models.setdefault(claim, files)
    lacking = [claim for claim in claims if claim not in models]
    if lacking:
        sources = ", ".join([*lists, *filter(None, [spk_meta])]) or "the folder of this list"
        raise InputError(
            f"{list_file}: expected enrolment files for {len(claims)} speakers, found none for "
            f"{len(lacking)} of them in {sources}: {first_names(lacking)}. Add --enroll_list LIST "
            "with lines '<speaker> <file>,<file>,...' (or a table of the SASV 2022 baseline with "
            "--spk_meta_eval)."
        )
    return models


def names_files(claims: Iterable[str]) -> bool:
    """Returns whether all claims look like paths of enrolment files, not like speakers."""
    return all("/" in claim or "." in claim for claim in claims)


def read_enrolment_lists(lists: Iterable[str | os.PathLike]) -> Enrolments:
    """Reads lists '<speaker> <file>,<file>,...'. Raises InputError if a speaker occurs twice."""
    models: Enrolments = {}
    for path in lists:
        _, lines, rows = read_rows(path, ENROLMENT_FORMATS)
        for number, (speaker, files) in zip(lines.numbers, rows, strict=True):
            if speaker in models:
                raise InputError(
                    f"{path}:{number}: expected one line for each speaker in all enrolment lists, "
                    f"but {speaker} has an earlier line. Write all files of {speaker} in one line."
                )
            models[speaker] = tuple(files.split(","))
    return models


def untested_utterances(
    spk_meta: str | os.PathLike, claims: Iterable[str], tested: set[str]
) -> Enrolments:
    """Returns the bona fide utterances of a pickled table that no trial tests, if any."""
    table = read_speaker_meta(spk_meta)
    models = {}
    for claim in claims:
        bona_fide = table.get(claim, {}).get("bonafide", ())
        files = tuple(name for name in bona_fide if name not in tested)
        if files:
            models[claim] = files
    return models
