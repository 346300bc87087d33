"""What the tables of sub-commands share: types of values, and options of several sub-commands."""

import argparse
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from common.spelling import did_you_mean
from prep.constants import CATALOGUES

# Arguments of add_argument for one option.
Arguments = dict[str, Any]


class Subcommand(NamedTuple):
    """One sub-command of dataprep.py.

    run: does the work with the parsed options. It returns an exit code or None.
    summary: the line in `dataprep.py --help`.
    description: the first sentences of its own help.
    options: flag -> arguments of add_argument. '-i/--input' are two flags of one option.
    examples: command lines without `python dataprep.py`, on one line each.
    value: arguments of add_argument for the value after the name, if the sub-command has one.
    notes: further text of its own help, at most 100 columns wide.
    """

    run: Callable[[argparse.Namespace], Any]
    summary: str
    description: str
    options: Mapping[str, Arguments]
    examples: tuple[str, ...]
    value: Arguments | None = None
    notes: str = ""


# ---------------------------------------------------------------------- types of values
def integer(least: int) -> Callable[[str], int]:
    """Returns an argparse type for whole numbers of at least `least`."""

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"expected a whole number of at least {least}, found '{text}'"
            )
        return int(text)

    return convert


def one_of(names: Collection[str]) -> Callable[[str], str]:
    """Returns an argparse type for one of some names. The error suggests the closest name."""

    def convert(text: str) -> str:
        if text not in names:
            hint = did_you_mean(text, names)
            message = f"expected one of {', '.join(names)}, found '{text}'"
            raise argparse.ArgumentTypeError(f"{message}. {hint}" if hint else message)
        return text

    return convert


def number_or_share(text: str) -> int | float:
    """An argparse type: '40' becomes the number 40, '10%' becomes the share 0.1."""
    found = re.fullmatch(r"([0-9.]+)%", text)
    try:
        if not found:
            return int(text)
        if 0 <= float(found[1]) <= 100:
            return float(found[1]) / 100
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(
        f"expected a number such as 40 or a share such as 10%, found '{text}'"
    )


def one_group(text: str) -> re.Pattern:
    """An argparse type for regular expressions with exactly one group."""
    try:
        regex = re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(
            f"expected a regular expression, found '{text}' ({error})"
        ) from None
    if regex.groups != 1:
        raise argparse.ArgumentTypeError(
            "expected one pair of brackets, around the speaker, "
            f"found {regex.groups} in '{text}'. Write (?:...) for brackets that do not count"
        )
    return regex


# ---------------------------------------------------------------------- kinds of options
def path_option(metavar: str, text: str, **more: Any) -> Arguments:
    """Arguments of an option that is a file or a folder. `more` adds arguments."""
    return {"metavar": metavar, "type": Path, "help": text, **more}


def number_option(least: int, text: str, **more: Any) -> Arguments:
    """Arguments of an option that is a whole number of at least `least`."""
    return {"metavar": "N", "type": integer(least), "help": text, **more}


def switch_option(text: str) -> Arguments:
    """Arguments of an option without a value."""
    return {"action": "store_true", "help": text}


# ---------------------------------------------------------------------- options of several
PROCESSES = number_option(1, "number of processes (default: one per core)")
THREADS = number_option(
    1,
    "number of files that are read at once, more for network disks (default: two per core)",
    default=2 * (os.cpu_count() or 1),
)
SAVE_PATH = path_option("DIR", "folder of all results (default: %(default)s)", default=Path("data"))
CORPUS_TRIALS = {
    "--trials": number_option(
        2,
        "largest number of trials, half of them target trials (default: %(default)s)",
        default=20000,
    ),
    "--seed": number_option(
        0, "seed of the random draw of the trials (default: %(default)s)", default=0
    ),
}


def download_options(file_list: str) -> dict[str, Arguments]:
    """The options of a download. `file_list`: the default file list, in prep/catalogues/."""
    return {
        "--file_list": path_option(
            "YAML",
            "files to download, with their MD5 sums and their use; comments in the default list "
            f"describe the format (default: prep/catalogues/{file_list})",
            default=CATALOGUES / file_list,
        ),
        "--base_url": {
            "metavar": "URL",
            "help": "another host: the URL of a folder, or a URL with {name} (and {key}, if --key "
            "is given) in it (default: the URL in the file list)",
        },
        "--connections": number_option(
            1, "number of simultaneous downloads (default: %(default)s)", default=4
        ),
        "--remove_archives": switch_option(
            "remove the parts of an archive after they are joined and verified, and each archive "
            "after it is extracted"
        ),
    }


# ---------------------------------------------------------------------- text of the help
def text_table(title: str, texts: Mapping[str, str]) -> str:
    """Returns lines 'name  text' below a title, for the notes of a sub-command."""
    width = max(map(len, texts))
    lines = [f"  {name:{width}}  {text}" for name, text in texts.items()]
    return "\n".join([f"{title}:", *lines])
