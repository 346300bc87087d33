"""YAML files of options."""

import os
import re
from collections.abc import Mapping
from typing import Any

import yaml

from common.errors import InputError, file_problem
from common.pipes import read_bytes
from common.variables import VARIABLE

# A place of the YAML text where a variable was: its number between two characters that no text has.
HOLE = re.compile("\ue000(\\d+)\ue001")
# Plain words that YAML reads as something else than text. Numbers and dates are no such words,
# because the option says what they mean: the run 007 is not the run 7.
KEPT = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge")


class OptionLoader(yaml.SafeLoader):
    """Reads numbers and dates as the text that was written."""


def kept_resolvers() -> dict[str, list]:
    """Returns the rules of YAML for plain words, by their first character, with KEPT alone."""
    kept = {}
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items():
        kept[first] = [resolver for resolver in resolvers if resolver[0] in KEPT]
    return kept


OptionLoader.yaml_implicit_resolvers = kept_resolvers()


def load_options(path: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Reads a YAML file of options. Returns {option as it is written: value}.

    Environment variables are replaced after the YAML was read, so that their values are texts and
    never YAML. Raises InputError if the file cannot be read, or a variable is not set or empty.
    """
    found: list[re.Match] = []

    def hole(match: re.Match) -> str:
        found.append(match)
        return f"\ue000{len(found) - 1}\ue001"

    try:
        text = VARIABLE.sub(hole, read_bytes(path).decode())
        lines = yaml.load(text, OptionLoader)
    except RecursionError:
        raise InputError(
            f"{path}: expected lines 'option: value', found lists in lists, too deep to read. "
            "Check the brackets."
        ) from None
    except OSError as error:
        raise InputError(f"--config {path}: {file_problem(error, 'a YAML file')}") from None
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, LookupError) as error:
        # A tag such as !!int can raise any of the last four.
        words = " ".join(str(error).split())
        problem = HOLE.sub(lambda match: found[int(match[1])][0], words)
        raise InputError(f"{path}: expected YAML, but it is not YAML: {problem}.") from None
    if type(lines) is not dict:
        kind = "nothing" if lines is None else type(lines).__name__
        raise InputError(f"{path}: expected lines 'option: value', found {kind}.")
    filled = {}
    for key, value in lines.items():
        key = fill(str(key), found, environ, path)
        filled[str(key)] = fill(value, found, environ, f"{path}: {key}")
    return filled


def fill(value: Any, found: list[re.Match], environ: Mapping[str, str], place: str) -> Any:
    """Returns a value of YAML with the variables in its holes.

    found: what was at each hole. place: of the value, for messages. A value that consists of an
    empty default is None, as an empty line of YAML.
    """
    if type(value) is list:
        # No option has lists in lists.
        return [fill(each, found, environ, place) if type(each) is str else each for each in value]
    if type(value) is not str:
        return value
    filled = HOLE.sub(lambda hole: variable(found[int(hole[1])], environ, place), value)
    try:
        usable = b"\0" not in os.fsencode(filled)
    except UnicodeEncodeError:
        usable = False
    if not usable:
        raise InputError(
            f"{place}: expected text, found a character that no text contains: {filled!r:.60}. "
            "Remove it."
        )
    return None if value and not filled else filled


def variable(match: re.Match, environ: Mapping[str, str], place: str) -> str:
    """Returns the value of an environment variable that a file names.

    As in a shell, the default also replaces an empty value. Raises InputError if there is neither.
    """
    dollars, name, default = match.groups()
    if dollars:
        return match[0][1:]
    value = environ.get(name) or default
    if value is not None:
        return value
    if name in environ:
        raise InputError(
            f"{place}: the environment variable {name} is empty. Set it to a value, or write "
            f"${{{name}:-}} where it may be empty."
        )
    raise InputError(
        f"{place}: the environment variable {name} is not set. Set it in front of the command: "
        f"{name}=... python trainSpeakerNet.py ..."
    )
