"""What is assumed about weights without options: values that decide the numbers and are unknown.

A network is built with other values of each option, as in network/suggestions.py. If the weights
fit it as well, they do not determine the option. Filters and windows of the front end that are in
the file replace the filters and windows of the network, so they determine their options.
"""

import argparse
import logging
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from network.checkpoints import compare_weights, computed_by, without_loss
from network.names import computed_names, names_of_network
from network.suggestions import build_without_memory, option_word, values_of
from options.option import Option
from options.plugins import options_of_network

log = logging.getLogger("trainSpeakerNet")
# Modes that compute scores, and modes that cut speech as an evaluation does.
SCORING_MODES = ("eval", "all_pairs", "verify")
CUTTING_MODES = (*SCORING_MODES, "extract", "generate", "estimate_backend")
# Option -> a value that published weights often need, and the program that they come from.
ELSEWHERE = {
    "log_input": (False, "voxceleb_trainer without --log_input"),
    "wave_scale": (32768, "cross attentive pooling"),
    "scoring": ("euclidean", "the scores of voxceleb_trainer"),
}


def log_assumptions(
    model: nn.Module, state: Mapping[str, Any], options: argparse.Namespace
) -> None:
    """Prints one line with the options that were assumed for weights without options.

    model: with the weights. state: the checkpoint of --initial_model. Options that the user gave
    are not named. A checkpoint of this program contains its options, so nothing is printed.
    """
    if "options" in state:
        return
    names = [*undetermined(model, state, options), *assumed_for_use(model, options)]
    if not names:
        return
    words = [option_word(name, getattr(options, name)) for name in names]
    recognised = state.get("recognised")
    found = "the file has weights only"
    if recognised:
        found = f"these are weights for {options.model} of {recognised.source}"
    log.info(
        "%s: %s. Assumed: %s. Other values change the numbers.%s",
        options.initial_model,
        found,
        " ".join(words),
        "" if recognised else example_of(names),
    )


def example_of(names: Iterable[str]) -> str:
    """Returns a sentence with other values that published weights often need, or ""."""
    hints = []
    for name in names:
        if name in ELSEWHERE:
            value, program = ELSEWHERE[name]
            hints.append(f"{option_word(name, value)} for {program}")
    return f" For instance, give {', '.join(hints)}." if hints else ""


def assumed_for_use(model: Any, options: argparse.Namespace) -> list[str]:
    """Returns options that decide scores and embeddings, and that are no options of the network.

    Only options that have an effect and that the user did not give are returned.
    """
    names = []
    if model.takes == "waves" and any(getattr(options, mode) for mode in CUTTING_MODES):
        names.append("eval_frames")
        names += ["num_eval", "crop_margin", "short_files"] if options.eval_frames else []
        names += [] if options.eval_frames else ["bucket_frames"]
    # A back end has a score of its own.
    has_backend = options.backend or options.mean_subtraction
    if any(getattr(options, mode) for mode in SCORING_MODES) and not has_backend:
        names.append("scoring")
        names += ["trainfunc"] if options.scoring == "similarity" else []
    return [name for name in names if name not in options.given]


# ---------------------------------------------------------------------- options of the network
def undetermined(model: Any, state: Mapping[str, Any], options: argparse.Namespace) -> list[str]:
    """Returns the options of the network that were assumed and that its weights do not determine.

    Options for training only, and options that the user gave, are left out. So is the pooling,
    because every default pooling has weights of its own.
    """
    values = vars(options)
    base = build_without_memory(values)
    misfits_of_base = len(problems_of(base, state))
    stored = names_of_network(SimpleNamespace(model=base), {**state, "loss": {}}).keys()
    names = []
    for option in options_of_network(values):
        known = {*options.given, *model.training_options, "encoder_type"}
        for value in () if option.name in known else other_values(option, values[option.name]):
            other = build_without_memory(values | {option.name: value})
            if other is None or len(problems_of(other, state)) > misfits_of_base:
                continue
            changed = changed_constants(base, other)
            if not changed or not changed <= stored:
                names.append(option.name)
                break
    return names


def other_values(option: Option, value: Any) -> list:
    """Returns other values of an option: all choices, or the double of a number."""
    if option.kind in (int, float):
        return [2 * value]
    return [other for other in values_of(option, ()) if other != value]


def problems_of(model: Any, state: Mapping[str, Any]) -> list:
    """Returns the misfits of the weights of a file in a model."""
    net = SimpleNamespace(model=model)
    given = without_loss(names_of_network(net, {**state, "loss": {}}))
    expected = {f"model.{name}": value for name, value in model.state_dict().items()}
    return compare_weights(given, expected, computed_by(net))[1]


def changed_constants(base: nn.Module, other: nn.Module) -> set[str]:
    """Returns the names of filters and windows that differ between two models."""
    buffers = dict(base.named_buffers())
    computed = computed_names(other)
    changed = set()
    for name, value in other.named_buffers():
        if name not in computed:
            continue
        if name not in buffers or not torch.equal(value, buffers[name]):
            changed.add(f"model.{name}")
    return changed
