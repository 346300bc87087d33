"""What to do if the weights of a checkpoint do not fit the network: options that would fit.

Networks are built with other values of an option, without memory for their weights. Their shapes
are compared with the shapes in the checkpoint.
"""

import argparse
import math
import warnings
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple, get_args, get_origin

import torch
from torch.overrides import TorchFunctionMode

from network.checkpoints import MisfitError, compare_weights, computed_by, without_loss
from network.components import build
from network.names import names_of_network
from options.option import Option
from options.plugins import components, options_of_network
from options.run_options import is_of_run

# At most this number of options is changed together.
MOST_CHANGES = 3
# For an option, at most this number of sizes in the checkpoint is tried.
MOST_SIZES = 8
# Weights that fit are a start for a training if they are at least this share of the model. A few
# fit by chance.
USEFUL_SHARE = 0.5

# Methods that fill the weights of a new layer.
FILLING = (torch.Tensor.normal_, torch.Tensor.uniform_)

Changes = dict[str, Any]


class WithoutMemory(TorchFunctionMode):
    """Makes the tensors of torch.empty() without memory, which have a shape and no values.

    These are the weights of layers, which get no random values. Filter banks are computed as usual.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        """Calls a function of torch."""
        kwargs = kwargs or {}
        if func is torch.empty:
            kwargs = {**kwargs, "device": "meta"}
        if func in FILLING and args[0].is_meta:
            return args[0]
        return func(*args, **kwargs)


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
        remedies.append(f"All shapes fit with {words}. Give {options_noun(changes)}.")
    elif error.of_model:
        remedies.append("Give the model options of the training that wrote the checkpoint.")
    else:
        remedies.append(loss_remedy(error))
    if is_of_run(error.path, options):
        remedies.append("To start a new run, give a new --save_path.")
    elif not in_use and error.fitting > USEFUL_SHARE * error.expected:
        number = f"{error.fitting} of {error.expected}"
        remedies.append(
            f"To start from the weights of the model that fit ({number}), add --partial."
        )
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
class Misfits(NamedTuple):
    """How far the weights of a checkpoint are from fitting a model.

    count: number of names that do not fit, or infinity if there is no such model. sizes: lengths
    of axes in the file that differ from the lengths in the model.
    """

    count: float
    sizes: tuple[int, ...]


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
    current = misfits(error, kept)
    while current.count and len(changes) < MOST_CHANGES:
        fewest = current
        best: Changes = {}
        for name, value in candidates(kept | changes, current.sizes, fixed_model):
            if name in changes or not fewest.count:
                continue
            found = misfits(error, kept | changes | {name: value})
            if found.count < fewest.count:
                fewest = found
                best = {name: value}
        if not best:
            return {}
        current = fewest
        changes |= best
    return {} if current.count else changes


def candidates(
    values: Mapping[str, Any], sizes: tuple[int, ...], fixed_model: bool
) -> Iterator[tuple[str, Any]]:
    """Yields options of the network with other values: other choices, and sizes in the file."""
    if not fixed_model:
        for name in components("model"):
            yield "model", name
    for option in options_of_network(values):
        for value in values_of(option, sizes):
            if value != values.get(option.name, option.default):
                yield option.name, value


def values_of(option: Option, sizes: tuple[int, ...]) -> tuple:
    """Returns the values of an option to try."""
    if option.kind is bool:
        return (False, True)
    if get_origin(option.kind) is Literal:
        return get_args(option.kind)
    return sizes if option.kind is int else ()


def build_without_memory(values: Mapping[str, Any]) -> Any:
    """Builds a model with these values of options. Its weights have shapes and no memory.

    Returns None if there is no such model.
    """
    defaults = {option.name: option.default for option in options_of_network(values)}
    try:
        with WithoutMemory(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return build("model", argparse.Namespace(**defaults | dict(values)))
    except Exception:
        # A value that does not suit the model can raise any exception.
        return None


def misfits(error: MisfitError, values: Mapping[str, Any]) -> Misfits:
    """Compares the weights in the file with a model that has these values of options."""
    model = build_without_memory(values)
    if model is None:
        return Misfits(math.inf, ())
    net = SimpleNamespace(model=model)
    given = without_loss(names_of_network(net, error.state | {"loss": {}}))
    expected = {f"model.{name}": value for name, value in model.state_dict().items()}
    sizes: set[int] = set()
    for name in given.keys() & expected.keys():
        for size, here in zip(given[name].shape, expected[name].shape, strict=False):
            if size != here:
                sizes.add(size)
    count = len(compare_weights(given, expected, computed_by(net))[1])
    return Misfits(count, tuple(sorted(sizes)[:MOST_SIZES]))
