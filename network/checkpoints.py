"""Checkpoint files: writing and reading them, and loading their weights into a network.

Published checkpoints of other projects are read too. No code from a file is run.
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import InputError
from common.writing import write_atomically
from network.checkpoint_layout import is_weight, require_complete, require_layout
from network.foreign_checkpoints import CHECKSUM, checksum_of, read_pickle, require_checksum
from network.stored_options import require_options

# Prefixes of published names, and the beginning of published names of the loss.
PREFIXES = re.compile(r"^(__[SL]__\.|module\.|model\.|encoder\.|loss_fun\.)+")
# The prefixes that trainers add to every name.
PREFIXES_OF_TRAINERS = re.compile(r"^(__[SL]__\.|module\.)+")
LOSS = re.compile(r"^(module\.)?(__L__|loss_fun)\.")

Weights = dict[str, torch.Tensor]


def write_checkpoint(state: dict[str, Any], *paths: Path) -> None:
    """Writes a checkpoint to several files. Each file is complete or is not written at all.

    The files contain a checksum of the state, which read_checkpoint() compares.
    """
    buffer = io.BytesIO()
    torch.save(state | {CHECKSUM: checksum_of(state)}, buffer)
    for path in paths:
        write_atomically(path, buffer.getbuffer(), unique=True)


# ---------------------------------------------------------------------- reading
def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint of this program, or published weights. Runs no code from the file.

    Returns a dict with `model` and `loss` (name -> tensor) at least. A published file contains a
    state dict, or has one under the key `model_state_dict`, `state_dict` or `model`. Other keys are
    ignored. The names may have the prefixes `__S__.` (model), `__L__.` (loss), `module.` or
    `model.`, or the prefixes `encoder.` and `loss_fun.` of MFA-Conformer's Lightning module. Where
    two names would become one, `model.` and `encoder.` stay.

    Raises InputError for a file that is missing, damaged or of another kind.
    """
    state, is_plain = read_pickle(path)
    if is_plain and isinstance(state, dict) and "options" in state:
        require_checksum(path, state)
        require_layout(path, state)
        require_options(path, state["options"])
        return state
    for key in ("model_state_dict", "state_dict", "model"):
        state = state.get(key, state) if isinstance(state, dict) else {}
    if not is_state_dict(state):
        raise InputError(
            f"{path}: expected a checkpoint, found a file without a dict of tensors. No code of "
            "this file was run."
        )
    prefixes = PREFIXES
    if len({PREFIXES.sub("", name) for name in state}) < len(state):
        # Without `encoder.`, two names of WavLM would be the same.
        prefixes = PREFIXES_OF_TRAINERS
    weights: dict[str, Weights] = {"model": {}, "loss": {}}
    for name, value in state.items():
        part = "loss" if LOSS.match(name) else "model"
        weights[part][prefixes.sub("", name)] = value.detach()
    return weights


