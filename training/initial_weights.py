"""The weights of --initial_model, or of a part of the network, from which a new run starts."""

import argparse
import logging
from collections.abc import Mapping

from torch import nn

from network.assumptions import log_assumptions
from network.checkpoints import Weights, load_weights
from network.classifier import class_axes, with_head_for
from network.components import build
from network.pretrained_parts import load_part, read_weights_of_part, take_sizes_of_run
from options.plugins import find
from SpeakerNet import SpeakerNet
from training.task import Task

log = logging.getLogger("trainSpeakerNet")


def start_from_weights(task: Task, state: dict | None, part: Weights | None) -> None:
    """Loads the weights from which a new run starts, if there are any.

    state: the checkpoint of --initial_model, or None. part: weights of a part of the model, see
    read_pretrained_part().
    """
    trainer = task.trainer
    if state:
        load_initial_weights(trainer.net, state, task.options, task.classes)
    if part:
        load_part(trainer.net.model, part, task.options)
    trainer.start_average()


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
    if state.get("left_out"):
        text = (
            "the network was published without its classifier, so the rows of all "
            f"{len(classes):,} speakers start with random weights."
        )
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


# ---------------------------------------------------------------------- a part of the network
def read_pretrained_part(
    options: argparse.Namespace, stored: dict | None, state: dict | None
) -> Weights | None:
    """Reads the weights that a part of the model starts from, see PretrainedPart.

    Sets the options that they decide. A run that resumes has the options of its checkpoint, and
    --initial_model contains all weights, so in both cases there is nothing to read.

    stored: the checkpoint to resume from, or None. state: the checkpoint of --initial_model, or
    None.
    """
    part = find("model", options.model).pretrained
    if part is None:
        return None
    source = getattr(options, part.option)
    if stored:
        take_sizes_of_run(part, options, stored["options"])
    elif state:
        if source != state.get("options", {}).get(part.option, ""):
            log.warning(
                "warning: --%s has no effect with --initial_model, which contains all weights.",
                part.option,
            )
    elif source:
        return read_weights_of_part(part, options)
    else:
        log.warning(
            "warning: --%s is missing, so the whole network starts from random weights. Give "
            "--%s FILE.",
            part.option,
            part.option,
        )
    return None
