"""Components, built from the options that their signatures declare."""

import argparse
import dataclasses
import inspect
from typing import Any

from common.errors import InputError
from options.parser import find


def build(part: str, options: argparse.Namespace, **supplied: Any) -> Any:
    """Builds the component that option `part` (model, trainfunc, optimizer, scheduler) selects.

    Parameters with a default are options; a parameter typed as a dataclass is made from the options
    of its fields. `supplied` are the values of the other parameters. Raises
    InputError if the component refuses its options.
    """
    name = getattr(options, part)
    component = find(part, name)
    try:
        return component(**arguments_of(component, options, supplied))
    except ValueError as error:
        raise InputError(f"--{part} {name}: {error}") from error


def arguments_of(component: Any, options: argparse.Namespace, supplied: dict) -> dict[str, Any]:
    """Returns the arguments of a component, {parameter: value}, see build()."""
    arguments = {}
    for parameter in inspect.signature(component, eval_str=True).parameters.values():
        kind = parameter.annotation
        if parameter.default is parameter.empty:
            arguments[parameter.name] = supplied[parameter.name]
        elif dataclasses.is_dataclass(kind):
            fields = {
                field.name: getattr(options, field.name) for field in dataclasses.fields(kind)
            }
            arguments[parameter.name] = kind(**fields)
        else:
            arguments[parameter.name] = getattr(options, parameter.name)
    return arguments
