"""Checks that loss, pooling and lists fit together, before the first update."""

import argparse
import contextlib
import inspect
import logging
from collections.abc import Container, Iterator

import numpy as np
from torch import nn

import distributed
from common.errors import InputError
from corpus.rows import first_line_of
from corpus.utterances import Utterances
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


@contextlib.contextmanager
def refusing_single_values(net: SpeakerNet) -> Iterator[None]:
    """Context in which batch normalisation refuses a batch with one value per channel.

    Such a batch has no variance, so training cannot begin.
    """

    def refuse(layer: nn.Module, inputs: tuple) -> None:
        if inputs[0].numel() == inputs[0].shape[1]:
            raise InputError(
                "--batch_size: expected at least 2 utterances per batch, because the batch "
                "normalisation of this network needs them, found 1. Give --batch_size 2 or more."
            )

    hooks = []
    for layer in net.modules():
        if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
            hooks.append(layer.register_forward_pre_hook(refuse))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


# ---------------------------------------------------------------------- terms that cannot occur
def classifies(trainfunc: str) -> bool:
    """Returns whether a loss classifies the training speakers."""
    return "num_classes" in inspect.signature(find("trainfunc", trainfunc)).parameters


def check_terms(options: argparse.Namespace, dataset, net: SpeakerNet) -> None:
    """Raises InputError if a term of the loss is constant in every batch.

    dataset: of the train list.
    """
    utterances = Utterances.of(dataset.utterances)
    check_spoofed_speech(options, net, utterances)
    check_number_of_speakers(options, net, int(utterances.real_speakers().sum()))
    same = getattr(dataset, "same", None)
    if "session" in net.loss.reads and same is not None and len(np.unique(same)) < 2:
        flag = int(same[0])
        raise InputError(
            f"{options.train_list}: expected pairs of one session (1) and pairs of two sessions "
            f"(0), because --trainfunc {options.trainfunc} compares them, found only {flag} in "
            "the last column. Give a list with both, or another --trainfunc."
        )


def check_number_of_speakers(options: argparse.Namespace, net: SpeakerNet, speakers: int) -> None:
    """Raises InputError if the loss needs two speakers, and the list or a batch has one.

    speakers: number of speakers with real speech in the train list.
    """
    name = options.trainfunc
    uses = "classifies the speakers" if classifies(name) else "compares the speakers of a batch"
    if speakers < 2 and (classifies(name) or net.loss.min_speakers > 1):
        raise InputError(
            f"{options.train_list}: expected at least 2 speakers, because --trainfunc {name} "
            f"{uses}, found {speakers} with real speech. Give a list with more speakers."
        )
    groups = distributed.world_size() if options.gather_embeddings else 1
    if options.num_spk and options.num_spk * groups < 2 and "nontarget" in net.loss.kinds_of_trials:
        raise InputError(
            f"--num_spk: expected at least 2, because --trainfunc {name} needs trials of two "
            "speakers in a batch, found 1. Give --num_spk 2 or more."
        )


def check_spoofed_speech(
    options: argparse.Namespace, net: SpeakerNet, utterances: Utterances
) -> None:
    """Raises InputError if the loss needs real and spoofed speech, and the list has one of them."""
    needs_trials = "spoof" in net.loss.kinds_of_trials
    spoofed = utterances.spoofed()
    if not (net.loss.detects_spoofing or needs_trials) or spoofed.any() != spoofed.all():
        return
    uses = "counts accepted spoofed speech" if needs_trials else "learns to detect spoofed speech"
    remedy = "Give a list with both, or another --trainfunc."
    if needs_trials and not spoofed.any():
        remedy = "Give a list with both, or --adcf_p_spoof 0 to leave out this cost."
    raise InputError(
        f"{options.train_list}: expected real and spoofed speech, because --trainfunc "
        f"{options.trainfunc} {uses}, found only {'spoofed' if spoofed.any() else 'real'} speech. "
        f"{remedy}"
    )


def check_validation_terms(options: argparse.Namespace, dataset, items: list) -> list:
    """Returns the validation batches in which all terms of the loss can occur.

    dataset, items: of --valid_list, see every_group(). Warns of batches with fewer speakers than
    the loss compares, and of session flags that no batch mixes. Raises InputError if no batch is
    left.
    """
    loss = find("trainfunc", options.trainfunc)
    usable = [item for item in items if len(item[1]) >= loss.min_speakers]
    if not usable:
        raise InputError(
            f"{options.valid_list}: expected batches with at least {loss.min_speakers} speakers, "
            f"because --trainfunc {options.trainfunc} compares the speakers of a batch, found 1 "
            "speaker in every batch. List more speakers, and give --batch_size "
            f"{loss.min_speakers} or more."
        )
    if len(usable) < len(items):
        log.warning(
            "warning: %s: %d of %d validation batches have a single speaker, and --trainfunc %s "
            "compares the speakers of a batch. They are left out.",
            options.valid_list,
            len(items) - len(usable),
            len(items),
            options.trainfunc,
        )
    same = getattr(dataset, "same", None)
    if "session" in loss.reads and same is not None:
        kinds = [len(np.unique(same[np.ravel(rows)])) for _, rows in usable]
        if max(kinds) < 2:
            log.warning(
                "warning: %s: no validation batch has both pairs of one session and pairs of two "
                "sessions, so valid_loss_mmd is always 0. Mix the lines of the list, or raise "
                "--nPerSpeaker.",
                options.valid_list,
            )
    return usable
