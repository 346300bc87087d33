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
from common.run_paths import LAST_CHECKPOINT, NUMBERED_CHECKPOINTS
from common.spelling import did_you_mean
from options import OPTIONS
from options.aliases import ALIASES, FOREIGN_KEYS, UNITS
from options.command_line import SHORT, Parser, flag_problem
from options.option import Option
from options.plugins import (
    PARTS,
    chosen_pooling,
    components,
    find,
    options_of,
    owners,
    pooling_message,
    pooling_name,
    takes_pooling,
)
from options.rules import NEEDS, TRAINING_ONLY, USES
from options.run_options import contradictions, names_from_checkpoint, options_of_checkpoint
from options.sources import pieces
from options.typed import (
    blank_word_problem,
    canonical,
    is_loose,
    loose_word_problem,
    option_names_in,
)

log = logging.getLogger("trainSpeakerNet")
# A warning names at most this number of components.
SHOWN_OWNERS = 3


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
        add_group(parser, title, title, declared)
    given = read_pieces(parser, argv, environ, strict=False)
    using = any(given.get(name) for name in USES)
    path = given.get("initial_model")
    if using and not path:
        path = checkpoint_of_run(parser, given)
        argv = [*argv, f"--initial_model={path}"] if path else argv
    state = read_initial_model(path, read_checkpoint) if path else None
    of_checkpoint = options_of_checkpoint(state or {})
    stored = of_checkpoint.values
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
        add_component(parser, part, chosen[part], options_of(part, chosen[part]))
    effective = dict(parser.options)
    add_remaining_options(parser)
    given = read_pieces(parser, argv, environ, strict=True)
    drop_without_effect(given, effective, chosen)
    resolved = {option.name: option.default for option in effective.values()} | chosen
    names = (*parts, *names_from_checkpoint(resolved | own | chosen, using))
    from_checkpoint = {name: own[name] for name in names if name in own}
    options = ResolvedOptions(**resolved | from_checkpoint | given)
    options.given = frozenset(given) | (from_checkpoint.keys() & set(of_checkpoint.known))
    warn_of_switches(given, options, effective)
    say_what_the_pooling_means(given, options)
    if stored:
        path = given["initial_model"]
        contradictions(given, of_checkpoint.fixed, options, path, of_checkpoint.origin)
    return options, state


# ---------------------------------------------------------------------- steps of parse()
def checkpoint_of_run(parser: Parser, given: Mapping[str, Any]) -> str | None:
    """Returns the last checkpoint in --save_path, or None.

    A folder of voxceleb_trainer has numbered checkpoints only. The highest number is the last one.
    """
    folder = Path(given.get("save_path", parser.options["save_path"].default))
    path = folder / LAST_CHECKPOINT
    if not path.is_file():
        numbered = sorted(folder.glob(NUMBERED_CHECKPOINTS))
        if not numbered:
            return None
        path = numbered[-1]
    log.info("--initial_model %s", path)
    return str(path)


def read_initial_model(path: str, read_checkpoint: Callable[[str], dict]) -> dict:
    """Reads the checkpoint of --initial_model. The message of an error begins with the option."""
    try:
        return read_checkpoint(path)
    except InputError as error:
        raise InputError(f"--initial_model {error}") from None


def add_group(parser: Parser, title: str, daily_title: str, options: Iterable[Option]) -> None:
    """Adds options to the parser, under a title of --help-all and a title of --help."""
    for option in options:
        if option.name in parser.options:
            raise ValueError(f"{title}: two options have the name {option.name}. Rename one.")
        parser.add(option)
        parser.groups.setdefault(title, []).append(option)
        parser.daily_groups.setdefault(daily_title, []).append(option)


def add_component(parser: Parser, part: str, name: str, options: Iterable[Option]) -> None:
    """Adds the options of a chosen component."""
    title = "Training" if part in ("optimizer", "scheduler") else "Network and loss"
    add_group(parser, f"Options of --{part} {name}", title, options)


def add_model(
    parser: Parser,
    chosen: dict[str, str],
    stored: Mapping[str, Any],
    argv: Sequence[str],
    environ: Mapping[str, str],
) -> None:
    """Adds the options of the chosen model and of its pooling.

    The options of the model choose the pooling, so they are read in between. `stored` are options
    of a checkpoint of this model. Enters the pooling into `chosen`.
    """
    model = chosen["model"]
    add_component(parser, "model", model, options_of("model", model))
    if not takes_pooling(find("model", model)):
        return
    values = dict(stored) | read_pieces(parser, argv, environ, strict=False)
    encoder_type = chosen_pooling(model, values)
    chosen["encoder_type"] = encoder_type
    options = options_of("encoder_type", pooling_name(model, values))
    add_component(parser, "encoder_type", encoder_type, options)


def add_remaining_options(parser: Parser) -> None:
    """Adds the options of all other components, which have no effect, and --help."""
    for part in PARTS:
        for name in components(part):
            for option in options_of(part, name):
                if option.name not in parser.options:
                    parser.add(option)
    parser.add_help_options()