def read_run(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint from which a run resumes. Raises InputError if it has not all parts."""
    state = read_checkpoint(path)
    require_complete(path, state)
    return state


def is_state_dict(state: Any) -> bool:
    """Returns whether this is a dict of tensors with at least one of them."""
    if not isinstance(state, dict) or not state:
        return False
    return all(isinstance(name, str) and is_weight(value) for name, value in state.items())


# ---------------------------------------------------------------------- fitting
class MisfitError(InputError):
    """Weights of a checkpoint do not fit the network.

    path: the checkpoint. state: its contents. problems: (name, line) of each weight that does not
    fit. shapes: name -> the shapes in the file and in the network, where they differ. partial:
    whether a part of the weights would have been enough.
    """

    def __init__(
        self,
        path: str | Path,
        state: Mapping[str, Any],
        problems: list[tuple[str, str]],
        shapes: Mapping[str, tuple[torch.Size, torch.Size]],
        partial: bool,
    ) -> None:
        self.path = path
        self.state = dict(state)
        self.problems = problems
        self.shapes = shapes
        self.partial = partial
        super().__init__(self.text("Give the options that the checkpoint was trained with."))

    @property
    def of_model(self) -> bool:
        """Whether weights of the model do not fit, and not only weights of the loss."""
        return any(not name.startswith("loss.") for name, _ in self.problems)

    def text(self, remedy: str) -> str:
        """Returns the message: numbers of misfits, the remedy, and the first ten names."""
        lines = [line for _, line in self.problems]
        counts = []
        for kind in ("missing", "unexpected", "misshaped"):
            count = sum(line.startswith(f"{kind}:") for line in lines)
            if count:
                counts.append(f"{count} {kind}")
        nothing = "no weight fits" if self.partial else "the weights do not fit"
        summary = f"{self.path}: {nothing} the network (names: {', '.join(counts)})."
        return f"{summary} {remedy}{shown_lines(lines)}"


def load_weights(
    net: nn.Module,
    state: Mapping[str, Any],
    path: str | Path,
    partial: bool = False,
    head: str = "required",
) -> list[str]:
    """Copies the weights of a checkpoint into a SpeakerNet, all or nothing.

    The checkpoint was read from `path`. The model's `old_names` and `unused` (models/__init__.py)
    are the only mapping of names. Missing, unexpected and misshaped names are a MisfitError that
    lists them. With `partial`, weights that fit are copied, and the returned list names the others.
    A MisfitError is raised if nothing fits. NaN or infinity is an InputError.

    head: what happens to the weights of the loss. "required": they must fit, like all others.
    "optional": they are copied if they fit, as with partial. "unused": they are not copied.
    """
    given = names_of_network(net, state)
    expected = net.state_dict()
    if head == "unused":
        given = without_loss(given)
        expected = without_loss(expected)
    fits, problems = compare_weights(given, expected)
    # Names with this beginning need not fit.
    tolerated = None
    if head == "optional":
        tolerated = "loss."
    if partial:
        tolerated = ""
    serious = []
    for name, line in problems:
        if not fits or tolerated is None or not name.startswith(tolerated):
            serious.append((name, line))
    if serious:
        shapes = {}
        for name, _ in serious:
            if name in given and name in expected:
                shapes[name] = (given[name].shape, expected[name].shape)
        raise MisfitError(path, state, serious, shapes, partial)
    require_finite(fits, path)
    net.load_state_dict(fits, strict=False)
    return [line for _, line in problems]


def require_finite(weights: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Raises InputError if a weight of a checkpoint is NaN or infinite."""
    bad = [name for name, value in weights.items() if not is_finite(value)]
    if bad:
        raise InputError(
            f"{path}: expected finite weights, found NaN or infinity in {len(bad)} of "
            f"{len(weights)} tensors: {', '.join(bad[:3])}{', ...' if len(bad) > 3 else ''}. The "
            "training diverged, or the file is damaged. Give an earlier checkpoint."
        )


def is_finite(value: torch.Tensor) -> bool:
    """Returns whether all numbers of a tensor are finite."""
    if not value.is_floating_point():
        return True
    # The sum is faster. It is finite only if all numbers are.
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())


def names_of_network(net: Any, state: Mapping[str, Any]) -> Weights:
    """Returns the weights of a checkpoint under the names that they have in a SpeakerNet.

    net: a SpeakerNet, or any object with its attribute `model`.
    """
    given = {f"loss.{name}": value for name, value in state["loss"].items()}
    for name, value in net.model.new_weights(state["model"]).items():
        given[name if name.startswith("loss.") else f"model.{name}"] = value
    return given


def without_loss(weights: Weights) -> Weights:
    """Returns the weights that do not belong to the loss."""
    return {name: value for name, value in weights.items() if not name.startswith("loss.")}


def compare_weights(given: Weights, expected: Weights) -> tuple[Weights, list[tuple[str, str]]]:
    """Returns the weights that fit, and (name, problem) of each of the others."""
    fits = {}
    misshaped = []
    for name, value in given.items():
        if name not in expected:
            continue
        if value.shape == expected[name].shape:
            fits[name] = value
            continue
        shapes = f"{list(value.shape)} in the file, {list(expected[name].shape)} here"
        misshaped.append((name, f"misshaped: {name}, {shapes}"))
    missing = [(name, f"missing: {name}") for name in expected if name not in given]
    unexpected = [(name, f"unexpected: {name}") for name in given if name not in expected]
    return fits, missing + unexpected + misshaped


def shown_lines(lines: list[str]) -> str:
    """Returns the first ten lines, one below the other, and the number of the rest."""
    shown = "".join(f"\n  {line}" for line in lines[:10])
    if len(lines) > 10:
        shown += f"\n  and {len(lines) - 10} more"
    return shown
