"""The weights of --initial_model, from which a new run starts."""

import argparse
import logging
from collections.abc import Mapping

from torch import nn

from network.assumptions import log_assumptions
from network.checkpoints import load_weights
from network.classifier import class_axes, with_head_for
from network.components import build
from SpeakerNet import SpeakerNet

log = logging.getLogger("trainSpeakerNet")


def load_initial_weights(
    net: SpeakerNet, state: dict, options: argparse.Namespace, classes: Mapping[str, int]
) -> None:
    """Loads the weights of --initial_model and prints what they lack.

    state: the checkpoint. classes: {speaker: number} of the training list.
    """
    path = options.initial_model

    def make_loss(size: int) -> nn.Module:
        return build("trainfunc", options, dim=net.model.dim, num_classes=size)

    state, text = with_head_for(classes, state, net, make_loss)
    # Published weights may be fine-tuned on other speakers, so their classifier is optional.
    head = "required" if "options" in state else "optional"
    if head == "optional" and any(
        fits_by_chance(net, state, name) for name in class_axes(make_loss)
    ):
        text = (
            "the file does not name its speakers. Its classifier is used with the speakers of the "
            "training list in the order of their names. Check that the list has the same speakers."
        )
    problems = load_weights(net, state, path, options.partial, head)
    for line in [text, *(f"left out: {problem}" for problem in problems)]:
        if line:
            log.info("%s: %s", path, line)
    log_assumptions(net.model, state, options)


def fits_by_chance(net: SpeakerNet, state: dict, name: str) -> bool:
    """Whether a file without speakers has a weight of the classifier in the shape of the net's."""
    given = state["loss"].get(name)
    return given is not None and given.shape == net.loss.state_dict()[name].shape
