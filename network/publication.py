"""A published network: a folder with model.safetensors, config.yaml and a model card.

model.safetensors has the weights under the names of a SpeakerNet, model.* and loss.*. The texts in
its header are listed in Facts. config.yaml has the options, and the decision threshold. It may be
edited. Files and folders of another computer mean nothing here, so options that name them are
neither written nor read.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from common.errors import InputError
from common.foreign_files import foreign_file
from common.run_paths import CONFIG
from network.checkpoint_layout import is_number, is_plain, require_layout
from network.foreign_checkpoints import CHECKSUM, checksum_of
from network.safetensors_file import SafetensorsFile, safetensors_bytes
from network.stored_options import require_options
from options import OPTIONS
from options.option import Option
from options.plugins import PARTS, components, find, options_of, options_of_network
from options.rules import FROM_CHECKPOINT

MODEL = "model.safetensors"
CARD = "README.md"
# Marks the files of this program. It is also the name of the library in the model card.
LIBRARY = "speaker-trainer"
# Version of the layout of a published folder.
LAYOUT = "1"
# Groups of options that belong to a training, and not to one computer or one command.
RECIPE = ("Data", "Network and loss", "Training")
# Characters of the names of files, which no other text of a model has.
SIGNS_OF_PATHS = {*"/\\~$"}
PREFIXES = {"model": "model.", "loss": "loss."}
THRESHOLD = "threshold"
LARGEST_THRESHOLD = 1e30


class Facts(NamedTuple):
    """What the header of model.safetensors says, besides the format and a checksum of everything.

    model: --model. result: numbers of the last evaluation, but not its threshold. classes:
    {speaker: number}, empty if the classifier is not published. left_out: names of the weights of
    the loss that are not published. files: {name of another file of the folder: its checksum}.
    """

    model: str
    result: dict[str, float]
    classes: dict[str, int]
    left_out: list[str]
    files: dict[str, str]


# ---------------------------------------------------------------------- options
def published_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that a published network may have: of its parts, data and recipe.

    Texts are left out if they can name a file, except for the names of the parts. options: with the
    name of a model.
    """
    kept = {}
    of_program = [option for group in OPTIONS.values() for option in group]
    part = find("model", options["model"]).pretrained
    for option in options_of_parts(options):
        value = options.get(option.name)
        if value is None or not is_plain(value):
            continue
        is_path = option.kind is str and (
            option in of_program or part and part.option == option.name
        )
        if option.name in PARTS or not (is_path or looks_like_path(value)):
            kept[option.name] = list(value) if isinstance(value, tuple) else value
    return kept


def options_of_parts(options: Mapping[str, Any]) -> list[Option]:
    """Returns the options that belong to no single computer or command, names of parts first."""
    declared = {option.name: option for option in options_of_network(options)}
    for part in ("trainfunc", "optimizer", "scheduler"):
        if options.get(part) in components(part):
            declared |= {option.name: option for option in options_of(part, options[part])}
    for title, group in OPTIONS.items():
        for option in group:
            if title in RECIPE or option.name in FROM_CHECKPOINT:
                declared[option.name] = option
    return sorted(declared.values(), key=lambda option: option.name not in PARTS)


def looks_like_path(value: Any) -> bool:
    """Returns whether a value of an option, or one of its values, can be a path."""
    texts = value if isinstance(value, (list, tuple)) else [value]
    return any(isinstance(text, str) and set(text) & SIGNS_OF_PATHS for text in texts)


# ---------------------------------------------------------------------- writing
def model_bytes(weights: Mapping[str, torch.Tensor], facts: Facts) -> bytes:
    """Returns the contents of model.safetensors. weights: of a SpeakerNet, under their names."""
    metadata = {"format": "pt", "library": LIBRARY, "layout": LAYOUT}
    for name, value in facts._asdict().items():
        metadata[name] = value if isinstance(value, str) else json.dumps(value)
    metadata[CHECKSUM] = digest_of_publication(weights, metadata)
    return safetensors_bytes(weights, metadata)


