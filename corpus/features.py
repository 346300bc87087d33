"""Files of log-mel features, which are read in place of audio.

A file contains the features of an utterance before their normalisation over time. The format is
float32 [T, bands] in NumPy's format (.npy), or an older pickled array [bands, T] (.pickle).
prep/extraction.py writes .npy files. Any part of a file is read as float32. The normalisation uses
all frames of the file.
"""

import os
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from common.normalisation import normalise
from corpus.arrays import read_npy, read_pickled_array
from corpus.audio import Recording

NPY = ".npy"
PICKLE = ".pickle"
SUFFIXES = (NPY, PICKLE)
EXPECTED = "expected an array of finite numbers, [frames, bands]"
EXTRACT_AGAIN = "Create it again with 'python dataprep.py features'."


class FeatureInput(NamedTuple):
    """The features that a network expects.

    bands: number of mel bands. normalization: normalisation over time, see common/normalisation.py.
    """

    bands: int
    normalization: str


def load_array(path: str | os.PathLike) -> np.ndarray:
    """Reads the array of a file of features, floating point [T, bands].

    Raises InputError if the file is missing or contains no such array.
    """

    def problem(text: str) -> str:
        return (
            f"{EXPECTED}, found another content ({text}). No code from the file was run. "
            f"{EXTRACT_AGAIN}"
        )

    is_npy = str(path).endswith(NPY)
    x = read_npy(path, problem) if is_npy else read_pickled_array(path, problem)
    if not is_feature_array(x):
        raise InputError(f"{path}: {EXPECTED}, found {description(x)}. {EXTRACT_AGAIN}")
    return x if is_npy else x.T


def is_feature_array(x: object) -> bool:
    """Whether an object is a two-dimensional array of finite floating-point numbers."""
    if not isinstance(x, np.ndarray) or x.ndim != 2 or x.dtype.kind != "f" or not x.size:
        return False
    return bool(np.isfinite(x).all())


def description(x: object) -> str:
    """Describes an object that is not an array of features."""
    text = type(x).__name__
    if isinstance(x, np.ndarray):
        text = f"{x.dtype} {list(x.shape)}"
    # An array of floating-point numbers is refused for its shape or for its numbers.
    return f"{text} with NaN or infinity" if text.startswith("float") else text


class Features(Recording):
    """The features of a file, normalised over time. See Recording.

    expected: the features that the network expects. Raises InputError if the file cannot be used.
    """

    def __init__(self, path: str | os.PathLike, expected: FeatureInput):
        x = load_array(path)
        if x.shape[1] != expected.bands:
            raise InputError(
                f"{path}: expected {expected.bands} mel bands, found {x.shape[1]}. Extract the "
                "features again with 'python dataprep.py features', or list audio files."
            )
        # Imported here, because torch needs seconds to load and lists of audio do not need it.
        import torch

        features = torch.from_numpy(x.astype(np.float32))
        self.x = normalise(features, expected.normalization).numpy()
        self.frames = len(x)

    def read(self, start: int, count: int) -> np.ndarray:
        """Returns `count` frames from number `start` on, float32 [count, bands]."""
        return self.x[start : start + count]