def drop_without_effect(
    given: dict[str, Any], effective: Mapping[str, Option], chosen: Mapping[str, str]
) -> None:
    """Removes options of components that were not chosen, with one warning each.

    Options of poolings at their default are removed without a warning. Configurations of earlier
    runs contain them with every pooling.
    """
    pooling_defaults = set()
    for name in components("encoder_type"):
        for option in options_of("encoder_type", name):
            pooling_defaults.add((option.name, option.default))
    for name in [name for name in given if name not in effective]:
        if (name, given[name]) not in pooling_defaults:
            log.warning("warning: --%s %s", name, no_effect(name, chosen))
        del given[name]


def no_effect(option: str, chosen: Mapping[str, str]) -> str:
    """Returns the sentences about an option that belongs to other components than the chosen."""
    part, names = owners(option)
    # A model without a pooling has no --encoder_type.
    selector = part if part in chosen else "model"
    shown = ", ".join(names[:SHOWN_OWNERS])
    if len(names) > SHOWN_OWNERS:
        shown += f" and {len(names) - SHOWN_OWNERS} more"
    return (
        f"has no effect with --{selector} {chosen[selector]}. It is an option of --{part} {shown}."
    )


def warn_of_switches(
    given: Mapping[str, Any], options: argparse.Namespace, effective: Mapping[str, Option]
) -> None:
    """Warns of options that have no effect here, see NEEDS and TRAINING_ONLY."""
    for name, need in NEEDS.items():
        if name not in given or given[name] == effective[name].default:
            continue
        if not need.is_met(options):
            log.warning("warning: --%s has no effect %s.", name, need.otherwise)
    mode = next((name for name in USES if getattr(options, name)), None)
    for name, otherwise in TRAINING_ONLY.items():
        if mode and given.get(name):
            log.warning("warning: --%s has no effect with --%s. %s.", name, mode, otherwise)


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
    """Returns the message for an unknown option of the command line, with the closest known one.

    name: as it was typed, with its dashes.
    """
    known = [f"--{known}" for known in (*names, *ALIASES)]
    hint = did_you_mean(name, known, "--help-all lists all options.")
    return f"unknown option {name}. {hint}"


def unknown_key(key: str, names: Iterable[str]) -> str:
    """Returns the message for an unknown option of a YAML file, whose place names the option."""
    hint = did_you_mean(key, [*names, *ALIASES], "--help-all lists all options.")
    return f"unknown option. {hint}"


# ---------------------------------------------------------------------- reading
def read_pieces(
    parser: Parser, argv: Sequence[str], environ: Mapping[str, str], strict: bool
) -> dict[str, Any]:
    """Returns the options that were given, from left to right.

    Unknown options are errors if `strict`, except for FOREIGN_KEYS. Otherwise they are skipped.
    Raises InputError with the place of a wrong option.
    """
    given = argparse.Namespace()
    # Option -> its spelling, with the place if it is in a file.
    spellings: dict[str, str] = {}
    for place, key, value in pieces(argv, environ):
        if key is None:
            read_words(parser, value, given, strict)
            spellings |= {canonical(name): f"--{name}" for name in option_names_in(value)}
            continue
        spellings[canonical(key)] = place
        try:
            if canonical(key) in parser.options:
                read_words(parser, parser.words_of(key, value), given, strict)
            elif strict and key in FOREIGN_KEYS:
                log.warning("warning: %s: this key is skipped: %s.", place, FOREIGN_KEYS[key])
            elif strict:
                raise InputError(unknown_key(key, parser.options))
        except InputError as error:
            problem = str(error).removeprefix(f"--{key}: ")
            raise InputError(f"{place}: {problem}") from None
    for name, value in vars(given).items():
        check_bounds(parser.options[name], value, spellings[name])
    return vars(given)


def read_words(
    parser: Parser, words: Sequence[str], given: argparse.Namespace, strict: bool
) -> None:
    """Reads words of a command line into `given`. Unknown ones are errors if `strict`."""
    parser.words = words
    blank = blank_word_problem(words)
    if blank:
        raise InputError(blank)
    _, rest = parser.parse_known_args(words, given)
    if not rest or not strict:
        return
    if is_loose(rest[0]):
        raise InputError(loose_word_problem(words, parser.options, flag_problem))
    raise InputError(unknown_option(rest[0].partition("=")[0], parser.options))


def check_bounds(option: Option, value: Any, spelling: str) -> None:
    """Raises InputError if a value is outside the bounds of its option.

    spelling: the option as it was typed, where the message begins.
    """
    factor, unit = 1, ""
    for other, (name, of_other, unit_of_other) in UNITS.items():
        if name == option.name and spelling.endswith(other):
            factor, unit = of_other, f" {unit_of_other}"
    expected = option.expected(value, lambda bound: f"{bound / factor:g}" if unit else str(bound))
    if expected:
        found = f"{value / factor:g}" if unit else SHORT.repr(value)
        raise InputError(f"{spelling}: expected {expected}{unit}, found {found}.")
