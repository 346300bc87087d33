"""Recognises the network of published weights, so that --model need not be given.

The names and the shapes of the weights decide, see SpeakerModel.recognise(). A YAML file next to
the checkpoint gives the rest: options of this program, or the config.yaml of wespeaker.
"""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml

from common.foreign_files import foreign_file
from models._published import PublishedFile
from network.stored_options import require_options
from options.plugins import components, find

log = logging.getLogger("trainSpeakerNet")
# Name of the file of settings in a folder of another project.
CONFIG = "config.yaml"


class Recognised(NamedTuple):
    """The network of a published file.

    source: where the file comes from, for messages. options: --model and the options of the network
    that the weights decide. assumed: other options, as the source has them. A user may change them.
    threshold: of --verify, or None.
    """

    source: str
    options: dict[str, Any]
    assumed: dict[str, Any]
    threshold: float | None = None


def recognise(
    path: str | Path, weights: Mapping[str, torch.Tensor], entries: Mapping[str, Any]
) -> Recognised | None:
    """Returns the network of the weights in a file, or None if no model recognises them.

    weights: under their names without prefixes. entries: the other entries of the file. Raises
    InputError for a YAML file next to the checkpoint that cannot be read or has wrong options.
    """
    settings_path, settings = settings_beside(path)
    own = {}
    if settings.get("model") in components("model"):
        require_options(settings_path, settings)
        own = settings
    threshold = own.pop("threshold", None)
    file = PublishedFile(weights, {**entries, **settings})
    names: Iterable[str] = [own["model"]] if own else components("model")
    problem = "expected published weights, found some whose network is unknown ({}).".format
    for name in names:
        with foreign_file(path, problem):
            found = find("model", name).recognise(file)
        if found:
            assumed = {**found.assumed, **own}
            options = {"model": name, **found.options}
            return Recognised(found.project, options, assumed, threshold)
    return Recognised(str(settings_path), {}, own, threshold) if own else None


def settings_beside(path: str | Path) -> tuple[Path, dict[str, Any]]:
    """Returns the YAML file that belongs to a checkpoint, and its contents, {} without one.

    The file has the name of the checkpoint with the ending .yaml, or the name config.yaml.
    """
    for candidate in (Path(path).with_suffix(".yaml"), Path(path).with_name(CONFIG)):
        if candidate.is_file():
            problem = "expected the settings of a checkpoint as YAML, found something else ({})."
            with foreign_file(candidate, problem.format):
                found = yaml.safe_load(candidate.read_text(encoding="utf-8"))
            if isinstance(found, dict):
                return candidate, found
    return Path(path), {}
