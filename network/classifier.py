"""The rows of a checkpoint's classifier, given to the speakers of another list by their names."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

# Numbers of classes that show which axes of a weight belong to the classes.
TWO_NUMBERS = (50, 51)


class ClassAxis(NamedTuple):
    """The axis of a weight that has a row, or `each` rows, for each class."""

    axis: int
    each: int


def with_head_for(
    classes: Mapping[str, int],
    state: dict[str, Any],
    net: nn.Module,
    make_loss: Callable[[int], nn.Module],
) -> tuple[dict[str, Any], str]:
    """Returns a checkpoint whose classifier has the rows of the given speakers, and a sentence.

    classes: {speaker: number}. net: a SpeakerNet for these speakers. make_loss: builds the loss of
    the net for a number of classes.

    Speakers that the checkpoint knows keep their rows. All others get the rows that they have in
    the net, which are random. Returns the checkpoint itself and "" if it names no speakers, has
    the same ones, or has no classifier that fits the loss.
    """
    known = state.get("classes", {})
    if not known or known == classes:
        return state, ""
    size = state["options"].get("nClasses") or max(known.values()) + 1
    both = [name for name in classes if name in known]
    new = torch.tensor([classes[name] for name in both], dtype=torch.long)
    old = torch.tensor([known[name] for name in both], dtype=torch.long)
    fresh = net.loss.state_dict()
    loss = dict(state["loss"])
    changed = False
    for name, place in class_axes(make_loss).items():
        value = loss.get(name)
        if value is None or not is_head(value, fresh[name], place, size):
            continue
        changed = True
        loss[name] = fresh[name].cpu().clone()
        to_rows = loss[name].unflatten(place.axis, (-1, place.each))
        from_rows = value.unflatten(place.axis, (-1, place.each))
        to_rows.index_copy_(place.axis, new, from_rows.index_select(place.axis, old))
    if not changed:
        return state, ""
    text = (
        f"the speakers' rows of the classifier are loaded by name: {len(both):,} of "
        f"{len(classes):,} speakers are in the checkpoint, and {len(classes) - len(both):,} start "
        "with random weights."
    )
    return state | {"loss": loss}, text


def class_axes(make_loss: Callable[[int], nn.Module]) -> dict[str, ClassAxis]:
    """Returns {name of a weight of the loss: its axis of the classes}."""
    # The random numbers of the training are not disturbed.
    with torch.random.fork_rng([]):
        fewer, more = (make_loss(number).state_dict() for number in TWO_NUMBERS)
    found = {}
    for name, value in fewer.items():
        for axis, (length, other) in enumerate(zip(value.shape, more[name].shape, strict=True)):
            if length != other:
                found[name] = ClassAxis(axis, other - length)
    return found


def is_head(value: torch.Tensor, fresh: torch.Tensor, place: ClassAxis, size: int) -> bool:
    """Whether a weight has the rows of `size` classes, and otherwise the shape of the new one."""
    shape = list(fresh.shape)
    shape[place.axis] = size * place.each
    return list(value.shape) == shape and value.dtype == fresh.dtype
