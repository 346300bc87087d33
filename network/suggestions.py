"""What to do if the weights of a checkpoint do not fit the network: options that would fit.

Networks are built with other values of an option, without memory for their weights, and their
shapes are compared with the shapes in the checkpoint.
"""

import argparse
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin

import torch

from network.checkpoints import MisfitError, compare_weights, names_of_network
from network.components import build
from options.option import Option
from options.plugins import components, options_of_network

# At most this number of options is changed together.
MOST_CHANGES = 3
# At most this number of sizes in the checkpoint is tried for an option.
MOST_SIZES = 8

Changes = dict[str, Any]


def explain_misfit(
    error: MisfitError, options: argparse.Namespace, typed: Mapping[str, str], in_use: bool
) -> str:
    """Returns the message of the error with a remedy that depends on the options.

    typed: {option: spelling} of the options that the user gave. in_use: the command does not train.
    """
    remedies = []
    is_ours = "options" in error.state
    if "model" not in typed and not is_ours:
        remedies.append(f"{options.model} was assumed because no --model was given.")
    changes = {}
    if error.of_model:
        changes = fitting_options(error, options, typed, fixed_model="model" in typed or is_ours)
    if changes:
        words = " ".join(option_word(name, value) for name, value in changes.items())
        remedies.append(f"The shapes fit with {words}. Give {options_noun(changes)}.")
    elif error.of_model:
        remedies.append("Give the model options of the training that wrote the checkpoint.")
    else:
        remedies.append(loss_remedy(error))
    if not in_use and not error.partial:
        remedies.append("To start from the weights that fit, add --partial.")
    return error.text(" ".join(remedies))


def options_noun(changes: Changes) -> str:
    """Returns "this option" or "these options"."""
    return "this option" if len(changes) == 1 else "these options"


def option_word(name: str, value: Any) -> str:
    """Returns an option and its value as they are typed."""
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    return f"--{name} {value}"


def loss_remedy(error: MisfitError) -> str:
    """Returns the remedy if only weights of the loss do not fit."""
    stored = error.state.get("options", {})
    classes = stored.get("nClasses") or len(error.state.get("classes", ()))
    for given, expected in error.shapes.values():
        for size, here in zip(given, expected, strict=False):
            if size == classes != here:
                return (
                    f"The loss of the checkpoint has {size} classes, this network has {here}. "
                    "Use the training list of the checkpoint."
                )
    loss = stored.get("trainfunc")
    trained_with = f" It was trained with --trainfunc {loss}." if loss else ""
    return f"Only weights of the loss do not fit.{trained_with} Give the options of its loss."


# ---------------------------------------------------------------------- search
def fitting_options(
    error: MisfitError,
    options: argparse.Namespace,
    typed: Mapping[str, str],
    fixed_model: bool,
) -> Changes:
    """Returns changes of options with which all weights of the model fit, or {} if none is found.

    The options are changed one after another. Each change is the one that leaves the smallest
    number of misfits.
    """
    kept = {name: value for name, value in vars(options).items() if name in typed or fixed_model}
    kept["model"] = options.model
    changes: Changes = {}
    fewest = count_misfits(error, kept)
    while fewest and len(changes) < MOST_CHANGES:
        counted = []
        for name, value in candidates(error, kept | changes, fixed_model):
            if name not in changes:
                tried = changes | {name: value}
                counted.append((count_misfits(error, kept | tried), tried))
        best, tried = min(counted, key=lambda pair: pair[0], default=(fewest, changes))
        if best >= fewest:
            return {}
        fewest = best
        changes = tried
    return changes if not fewest else {}


def candidates(
    error: MisfitError, values: Mapping[str, Any], fixed_model: bool
) -> Iterator[tuple[str, Any]]:
    """Yields options of the network with other values: other choices, and sizes in the file."""
    if not fixed_model:
        for name in components("model"):
            yield "model", name
    sizes = sizes_in_file(error)
    for option in options_of_network(values):
        for value in values_of(option, sizes):
            if value != values.get(option.name, option.default):
                yield option.name, value


def values_of(option: Option, sizes: list[int]) -> tuple:
    """Returns the values of an option to try."""
    if option.kind is bool:
        return (False, True)
    if get_origin(option.kind) is Literal:
        return get_args(option.kind)
    return tuple(sizes) if option.kind is int else ()


def sizes_in_file(error: MisfitError) -> list[int]:
    """Returns lengths of axes in the file that differ from those of the network."""
    sizes: dict[int, None] = {}
    for name, (given, expected) in error.shapes.items():
        if name.startswith("loss."):
            continue
        for size, here in zip(given, expected, strict=False):
            if size != here:
                sizes[size] = None
    return [*sizes][:MOST_SIZES]


def count_misfits(error: MisfitError, values: Mapping[str, Any]) -> float:
    """Returns the number of weights of the model that do not fit with these values of options.

    Returns infinity if the network cannot be built with them.
    """
    defaults = {option.name: option.default for option in options_of_network(values)}
    try:
        # Tensors on the device meta have a shape and no memory.
        with torch.device("meta"):
            model = build("model", argparse.Namespace(**defaults | dict(values)))
    except Exception:
        # A value that a model was not made for can raise any exception.
        return float("inf")
    given = names_of_network(SimpleNamespace(model=model), error.state | {"loss": {}})
    expected = {f"model.{name}": value for name, value in model.state_dict().items()}
    given = {name: value for name, value in given.items() if not name.startswith("loss.")}
    return len(compare_weights(given, expected)[1])
