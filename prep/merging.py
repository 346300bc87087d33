"""Several train lists, each with a folder of its own, as one: speakers with the name of their list before theirs, paths relative to one folder."""

import logging
import os
import re
from typing import NamedTuple

from common.errors import InputError
from corpus.files import check_present
from corpus.lists import described, read_train_list
from prep.output import check_words, write_lists

log = logging.getLogger(__name__)


class Part(NamedTuple):
    name: str
    list_file: str
    folder: str


def part_of(text):
    """'NAME=LIST:DIR' -> Part."""
    found = re.fullmatch(r"([\w.]+)=(.+):(.+)", text)
    if not found:
        raise InputError(
            f"--merge: want NAME=LIST:DIR, NAME of letters, digits, _ and ., got '{text}'; for instance vox1=lists/vox1.txt:data/voxceleb1"
        )
    return Part(*found.groups())


def renamed(part, root):
    """Yields the utterances of a part, their paths relative to root. InputError unless all files are there."""
    utterances = read_train_list(part.list_file)
    found = check_present(part.folder, [u.path for u in utterances], part.list_file)
    folder, start = os.path.abspath(part.folder), os.path.join(root, "")
    for u in utterances:
        path = os.path.normpath(os.path.join(folder, found[u.path]))
        yield u._replace(speaker=f"{part.name}-{u.speaker}", path=path.removeprefix(start))


def merge(parts, output):
    """Writes the list of all parts, as a cm protocol if one of them has spoofed speech."""
    names = [part.name for part in parts]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(
            f"--merge: {twice[0]} is the name of {names.count(twice[0])} lists, whose speakers could not be told apart; want another for each"
        )
    root, owner, utterances = (
        os.path.commonpath([os.path.abspath(part.folder) for part in parts]),
        {},
        [],
    )
    for part in parts:
        for u in renamed(part, root):
            if u.path in owner:
                raise InputError(
                    f"{part.list_file}: {u.path} (below {root}) of speaker {u.speaker} is on the list of speaker {owner[u.path]} already; "
                    "remove it from one of them"
                )
            owner[u.path] = u.speaker
            utterances.append(u)
    # folders may have blanks in their names
    check_words(owner, root)
    if any(u.spoofed for u in utterances):
        lines = [
            f"{u.speaker} {u.path} - {u.attack} {'spoof' if u.spoofed else 'bonafide'}"
            for u in utterances
        ]
    else:
        lines = [f"{u.speaker} {u.path}" for u in utterances]
    write_lists({output: lines})
    log.info(
        "%s: %s; train with --train_list %s --train_path %s",
        output,
        described(utterances),
        output,
        root,
    )
