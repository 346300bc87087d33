"""The user's own spelling of options, for messages."""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import InputError
from options.aliases import ALIASES, UNITS
from options.option import Option
from options.sources import pieces

# Options whose value is a folder that the program writes to.
FOLDERS = ("save_path", "output", "gen_target_dir")
NEGATIVE_NUMBER = re.compile(r"-\.?\d")


def canonical(name: str) -> str:
    """Returns the option that is meant by a name in any spelling."""
    if name in UNITS:
        return UNITS[name][0]
    return ALIASES.get(name, name)


class TypedSpellings(logging.Filter):
    """Writes options in messages and log lines as the user typed them.

    names: option -> its spelling on the command line or in a YAML file, without dashes. Where an
    option was given several times, the last spelling counts.
    """

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        super().__init__()
        self.names: dict[str, str] = {}
        try:
            for _, key, value in pieces(argv, environ):
                for name in option_names_in(value) if key is None else [key]:
                    self.names[canonical(name)] = name
        except InputError:
            # The parser reports the same file with its place.
            pass

    def in_text(self, text: str) -> str:
        """Returns a text whose options have the typed spellings.

        An option in another unit keeps its name, because the numbers of the text are in its unit.
        """
        for name, typed in self.names.items():
            if typed != name and typed not in UNITS:
                text = re.sub(rf"--(no-)?{re.escape(name)}\b", rf"--\g<1>{typed}", text)
        return text

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrites a log record. Returns True, which keeps the record."""
        record.msg = self.in_text(record.getMessage())
        record.args = None
        return True


def option_names_in(words: Iterable[str]) -> list[str]:
    """Returns the options among words of a command line, without dashes and without no-."""
    names = []
    for word in words:
        if word.startswith("--"):
            name = word.partition("=")[0].removeprefix("--")
            names.append(name.removeprefix("no-"))
    return names


# ---------------------------------------------------------------------- loose words
def loose_word_problem(
    words: Sequence[str], options: Mapping[str, Option], flag_problem: Callable[[str, str], str]
) -> str:
    """Returns the message about the first word of a command line that belongs to no option.

    flag_problem: makes the message about a value of a flag from the flag and the value.
    """
    # The last option, its values so far, and the number of values that it accepts.
    name = ""
    values: list[str] = []
    limit: float = 0
    for word in words:
        if word.startswith("-") and not NEGATIVE_NUMBER.match(word):
            name, equals, value = word.partition("=")
            values = [value] if equals else []
            limit = number_of_values(options.get(canonical(name.removeprefix("--"))))
        elif len(values) < limit:
            values.append(word)
        else:
            return problem_after(name, values, word, limit, flag_problem)
    return f"expected options, found {' '.join(words)!r}."


def number_of_values(option: Option | None) -> float:
    """Returns the largest number of values of an option. An unknown option has none."""
    if option is None or option.kind is bool:
        return 0
    if option.nargs == "+":
        return float("inf")
    return option.nargs if isinstance(option.nargs, int) else 1


def blank_word_problem(words: Sequence[str]) -> str | None:
    """Returns the message about the first word that consists of blanks, or None."""
    before: list[str] = []
    for word in words:
        if word.isspace():
            place = f"after {' '.join(before)}" if before else "at the start"
            return (
                f"found a blank word {place}. Probably there is a blank after a backslash at the "
                "end of a line. Remove this blank."
            )
        before = [word] if word.startswith("--") else [*before, word]
    return None


def problem_after(
    name: str,
    values: Sequence[str],
    word: str,
    limit: float,
    flag_problem: Callable[[str, str], str],
) -> str:
    """Returns the message about a loose word after an option and its values."""
    if word.endswith((".yaml", ".yml")):
        return f"expected an option, found {word!r}. Did you mean --config {word}?"
    if not name:
        return f"expected an option, found {word!r}. Options begin with --, for instance --config."
    if limit == 0:
        return f"{name}: {flag_problem(name, repr(word))}"
    expected = "one value" if limit == 1 else f"{limit} values"
    shown = " ".join(values)
    return f"{name}: expected {expected} ({shown}), found also {word!r}. Remove {word!r}."


def is_loose(word: str) -> bool:
    """Returns whether a word that argparse did not use is no option."""
    return not word.startswith("-") or bool(NEGATIVE_NUMBER.match(word))


# ---------------------------------------------------------------------- files
def option_of_file(path: Any, options: Mapping[str, Any]) -> str | None:
    """Returns the option whose value is this path or a folder that contains it, or None."""
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        if str(path) in map(str, values):
            return name
    for name in FOLDERS:
        if Path(options.get(name) or path) in Path(path).parents:
            return name
    return None
