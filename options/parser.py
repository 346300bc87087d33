"""From the command line and YAML files to options.

Order of precedence: a default, then what the checkpoint was trained with, then configs and flags
from left to right. The last one wins.
"""

import argparse
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.run_paths import LAST_CHECKPOINT
from common.spelling import did_you_mean
from options import OPTIONS
from options.aliases import ALIASES
from options.command_line import Parser
from options.option import Option
from options.plugins import (
    PARTS,
    components,
    find,
    options_of,
    options_of_network,
    pooling_message,
    pooling_name,
    takes_pooling,
)
from options.rules import FROM_CHECKPOINT, MODES, NEEDS, USES
from options.sources import pieces

log = logging.getLogger("trainSpeakerNet")


class ResolvedOptions(argparse.Namespace):
    """The options of a command.

    given: names of the options that the user or the checkpoint has set. All others have their
    defaults. It is no option itself, so vars() does not contain it.
    """

    __slots__ = ("given",)


def parse(
    argv: Sequence[str],
    environ: Mapping[str, str],
    description: str,
    read_checkpoint: Callable[[str], dict],
) -> tuple[ResolvedOptions, dict | None]:
    """Returns the options, and the checkpoint of --initial_model or None.

    `read_checkpoint` reads the file of --initial_model, see network/checkpoints.py. Raises
    InputError if an option is unknown or wrong, or contradicts the checkpoint.
    """
    parser = Parser(description)
    for title, declared in OPTIONS.items():
        add_group(parser, title, declared)
    given = read_pieces(parser, argv, environ, strict=False)
    using = any(given.get(name) for name in USES)
    path = given.get("initial_model")
    if using and not path:
        path = checkpoint_of_run(parser, given)
        argv = [*argv, f"--initial_model={path}"] if path else argv
    state = read_checkpoint(path) if path else None
    stored = dict(state.get("options", {})) if state else {}
    # The components whose options the checkpoint brings along.
    parts = ("model", "trainfunc") if using else ("model",)
    chosen: dict[str, str] = {}
    for part in PARTS:
        if part in parser.options:
            default = parser.options[part].default
            chosen[part] = given.get(part, stored.get(part, default) if part in parts else default)
    own = stored if stored.get("model") == chosen["model"] else {}
    add_model(parser, chosen, own, argv, environ)
    for part in ("trainfunc", "optimizer", "scheduler"):
        add_group(parser, f"{part} {chosen[part]}", options_of(part, chosen[part]))
    effective = dict(parser.options)
    add_remaining_options(parser)
    given = read_pieces(parser, argv, environ, strict=True)
    drop_without_effect(given, effective, chosen)
    resolved = {option.name: option.default for option in effective.values()} | chosen
    names = (*parts, *names_from_checkpoint(resolved | own | chosen, using))
    from_checkpoint = {name: own[name] for name in names if name in own}
    options = ResolvedOptions(**resolved | from_checkpoint | given)
    options.given = frozenset(given) | from_checkpoint.keys()
    warn_of_switches(given, options, effective)
    say_what_the_pooling_means(given, options)
    if stored:
        contradictions(given, stored, options, given["initial_model"])
    return options, state


# ---------------------------------------------------------------------- steps of parse()
def checkpoint_of_run(parser: Parser, given: Mapping[str, Any]) -> str | None:
    """Returns the last checkpoint in --save_path, or None."""
    folder = given.get("save_path", parser.options["save_path"].default)
    path = Path(folder, LAST_CHECKPOINT)
    if not path.is_file():
        return None
    log.info("--initial_model %s", path)
    return str(path)


def add_group(parser: Parser, title: str, options: Iterable[Option]) -> None:
    """Adds options to the parser, under a title of --help."""
    group = parser.add_argument_group(title)
    for option in options:
        if option.name in parser.options:
            raise ValueError(f"option {option.name} of {title} is taken already")
        parser.add(group, option)


def add_model(
    parser: Parser,
    chosen: dict[str, str],
    stored: Mapping[str, Any],
    argv: Sequence[str],
    environ: Mapping[str, str],
) -> None:
    """Adds the options of the chosen model and those of its pooling.

    The options of the model choose the pooling, so they are read in between. `stored` are options
    of a checkpoint of this model. Enters the pooling into `chosen`.
    """
    model = chosen["model"]
    add_group(parser, f"model {model}", options_of("model", model))
    if not takes_pooling(find("model", model)):
        return
    values = dict(stored) | read_pieces(parser, argv, environ, strict=False)
    encoder_type = values.get("encoder_type", parser.options["encoder_type"].default)
    chosen["encoder_type"] = encoder_type
    options = options_of("encoder_type", pooling_name(model, values))
    add_group(parser, f"encoder_type {encoder_type}", options)


def add_remaining_options(parser: Parser) -> None:
    """Adds the options of all other components, which are known but have no effect, and --help."""
    for part in PARTS:
        for name in components(part):
            for option in options_of(part, name):
                if option.name not in parser.options:
                    parser.add(parser, option, hidden=True)
    parser.add_argument(
        "-h", "--help", action="help", help="show the options of the chosen components and exit"
    )


