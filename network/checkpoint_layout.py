"""The parts of a checkpoint of this program, and what each of them contains."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from common.errors import InputError

# Largest number of a class. A classifier of this many speakers needs terabytes.
MOST_CLASSES = 10**9
# A tensor of more bytes than this must have all of them in the file.
LARGE_TENSOR = 2**30


def is_weight(value: Any) -> bool:
    """Whether a value is a plain tensor of real numbers, as large as its part of the file."""
    if not isinstance(value, torch.Tensor) or value.layout != torch.strided:
        return False
    if value.device.type != "cpu" or value.is_quantized or value.is_complex():
        return False
    size = value.numel() * value.element_size()
    return size <= max(LARGE_TENSOR, value.untyped_storage().nbytes())


def is_dict_of(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Returns a function that says whether a value is a dict {text: a value that passes a test}."""

    def is_dict(value: Any) -> bool:
        if not isinstance(value, dict):
            return False
        return all(isinstance(key, str) and test(item) for key, item in value.items())

    return is_dict


def is_plain(value: Any) -> bool:
    """Whether a value is the value of an option."""
    if isinstance(value, (list, tuple)):
        return all(isinstance(item, (bool, int, float, str)) for item in value)
    return value is None or isinstance(value, (bool, int, float, str))


def is_number(value: Any) -> bool:
    """Whether a value is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_count(value: Any) -> bool:
    """Whether a value is a whole number from 0 on."""
    return type(value) is int and value >= 0


def is_class(value: Any) -> bool:
    """Whether a value is the number of a class."""
    return is_count(value) and value < MOST_CLASSES


# {part of a checkpoint: (test of its value, what it should be)}
LAYOUT = {
    "model": (is_dict_of(is_weight), "weights"),
    "loss": (is_dict_of(is_weight), "weights"),
    "trained": (is_dict_of(is_weight), "weights"),
    "options": (is_dict_of(is_plain), "options"),
    "classes": (is_dict_of(is_class), "speakers with numbers"),
    "result": (is_dict_of(is_number), "numbers with names"),
    "totals": (is_dict_of(is_number), "numbers with names"),
    "optimizer": (is_dict_of(lambda _: True), "a dict"),
    "scheduler": (is_dict_of(lambda _: True), "a dict"),
    "scaler": (is_dict_of(lambda _: True), "a dict"),
    "rng": (lambda value: isinstance(value, list), "a list"),
    "best": (is_number, "a number"),
    "step": (is_count, "a whole number from 0 on"),
    "epoch": (is_count, "a whole number from 0 on"),
    "position": (is_count, "a whole number from 0 on"),
    "counted": (is_count, "a whole number from 0 on"),
    "skipped": (is_count, "a whole number from 0 on"),
    "stale": (is_count, "a whole number from 0 on"),
    "validated": (is_count, "a whole number from 0 on"),
    "evaluated": (is_count, "a whole number from 0 on"),
    "steps_per_epoch": (is_count, "a whole number from 0 on"),
    "lists": (is_dict_of(lambda value: isinstance(value, str)), "descriptions of lists"),
}
NEEDED = ("model", "loss", "options")
# What a run needs besides, to resume.
NEEDED_BY_RUN = (
    *("classes", "optimizer", "scheduler", "scaler", "rng"),
    *("step", "epoch", "position", "counted", "totals", "skipped"),
)


def require_layout(path: str | Path, state: dict[str, Any]) -> None:
    """Raises InputError if a part of a checkpoint is missing or has another content."""
    missing = [name for name in NEEDED if name not in state]
    if missing:
        raise InputError(
            f"{path}: expected a checkpoint with {', '.join(NEEDED)}, found one without "
            f"{', '.join(missing)}. Give another checkpoint."
        )
    for name, (test, expected) in LAYOUT.items():
        if name in state and not test(state[name]):
            raise InputError(
                f"{path}: expected {expected} in the part {name!r} of this checkpoint, found "
                "something else. It is damaged or was changed. Give another checkpoint."
            )


def require_complete(path: str | Path, state: dict[str, Any]) -> None:
    """Raises InputError if a run cannot resume from a checkpoint, because it only has weights."""
    missing = [name for name in (*NEEDED, *NEEDED_BY_RUN) if name not in state]
    if missing:
        raise InputError(
            f"{path}: expected the last checkpoint of a run, found weights without the state of a "
            f"training ({', '.join(missing[:3])} and more are missing). To train from these "
            "weights, give the file to --initial_model with another --save_path."
        )
