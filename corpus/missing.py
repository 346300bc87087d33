"""Messages about the files of a list that are missing."""

import os
from collections.abc import Sequence
from typing import NamedTuple

from corpus.roots import is_pack

# Missing names that a message shows.
FILES_NAMED = 10
# What messages call the folder of the files if no option names it.
THE_FOLDER = "the folder"


def first_names(names: Sequence[str]) -> str:
    """Returns up to FILES_NAMED names for a message, and the number of the others."""
    shown = ", ".join(names[:FILES_NAMED])
    others = len(names) - FILES_NAMED
    return f"{shown} and {others:,} more" if others > 0 else shown


class MissingFiles(NamedTuple):
    """The files of a list that are missing below a folder or in a pack.

    root: the folder or the pack, "" for the current folder. missing: the missing names. total:
    number of names in the list. list_file: the list or the option that gives the names.
    root_option: the option that names the folder, or THE_FOLDER. kind: what messages call the
    files.
    """

    root: str
    missing: Sequence[str]
    total: int
    list_file: str
    root_option: str
    kind: str = "files"

    def message(self) -> str:
        """Returns the message for the user: what is missing, where, and what to correct."""
        if self.root and not os.path.isdir(self.root):
            return self._no_folder()
        count = f"{len(self.missing):,} of {self.total:,} {self.kind} are missing"
        if self.total == 1:
            count = "the file is missing"
        place = self.root or "the current folder"
        problem = f"{self.list_file}: {count} in {place}"
        if len(self.missing) < self.total:
            names = first_names(self.missing)
            return f"{problem}: {names}. Correct {self.root_option} or the list."
        return f"{problem}. {self._first_path()} Correct {self.root_option} or the list."

    def _first_path(self) -> str:
        """Returns the sentence that says where the first file was expected, and why."""
        name = self.missing[0]
        if is_pack(self.root):
            return f"The first missing recording is {name}."
        path = os.path.join(self.root, name)
        reason = f", which is {self.root_option} joined with the name in the list"
        if os.path.isabs(name):
            reason = ""
        elif not self.root:
            reason = f", because {self.root_option} is not given"
        return f"The first file was expected at {path}{reason}."

    def _no_folder(self) -> str:
        """Returns the message for a folder that does not exist."""
        place = self.root
        if self.root_option != THE_FOLDER:
            place = f"{self.root_option} {self.root}"
        count = "one file" if self.total == 1 else f"{self.total:,} files"
        return (
            f"{place}: this folder does not exist. {self.list_file} names {count} in it. Correct "
            f"{self.root_option}."
        )