def drop_without_effect(
    given: dict[str, Any], effective: Mapping[str, Option], chosen: Mapping[str, str]
) -> None:
    """Removes options of components that were not chosen, with one warning each.

    Options of poolings at their default are removed without a warning. Configurations of earlier
    runs hold them whatever the pooling.
    """
    pooling_defaults = set()
    for name in components("encoder_type"):
        for option in options_of("encoder_type", name):
            pooling_defaults.add((option.name, option.default))
    selection = " ".join(f"--{part} {chosen[part]}" for part in PARTS if part in chosen)
    for name in [name for name in given if name not in effective]:
        if (name, given[name]) not in pooling_defaults:
            log.warning("warning: --%s has no effect with %s", name, selection)
        del given[name]


def names_from_checkpoint(chosen: Mapping[str, Any], using: bool) -> list[str]:
    """Returns the options that the checkpoint brings along. using: it is evaluated, not trained."""
    names = [option.name for option in options_of_network(chosen)]
    if using:
        names += [option.name for option in options_of("trainfunc", chosen["trainfunc"])]
        names += FROM_CHECKPOINT
    return names


def warn_of_switches(
    given: Mapping[str, Any], options: argparse.Namespace, effective: Mapping[str, Option]
) -> None:
    """Warns of options that have no effect without another one, see NEEDS."""
    for name, need in NEEDS.items():
        if name not in given or given[name] == effective[name].default:
            continue
        switch, _, values = need.removeprefix("--").partition(" ")
        value = getattr(options, switch, None)
        is_on = str(value) in values.split("|") if values else value
        if not is_on:
            log.warning("warning: --%s has no effect without %s", name, need)


def say_what_the_pooling_means(given: Mapping[str, Any], options: argparse.Namespace) -> None:
    """Prints a line if the model means another pooling by the name of --encoder_type.

    A command that only uses a checkpoint prints the line if it names the pooling.
    """
    training = not any(getattr(options, name) for name in (*USES, "average", "check"))
    if takes_pooling(find("model", options.model)) and (training or "encoder_type" in given):
        message = pooling_message(options.model, vars(options))
        if message:
            log.info(message)


def unknown_option(name: str, names: Iterable[str]) -> str:
    """Returns the message for an unknown option, with the closest known one."""
    known = [f"--{known}" for known in (*names, *ALIASES)]
    hint = did_you_mean(f"--{name}", known, "--help-all lists all options.")
    return f"unknown option --{name}. {hint}"


# ---------------------------------------------------------------------- reading
def read_pieces(
    parser: Parser, argv: Sequence[str], environ: Mapping[str, str], strict: bool
) -> dict[str, Any]:
    """Returns the options that were given, from left to right.

    Unknown options are errors if `strict`; else they are skipped. Raises InputError with the place
    of a wrong option.
    """
    given = argparse.Namespace()
    for place, key, value in pieces(argv, environ):
        try:
            if key is None:
                read_words(parser, value, given, strict)
            elif key in parser.options:
                read_words(parser, parser.words_of(key, value), given, strict)
            elif strict:
                raise InputError(unknown_option(key, parser.options))
        except InputError as error:
            raise InputError(f"{place}: {error}" if place else str(error)) from None
    for name, value in vars(given).items():
        check_least(parser.options[name], value)
    return vars(given)


def read_words(
    parser: Parser, words: Sequence[str], given: argparse.Namespace, strict: bool
) -> None:
    """Reads words of a command line into `given`. Unknown ones are errors if `strict`."""
    _, rest = parser.parse_known_args(words, given)
    if not rest or not strict:
        return
    if not rest[0].startswith("--"):
        raise InputError(f"{rest[0]!r} belongs to no option")
    name = rest[0].partition("=")[0].removeprefix("--")
    raise InputError(unknown_option(name, parser.options))


def check_least(option: Option, value: Any) -> None:
    """Raises InputError if a value is below the smallest one that the option allows."""
    if option.least is None or value == "auto":
        return
    smallest = min(value) if option.nargs else value
    if smallest < option.least:
        raise InputError(f"--{option.name}: want at least {option.least}, got {value}")


# ---------------------------------------------------------------------- options of a run
def contradictions(
    given: Mapping[str, Any],
    stored: Mapping[str, Any],
    options: argparse.Namespace,
    path: Any,
) -> None:
    """Compares options that were given with those of a checkpoint.

    Raises InputError, which names both sides, if an option would make another network than the one
    that is stored in `path`.
    """
    model = find("model", options.model)
    names = ["model", *(option.name for option in options_of_network(vars(options)))]
    for name in names:
        if name in model.training_options or name not in given or name not in stored:
            continue
        if given[name] != stored[name]:
            raise InputError(
                f"--{name} {given[name]} contradicts {path}, which was trained with "
                f"--{name} {stored[name]}; leave the option out"
            )


def configuration(options: argparse.Namespace) -> dict[str, Any]:
    """Returns what a run is made of, which config.yaml and checkpoints hold.

    Options that only say what to do now are left out, see MODES.
    """
    kept = {}
    for name, value in vars(options).items():
        if name not in MODES and value is not None:
            kept[name] = value
    return kept
