"""The network that options and a checkpoint describe, ready for use."""

import argparse

from common.errors import InputError
from common.foreign_files import foreign_file
from inference.scorer import Scorer
from loss import Loss
from network.assumptions import log_assumptions
from network.checkpoints import load_weights
from network.components import build
from network.devices import resolve_device
from SpeakerNet import SpeakerNet


def build_net(options: argparse.Namespace, num_classes: int) -> SpeakerNet:
    """Builds model and loss. --nClasses overrides num_classes, the number in the train list."""
    model = build("model", options)
    num_classes = options.nClasses or num_classes
    return SpeakerNet(model, build("trainfunc", options, dim=model.dim, num_classes=num_classes))


def load_scorer(options: argparse.Namespace, state: dict | None) -> Scorer:
    """Builds the net of a checkpoint that was read from --initial_model, and loads its weights.

    The number of classes comes from the training. Raises InputError if there is no checkpoint, or
    if its weights do not fit.
    """
    if not state:
        raise InputError(
            "--initial_model is missing. Give --initial_model CHECKPOINT, or the --save_path of a "
            "run, to use a trained network."
        )
    classes = state.get("classes", {"": 0})
    problem = "a network with the options of this checkpoint cannot be built ({}).".format
    with foreign_file(options.initial_model, problem):
        net = build_net(options, max(classes.values(), default=0) + 1)
    refuse_countermeasure(net, options)
    refuse_other_scores(net.loss, options)
    # The speakers that a published classifier was trained on are unknown, so it is not used. The
    # classes of a countermeasure are always the same.
    used = "options" in state or not net.loss.compares_speakers
    head = "required" if used else "unused"
    load_weights(net, state, options.initial_model, head=head)
    log_assumptions(net.model, state, options)
    return Scorer(net, device=resolve_device(options.device), mixedprec=options.mixedprec)


def refuse_other_scores(loss: Loss, options: argparse.Namespace) -> None:
    """Raises InputError for options that change the speaker score, if a gate was trained on it.

    Options that are missing or off are accepted.
    """
    if not loss.learns_fusion:
        return
    changed = getattr(options, "scoring", "similarity") != "similarity"
    names = ["scoring"] if changed else []
    for name in ("score_norm", "backend", "mean_subtraction", "stages"):
        if getattr(options, name, None):
            names.append(name)
    if names:
        raise InputError(
            f"--{names[0]} changes the scores of speakers, but the gate of --fusion_gate fits the "
            f"cosines that it was trained on. Leave out --{names[0]}, or train without "
            "--fusion_gate."
        )


def refuse_countermeasure(net: SpeakerNet, options: argparse.Namespace) -> None:
    """Raises InputError for options that compare speakers, if the loss learns nothing about them.

    Options that are missing or off are accepted.
    """
    if net.loss.compares_speakers:
        return
    for name in ("verify", "all_pairs", "score_norm", "qualities"):
        if getattr(options, name, None):
            raise InputError(
                f"--{name} compares speakers, but --trainfunc {options.trainfunc} only separates "
                f"bona fide from spoofed speech. Leave out --{name}, or give a checkpoint of a "
                "speaker network."
            )
