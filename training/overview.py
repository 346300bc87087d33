"""The first lines of a training: what it has assumed."""

import argparse
import inspect
import logging

import torch

from inference.overview import (
    device_rows,
    log_rows,
    network_rows,
    number_of_parameters,
    plural,
    with_origin,
)
from network.devices import has_bfloat16_instructions
from options.plugins import find
from training.task import Task

log = logging.getLogger("trainSpeakerNet")


def log_overview(task: Task) -> None:
    """Prints the lines about a training."""
    options = task.options
    net = task.trainer.net
    rows = network_rows(options, net)
    rows += [("Loss", loss_row(task)), ("Data", data_row(task))]
    rows.append(("Optimizer", optimizer_row(task)))
    rows += device_rows(options, task.trainer.device)
    rows.append(("Output", with_origin(options, "save_path")))
    log_rows(rows)
    if mixed_precision_would_help(options, net.model.takes, task.trainer.device):
        log.info(
            "This CPU has bfloat16 instructions. With --mixedprec training would be about 1.7 "
            "times as fast."
        )


def loss_row(task: Task) -> str:
    """Describes the loss. Only a loss with a classifier has a number of classes."""
    options = task.options
    parts = [with_origin(options, "trainfunc")]
    if "num_classes" in inspect.signature(find("trainfunc", options.trainfunc)).parameters:
        parts.append(plural(options.nClasses or max(task.classes.values()) + 1, "class"))
    parts.append(number_of_parameters(task.trainer.net.loss))
    return ", ".join(parts)


def data_row(task: Task) -> str:
    """Describes the train list and the updates of an epoch."""
    listed = plural(len(task.dataset.utterances), "utterance")
    if task.options.speed_perturb:
        listed += " with the copies by --speed_perturb"
    updates = plural(task.steps_per_epoch, "update")
    utterances = task.sampler.utterances * task.options.accumulate
    return f"{listed}, {updates} per epoch, {plural(utterances, 'utterance')} per update"


def optimizer_row(task: Task) -> str:
    """Describes optimizer and schedule."""
    options = task.options
    first = task.trainer.optimizer.param_groups[0]["lr"]
    return (
        f"{with_origin(options, 'optimizer')}, learning rate {first:g} at the first update, "
        f"schedule {with_origin(options, 'scheduler')}"
    )


def mixed_precision_would_help(
    options: argparse.Namespace, takes: str, device: torch.device
) -> bool:
    """Returns whether --mixedprec is off and would make the training much faster.

    takes: the input of the model. The models of embeddings are too small to gain from bfloat16.
    """
    on_cpu = device.type == "cpu" and takes == "waves"
    return on_cpu and not options.mixedprec and has_bfloat16_instructions()
