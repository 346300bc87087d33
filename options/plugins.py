"""The plug-ins: five kinds of component whose signatures declare options.

A component is a file in the folder of its kind. The name of the file is the value of an option:
`--model ECAPA_TDNN` selects models/ECAPA_TDNN.py.
"""

import dataclasses
import importlib
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_type_hints

from common.errors import InputError
from options.option import Option

ROOT = Path(__file__).parent.parent
# Option that selects a component -> folder of the components, name of the class in each file.
PARTS = {
    "model": ("models", "MainModel"),
    "encoder_type": ("pooling", "Pooling"),
    "trainfunc": ("loss", "LossFunction"),
    "optimizer": ("optimizer", "Optimizer"),
    "scheduler": ("scheduler", "Scheduler"),
}
# In front of a pooling's name: always the file of that name, also if the model uses another file.
PLAIN = "plain_"
POOLING_HELP = "pooling over time, a file of pooling/ (plain_NAME: exactly this file)"


def components(part: str) -> list[str]:
    """Returns the values of an option of PARTS: the files of its folder, without shared parts."""
    return sorted(path.stem for path in (ROOT / PARTS[part][0]).glob("[!_]*.py"))


def find(part: str, name: str) -> Any:
    """Returns the class of a component, for instance `find("model", "ECAPA_TDNN")`."""
    folder, entry = PARTS[part]
    return getattr(importlib.import_module(f"{folder}.{name}"), entry)


def takes_pooling(model: Any) -> bool:
    """Returns whether a model class receives a pooling, so that --encoder_type has an effect."""
    return "pooling" in inspect.signature(model).parameters


def options_of(part: str, name: str) -> list[Option]:
    """Returns the options of a component.

    Every parameter with a default is an option. A parameter typed as a dataclass contributes its
    fields as options, and its default contains their defaults. The help of an option is the line
    `name: text` in the docstring of the component, or else in the docstring of the dataclass. A
    model that receives a pooling has the option encoder_type, which selects the pooling.
    """
    component = find(part, name)
    texts = help_texts(component)
    options = []
    for parameter in inspect.signature(component, eval_str=True).parameters.values():
        if part == "model" and parameter.name == "pooling":
            options.append(pooling_option(component))
        elif parameter.default is parameter.empty:
            continue
        elif dataclasses.is_dataclass(parameter.annotation):
            for option in options_of_dataclass(parameter.annotation, parameter.default):
                options.append(option._replace(help=texts.get(option.name, option.help)))
        else:
            text = texts.get(parameter.name, "")
            options.append(Option(parameter.name, parameter.annotation, parameter.default, text))
    # Options that only change how the parameters are trained are no sizes.
    others = getattr(component, "update_options", ())
    return [bounded(part, option, option.name in others) for option in options]


def bounded(part: str, option: Option, of_updates: bool) -> Option:
    """Returns an option of a component with its bounds, see BOUNDS in loss/__init__.py.

    of_updates: whether it is one of the `update_options` of a model.
    """
    bounds = getattr(importlib.import_module(PARTS[part][0]), "BOUNDS", {})
    if option.name in bounds:
        least, most = bounds[option.name]
        return option._replace(least=least, most=most)
    # The whole numbers of a network are sizes. No component has negative ones.
    least = 1 if part in ("model", "encoder_type") and not of_updates else 0
    return option._replace(least=least) if option.kind is int else option


def owners(option: str) -> tuple[str, list[str]]:
    """Returns the kind of component that has an option, and the names of such components.

    Raises LookupError if no component has the option.
    """
    for part in PARTS:
        names = []
        for name in components(part):
            if option in [declared.name for declared in options_of(part, name)]:
                names.append(name)
        if names:
            return part, names
    raise LookupError(f"--{option} is no option of a component.")


def options_of_dataclass(kind: Any, defaults: Any) -> list[Option]:
    """Returns the fields of a dataclass as options. defaults: an instance of the dataclass.

    The help of inherited fields may be in the docstring of a base class.
    """
    types = get_type_hints(kind)
    texts: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        texts |= help_texts(base)
    options = []
    for field in dataclasses.fields(kind):
        text = texts.get(field.name, "")
        options.append(Option(field.name, types[field.name], getattr(defaults, field.name), text))
    return options


def help_texts(documented: Any) -> dict[str, str]:
    """Returns {option: text} from the lines `option: text` of a docstring.

    Lines that are indented further continue the text.
    """
    text = inspect.cleandoc(documented.__doc__ or "")
    found = re.findall(r"^(\w+): (.+(?:\n +\S.*)*)", text, re.M)
    return {name: " ".join(lines.split()) for name, lines in found}


# ---------------------------------------------------------------------- the pooling of a model
def pooling_option(model: Any) -> Option:
    """Returns the option encoder_type of a model class, with the default of the model."""
    renamed = set()
    for name in components("model"):
        renamed |= find("model", name).pooling_aliases.keys()
    values = (*components("encoder_type"), *(PLAIN + name for name in sorted(renamed)))
    return Option("encoder_type", Literal[values], model.default_pooling, POOLING_HELP)


def chosen_pooling(model: str, chosen: Mapping[str, Any]) -> str:
    """Returns the value of --encoder_type, whose default may depend on options of the model.

    `chosen` holds values of options. Options that it lacks have their defaults.
    """
    if "encoder_type" in chosen:
        return chosen["encoder_type"]
    values = {option.name: option.default for option in options_of("model", model)}
    return find("model", model).pooling_by_default(values | dict(chosen))


def pooling_name(model: str, chosen: Mapping[str, Any]) -> str:
    """Returns the file of pooling/ that a model means by the value of --encoder_type.

    `chosen` holds values of options. Options that it lacks have their defaults. Raises InputError
    if there is no such pooling.
    """
    values = {option.name: option.default for option in options_of("model", model)}
    values |= chosen
    name = chosen_pooling(model, chosen)
    if name.startswith(PLAIN):
        meant = name.removeprefix(PLAIN)
    else:
        meant = find("model", model).aliases(values).get(name, name)
    if meant not in components("encoder_type"):
        raise InputError(
            f"--encoder_type {name}: there is no file pooling/{meant}.py. Use one of "
            f"{', '.join(components('encoder_type'))}."
        )
    return meant


def pooling_message(model: str, chosen: Mapping[str, Any]) -> str | None:
    """Returns a sentence for users if a model means another pooling by a name, or None."""
    name = chosen["encoder_type"]
    meant = pooling_name(model, chosen)
    if meant == name or name.startswith(PLAIN):
        return None
    description = find("encoder_type", meant).description
    plain = find("encoder_type", name).description
    return (
        f"--encoder_type {name} means {meant} ({description}) with --model {model}. "
        f"--encoder_type {PLAIN}{name} is {plain}."
    )


def options_of_network(chosen: Mapping[str, Any]) -> list[Option]:
    """Returns the options that shape a network: the options of its model and of its pooling.

    `chosen` holds values of options, `model` among them. Options that it lacks have their defaults.
    """
    model = chosen["model"]
    options = options_of("model", model)
    if takes_pooling(find("model", model)):
        name = chosen_pooling(model, chosen)
        options = [o._replace(default=name) if o.name == "encoder_type" else o for o in options]
        options += options_of("encoder_type", pooling_name(model, chosen))
    return options
