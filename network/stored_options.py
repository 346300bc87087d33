"""The options in a checkpoint: every value must have the type of its option."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from common.errors import InputError
from options import OPTIONS
from options.option import Option
from options.plugins import PARTS, components, options_of


def require_options(path: str | Path, stored: Mapping[str, Any]) -> None:
    """Raises InputError for a value in a checkpoint that its option does not allow.

    Names that are no options are left to the parser. Earlier versions had others.
    """
    for part in PARTS:
        if part not in stored:
            continue
        name = stored[part]
        # A model may have names of its own for poolings.
        is_known = isinstance(name, str) if part == "encoder_type" else name in components(part)
        if not is_known:
            raise refusal(path, part, f"one of {', '.join(components(part))}", name)
    declared = [option for group in OPTIONS.values() for option in group]
    for part in ("model", "encoder_type", "trainfunc"):
        if stored.get(part) in components(part):
            declared += options_of(part, stored[part])
    for option in declared:
        value = stored.get(option.name)
        if value is None or value == option.default:
            continue
        if not is_allowed(option, value):
            raise refusal(path, option.name, described_kind(option), value)
        outside = option.expected(value)
        if outside:
            raise refusal(path, option.name, outside, value)


def refusal(path: str | Path, option: str, expected: str, found: Any) -> InputError:
    """Returns the error about the value of an option in a checkpoint."""
    return InputError(
        f"{path}: expected {expected} for --{option} in this checkpoint, found {found!r:.100}. It "
        "is damaged, or another version wrote it. Give another checkpoint."
    )


def described_kind(option: Option) -> str:
    """Describes the values of an option."""
    if get_origin(option.kind) is Literal:
        return f"one of {', '.join(map(str, get_args(option.kind)))}"
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return names.get(option.kind, "another value")


def is_allowed(option: Option, value: Any) -> bool:
    """Whether a value has the type of an option. A list has several values."""
    if isinstance(value, (list, tuple)):
        return bool(option.nargs) and all(is_allowed(option, item) for item in value)
    kind = option.kind
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind in (int, str, bool):
        return type(value) is kind
    return True
