"""--average: the mean of the weights of several checkpoints of one run.

Izmailov et al., "Averaging weights leads to wider optima", arXiv:1803.05407.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from common.errors import InputError
from common.run_paths import NUMBERED_CHECKPOINTS
from network.checkpoints import read_checkpoint, require_finite
from network.publication import in_folder
from options.plugins import options_of_network

# The parts of a checkpoint that have weights.
PARTS = ("model", "loss")

# A checkpoint, see network/checkpoints.py.
State = dict[str, Any]


def checkpoints_of(places: Iterable[str | Path]) -> list[Path]:
    """Returns the files to average.

    places: files, and folders of runs. A folder is replaced by its numbered checkpoints, in their
    order. Raises InputError unless there are at least two files.
    """
    files = []
    for place in map(Path, places):
        if in_folder(place) != place:
            raise published(place)
        if place.is_dir():
            files += sorted(place.glob(NUMBERED_CHECKPOINTS))
        else:
            files.append(place)
    if len(files) < 2:
        raise InputError(
            "--average: expected at least two checkpoints, found "
            f"{', '.join(map(str, files)) or 'none'}. Give files, or the folder of a run that was "
            "trained with --keep 2 or more."
        )
    return files


def average(files: Sequence[Path]) -> State:
    """Averages checkpoints. The result is a checkpoint for use or for fine-tuning.

    All floating-point numbers are averaged, including batch statistics. Integers, options and
    classes come from the last checkpoint. Raises InputError unless all checkpoints contain the same
    network for the same speakers.
    """
    sums: dict[tuple[str, str], torch.Tensor] = {}
    first = None
    for path in files:
        state = read_checkpoint(path)
        first = first or state
        refuse_others(path, state, files[0], first)
        for part in PARTS:
            require_finite(state[part], path)
            for name, value in state[part].items():
                if value.is_floating_point():
                    sums[part, name] = sums.get((part, name), 0) + value.double()
    means: State = {}
    for part in PARTS:
        means[part] = {}
        for name, value in state[part].items():
            if value.is_floating_point():
                value = (sums[part, name] / len(files)).to(value.dtype)
            means[part][name] = value
    return means | {"options": state["options"], "classes": state["classes"]}


def published(path: Path) -> InputError:
    """Returns the error about a published network in the place of a checkpoint."""
    return InputError(
        f"--average {path}: expected a checkpoint of a run, found a published network. Average the "
        "checkpoints of its run, and publish the mean."
    )


def refuse_others(path: Path, state: State, first_path: Path, first: State) -> None:
    """Raises InputError if two checkpoints contain different networks or speakers.

    The error names the first difference, or the file that has no options.
    """
    for name, one in ((path, state), (first_path, first)):
        if "left_out" in one:
            raise published(name)
        if "options" not in one:
            raise InputError(
                f"{name}: expected a checkpoint of a run, found published weights without options. "
                "Average checkpoints of one run."
            )
    difference = first_difference(state, first)
    if difference:
        raise InputError(
            f"{path}: expected the network of {first_path}, found another one: {difference}. "
            "Average checkpoints of one run."
        )


def first_difference(state: State, first: State) -> str | None:
    """Describes a difference in options, classes or shapes of weights, None if there is none."""
    network = options_of_network(first["options"])
    for name in ("model", "trainfunc", *(option.name for option in network)):
        value = state["options"].get(name)
        first_value = first["options"].get(name)
        if value != first_value:
            return f"--{name} {value} instead of {first_value}"
    if state["classes"] != first["classes"]:
        return f"other speakers ({len(state['classes'])} instead of {len(first['classes'])})"
    for part in PARTS:
        shapes = {name: list(value.shape) for name, value in state[part].items()}
        first_shapes = {name: list(value.shape) for name, value in first[part].items()}
        for name in shapes | first_shapes:
            shape = shapes.get(name, "missing")
            first_shape = first_shapes.get(name, "missing")
            if shape != first_shape:
                return f"{part}.{name} {shape} instead of {first_shape}"
    return None
