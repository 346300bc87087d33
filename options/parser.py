"""Command line and YAML -> options. Order of precedence: default < what the checkpoint was trained with < configs and flags as they stand.

The signature is the schema: every parameter of a component with a default is an option, one without is supplied by the program.
"""

import argparse
import dataclasses
import difflib
import importlib
import inspect
import logging
import pickle
import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from common.errors import InputError
from options import (
    ALIASES,
    FROM_CHECKPOINT,
    MODES,
    NEEDS,
    OPTIONS,
    PARTS,
    SETTINGS,
    UNITS,
    USES,
    VALUES,
    Option,
    components,
)

log = logging.getLogger("trainSpeakerNet")


def find(part, name):
    folder, entry = PARTS[part]
    return getattr(importlib.import_module(f"{folder}.{name}"), entry)


def options_of(part: str, name: str) -> list[Option]:
    """Returns the options of a component.

    Every parameter with a default is an option. A parameter typed as a dataclass contributes its
    fields as options; their defaults are those of the parameter's default. The help of an option is
    the line `name: text` of the docstring of the component or, without one, of the dataclass.
    """
    component = find(part, name)
    component_texts = help_texts(component)
    options = []
    for parameter in inspect.signature(component, eval_str=True).parameters.values():
        if parameter.default is parameter.empty:
            continue
        if dataclasses.is_dataclass(parameter.annotation):
            for option in options_of_dataclass(parameter.annotation, parameter.default):
                text = component_texts.get(option.name, option.help)
                options.append(option._replace(help=text))
        else:
            text = component_texts.get(parameter.name, "")
            options.append(Option(parameter.name, parameter.annotation, parameter.default, text))
    return options


def options_of_dataclass(kind: type, defaults: Any) -> list[Option]:
    """Returns the fields of a dataclass as options. defaults: an instance of it.

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

    A text may continue on the following lines. It ends at a blank line or at the next option.
    """
    texts: dict[str, str] = {}
    name = ""
    for line in (documented.__doc__ or "").splitlines():
        match = re.match(r"\s*(\w+): (.+)$", line)
        if match:
            name = match[1]
            texts[name] = match[2]
        elif not line.strip():
            name = ""
        elif name:
            texts[name] += f" {line.strip()}"
    return texts


