"""Lists of files of any kind, for work that needs the files and at most their speakers.

Extraction, packing, --all_pairs and the cohort of score normalisation use this module.
"""

import os
from collections.abc import Sequence

from common.errors import InputError
from corpus.line_formats import (
    CLAIM_FORMATS,
    FILE_ALONE,
    FILE_FORMATS,
    SPEAKER_AND_FILE,
    TRAIN_FORMATS,
)
from corpus.lists import read_train_list, read_trials
from corpus.rows import read_rows

ListFile = str | os.PathLike


def read_file_list(list_file: ListFile) -> list[str]:
    """Reads the files of lines '<file>', of a train list or of trials, each file once."""
    line_format, _, rows = read_rows(list_file, FILE_FORMATS)
    files: dict[str, None] = {}
    for words in rows:
        for column in line_format.columns:
            files[words[column]] = None
    return list(files)


def read_speakers(
    list_file: ListFile, enroll_list: Sequence[str] | None = None, spk_meta: str | None = None
) -> dict[str, str]:
    """Reads the files that read_file_list() reads -> {file: speaker}.

    The speaker is "" if the list does not name it. For trials in which a speaker is claimed, the
    enrolment files of the speaker are included, see read_enrolment().
    """
    line_format, _, rows = read_rows(list_file, CLAIM_FORMATS | FILE_FORMATS)
    if line_format.speaker_column is None and line_format.key_column is not None:
        return dict.fromkeys(read_trials(list_file, enroll_list, spk_meta).paths(), "")
    speakers = {}
    for words in rows:
        speaker = ""
        if line_format.speaker_column is not None:
            speaker = words[line_format.speaker_column]
        for column in line_format.columns:
            speakers[words[column]] = speaker
    return speakers


def read_utterances(list_file: ListFile) -> dict[str, str | None]:
    """Reads lines '<speaker> <file>' or '<file>' -> {file: speaker, None if it is not named}."""
    formats = FILE_ALONE | {SPEAKER_AND_FILE: TRAIN_FORMATS[SPEAKER_AND_FILE]}
    line_format, _, rows = read_rows(list_file, formats)
    if len(line_format.columns) == 1:
        return {words[0]: None for words in rows}
    return {utterance.path: utterance.speaker for utterance in read_train_list(list_file)}


def speakers_of_real_speech(list_file: ListFile) -> dict[str, str | None]:
    """Reads lines '<file>' or a train list -> {file: speaker, None if it is not named}.

    Spoofed speech is left out.
    """
    line_format, _, rows = read_rows(list_file, FILE_ALONE | TRAIN_FORMATS)
    if len(line_format.columns) == 1:
        return {words[0]: None for words in rows}
    return {each.path: each.speaker for each in read_train_list(list_file) if not each.spoofed}


def read_cohort(list_file: ListFile, by: str = "utterance") -> list[tuple[str, ...]]:
    """Reads the members of a cohort, tuples of files, from a list of speakers_of_real_speech().

    by: "utterance" makes a member of each file, "speaker" makes one of all files of a speaker.
    Raises InputError if the list does not name the speakers.
    """
    speakers = speakers_of_real_speech(list_file)
    if by == "utterance":
        return [(name,) for name in speakers]
    members: dict[str, list[str]] = {}
    for name, speaker in speakers.items():
        if speaker is None:
            raise InputError(
                f"{list_file}:1: expected '<speaker> <file>' for --cohort_by speaker, found "
                f"'{name}'. Add the speakers to the list, or choose --cohort_by utterance."
            )
        members.setdefault(speaker, []).append(name)
    return [tuple(files) for files in members.values()]
