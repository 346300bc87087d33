"""Recordings that a program hands over: arrays of samples, and files at any sampling rate.

Data sets read them as they read the files of a folder.
"""

import math
import os
from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import soundfile

from common.constants import SAMPLE_RATE
from common.errors import InputError
from corpus.audio import Audio, AudioError, Recording, open_sound, read_sound, truncated
from corpus.features import SUFFIXES, FeatureInput, Features

# Samples of audio reach 1. An array of floating-point numbers with a larger number than this one
# contains the integers of a 16-bit file.
LOUDEST = 16.0
# Sampling rates of speech and music, in Hz.
LOWEST_RATE = 1000
HIGHEST_RATE = 384_000


def resampled(x: np.ndarray, rate: int) -> np.ndarray:
    """Returns samples [T] at SAMPLE_RATE that were at `rate` Hz, float32."""
    # Imported here, because torch needs seconds to load.
    import torch
    from torchaudio.functional import resample

    return resample(torch.from_numpy(as_float32(x)), rate, SAMPLE_RATE).numpy()


def as_float32(x: np.ndarray) -> np.ndarray:
    """Returns samples [T] as float32. 16-bit integers are divided by 32768, as in files."""
    if x.dtype == np.int16:
        return x * np.float32(1 / 32768)
    return np.ascontiguousarray(x, np.float32)


def samples_of(x: Any, name: str) -> np.ndarray:
    """Returns the samples of an array or a tensor, without a copy where possible -> [T].

    The type is int16 or a floating-point type. name: what messages call the array. Raises
    InputError if it contains no mono audio.
    """
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = (x if x.dtype.itemsize > 2 or not x.is_floating_point() else x.float()).numpy()
    if not isinstance(x, np.ndarray):
        raise InputError(
            f"{name}: expected an array of samples or the path of a file, found an object of the "
            f"type {type(x).__name__}. Give a NumPy array, a torch tensor, a path, or a list with "
            "such elements."
        )
    shape = list(x.shape)
    if x.ndim == 2 and 1 in shape:
        x = x.reshape(-1)
    if x.ndim != 1:
        raise InputError(
            f"{name}: expected the samples of one recording with one channel, an array [samples], "
            f"found the shape {shape}. For several recordings, give a list of arrays. For several "
            "channels, choose one, or give their mean."
        )
    if not len(x):
        raise InputError(f"{name}: expected samples, found an empty array. Leave it out.")
    if x.dtype != np.int16 and x.dtype.kind != "f":
        raise InputError(
            f"{name}: expected floating-point samples from -1 to 1, or int16, found {x.dtype}. "
            "Convert the array."
        )
    if x.dtype.kind == "f":
        check_numbers(x, name)
    return x


def check_numbers(x: np.ndarray, name: str) -> None:
    """Raises InputError if floating-point samples [T] are not finite, or far beyond 1."""
    if not np.isfinite(x).all():
        raise InputError(
            f"{name}: expected finite samples, found NaN or infinity as sample "
            f"{int(np.isfinite(x).argmin())}. Correct the array."
        )
    peak = max(float(x.max()), -float(x.min()))
    if peak > LOUDEST:
        raise InputError(
            f"{name}: expected floating-point samples from -1 to 1, found {peak:g}. Divide the "
            "integers of a 16-bit file by 32768, or give them as int16."
        )


def check_rate(sample_rate: Any, resample: bool) -> int:
    """Returns the sampling rate of arrays in Hz. Raises InputError if it cannot be used."""
    rate = int(sample_rate) if isinstance(sample_rate, (int, float, np.number)) else 0
    if rate != sample_rate or not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise InputError(
            f"sample_rate: expected a whole number of Hz from {LOWEST_RATE} to {HIGHEST_RATE}, "
            f"found {sample_rate!r:.80}. Give the sampling rate of the arrays."
        )
    if rate != SAMPLE_RATE and not resample:
        raise InputError(
            f"sample_rate: expected {SAMPLE_RATE} Hz, found {rate} Hz. Give resample=True to "
            "resample the arrays, or arrays at the expected rate."
        )
    return rate


class Wave(Recording):
    """Samples of an array [T] at `rate` Hz, as samples_of() returned them. See Recording."""

    def __init__(self, samples: np.ndarray, rate: int = SAMPLE_RATE) -> None:
        self.samples = samples
        self.rate = rate
        common = math.gcd(rate, SAMPLE_RATE)
        self.frames = math.ceil(len(samples) * (SAMPLE_RATE // common) / (rate // common))

    def read(self, start: int, count: int) -> np.ndarray:
        """Returns `count` samples from number `start` on, float32 [count], at SAMPLE_RATE."""
        if self.rate != SAMPLE_RATE:
            return resampled(self.samples, self.rate)[start : start + count]
        return as_float32(self.samples[start : start + count])


def read_any_rate(path: str) -> Wave:
    """Reads an audio file with one channel at any sampling rate. Raises InputError otherwise."""
    sound, _ = open_sound(path)
    with sound:
        if sound.channels != 1:
            raise AudioError(
                f"{path}: expected 1 channel, found {sound.channels} channels. Choose one channel, "
                "or mix them.",
                "format",
            )
        try:
            x = read_sound(sound, 0, sound.frames)
        except (soundfile.SoundFileError, ValueError):
            x = np.empty(0, np.float32)
        if len(x) != sound.frames:
            raise truncated(path, f"expected {sound.frames} samples, found {len(x)}")
        rate = sound.samplerate
    return Wave(samples_of(x, path), check_rate(rate, resample=True))


class Waves:
    """Recordings by name: arrays, and the files of all other names.

    It is used like a Folder of corpus/roots.py. arrays: {name: samples [T]} as samples_of()
    returned them. rate: sampling rate of the arrays in Hz. resample: whether files at other rates
    than SAMPLE_RATE are resampled.
    """

    def __init__(
        self, arrays: Mapping[str, np.ndarray], rate: int = SAMPLE_RATE, resample: bool = False
    ) -> None:
        self.arrays = arrays
        self.rate = rate
        self.resample = resample

    def __contains__(self, name: object) -> bool:
        return name in self.arrays or os.path.isfile(str(name))

    def contents(self) -> Container:
        """Returns a container of all names."""
        return self

    def open(self, name: str, expected: FeatureInput | None = None) -> Recording:
        """Opens a recording. expected: the features that the network expects, None for audio.

        Raises InputError if it cannot be used.
        """
        if name in self.arrays:
            return Wave(self.arrays[name], self.rate)
        if expected and name.endswith(SUFFIXES):
            return Features(name, expected)
        try:
            return Audio(name)
        except AudioError as error:
            if error.kind != "format":
                raise
            if not self.resample:
                raise AudioError(f"{error} For another rate, resample=True does so.") from None
        return read_any_rate(name)