class Parser(argparse.ArgumentParser):
    """argparse whose complaints are InputErrors, so that whoever knows the place (which file, which line) can say it."""

    def __init__(self, description):
        super().__init__(
            description=description,
            usage="python trainSpeakerNet.py [--config FILE] [--OPTION VALUE ...]",
            allow_abbrev=False,
            add_help=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.options = {}

    def error(self, message):
        raise InputError(message)

    def add(self, group, option, hidden=False):
        kind, shown = option.kind, ""
        flags = [
            f"--{name}"
            for name in (
                option.name,
                *(alias for alias, name in ALIASES.items() if name == option.name),
            )
        ]
        if option.default is not None:
            shown = " ".join(map(str, option.default)) if option.nargs else str(option.default)
            shown = f" (default: {shown})" if shown else ""
        text = argparse.SUPPRESS if hidden else (option.help + shown).replace("%", "%%")
        settings = {"help": text, "default": argparse.SUPPRESS, "dest": option.name}
        if kind is bool:
            settings["action"] = argparse.BooleanOptionalAction
        elif get_origin(kind) is Literal:
            spellings = VALUES.get(option.name)
            settings |= {
                "choices": get_args(kind),
                "type": (lambda word: spellings.get(word, word))
                if spellings
                else type(get_args(kind)[0]),
            }
        else:
            settings |= {
                "type": kind,
                "nargs": option.nargs,
                "metavar": {str: "NAME"}.get(kind, "X" if kind is float else "N"),
            }
        group.add_argument(*flags, **settings)
        self.options[option.name] = option
        for other, (name, factor, unit) in UNITS.items():
            if name == option.name:
                group.add_argument(
                    f"--{other}",
                    dest=name,
                    type=lambda word, factor=factor: kind(round(float(word) * factor)),
                    default=argparse.SUPPRESS,
                    metavar="X",
                    help=f"the same in {unit}",
                )
                self.options[other] = option

    def take(self, key, value):
        """A line of YAML as words of a command line."""
        option = self.options[key]
        if option.kind is bool:
            if value is not True and value is not False:
                raise InputError(f"want true or false, got {value!r}")
            return [f"--{key}" if value else f"--no-{key}"]
        values = value if type(value) is list else [value]
        if (
            value is True
            or value is False
            or type(value) is dict
            or (len(values) != 1 and not option.nargs)
        ):
            raise InputError(
                f"want {'values' if option.nargs else 'one value'} ({option.help}), got {value!r}"
            )
        return [f"--{key}", *map(str, values)] if option.nargs else [f"--{key}={values[0]}"]


def read_config(path, environ):
    """YAML file -> (place, key, value) of every line. `${NAME}` and `${NAME:-default}` stand for an environment variable."""

    def variable(match):
        if match[1] not in environ and match[2] is None:
            raise InputError(
                f"{path}: the environment variable {match[1]} is not set: {match[1]}=... python trainSpeakerNet.py ..."
            )
        return environ.get(match[1], match[2])

    try:
        lines = yaml.safe_load(
            re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", variable, Path(path).read_text(encoding="utf-8"))
        )
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    except OSError as error:
        raise InputError(f"--config {path}: {error.strerror}") from None
    if type(lines) is not dict:
        raise InputError(
            f"{path}: want lines 'option: value', got {'nothing' if lines is None else type(lines).__name__}"
        )
    return [
        (f"{path}: {key}", ALIASES.get(str(key), str(key)), value)
        for key, value in lines.items()
        if value is not None
    ]


class Settings(pickle.Unpickler):
    """Makes an argparse.Namespace of plain values; a file that names any other class or function is refused, so that no code of it runs."""

    def find_class(self, module, name):
        if (module, name) != ("argparse", "Namespace"):
            raise pickle.UnpicklingError(f"it holds {module}.{name}")
        return argparse.Namespace


def read_settings(path):
    """Pickled settings of the double-attention trainer -> (place, key, value) of those of SETTINGS; its embeddings are of whole files."""
    try:
        with open(path, "rb") as file:
            settings = vars(Settings(file).load())
    except OSError as error:
        raise InputError(f"--modelConfig {path}: {error.strerror}") from None
    except Exception as error:
        # what a torn or strange file leads to is anybody's guess
        raise InputError(
            f"{path}: want pickled settings of the double-attention trainer, got something else ({error}); nothing of it was run"
        ) from None
    taken = {name: settings[name] for name in SETTINGS if name in settings} | {"eval_frames": 0}
    return [(f"{path}: {name}", ALIASES.get(name, name), value) for name, value in taken.items()]


def pieces(argv, environ):
    """argv from left to right, configs opened where they stand: (place, key, value) of a YAML line or ("", None, words)."""
    words, rest = [], iter(argv)
    for word in rest:
        name, equals, path = word.partition("=")
        if name not in ("--config", "--modelConfig"):
            words.append(word)
            continue
        path = path if equals else next(rest, None)
        if path is None:
            raise InputError(f"{name}: want a file after it")
        yield "", None, words
        yield from read_config(path, environ) if name == "--config" else read_settings(path)
        words = []
    yield "", None, words


def did_you_mean(name, names):
    close = difflib.get_close_matches(name, [*names, *ALIASES], 1, 0.6)
    return f"unknown option {name!r}" + (
        f"; did you mean {close[0]!r}?" if close else "; --help lists them all"
    )


def read_pieces(parser, argv, environ, strict):
    """Options that were given, as a dict; unknown ones are an error when `strict`, else somebody else's."""
    given = argparse.Namespace()
    for place, key, value in pieces(argv, environ):
        try:
            if key is not None and key not in parser.options:
                if strict:
                    raise InputError(did_you_mean(key, parser.options))
                continue
            _, rest = parser.parse_known_args(
                value if key is None else parser.take(key, value), given
            )
            if rest and strict:
                name = rest[0].partition("=")[0].removeprefix("--")
                raise InputError(
                    did_you_mean(name, parser.options)
                    if rest[0].startswith("--")
                    else f"{rest[0]!r} belongs to no option"
                )
        except InputError as error:
            raise InputError(f"{place}: {error}" if place else str(error)) from None
    for name, value in vars(given).items():
        option = parser.options[name]
        if (
            option.least is not None
            and value != "auto"
            and min(value if option.nargs else [value]) < option.least
        ):
            raise InputError(f"--{name}: want at least {option.least}, got {value}")
    return vars(given)


def parse(argv, environ, description, read_checkpoint):
    """argv -> (options, checkpoint of --initial_model or None).

    read_checkpoint: reads the file of --initial_model, see network/checkpoints.py. Defaults < what the checkpoint was trained with < configs and flags in their order.
    """
    parser = Parser(description)
    for title, options in OPTIONS.items():
        group = parser.add_argument_group(title)
        for option in options:
            parser.add(group, option)
    given = read_pieces(parser, argv, environ, strict=False)
    using = any(given.get(name) for name in USES)
    last = Path(given.get("save_path", parser.options["save_path"].default), "model", "last.model")
    if using and not given.get("initial_model") and last.is_file():
        log.info("--initial_model %s", last)
        argv, given = [*argv, f"--initial_model={last}"], given | {"initial_model": last}
    state = read_checkpoint(given["initial_model"]) if given.get("initial_model") else None
    stored = dict(state.get("options", {})) if state else {}
    chosen = {part: parser.options[part].default for part in PARTS}
    # whose options the checkpoint brings along
    parts = ("model", "trainfunc") if using else ("model",)
    chosen |= {part: stored[part] for part in parts if part in stored} | {
        part: given[part] for part in PARTS if part in given
    }
    for part, name in chosen.items():
        group = parser.add_argument_group(f"{part} {name}")
        for option in options_of(part, name):
            if option.name in parser.options:
                raise ValueError(f"option {option.name} of {part} {name} is taken already")
            parser.add(group, option)
    mine = dict(parser.options)
    # known, but without effect in this combination
    for part in PARTS:
        for option in (o for name in components(part) for o in options_of(part, name)):
            if option.name not in parser.options:
                parser.add(parser, option, hidden=True)
    parser.add_argument(
        "-h", "--help", action="help", help="show the options of the chosen components and exit"
    )
    given = read_pieces(parser, argv, environ, strict=True)
    for name in [name for name in given if name not in mine]:
        log.warning(
            "warning: --%s has no effect with %s",
            name,
            " ".join(f"--{part} {chosen[part]}" for part in PARTS),
        )
        del given[name]
    names = (
        {o.name for part in parts for o in options_of(part, chosen[part])}
        | {*parts}
        | ({*FROM_CHECKPOINT} if using else set())
    )
    carried = {
        name: stored[name]
        for name in names
        if name in stored and stored.get("model") == chosen["model"]
    }
    options = argparse.Namespace(
        **{option.name: option.default for option in mine.values()} | chosen | carried | given
    )
    for name, need in NEEDS.items():
        switch, _, values = need.removeprefix("--").partition(" ")
        if name in given and given[name] != mine[name].default:
            value = getattr(options, switch, None)
            if str(value) not in values.split("|") if values else not value:
                log.warning("warning: --%s has no effect without %s", name, need)
    if stored:
        contradictions(given, stored, options, given["initial_model"])
    return options, state


def contradictions(given, stored, options, path):
    """Options that make another network than the stored one are an error that names both sides."""
    model = find("model", options.model)
    fixed = [
        name
        for name in ("model", *(o.name for o in options_of("model", options.model)))
        if name not in model.training_options
    ]
    for name in fixed:
        if name in given and name in stored and given[name] != stored[name]:
            raise InputError(
                f"--{name} {given[name]} contradicts {path}, which was trained with --{name} {stored[name]}; leave the option out"
            )


def configuration(options):
    """What a run is made of, without what was to be done at the moment: plain values that config.yaml and checkpoints hold."""
    return {
        name: value
        for name, value in vars(options).items()
        if name not in MODES and value is not None
    }
