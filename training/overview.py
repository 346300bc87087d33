"""The first lines of a training: what it has assumed."""

import argparse
import inspect
import itertools
import logging
import math
from collections.abc import Sequence

import torch

from common.parameter_groups import Group
from inference.overview import (
    device_rows,
    log_rows,
    network_rows,
    number_of_parameters,
    plural,
    with_origin,
)
from network.devices import has_bfloat16_instructions
from network.parameter_groups import REST, names_in_short, parameter_groups_of
from options.plugins import find
from training.task import Task

log = logging.getLogger("trainSpeakerNet")


def log_overview(task: Task) -> None:
    """Prints the lines about a training."""
    options = task.options
    net = task.trainer.net
    rows = network_rows(options, net)
    rows += [("Loss", loss_row(task)), ("Data", data_row(task))]
    rows += [("Optimizer", optimizer_row(task)), *group_rows(task)]
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
    if task.sampler.varies:
        updates = f"about {updates}"
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


def group_rows(task: Task) -> list[tuple[str, str]]:
    """Describes the groups of parameters with settings of their own, [] if there are none.

    Groups that differ only in the factor of the learning rate share a row.
    """
    net = task.trainer.net
    groups = parameter_groups_of(net.model, net.loss, task.options.head_weight_decay)
    own = [group for group in groups if group.name != REST]
    rows = []
    for _, alike in itertools.groupby(own, settings_in_common):
        rows.append(("Groups", text_of_groups(list(alike), task.options.lr)))
    return rows


def settings_in_common(group: Group) -> tuple:
    """Returns the settings that groups of one row share."""
    return group.lr, group.weight_decay, group.frozen_epochs


def text_of_groups(groups: Sequence[Group], lr: float) -> str:
    """Describes groups of one row. lr: of the option --lr."""
    first = groups[0]
    lowest, highest = first.rate(lr), groups[-1].rate(lr)
    rate = f"{lowest:g}" if lowest == highest else f"{lowest:g} to {highest:g}"
    parts = [f"{names_in_short(groups)}: learning rate {rate}"]
    if first.weight_decay is not None:
        parts.append(f"weight decay {first.weight_decay:g}")
    if first.frozen_epochs == math.inf:
        parts.append("not trained")
    elif first.frozen_epochs:
        parts.append(f"not trained in the first {plural(first.frozen_epochs, 'epoch')}")
    return ", ".join(parts)


def mixed_precision_would_help(
    options: argparse.Namespace, takes: str, device: torch.device
) -> bool:
    """Returns whether --mixedprec is off and would make the training much faster.

    takes: the input of the model. The models of embeddings are too small to gain from bfloat16.
    """
    on_cpu = device.type == "cpu" and takes == "waves"
    return on_cpu and not options.mixedprec and has_bfloat16_instructions()
