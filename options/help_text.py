"""The texts of --help, which shows the options of daily use, and of --help-all."""

import textwrap
from collections.abc import Iterable, Mapping
from typing import Literal, get_args, get_origin

from options.aliases import ALIASES, UNITS
from options.option import Option

USAGE = "usage: python trainSpeakerNet.py [--config YAML] [--OPTION VALUE ...]"
LAST_LINE = """--help-all prints everything, also the options of the chosen model, pooling,
loss, optimizer and scheduler, and the spellings of other projects."""
# Columns of a line, and of the name of an option.
WIDTH = 100
NAME_WIDTH = 28
# Options of plug-ins that are of daily use.
DAILY = ("encoder_type", "nOut", "margin", "scale", "lr", "weight_decay")
# Kind of an option -> its placeholder, for options that declare none.
PLACEHOLDERS = {str: "NAME", float: "X"}
# Choices are spelt out in the place of a placeholder if they are at most this long.
SHORT_CHOICES = 28


def daily_help(description: str, groups: Mapping[str, Iterable[Option]]) -> str:
    """Returns the text of --help. groups: title -> its options, of which the daily ones are shown.

    Lines have at most WIDTH columns.
    """
    parts = [USAGE, description.strip()]
    for title, options in groups.items():
        shown = [option for option in options if option.daily or option.name in DAILY]
        parts.append(group_text(title, [lines_of(option) for option in shown]))
    return "\n\n".join([*parts, LAST_LINE]) + "\n"


def full_help(description: str, groups: Mapping[str, Iterable[Option]]) -> str:
    """Returns the text of --help-all: all options with their choices and other spellings."""
    parts = [USAGE, description.strip()]
    for title, options in groups.items():
        entries = []
        for option in options:
            entries.append(lines_of(option, everything=True))
            entries += lines_of_other_units(option)
        if entries:
            parts.append(group_text(title, entries))
    return "\n\n".join(parts) + "\n"


def group_text(title: str, entries: Iterable[str]) -> str:
    """Returns a title and the entries below it."""
    return "\n".join([f"{title}:", *entries])


def lines_of(option: Option, everything: bool = False) -> str:
    """Returns the entry of an option. everything: with its choices and its other spellings."""
    text = option.help
    placeholder = placeholder_of(option)
    if everything and get_origin(option.kind) is Literal and "{" not in placeholder:
        text += ": " + ", ".join(map(str, get_args(option.kind)))
    notes = []
    default = shown_default(option)
    if default:
        notes.append(f"default: {default}")
    others = [f"--{other}" for other, name in ALIASES.items() if name == option.name]
    if everything and others:
        notes.append(f"also {', '.join(others)}")
    if notes and text.endswith(")"):
        text = f"{text[:-1]}; {'; '.join(notes)})"
    elif notes:
        text += f" ({'; '.join(notes)})"
    return entry(name_and_value(option, placeholder), text)


def lines_of_other_units(option: Option) -> list[str]:
    """Returns the entries of the options that mean this option in another unit."""
    entries = []
    for other, (name, _, unit) in UNITS.items():
        if name == option.name:
            entries.append(entry(f"--{other} X", f"the same as --{name}, in {unit}"))
    return entries


def entry(name: str, text: str) -> str:
    """Returns the lines of one entry: the name, and the text in a column next to it."""
    indent = " " * (NAME_WIDTH + 2)
    lines = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    name = f"  {name}"
    if len(name) < NAME_WIDTH + 1 and lines:
        lines[0] = name.ljust(NAME_WIDTH + 2) + lines[0].lstrip()
    else:
        lines.insert(0, name)
    return "\n".join(lines)


def name_and_value(option: Option, placeholder: str) -> str:
    """Returns an option and the placeholders of its values, for instance "--verify FILE FILE"."""
    if option.kind is bool:
        return f"--{option.name}/--no-{option.name}"
    if option.nargs == "+":
        return f"--{option.name} {placeholder} ..."
    count = option.nargs if isinstance(option.nargs, int) else 1
    return " ".join([f"--{option.name}", *[placeholder] * count])


def placeholder_of(option: Option) -> str:
    """Returns the word for the value of an option: its choices if they are short."""
    if option.placeholder:
        return option.placeholder
    if get_origin(option.kind) is Literal:
        choices = "{" + ",".join(map(str, get_args(option.kind))) + "}"
        return choices if len(choices) <= SHORT_CHOICES else "NAME"
    return PLACEHOLDERS.get(option.kind, "N")


def shown_default(option: Option) -> str:
    """Returns the default as text, or "" if there is none or a flag is off."""
    default = option.default
    if option.kind is bool:
        return "on" if default else ""
    if default is None:
        return ""
    if isinstance(default, (list, tuple)):
        return " ".join(map(str, default))
    return str(default)
