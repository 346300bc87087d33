"""argparse with the program's spellings: aliases, other units, and lines of YAML."""

import argparse
import math
import re
import reprlib
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal, NoReturn, get_args, get_origin

from common.errors import InputError
from common.spelling import did_you_mean
from options.aliases import ALIASES, UNITS, VALUES
from options.help_text import daily_help, full_help
from options.option import Option
from options.training import number_or_auto

# Kind of an option -> the value that it needs, for messages.
NUMBERS = {int: "a whole number", float: "a number", number_or_auto: "a whole number or auto"}
# Texts that mean a boolean, as in YAML.
BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
# Shows values of any size in messages.
SHORT = reprlib.Repr()
SHORT.maxstring = SHORT.maxother = 80
SHORT.maxlong = 30
# A message of argparse: the spellings of the option, and the problem.
PROBLEM = re.compile(r"argument (\S+): (.*)", re.S)
# A message of argparse about the number of values -> our words.
COUNTS = {
    "expected one argument": "expected a value, found none.",
    "expected at least one argument": "expected one or more values, found none.",
}


class Help(argparse.Action):
    """Prints a help text and exits. const: the function that makes the text."""

    def __init__(self, option_strings: Sequence[str], dest: str, const: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, const=const, default=argparse.SUPPRESS)

    def __call__(self, parser: Any, *_: Any) -> None:
        """Prints the text and ends the program."""
        sys.stdout.write(self.const())
        parser.exit()


class Parser(argparse.ArgumentParser):
    """Raises InputErrors, so that the caller can add the file and the line of a wrong option.

    options: name -> the option. groups: title -> its options, for --help-all. daily_groups: the
    same for --help, where options of plug-ins are in the groups of the program.
    """

    def __init__(self, description: str) -> None:
        super().__init__(allow_abbrev=False, add_help=False)
        self.text = description
        self.options: dict[str, Option] = {}
        self.groups: dict[str, list[Option]] = {}
        self.daily_groups: dict[str, list[Option]] = {}
        self.words: Sequence[str] = ()

    def error(self, message: str) -> NoReturn:
        """Raises InputError where argparse would print and exit.

        The message begins with the option as it was typed.
        """
        found = PROBLEM.fullmatch(message)
        if not found:
            raise InputError(message)
        names = found[1].split("/")
        typed = [word.partition("=")[0] for word in self.words]
        name = next((word for word in typed if word in names), names[0])
        problem = COUNTS.get(found[2], found[2])
        count = re.fullmatch(r"expected (\d+) arguments", found[2])
        if count:
            problem = f"expected {count[1]} values, found fewer."
        explicit = re.fullmatch(r"ignored explicit argument (.*)", found[2], re.S)
        if explicit:
            problem = flag_problem(name, explicit[1])
        raise InputError(f"{name}: {problem}")

    def add(self, option: Option) -> None:
        """Adds an option and its other spellings."""
        flags = [f"--{option.name}"]
        flags += [f"--{alias}" for alias, name in ALIASES.items() if name == option.name]
        settings: dict[str, Any] = {"default": argparse.SUPPRESS, "dest": option.name}
        self.add_argument(*flags, **settings, **argument_settings(option))
        self.options[option.name] = option
        for other, (name, factor, _) in UNITS.items():
            if name == option.name:
                reader = in_other_unit(option.kind, factor)
                self.add_argument(f"--{other}", type=reader, **settings)
                self.options[other] = option

    def add_help_options(self) -> None:
        """Adds --help and --help-all."""
        self.add_argument(
            "-h", "--help", action=Help, const=lambda: daily_help(self.text, self.daily_groups)
        )
        self.add_argument(
            "--help-all", action=Help, const=lambda: full_help(self.text, self.groups)
        )

    def words_of(self, key: str, value: Any) -> list[str]:
        """Returns a line of YAML as words of a command line.

        Raises InputError if the value does not suit the option.
        """
        option = self.options[ALIASES.get(key, key)]
        if option.kind is bool:
            # An environment variable is always text.
            value = BOOLEANS.get(value.lower(), value) if isinstance(value, str) else value
            if value is not True and value is not False:
                raise InputError(f"expected true or false, found {SHORT.repr(value)}.")
            return [f"--{key}" if value else f"--no-{key}"]
        values = value if type(value) is list else [value]
        several = len(values) != 1 and not option.nargs
        if several or not all(map(is_scalar, values)):
            expected = "values" if option.nargs else "one value"
            raise InputError(f"expected {expected} ({option.help}), found {SHORT.repr(value)}.")
        if option.nargs and len(values) != 1:
            return [f"--{key}", *map(str, values)]
        return [f"--{key}={values[0]}"]


def is_scalar(value: Any) -> bool:
    """Returns whether a value of a file is a text or a number that cannot be read as an option."""
    return type(value) in (int, float) or (type(value) is str and not value.startswith("--"))


def flag_problem(flag: str, found: str) -> str:
    """Returns the message about a value of a flag. found: the value, as shown to the user."""
    name = flag.removeprefix("--").removeprefix("no-")
    return (
        f"expected no value because this is a flag, found {found}. Write --{name} or --no-{name}."
    )


def argument_settings(option: Option) -> dict[str, Any]:
    """Returns what argparse must know about the values of an option."""
    kind = option.kind
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is Literal:
        return {"type": reader_of_choice(option), "nargs": option.nargs}
    if kind in NUMBERS:
        return {"type": reader_of_number(kind), "nargs": option.nargs}
    return {"type": kind, "nargs": option.nargs}


def reader_of_number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    """Returns the function that reads a number, which must be finite."""

    def read(word: str) -> Any:
        try:
            value = kind(word)
        except ValueError:
            message = f"expected {NUMBERS[kind]}, found {SHORT.repr(word)}."
            raise argparse.ArgumentTypeError(message) from None
        if type(value) is float and not math.isfinite(value):
            message = f"expected a finite number, found {SHORT.repr(word)}."
            raise argparse.ArgumentTypeError(message)
        return value

    return read


def reader_of_choice(option: Option) -> Callable[[str], Any]:
    """Returns the function that reads one of several values, in any of its spellings."""
    choices = get_args(option.kind)
    spellings = VALUES.get(option.name, {})
    by_word = {str(choice): choice for choice in choices}

    def read(word: str) -> Any:
        word = spellings.get(word, word)
        if word not in by_word:
            hint = did_you_mean(word, by_word)
            message = f"expected one of {', '.join(by_word)}, found {word!r}. {hint}"
            raise argparse.ArgumentTypeError(message.rstrip())
        return by_word[word]

    return read


def in_other_unit(kind: Callable[[float], Any], factor: int) -> Callable[[str], Any]:
    """Returns the function that reads a value in another unit."""
    read_float = reader_of_number(float)

    def read(word: str) -> Any:
        value = read_float(word) * factor
        if not math.isfinite(value):
            raise argparse.ArgumentTypeError(f"expected a smaller number, found {word!r}.")
        return kind(round(value))

    return read
