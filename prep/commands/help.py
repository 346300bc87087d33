"""The help of dataprep.py and of its sub-commands."""

import argparse
import re
import sys
import textwrap
from functools import partial
from typing import NoReturn

from common.terminal import write_error
from prep.commands.options import Subcommand
from prep.commands.table import GROUPS
from prep.constants import WIDTH

PROGRAM = "python dataprep.py"
# Longer examples have one option per line.
LONGEST_EXAMPLE = 80
# Messages of argparse, and what dataprep.py prints instead.
REWORDED = (
    ("^argument ", ""),
    ("expected (one|at least one) argument$", "expected a value, found none"),
    ("ignored explicit argument (.*)$", r"expected no value, found \1"),
    ("^the following arguments are required: (.*)$", r"missing \1"),
)
FORMATTER = partial(argparse.RawDescriptionHelpFormatter, width=WIDTH, max_help_position=26)
LAST_LINES = f"""{PROGRAM} SUBCOMMAND --help shows the options and examples.
The published flags, such as --save_path data --download, still work.
After an interruption, the same command resumes.
"""


def value_of(command: Subcommand) -> str:
    """Returns how the value after the name of a sub-command is written, "" if it has none."""
    if not command.value:
        return ""
    metavar: str = command.value["metavar"]
    forms = {"?": f"[{metavar}]", "*": f"[{metavar}...]", "+": f"{metavar}..."}
    return forms.get(command.value.get("nargs", ""), metavar)


def overview() -> str:
    """Returns the help of dataprep.py, which lists the sub-commands."""
    lines = [
        f"usage: {PROGRAM} SUBCOMMAND ...",
        "",
        "Prepares the data of speaker verification: speech corpora, lists, features and packs.",
    ]
    for title, commands in GROUPS.items():
        lines += ["", f"{title}:"]
        for name, command in commands.items():
            lines.append(f"  {name} {value_of(command)}".ljust(27) + f" {command.summary}")
    return "\n".join([*lines, "", LAST_LINES])


def usage_of(name: str, command: Subcommand) -> str:
    """Returns the usage of a sub-command, with its value and its required options."""
    words = [PROGRAM, name, value_of(command)]
    for flags, arguments in command.options.items():
        if arguments.get("required"):
            flag = flags.split("/")[0]
            more = "..." if arguments.get("nargs") else ""
            words.append(f"{flag} {arguments['metavar']}{more}")
    return " ".join([*filter(None, words), "[OPTION ...]"])


def example_lines(example: str) -> str:
    """Returns an example of a sub-command, on several lines if it is long."""
    command = f"  {PROGRAM} {example}"
    if len(command) <= LONGEST_EXAMPLE:
        return command
    return command.replace(" --", " \\\n      --")


def epilog_of(command: Subcommand) -> str:
    """Returns the text below the options of a sub-command: its notes and its examples."""
    examples = "\n".join(["Examples:", *map(example_lines, command.examples)])
    return f"{command.notes}\n\n{examples}" if command.notes else examples


class CommandParser(argparse.ArgumentParser):
    """The parser of a sub-command. An error is one line and ends the program."""

    def __init__(self, name: str, command: Subcommand) -> None:
        super().__init__(
            prog="dataprep.py",
            usage=usage_of(name, command),
            description=textwrap.fill(command.description, WIDTH),
            epilog=epilog_of(command),
            formatter_class=FORMATTER,
            allow_abbrev=False,
            add_help=False,
        )
        self.name = name
        self.add_options(command)

    def add_options(self, command: Subcommand) -> None:
        """Adds the value and the options. The help shows the required ones first."""
        required = self.add_argument_group("Required")
        optional = self.add_argument_group("Options")
        if command.value:
            group = optional if command.value.get("nargs") in ("?", "*") else required
            group.add_argument(self.name.replace("-", "_"), **command.value)
        for flags, arguments in command.options.items():
            group = required if arguments.get("required") else optional
            group.add_argument(*flags.split("/"), **arguments)
        optional.add_argument("-h", "--help", action="help", help="show this help")

    def error(self, message: str) -> NoReturn:
        """Ends the program with a message of argparse, in the style of our messages."""
        for pattern, text in REWORDED:
            message = re.sub(pattern, text, message)
        # A message with a suggestion ends with a question mark.
        end = "" if message.endswith("?") else f". See {PROGRAM} {self.name} --help."
        stop(f"{message}{end}")


def stop(message: str) -> NoReturn:
    """Ends the program because of a wrong command line."""
    write_error(message)
    sys.exit(2)
