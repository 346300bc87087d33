"""The names of weights in files of other projects, and their names in a SpeakerNet.

The names of a file pass three steps. Known beginnings, see PREFIXES, are removed and say whether a
weight belongs to the model or to the loss. An unknown beginning is removed if all names of the
model have it. The table `old_names` of the model renames the rest (models/__init__.py).
"""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

# Beginning of published names -> the part that it belongs to, None for both parts.
PREFIXES = {
    # torch.nn.DataParallel and DistributedDataParallel
    "module.": None,
    "model.": None,
    # voxceleb_trainer and its descendants
    "__S__.": "model",
    "__L__.": "loss",
    # The Lightning module of MFA-Conformer
    "encoder.": "model",
    "loss_fun.": "loss",
    # ECAPA-TDNN of TaoRuijie
    "speaker_encoder.": "model",
    "speaker_loss.": "loss",
}
# Prefixes that trainers add to every name.
OF_TRAINERS = ("module.", "__S__.", "__L__.")
# Buffers that are learned. All other buffers of a model are computed by the network itself.
LEARNED_BUFFERS = ("running_mean", "running_var")

Weights = dict[str, torch.Tensor]


def parts_of_file(weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Splits published weights into the parts of a checkpoint, and removes the known prefixes.

    Returns {"model": weights, "loss": weights, "prefixes": the prefixes that were removed}.
    """
    parts: dict[str, Any] = {"model": {}, "loss": {}}
    removed: dict[str, None] = {}
    found = {name: known_prefix(name, PREFIXES) for name in weights}
    if len({name[len(prefix) :] for name, (prefix, _) in found.items()}) < len(weights):
        # Without `encoder.`, two names of WavLM would be the same.
        found = {name: known_prefix(name, OF_TRAINERS) for name in weights}
    for name, value in weights.items():
        prefix, part = found[name]
        parts[part][name[len(prefix) :]] = value.detach()
        if prefix:
            removed[prefix] = None
    return parts | {"prefixes": list(removed)}


def known_prefix(name: str, prefixes: Iterable[str]) -> tuple[str, str]:
    """Returns the known beginning of a published name, and its part: "model" or "loss".

    prefixes: names of PREFIXES.
    """
    part = "model"
    rest = name
    while prefix := next(filter(rest.startswith, prefixes), ""):
        part = PREFIXES[prefix] or part
        rest = rest[len(prefix) :]
    return name[: len(name) - len(rest)], part


def names_of_network(net: Any, state: Mapping[str, Any]) -> Weights:
    """Returns the weights of a checkpoint under the names that they have in a SpeakerNet.

    net: a SpeakerNet, or any object with its attribute `model`.
    """
    given = {f"loss.{name}": value for name, value in state["loss"].items()}
    prefix = unknown_prefix(net.model, state["model"])
    old = {name[len(prefix) :]: value for name, value in state["model"].items()}
    for name, value in net.model.new_weights(old).items():
        given[name if name.startswith("loss.") else f"model.{name}"] = value
    return given


def unknown_prefix(model: Any, names: Iterable[str]) -> str:
    """Returns the one beginning by which all names of a file differ from the names of a model.

    It ends with a dot. Returns "" if no beginning of all names makes more of them known.
    """
    names = list(names)
    shared = shared_words(names)
    if not shared:
        return ""
    known = model.state_dict().keys()
    best = ""
    most = 0
    for number in range(len(shared) + 1):
        prefix = "".join(f"{word}." for word in shared[:number])
        fitting = sum(model.new_name(name[len(prefix) :]) in known for name in names)
        if fitting > most:
            best = prefix
            most = fitting
    return best


def shared_words(names: list[str]) -> list[str]:
    """Returns the words at the beginning of all names. Dots separate the words of a name."""
    if not names:
        return []
    # All names share what the first and the last one of the sorted names share.
    first = min(names).split(".")[:-1]
    last = max(names).split(".")[:-1]
    shared = []
    for a, b in zip(first, last, strict=False):
        if a != b:
            break
        shared.append(a)
    return shared


def prefix_text(net: Any, state: Mapping[str, Any]) -> str:
    """Returns the sentence about prefixes of the names in a file that are ignored, or ""."""
    removed = list(state.get("prefixes", []))
    unknown = unknown_prefix(net.model, state["model"])
    if unknown:
        removed.append(unknown)
    if not removed:
        return ""
    return f"the names of the weights are read without {' and '.join(removed)} in front."


def computed_names(model: nn.Module) -> set[str]:
    """Returns the names of what a model computes itself: the filters and windows of its front end.

    A file may lack them. The numbers of updates that layers of normalisation count are among them,
    because nothing depends on them.
    """
    names = [name for name, _ in model.named_buffers()]
    return {name for name in names if name.rpartition(".")[2] not in LEARNED_BUFFERS}
