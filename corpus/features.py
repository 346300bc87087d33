"""Files of log-mel features, read in place of audio: any stretch of one as float32, normalised over the whole file.

A file holds an utterance as it comes from a front end, before its normalisation over time: float32 [T, bands] in NumPy's format (.npy), or an older pickled
array [bands, T] (.pickle). corpus/extraction.py makes them.
"""

import pickle
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from common.normalisation import normalise
from corpus.audio import Recording

SUFFIXES = NPY, PICKLE = ".npy", ".pickle"
WANT = "want an array of finite numbers, [frames, bands]"


class FeatureInput(NamedTuple):
    """What a network wants of features: their bands, and how they are normalised over time, see normalise()."""

    bands: int
    normalization: str


class ArrayPickle(pickle.Unpickler):
    """Makes NumPy arrays of numbers; a file that names any other class or function is refused, so that no code of it runs."""

    ALLOWED = {
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
        # of NumPy before 2.0
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy.core.numeric", "_frombuffer"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy._core.numeric", "_frombuffer"),
    }

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it holds {module}.{name}")
        return super().find_class(module, name)


def load_array(path):
    """-> the array of a file of features, [T, bands]. InputError if the file is of another kind."""
    try:
        with open(path, "rb") as file:
            x = (
                np.load(file, allow_pickle=False)
                if str(path).endswith(NPY)
                else ArrayPickle(file, encoding="latin1").load()
            )
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except Exception as error:
        # what a torn or strange file leads to is anybody's guess
        raise InputError(
            f"{path}: {WANT}, got something else ({error}); no code of it was run; make it again"
        ) from None
    if (
        not isinstance(x, np.ndarray)
        or x.ndim != 2
        or x.dtype.kind != "f"
        or not x.size
        or not np.isfinite(x).all()
    ):
        got = f"{x.dtype} {list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
        raise InputError(
            f"{path}: {WANT}, got {got}{' with NaN or infinity' if got.startswith('float') else ''}; make it again"
        )
    return x if str(path).endswith(NPY) else x.T


class Features(Recording):
    """The features of a file, normalised over time, `frames` of them; see Recording. wanted: a FeatureInput. InputError if the file cannot be used."""

    def __init__(self, path, wanted):
        x = load_array(path)
        if x.shape[1] != wanted.bands:
            raise InputError(
                f"{path}: want {wanted.bands} bands, got {x.shape[1]}; extract them anew, or list audio"
            )
        # Imported here, because lists of audio can do without torch, which takes seconds to load.
        import torch

        self.x = normalise(torch.from_numpy(x.astype(np.float32)), wanted.normalization).numpy()
        self.frames = len(x)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, start, count):
        """`count` frames from number `start` on -> [count, bands] float32."""
        return self.x[start : start + count]
