"""Checkpoint files: writing and reading them, and loading their weights into a network.

Published checkpoints of other projects are read too. No code from a file is run.
"""

import io
import itertools
import logging
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from common.errors import InputError
from common.writing import write_atomically
from network.checkpoint_layout import is_weight, require_complete, require_layout
from network.foreign_checkpoints import CHECKSUM, checksum_of, read_pickle, require_checksum
from network.names import Weights, computed_names, names_of_network, parts_of_file, prefix_text
from network.publication import in_folder, is_publication, state_of_publication
from network.published import recognise
from network.safetensors_file import is_safetensors, read_safetensors
from network.stored_options import require_options

log = logging.getLogger("trainSpeakerNet")
# A message about weights that do not fit shows at most this number of lines with names.
SHOWN_LINES = 10
# The number of updates that a layer of normalisation has seen. Nothing depends on it.
COUNTER = ".num_batches_tracked"


def write_checkpoint(state: dict[str, Any], *paths: Path) -> None:
    """Writes a checkpoint to several files. Each file is complete or is not written at all.

    The files contain a checksum of the state, which read_checkpoint() compares.
    """
    buffer = io.BytesIO()
    torch.save(state | {CHECKSUM: checksum_of(state)}, buffer)
    for path in paths:
        write_atomically(path, buffer.getbuffer())


# ---------------------------------------------------------------------- reading
def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Reads a checkpoint of this program, or published weights. Runs no code from the file.

    path: a file of torch.save or safetensors, or a folder that --publish wrote.

    Returns a dict with `model` and `loss` (name -> tensor) at least. A published file contains a
    state dict, or has one under the key `model_state_dict`, `state_dict` or `model`. Other keys are
    ignored. network/names.py describes the names. The list `prefixes` contains what was removed
    from them, and `recognised` the network that network/published.py recognises, or None.

    Raises InputError for a file that is missing, damaged or of another kind.
    """
    path = in_folder(path)
    if is_safetensors(path):
        published = read_safetensors(path)
        if is_publication(published):
            return state_of_publication(path, published)
        contents, is_plain = published.weights, False
    else:
        contents, is_plain = read_pickle(path)
    state = contents
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
    parts = parts_of_file(state)
    entries = {} if contents is state else contents
    recognised = recognise(path, parts["model"], entries)
    result = {}
    if recognised and recognised.threshold is not None:
        result["threshold"] = recognised.threshold
    return parts | {"recognised": recognised, "result": result}


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
    whether a part of the weights would have been enough. fitting: number of learned weights of the
    model that fit. expected: number of learned weights that the model has.
    """

    def __init__(
        self,
        path: str | Path,
        state: Mapping[str, Any],
        problems: list[tuple[str, str]],
        shapes: Mapping[str, tuple[torch.Size, torch.Size]],
        partial: bool,
        fitting: int = 0,
        expected: int = 0,
    ) -> None:
        self.path = path
        self.state = dict(state)
        self.problems = problems
        self.shapes = shapes
        self.partial = partial
        self.fitting = fitting
        self.expected = expected
        super().__init__(self.text("Give the options that the checkpoint was trained with."))

    @property
    def of_model(self) -> bool:
        """Whether weights of the model do not fit, and not only weights of the loss."""
        return any(not name.startswith("loss.") for name, _ in self.problems)

    def text(self, remedy: str) -> str:
        """Returns the message: numbers of misfits, the remedy, and the first names."""
        lines = by_kind(self.problems)
        counts = [f"{len(found)} {kind}" for kind, found in lines.items() if found]
        nothing = "no weight fits" if self.partial else "the weights do not fit"
        summary = f"{self.path}: {nothing} the network (names: {', '.join(counts)})."
        return f"{summary} {remedy}{shown_lines(**lines)}"


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
    A MisfitError is raised if nothing fits. NaN or infinity is an InputError. Weights that were
    left out when the network was published may be missing.

    head: what happens to the weights of the loss. "required": they must fit, like all others.
    "optional": they are copied if they fit, as with partial. "unused": they are not copied.
    """
    given = names_of_network(net, state)
    expected = net.state_dict()
    if head == "unused":
        given = without_loss(given)
        expected = without_loss(expected)
    computed = computed_by(net)
    fits, problems = compare_weights(given, expected, computed)
    learned = without_loss(expected).keys() - computed
    fitting = learned & fits.keys()
    # Names with this beginning need not fit.
    tolerated = None
    if head == "optional":
        tolerated = "loss."
    if partial:
        tolerated = ""
    left_out = {f"loss.{name}" for name in state.get("left_out", ())} - given.keys()
    serious = []
    for name, line in problems:
        if name in left_out and fits:
            continue
        if not fits.keys() - computed or tolerated is None or not name.startswith(tolerated):
            serious.append((name, line))
    if serious:
        shapes = {}
        for name, _ in serious:
            if name in given and name in expected:
                shapes[name] = (given[name].shape, expected[name].shape)
        raise MisfitError(path, state, serious, shapes, partial, len(fitting), len(learned))
    require_finite(fits, path)
    if text := prefix_text(net, state):
        log.info("%s: %s", path, text)
    net.load_state_dict(fits, strict=False)
    return [line for name, line in problems if name not in left_out]


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


def without_loss(weights: Weights) -> Weights:
    """Returns the weights that do not belong to the loss."""
    return {name: value for name, value in weights.items() if not name.startswith("loss.")}


def compare_weights(
    given: Weights, expected: Weights, computed: Container[str]
) -> tuple[Weights, list[tuple[str, str]]]:
    """Returns the weights that fit, and (name, problem) of each of the others.

    computed: names that may be missing.
    """
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
    missing = []
    for name in expected:
        if name not in given and name not in computed:
            missing.append((name, f"missing: {name}"))
    unexpected = []
    for name in given:
        # A counter comes with the batch statistics of its layer, which are named.
        if name not in expected and not name.endswith(COUNTER):
            unexpected.append((name, f"unexpected: {name}"))
    # The model comes first, as in the network.
    unexpected.sort(key=lambda problem: problem[0].startswith("loss."))
    return fits, missing + unexpected + misshaped


def computed_by(net: Any) -> set[str]:
    """Returns the names of a SpeakerNet's weights that its model computes, see computed_names()."""
    return {f"model.{name}" for name in computed_names(net.model)}


def by_kind(problems: list[tuple[str, str]]) -> dict[str, list[str]]:
    """Returns the lines of compare_weights() as {"missing": lines, ...}."""
    lines: dict[str, list[str]] = {"missing": [], "unexpected": [], "misshaped": []}
    for _, line in problems:
        lines[line.partition(":")[0]].append(line)
    return lines


def shown_lines(missing: list[str], unexpected: list[str], misshaped: list[str]) -> str:
    """Returns the first lines, and the number of the names in the rest.

    Unexpected names stand next to missing ones, so that a renaming can be seen.
    """
    width = max(map(len, missing[:SHOWN_LINES]), default=0)
    rows = []
    for row in itertools.zip_longest(missing, unexpected):
        names = [name for name in row if name]
        rows.append(("   ".join(f"{name:{width}}" for name in names).rstrip(), len(names)))
    rows += [(line, 1) for line in misshaped]
    shown = "".join(f"\n  {line}" for line, _ in rows[:SHOWN_LINES])
    hidden = sum(number for _, number in rows[SHOWN_LINES:])
    return f"{shown}\n  and {hidden} more" if hidden else shown