def digest_of_publication(weights: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> str:
    """Returns a checksum of the weights and texts in model.safetensors, whatever their order."""
    texts = {name: text for name, text in sorted(metadata.items()) if name != CHECKSUM}
    return checksum_of([texts, dict(sorted(weights.items()))])


def finite(result: Mapping[str, float]) -> dict[str, float]:
    """Returns the finite numbers of an evaluation. JSON has no other ones."""
    return {name: value for name, value in result.items() if math.isfinite(value)}


def digest_of_file(data: bytes) -> str:
    """Returns the checksum of another file of the folder."""
    return hashlib.sha256(data).hexdigest()


# ---------------------------------------------------------------------- reading
def in_folder(path: str | Path) -> str | Path:
    """Returns the file of the weights in a published folder. Other paths stay the same."""
    file = Path(path, MODEL)
    return file if file.is_file() else path


def is_publication(contents: SafetensorsFile) -> bool:
    """Returns whether this program published the contents of a file."""
    return contents.metadata.get("library") == LIBRARY


def state_of_publication(path: str | Path, contents: SafetensorsFile) -> dict[str, Any]:
    """Returns a published network as a checkpoint, see read_checkpoint().

    The entry `left_out` names the weights of the loss that were not published. Raises InputError
    if the file is damaged, or if config.yaml is missing or contradicts it.
    """
    path = Path(path)
    facts = facts_of_publication(path, contents)
    options, threshold = read_published_config(path.with_name(CONFIG), facts.model)
    state: dict[str, Any] = {part: {} for part in PREFIXES}
    for name, value in contents.weights.items():
        part = name.partition(".")[0]
        if part not in PREFIXES:
            raise refused(path, f"names of weights that begin with model. or loss., found {name}")
        state[part][name.removeprefix(PREFIXES[part])] = value
    state |= {"options": options, "left_out": facts.left_out, "result": facts.result}
    if threshold is not None:
        state["result"] = {**facts.result, THRESHOLD: threshold}
    if facts.classes:
        state["classes"] = facts.classes
    require_layout(path, state)
    return state


def facts_of_publication(path: Path, contents: SafetensorsFile) -> Facts:
    """Returns what the header of a published file says. Raises InputError if it is damaged."""
    metadata = contents.metadata
    if metadata.get("layout") != LAYOUT:
        found = metadata.get("layout", "none")
        raise refused(path, f"a network published in layout {LAYOUT}, found layout {found:.20}")
    if metadata.get(CHECKSUM) != digest_of_publication(contents.weights, metadata):
        raise refused(path, "contents with the checksum in the header, found others")
    with foreign_file(path, "expected facts about the network in its header, found {}.".format):
        values = {name: json.loads(metadata[name]) for name in Facts._fields[1:]}
        facts = Facts(metadata["model"], **values)
        is_list = isinstance(facts.left_out, list) and all(map(is_text, facts.left_out))
        tables = (facts.result, facts.classes, facts.files)
        if not is_list or not all(isinstance(table, dict) for table in tables):
            raise ValueError("something else")
    return facts


def is_text(value: Any) -> bool:
    """Returns whether a value is a text."""
    return isinstance(value, str)


def read_published_config(path: Path, model: str) -> tuple[dict[str, Any], float | None]:
    """Reads the config.yaml of a published network -> its options, and the decision threshold.

    model: what the weights are for. Raises InputError if the file is missing or wrong.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: expected the options of the network next to {MODEL}, found no such file. "
            "Copy the complete folder."
        )
    problem = "expected the options of a published network as YAML, found something else ({})."
    with foreign_file(path, problem.format):
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError(type(found).__name__)
    threshold = found.pop(THRESHOLD, None)
    if threshold is not None and not (is_number(threshold) and abs(threshold) < LARGEST_THRESHOLD):
        raise InputError(
            f"{path}: expected a finite number as threshold, found {threshold!r:.50}. Correct the "
            "number, or remove the line."
        )
    if found.get("model") != model:
        raise InputError(
            f"{path}: expected --model {model:.50}, as {MODEL} says, found "
            f"{found.get('model')!r:.50}. Copy the complete folder again."
        )
    require_options(path, found)
    return published_options(found), threshold


def refused(path: Path, expected: str) -> InputError:
    """Returns the error about a published file that is damaged."""
    return InputError(
        f"{path}: expected {expected}. The file is damaged, or another version wrote it. Copy it "
        "again, or give another checkpoint."
    )


def changed_files(folder: Path, facts: Facts) -> list[str]:
    """Returns the names in a published folder that were added or changed after its publication."""
    changed = []
    for path in sorted(folder.iterdir()):
        known = facts.files.get(path.name)
        if path.name == MODEL and path.is_file():
            continue
        if not path.is_file() or path.is_symlink() or digest_of_file(path.read_bytes()) != known:
            changed.append(path.name)
    return changed
