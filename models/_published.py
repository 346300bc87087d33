"""Files of weights that other projects published: what they contain, and which network it is.

A model recognises its own files, see SpeakerModel.recognise(). Names and shapes of the weights
decide. The project decides what the weights do not contain, such as the front end.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

# Names of projects.
OF_WESPEAKER = "wespeaker"
OF_3D_SPEAKER = "3D-Speaker"
# All of the projects compare embeddings of whole files by their cosine.
WHOLE_FILES: dict[str, Any] = {"trainfunc": "aamsoftmax", "eval_frames": 0}
# The weight of the classifier in files of wespeaker.
CLASSIFIER = "projection.weight"


class Published(NamedTuple):
    """What a published file says about its network.

    project: the project that published it, for messages. options: options of the model that the
    weights decide. assumed: options that they do not contain, as the project has them.
    """

    project: str
    options: dict[str, Any]
    assumed: dict[str, Any]


class PublishedFile(NamedTuple):
    """A file of weights of another project.

    weights: name -> tensor, without prefixes. settings: the other entries of the file and the
    contents of the YAML file next to it.
    """

    weights: Mapping[str, torch.Tensor]
    settings: Mapping[str, Any]

    def has(self, *names: str) -> bool:
        """Returns whether the file has weights of all these names."""
        return all(name in self.weights for name in names)

    def size(self, name: str, axis: int = 0) -> int:
        """Returns the size of a weight along an axis, or 0 if there is no such axis."""
        shape = self.weights[name].shape if name in self.weights else ()
        return shape[axis] if axis < len(shape) else 0

    def count(self, prefix: str) -> int:
        """Returns how many different numbers follow a prefix of names, as in `layer1.NUMBER.`."""
        pattern = re.compile(rf"{re.escape(prefix)}(\d+)\.")
        found = {match[1] for name in self.weights if (match := pattern.match(name))}
        return len(found)

    def setting(self, *keys: str) -> Any:
        """Returns an entry of nested settings, or None if there is none."""
        value: Any = self.settings
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return value

    @property
    def toolkit(self) -> str:
        """The project, for networks that wespeaker and 3D-Speaker save with the same names.

        Files of wespeaker contain the classifier, or have a config.yaml with `model_args`.
        """
        is_wespeaker = CLASSIFIER in self.weights or "model_args" in self.settings
        return OF_WESPEAKER if is_wespeaker else OF_3D_SPEAKER
