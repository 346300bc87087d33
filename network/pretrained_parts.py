"""Weights of another training, from which a part of a network starts (--ssl_weights)."""

import argparse
import logging
from collections.abc import Mapping
from typing import Any

from common.errors import InputError
from models import PretrainedPart, SpeakerModel
from network.checkpoints import (
    Weights,
    by_kind,
    compare_weights,
    is_state_dict,
    require_finite,
    shown_lines,
)
from network.foreign_checkpoints import read_pickle

log = logging.getLogger("trainSpeakerNet")


def take_sizes_of_run(
    part: PretrainedPart, options: argparse.Namespace, stored: Mapping[str, Any]
) -> None:
    """Takes over the sizes of a run that resumes, which the file of its part has decided.

    Options that were given are not changed. stored: options of the run.
    """
    for name in part.decides:
        if name not in typed_options(options) and name in stored:
            setattr(options, name, stored[name])


def read_weights_of_part(part: PretrainedPart, options: argparse.Namespace) -> Weights:
    """Reads the weights of a part, under their names in the part.

    Enters the sizes that the weights decide into the options. Raises InputError if the file is
    missing, damaged or of another kind, or if an option that was given contradicts it.
    """
    source = getattr(options, part.option)
    weights = part.renamed(downloaded(part, source) or weights_in_file(part, source))
    for name, find_value in part.decides.items():
        present = getattr(options, name)
        value = find_value(weights) or present
        if present != value and name in typed_options(options):
            raise InputError(
                f"--{part.option} {source}: expected weights for --{name} {present}, found weights "
                f"for --{name} {value}. Leave out --{name}, or give another file."
            )
        setattr(options, name, value)
    return weights


def typed_options(options: argparse.Namespace) -> frozenset[str]:
    """Returns the names of the options that were given."""
    return getattr(options, "given", frozenset())


def downloaded(part: PretrainedPart, source: str) -> Weights | None:
    """Downloads the weights that the word `source` means. Returns None for another word."""
    if source not in part.downloads:
        return None
    try:
        return part.downloads[source]()
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"--{part.option} {source}: the weights cannot be downloaded ({error}). Connect this "
            f"computer to the internet, or download the file elsewhere and give --{part.option} "
            "FILE."
        ) from None


def weights_in_file(part: PretrainedPart, path: str) -> Weights:
    """Reads a file with a dict of tensors, alone or under the key `model` or `state_dict`."""
    try:
        state, _ = read_pickle(path)
    except InputError as error:
        raise InputError(f"--{part.option} {error}") from None
    for key in ("model", "state_dict"):
        state = state.get(key, state) if isinstance(state, dict) else {}
    if not is_state_dict(state):
        words = ", ".join(part.downloads)
        raise InputError(
            f"--{part.option} {path}: expected a file of weights, found a file without a dict of "
            f"tensors. No code of this file was run. Give another file, or one of {words}."
        )
    return {name: value.detach() for name, value in state.items()}


def load_part(model: SpeakerModel, weights: Weights, options: argparse.Namespace) -> None:
    """Copies the weights of read_weights_of_part() into the part of a model, all or nothing.

    Raises InputError if a name is missing, unexpected or misshaped, or a weight is not finite.
    """
    part = model.pretrained
    source = f"--{part.option} {getattr(options, part.option)}"
    module = getattr(model, part.name)
    expected = module.state_dict()
    fits, problems = compare_weights(weights, expected, computed=())
    if problems:
        raise InputError(
            f"{source}: expected the {len(expected)} weights of this part of the network, found "
            f"{len(problems)} names that do not fit. Give another file."
            f"{shown_lines(**by_kind(problems))}"
        )
    require_finite(fits, source)
    module.load_state_dict(fits)
    log.info("%s: %d weights were loaded.", source, len(fits))
