"""Parses the command lines of dataprep.py: sub-commands, and the published flags."""

import argparse
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import NoReturn

from common.spelling import did_you_mean
from prep.commands.help import PROGRAM, CommandParser, overview, stop
from prep.commands.options import Subcommand
from prep.commands.table import ALL_STEPS, FLAGS, SUBCOMMANDS
from prep.constants import STEPS, WIDTH

HELP = {"-h", "--help"}
# Sub-commands whose published flags can be combined in one command.
COMBINABLE = {*STEPS, ALL_STEPS}


def is_option(word: str) -> bool:
    """Whether argparse reads a word as an option."""
    return re.fullmatch(r"--?[A-Za-z]\S*", word.partition("=")[0]) is not None


# ---------------------------------------------------------------------- published flags
def from_published_flags(words: Sequence[str]) -> list[str]:
    """Returns the words of a sub-command for a command line that selects it with a flag.

    An example: `--path wav --pack train.txt --output pack` means
    `pack train.txt --path wav --output pack`. Several steps of VoxCeleb, such as
    `--download --extract`, mean `voxceleb --steps download extract`.
    """
    names: list[str] = []
    values: list[str] = []
    rest: list[str] = []
    # The list that the words without dashes belong to.
    following = rest
    for word in words:
        flag, equals, value = word.partition("=")
        name = FLAGS.get(flag)
        if name and (not names or name in names or {name, *names} <= COMBINABLE):
            if name in names:
                # The last value of a repeated flag counts.
                values.clear()
            names.append(name)
            following = values
            values += [value] if equals else []
        else:
            following = rest if is_option(word) else following
            following.append(word)
    if len({*names}) == 1:
        return [names[0], *values, *rest]
    return [ALL_STEPS, *rest, *combined_steps(names, values)]


def combined_steps(names: Sequence[str], values: Sequence[str]) -> list[str]:
    """Returns the option --steps for several steps of VoxCeleb, nothing for all steps."""
    if values:
        stop(
            f"--convert: expected no folder together with other steps, found '{values[0]}'. "
            "To convert a folder, give --convert alone."
        )
    if ALL_STEPS in names:
        return []
    return ["--steps", *(step for step in STEPS if step in names)]


# ---------------------------------------------------------------------- wrong words
def flags_of(command: Subcommand) -> list[str]:
    """Returns the flags of a sub-command that its help shows."""
    flags = []
    for each, arguments in command.options.items():
        if arguments["help"] != argparse.SUPPRESS:
            flags += each.split("/")
    return flags


def owners_of(flag: str) -> list[str]:
    """Returns the names of the sub-commands that have an option."""
    return [name for name, command in SUBCOMMANDS.items() if flag in flags_of(command)]


def check_options(name: str, words: Sequence[str]) -> None:
    """Ends the program if a word is an option that the sub-command does not have."""
    command = SUBCOMMANDS[name]
    accepted = {*HELP, *flags_of(command), *command.options}
    for word in filter(is_option, words):
        flag = word.partition("=")[0]
        if flag in accepted or word[:2] in accepted:
            continue
        if flag in FLAGS:
            stop(
                f"{flag}: expected an option of {name}, found the sub-command {FLAGS[flag]}. "
                "Run the two sub-commands one after the other."
            )
        see = f"See {PROGRAM} {name} --help."
        if owners := owners_of(flag):
            place = " and ".join(owners) if len(owners) < 3 else f"{owners[0]} and others"
            stop(f"{flag}: the option belongs to {place}, not to {name}. {see}")
        stop(f"{name}: unknown option {flag}. {did_you_mean(flag, flags_of(command), see)}")


def stop_without_name(words: Sequence[str]) -> NoReturn:
    """Prints the help, or the error of a command line that begins with no sub-command."""
    see = f"See {PROGRAM} --help."
    if not words:
        names = textwrap.fill(
            f"Sub-commands: {', '.join(SUBCOMMANDS)}.", WIDTH, break_on_hyphens=False
        )
        stop(f"expected a sub-command, found nothing. {see}\n{names}")
    if not is_option(words[0]):
        hint = did_you_mean(words[0], SUBCOMMANDS, see)
        stop(f"unknown sub-command '{words[0]}'. {hint}")
    if HELP & {*words}:
        sys.stdout.write(overview())
        sys.exit(0)
    for word in filter(is_option, words):
        flag = word.partition("=")[0]
        if not owners_of(flag):
            stop(f"unknown option {flag}. {did_you_mean(flag, FLAGS, see)}")
    flag = words[0].partition("=")[0]
    stop(f"{flag}: expected a sub-command before it, such as {owners_of(flag)[0]}. {see}")


# ---------------------------------------------------------------------- parsing
def parse_command(words: Sequence[str]) -> tuple[Subcommand, argparse.Namespace]:
    """Parses a command line. Returns the sub-command and its options.

    As with argparse, --help and wrong words end the program.
    """
    if any(word.isspace() for word in words):
        stop(
            "expected options, found a blank as a word. Remove the blank after the backslash at "
            "the end of a line."
        )
    if words and words[0] not in SUBCOMMANDS and FLAGS.keys() & {w.split("=")[0] for w in words}:
        words = from_published_flags(words)
    if not words or words[0] not in SUBCOMMANDS:
        stop_without_name(words)
    name, *rest = words
    parser = CommandParser(name, SUBCOMMANDS[name])
    # Help needs no value, and --help can be anywhere.
    if HELP & {*rest}:
        rest = ["--help"]
    check_options(name, rest)
    # Values and options can be in any order.
    options, extra = parser.parse_known_intermixed_args(rest)
    if extra:
        parser.error(f"{name}: unexpected word '{extra[0]}'")
    return SUBCOMMANDS[name], options
