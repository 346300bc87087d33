"""argparse with the program's spellings: aliases, other units, and lines of YAML."""

import argparse
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

from common.errors import InputError
from options.aliases import ALIASES, UNITS, VALUES
from options.option import Option


class Parser(argparse.ArgumentParser):
    """Raises InputErrors, so that the caller can add the file and the line of a wrong option."""

    def __init__(self, description: str) -> None:
        super().__init__(
            description=description,
            usage="python trainSpeakerNet.py [--config FILE] [--OPTION VALUE ...]",
            allow_abbrev=False,
            add_help=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.options: dict[str, Option] = {}

    def error(self, message: str) -> Any:
        """Raises InputError where argparse would print and exit."""
        raise InputError(message)

    def add(self, group: Any, option: Option, hidden: bool = False) -> None:
        """Adds an option and its other spellings. --help does not show a hidden option."""
        flags = [f"--{option.name}"]
        flags += [f"--{alias}" for alias, name in ALIASES.items() if name == option.name]
        text = argparse.SUPPRESS if hidden else help_of(option)
        settings = {"help": text, "default": argparse.SUPPRESS, "dest": option.name}
        group.add_argument(*flags, **settings, **argument_settings(option))
        self.options[option.name] = option
        for other, (name, factor, unit) in UNITS.items():
            if name == option.name:
                group.add_argument(
                    f"--{other}",
                    dest=name,
                    type=in_other_unit(option.kind, factor),
                    default=argparse.SUPPRESS,
                    metavar="X",
                    help=f"the same in {unit}",
                )
                self.options[other] = option

    def words_of(self, key: str, value: Any) -> list[str]:
        """Returns a line of YAML as words of a command line.

        Raises InputError if the value does not suit the option.
        """
        option = self.options[key]
        is_boolean = value is True or value is False
        if option.kind is bool:
            if not is_boolean:
                raise InputError(f"want true or false, got {value!r}")
            return [f"--{key}" if value else f"--no-{key}"]
        values = value if type(value) is list else [value]
        several = len(values) != 1 and not option.nargs
        if is_boolean or type(value) is dict or several:
            expected = "values" if option.nargs else "one value"
            raise InputError(f"want {expected} ({option.help}), got {value!r}")
        if option.nargs:
            return [f"--{key}", *map(str, values)]
        return [f"--{key}={values[0]}"]


def help_of(option: Option) -> str:
    """Returns the text of --help: the option's help and its default."""
    shown = ""
    if option.default is not None:
        shown = " ".join(map(str, option.default)) if option.nargs else str(option.default)
    if shown:
        shown = f" (default: {shown})"
    return (option.help + shown).replace("%", "%%")


def argument_settings(option: Option) -> dict[str, Any]:
    """Returns what argparse must know about the values of an option."""
    kind = option.kind
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if get_origin(kind) is Literal:
        return {"choices": get_args(kind), "type": type_of_choice(option)}
    metavar = "N"
    if kind is str:
        metavar = "NAME"
    if kind is float:
        metavar = "X"
    return {"type": kind, "nargs": option.nargs, "metavar": metavar}


def type_of_choice(option: Option) -> Callable[[str], Any]:
    """Returns the function that reads one of several values, in any of its spellings."""
    spellings = VALUES.get(option.name)
    if spellings:
        return lambda word: spellings.get(word, word)
    return type(get_args(option.kind)[0])


def in_other_unit(kind: Callable[[float], Any], factor: int) -> Callable[[str], Any]:
    """Returns the function that reads a value in another unit."""
    return lambda word: kind(round(float(word) * factor))
