"""Where options come from: words of a command line, YAML files, and pickled settings."""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from common.errors import InputError
from common.foreign_files import BoundedUnpickler, foreign_file, require_regular_file
from options.aliases import SETTINGS
from options.config_file import load_options

# The place of a value for messages, the option in any spelling, and its value.
Line = tuple[str, str, Any]


def read_config(path: str, environ: Mapping[str, str]) -> list[Line]:
    """Reads a YAML file of options and returns its lines, see load_options().

    Lines without a value are skipped.
    """
    found_lines = []
    for key, value in load_options(path, environ).items():
        if value is not None:
            found_lines.append((f"{path}: {key}", key, value))
    return found_lines


class SettingsUnpickler(BoundedUnpickler):
    """Reads an argparse.Namespace of plain values."""

    ALLOWED = {("argparse", "Namespace"): argparse.Namespace}


def read_settings(path: str) -> list[Line]:
    """Reads pickled settings of the double-attention trainer. Returns the lines named in SETTINGS.

    That trainer embeds complete files, so eval_frames is 0. Raises InputError if the file cannot be
    read or is of another kind.
    """

    def problem(text: str) -> str:
        return (
            "expected pickled settings of the double-attention trainer, found something else "
            f"({text}). No code of this file was run."
        )

    with foreign_file(f"--modelConfig {path}", problem):
        require_regular_file(path, "pickled settings")
        with open(path, "rb") as file:
            settings = vars(SettingsUnpickler(file).load())
    known = {name: settings[name] for name in SETTINGS if name in settings}
    known["eval_frames"] = 0
    return [(f"{path}: {name}", name, value) for name, value in known.items()]


def pieces(
    argv: Sequence[str], environ: Mapping[str, str]
) -> Iterator[tuple[str, str | None, Any]]:
    """Reads argv from left to right and opens the config files at their places.

    Yields a line of a file, or ("", None, words) for words of the command line.
    """
    words: list[str] = []
    rest = iter(argv)
    for word in rest:
        name, equals, path = word.partition("=")
        if name not in ("--config", "--modelConfig"):
            words.append(word)
            continue
        file = path if equals else next(rest, None)
        if file is None:
            raise InputError(f"{name}: expected a file after it, found none.")
        yield "", None, words
        yield from read_config(file, environ) if name == "--config" else read_settings(file)
        words = []
    yield "", None, words
