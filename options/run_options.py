"""The options that a checkpoint brings along, and the options that a run stores."""

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from common.errors import InputError
from common.run_paths import LAST_CHECKPOINT
from common.variables import escaped
from options.plugins import find, options_of, options_of_network
from options.rules import FROM_CHECKPOINT, MODES, USES

# Words between the path of a checkpoint and its options, in messages.
TRAINED_WITH = "which was trained with"


class CheckpointOptions(NamedTuple):
    """The options that a checkpoint brings along.

    values: all of them. known: names of the options that are facts, and not assumptions. fixed: the
    options that a command must not change. origin: words between the path of the checkpoint and its
    options, for messages.
    """

    values: dict[str, Any]
    known: Collection[str]
    fixed: dict[str, Any]
    origin: str


def options_of_checkpoint(state: Mapping[str, Any]) -> CheckpointOptions:
    """Returns the options in a checkpoint, or the options that network/published.py recognises."""
    recognised = state.get("recognised")
    if recognised is None:
        stored = dict(state.get("options", {}))
        return CheckpointOptions(stored, stored.keys(), stored, TRAINED_WITH)
    # Whether other options fit can be seen when the weights are loaded.
    return CheckpointOptions(
        {**recognised.assumed, **recognised.options},
        recognised.options.keys(),
        {name: value for name, value in recognised.options.items() if name == "model"},
        f"a file of {recognised.source} with",
    )


def names_from_checkpoint(chosen: Mapping[str, Any], using: bool) -> list[str]:
    """Returns the options that the checkpoint brings along. using: it is evaluated, not trained."""
    own = find("model", chosen["model"]).update_options
    names = [option.name for option in options_of_network(chosen) if option.name not in own]
    if using:
        names += [option.name for option in options_of("trainfunc", chosen["trainfunc"])]
        names += FROM_CHECKPOINT
    return names


def contradictions(
    given: Mapping[str, Any],
    stored: Mapping[str, Any],
    options: argparse.Namespace,
    path: Any,
    origin: str = TRAINED_WITH,
) -> None:
    """Compares options that were given with the options of a checkpoint.

    origin: words between the path and the options of the checkpoint, for messages.
    Raises InputError, which names both sides and what to do, if an option would make another
    network than the one that is stored in `path`.
    """
    model = find("model", options.model)
    names = ["model", *(option.name for option in options_of_network(vars(options)))]
    for name in names:
        if name in (*model.training_options, *model.update_options):
            continue
        if name not in given or name not in stored:
            continue
        if given[name] != stored[name]:
            remedy = f"Leave --{name} out to use the network of the checkpoint."
            if not using_checkpoint(options) and is_of_run(path, options):
                remedy = (
                    f"To resume this run, give --{name} {stored[name]}. To start a new run, give "
                    "a new --save_path."
                )
            raise InputError(
                f"--{name} {given[name]} contradicts {path}, {origin} --{name} {stored[name]}. "
                f"{remedy}"
            )


def using_checkpoint(options: argparse.Namespace) -> bool:
    """Returns whether the command uses a checkpoint without training."""
    return any(getattr(options, name) for name in USES)


def is_of_run(path: Any, options: argparse.Namespace) -> bool:
    """Returns whether a checkpoint is the one that a run in --save_path resumes from."""
    return Path(path) == Path(options.save_path, LAST_CHECKPOINT)


def configuration(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options of a run, which config.yaml and checkpoints contain.

    Options that only select the action of one command are left out, see MODES.
    """
    kept = {}
    for name, value in vars(options).items():
        if name not in MODES and value is not None:
            kept[name] = value
    return kept


def config_text(options: argparse.Namespace) -> str:
    """Returns the text of config.yaml: the options of a run, for --config."""
    kept = {name: escaped(value) for name, value in configuration(options).items()}
    return yaml.safe_dump(kept, sort_keys=False)
