"""Merges several train lists into one list.

Each speaker gets the name of its list as a prefix. The paths become relative to one folder that
contains the files of all lists.
"""

import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import InputError
from corpus.files import check_present
from corpus.lists import Utterance, described, read_train_list
from prep.output import check_words, protocol_line, write_lists

log = logging.getLogger(__name__)


class Part(NamedTuple):
    """One of the lists: its name, the list file, and the folder of its files."""

    name: str
    list_file: str | Path
    folder: str


def parse_part(text: str) -> Part:
    """Returns the Part of a text 'NAME=LIST:DIR'. Raises InputError for another text."""
    found = re.fullmatch(r"([\w.]+)=(.+):(.+)", text)
    if not found:
        raise InputError(
            f"merge: expected NAME=LIST:DIR, found '{text}'. NAME has letters, digits, _ and '.'. "
            "An example is vox1=lists/vox1.txt:data/voxceleb1."
        )
    return Part(*found.groups())


def read_part(part: Part, root: str) -> Iterator[Utterance]:
    """Yields the utterances of a part with new speaker names, and with paths relative to `root`.

    Raises InputError if a file is missing.
    """
    utterances = read_train_list(part.list_file)
    found = check_present(part.folder, [u.path for u in utterances], part.list_file)
    folder = os.path.abspath(part.folder)
    root_prefix = os.path.join(root, "")
    speaker_prefix = f"{part.name}-"
    if all(utterance.speaker.startswith(speaker_prefix) for utterance in utterances):
        # The speakers keep the names of an earlier list, so that a classifier knows them.
        speaker_prefix = ""
    for utterance in utterances:
        path = os.path.normpath(os.path.join(folder, found[utterance.path]))
        yield utterance._replace(
            speaker=f"{speaker_prefix}{utterance.speaker}", path=path.removeprefix(root_prefix)
        )


def merge(parts: Sequence[Part], output: str | Path) -> None:
    """Writes the list of all parts.

    The list is a protocol of countermeasures if a part has spoofed speech. Raises InputError if two
    parts have the same name or the same file, or if a path cannot be written to a list.
    """
    names = [part.name for part in parts]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"merge: {names.count(name)} lists have the name {name}. Give each list its own "
                "NAME, because it distinguishes the speakers of the lists."
            )
    root = os.path.commonpath([os.path.abspath(part.folder) for part in parts])
    owner: dict[str, str] = {}
    utterances = []
    for part in parts:
        for utterance in read_part(part, root):
            path, speaker = utterance.path, utterance.speaker
            if path in owner:
                raise InputError(
                    f"{part.list_file}: the file {path} (in {root}) belongs to two speakers, "
                    f"{owner[path]} and {speaker}. Remove the file from one of the lists."
                )
            owner[path] = speaker
            utterances.append(utterance)
    # Names of folders can have blanks.
    check_words(owner, root)
    write_lists({output: merged_lines(utterances)})
    log.info("Wrote %s: %s.", output, described(utterances))
    log.info("Options of trainSpeakerNet.py: --train_list %s --train_path %s", output, root)


def merged_lines(utterances: Sequence[Utterance]) -> list[str]:
    """Returns lines '<speaker> <file>', or lines of a protocol if there is spoofed speech."""
    if not any(utterance.spoofed for utterance in utterances):
        return [f"{utterance.speaker} {utterance.path}" for utterance in utterances]
    return [protocol_line(u.speaker, u.path, u.attack) for u in utterances]
