"""What the tables of options share: value types of argparse, and options of several modes."""

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from prep.constants import CATALOGUES

# Arguments of add_argument for one option.
Arguments = dict[str, Any]


class Mode(NamedTuple):
    """One mode of dataprep.py.

    run: does the work with the parsed options. It returns an exit code or None.
    options: flag -> arguments of add_argument. The first flag chooses the mode.
    """

    run: Callable[[argparse.Namespace], Any]
    options: dict[str, Arguments]


# ---------------------------------------------------------------------- value types
def integer(least: int) -> Callable[[str], int]:
    """Returns an argparse type for whole numbers of at least `least`."""

    def convert(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"want a whole number of at least {least}, got '{text}'"
            )
        return int(text)

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
    raise argparse.ArgumentTypeError(f"want a number as 40 or a share as 10%, got '{text}'")


def one_group(text: str) -> re.Pattern:
    """An argparse type for regular expressions with exactly one group."""
    try:
        regex = re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(
            f"want a regular expression, got '{text}': {error}"
        ) from None
    if regex.groups != 1:
        raise argparse.ArgumentTypeError(
            f"want one group in brackets, the speaker, got {regex.groups} in '{text}'; "
            "(?:...) groups without counting"
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


# ---------------------------------------------------------------------- options of several modes
PROCESSES = number_option(1, "worker processes (all cores)")
THREADS = number_option(
    1,
    "files that are read at once; more for network disks (%(default)s)",
    default=2 * (os.cpu_count() or 1),
)
SAVE_PATH = path_option("DIR", "folder of all that is made (%(default)s)", default=Path("data"))
CORPUS_TRIALS = {
    "--trials": number_option(
        2,
        "trials, half target, half non-target of the same gender; fewer where there are not as "
        "many (%(default)s)",
        default=20000,
    ),
    "--seed": number_option(0, "another seed, other trials (%(default)s)", default=0),
}


def download_options(file_list: str) -> dict[str, Arguments]:
    """The options of every mode that downloads. `file_list`: the default, in prep/catalogues/."""
    return {
        "--file_list": path_option(
            "FILE",
            "what to download, with MD5 sums and what becomes of it "
            f"(prep/catalogues/{file_list}, which tells how to write another)",
            default=CATALOGUES / file_list,
        ),
        "--base_url": {
            "metavar": "URL",
            "help": "another host: URL/NAME, or a URL with {name}, and {key} where a key is "
            "wanted (that of the file list)",
        },
        "--connections": number_option(1, "downloads at once (%(default)s)", default=4),
        "--remove_archives": switch_option(
            "removes parts once the whole is verified, and archives once they are extracted"
        ),
    }
