"""Checks that loss, pooling and lists fit together, before the first update."""

import argparse
import logging
from collections.abc import Container

from common.errors import InputError
from corpus.rows import first_line_of
from options.plugins import components, find, pooling_name, takes_pooling
from SpeakerNet import SpeakerNet

log = logging.getLogger("trainSpeakerNet")
# Entry of a batch -> the lines of the lists that provide the entry.
LINES_OF_ENTRY = {
    "other": "'<speaker> <file> <other speaker>'",
    "session": "'<speaker> <file> <file> 0|1'",
}


def check_pooling(options: argparse.Namespace) -> None:
    """Raises InputError if the loss needs embeddings and the pooling keeps the frames."""
    has_pooling = takes_pooling(find("model", options.model))
    if find("trainfunc", options.trainfunc).pairwise or not has_pooling:
        return
    pooling = find("encoder_type", pooling_name(options.model, vars(options)))
    if pooling.pairwise:
        losses = [name for name in components("trainfunc") if find("trainfunc", name).pairwise]
        raise InputError(
            f"--trainfunc {options.trainfunc}: this loss needs one embedding per utterance, but "
            f"--encoder_type {options.encoder_type} keeps the frames. Choose --trainfunc "
            f"{', '.join(losses[:-1])} or {losses[-1]}, or another --encoder_type."
        )


def warn_without_classifier(options: argparse.Namespace, net: SpeakerNet) -> None:
    """Warns if --head_weight_decay has no effect, because the loss has no classifier."""
    if options.head_weight_decay is None or net.loss.classifier_parameters():
        return
    log.warning(
        "warning: --head_weight_decay has no effect with --trainfunc %s, which has no classifier.",
        options.trainfunc,
    )


def check_entries(options: argparse.Namespace, batch: Container[str], list_option: str) -> None:
    """Raises InputError if a list does not provide the entries of a batch that the loss needs.

    batch: a batch of the list, or the names of its entries. list_option: the name of the option
    that names the list, without dashes.
    """
    loss = options.trainfunc
    missing = [name for name in find("trainfunc", loss).reads if name not in batch]
    if not missing:
        return
    if "target" in missing:
        raise InputError(
            f"--trainfunc {loss}: this loss trains on embeddings, but --model {options.model} "
            "accepts speech. Choose a model for embeddings, for example --model MyLinearNetv2, or "
            "another --trainfunc."
        )
    list_file = getattr(options, list_option)
    lines = LINES_OF_ENTRY.get(missing[0], f"with the entry {missing[0]}")
    raise InputError(
        f"{list_file}:1: expected lines {lines} for --trainfunc {loss}, found "
        f"'{first_line_of(list_file)}'. Choose such a list with --{list_option}, or another "
        "--trainfunc."
    )
