"""Components, built from the options that their signatures declare."""

import argparse
import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from common.errors import InputError
from network.devices import is_out_of_memory
from options.plugins import find, options_of, options_of_network, pooling_name
from pooling import BasePooling, PoolingMaker

# Part of the message of torch about a tensor whose size is no number of 64 bits.
OVERFLOW = "calculation overflowed"


def build(part: str, options: argparse.Namespace, **supplied: Any) -> Any:
    """Builds the component that option `part` (model, trainfunc, optimizer, scheduler) selects.

    `supplied` are the values of parameters without a default. A model gets its pooling from here.
    Raises InputError if the component refuses its options or breaks its contract.
    """
    name = getattr(options, part)
    component = find(part, name)
    if part == "model":
        supplied["pooling"] = pooling_maker(name, options)
    try:
        built = construct(component, options, supplied)
    except ValueError as error:
        raise InputError(f"--{part} {name}: {error}") from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) and OVERFLOW not in str(error):
            raise
        option, number = largest_number(part, options, supplied)
        raise InputError(
            f"--{part} {name}: this network does not fit into the memory of this computer. The "
            f"largest of its numbers is --{option} {number}. Give a smaller one."
        ) from None
    if part == "model" and not isinstance(getattr(built, "dim", None), int):
        raise InputError(
            f"models/{name}.py: the model does not define the size of its embeddings. Set self.dim "
            "in __init__, for instance self.dim = nOut."
        )
    return built


def largest_number(
    part: str, options: argparse.Namespace, supplied: Mapping[str, Any]
) -> tuple[str, int]:
    """Returns the option of a component with the largest whole number, and this number."""
    values = vars(options)
    is_model = part == "model"
    declared = options_of_network(values) if is_model else options_of(part, values[part])
    numbers = {option.name: values[option.name] for option in declared if option.kind is int}
    if "num_classes" in supplied:
        numbers["nClasses"] = supplied["num_classes"]
    return max(numbers.items(), key=lambda item: item[1])


def construct(component: Any, options: argparse.Namespace, supplied: dict[str, Any]) -> Any:
    """Calls a component with its parameters.

    Parameters with a default are options. A parameter typed as a dataclass is made from the options
    of its fields. `supplied` are the values of the other parameters. Raises ValueError for a
    parameter that is neither an option nor supplied.
    """
    arguments = {}
    for parameter in inspect.signature(component, eval_str=True).parameters.values():
        kind = parameter.annotation
        if parameter.default is parameter.empty:
            if parameter.name not in supplied:
                raise ValueError(
                    f"{component.__module__.replace('.', '/')}.py: the program does not supply the "
                    f"parameter {parameter.name}. Give it a default, which makes it an option."
                )
            arguments[parameter.name] = supplied[parameter.name]
        elif dataclasses.is_dataclass(kind):
            fields = {
                field.name: getattr(options, field.name) for field in dataclasses.fields(kind)
            }
            arguments[parameter.name] = kind(**fields)
        else:
            arguments[parameter.name] = getattr(options, parameter.name)
    return component(**arguments)


def pooling_maker(model: str, options: argparse.Namespace) -> PoolingMaker:
    """Returns the function that makes the pooling of a model for numbers of channels and layers."""

    def make(channels: int, layers: int = 1) -> BasePooling:
        pooling = find("encoder_type", pooling_name(model, vars(options)))
        return construct(pooling, options, {"channels": channels, "layers": layers})

    return make


def build_model(name: str, **options: Any) -> nn.Module:
    """Builds a model with its default options, except for the given ones.

    Raises ValueError for an option that neither the model nor its pooling has.
    """
    chosen = {"model": name, **options}
    defaults = {option.name: option.default for option in options_of_network(chosen)}
    unknown = options.keys() - defaults.keys()
    if unknown:
        raise ValueError(
            f"models/{name}.py: expected options of this model and its pooling, found "
            f"{', '.join(sorted(unknown))}."
        )
    return build("model", argparse.Namespace(**defaults | chosen))
