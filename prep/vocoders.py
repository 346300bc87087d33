"""Speech taken apart and put together again: what spoofed copies are made with.

vocode and griffin_lim with its defaults are attacks A01 and A02 of the synthetic corpus; COPIES are those of copy synthesis.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.signal

from common.constants import SAMPLE_RATE
from common.errors import InputError
from prep.constants import VOCODERS
from prep.synthesis import FFT, SHIFT, frames_of, overlap_add

PYWORLD = "pyworld==0.3.5"


def vocode(x, pitch, order=18):
    """Attack A01: a monotone vocoder. Envelopes by linear prediction from x [T], driven by pulses of constant pitch (Hz) -> [T]."""
    x = x[: len(x) // SHIFT * SHIFT]
    power = np.abs(frames_of(x)) ** 2
    r = scipy.fft.irfft(power, FFT)[:, : order + 1].astype(float)  # [n, order + 1] autocorrelation
    r[:, 0] = r[:, 0] * 1.0001 + 1e-9
    a, error = np.ones((len(r), 1)), r[:, 0]
    # Levinson-Durbin, all frames at once
    for i in range(1, order + 1):
        k = -np.sum(a * r[:, i:0:-1], 1) / error
        a = np.pad(a, [(0, 0), (0, 1)])
        a = a + k[:, None] * a[:, ::-1]
        error = error * (1 - k**2)
    pulses = np.diff(np.floor(np.arange(len(x) + 1) * (pitch / SAMPLE_RATE)))
    excitation = frames_of(pulses)
    # no sound below 45 Hz
    excitation[:, :2] = 0
    energy = np.maximum(np.mean(np.abs(excitation) ** 2, 1), 1e-6)
    return overlap_add(excitation * np.sqrt(error / energy)[:, None] / scipy.fft.rfft(a, FFT))


@functools.cache
def mel_and_back(bands):
    """Takes a magnitude spectrum to so many mel bands and, by least squares, back -> [FFT / 2 + 1, FFT / 2 + 1]."""
    # Imported here, because it takes seconds to load.
    import torchaudio

    filters = torchaudio.functional.melscale_fbanks(
        FFT // 2 + 1, 0.0, SAMPLE_RATE / 2, bands, SAMPLE_RATE
    ).numpy()  # [FFT / 2 + 1, bands]
    return np.linalg.pinv(filters.T) @ filters.T


def griffin_lim(rng, x, iterations=8, bands=None):
    """x [T] rebuilt from its magnitude spectrogram alone, from random phases (Griffin & Lim 1984) -> [T].

    bands: the spectrogram goes through so many mel bands first, as that which neural vocoders are given.
    """
    window = {"nperseg": FFT, "noverlap": FFT - SHIFT}
    magnitude = np.abs(scipy.signal.stft(x, **window)[2])  # [FFT / 2 + 1, n]
    if bands:
        magnitude = np.maximum(mel_and_back(bands) @ magnitude, 0)
    phase = np.exp(2j * np.pi * rng.random(magnitude.shape))
    for _ in range(iterations):
        spectrum = scipy.signal.stft(scipy.signal.istft(magnitude * phase, **window)[1], **window)[
            2
        ][:, : magnitude.shape[1]]
        phase = spectrum / np.maximum(np.abs(spectrum), 1e-12)
    return scipy.signal.istft(magnitude * phase, **window)[1][: len(x)]


def world(x, period=5.0, coefficients=None):
    """x [T] through WORLD (Morise et al. 2016): pitch, spectral envelope and aperiodicity every `period` ms, and back -> [T].

    coefficients: the envelope goes through so many mel-cepstral coefficients and the aperiodicity through its bands, as in statistical synthesis.
    """
    pyworld = import_pyworld()
    x = x.astype(float)
    # Harvest is better in noise but takes five times as long as all the rest
    pitch, time = pyworld.dio(x, SAMPLE_RATE, frame_period=period)
    pitch = pyworld.stonemask(x, pitch, time, SAMPLE_RATE)  # [n] Hz, 0 where unvoiced
    envelope = pyworld.cheaptrick(x, pitch, time, SAMPLE_RATE)  # [n, bins]
    aperiodicity = pyworld.d4c(x, pitch, time, SAMPLE_RATE)
    if coefficients:
        size = 2 * (envelope.shape[1] - 1)
        envelope = pyworld.decode_spectral_envelope(
            pyworld.code_spectral_envelope(envelope, SAMPLE_RATE, coefficients), SAMPLE_RATE, size
        )
        aperiodicity = pyworld.decode_aperiodicity(
            pyworld.code_aperiodicity(aperiodicity, SAMPLE_RATE), SAMPLE_RATE, size
        )
    return pyworld.synthesize(pitch, envelope, aperiodicity, SAMPLE_RATE, period)[: len(x)]


def import_pyworld():
    """The optional package pyworld. InputError, with the remedy, where it is not installed or does not work."""
    try:
        import pyworld
    except ImportError as error:
        others = " ".join(name for name, vocoder in COPIES.items() if not vocoder.needs)
        raise InputError(
            f"--vocoders world: want the package pyworld, got: {error}; pip install {PYWORLD}, or choose --vocoders {others}"
        ) from None
    return pyworld


class Vocoder(NamedTuple):
    """attack: its name in protocols. copy: (random generator, x [T]) -> [T]. needs: imports what else must be installed."""

    attack: str
    text: str
    copy: Callable
    needs: Callable | None = None


COPIES = {
    "world": Vocoder(*VOCODERS["world"], lambda rng, x: world(x), import_pyworld),
    "world_coded": Vocoder(
        *VOCODERS["world_coded"],
        lambda rng, x: world(x, 10.0, 24),
        import_pyworld,
    ),
    "griffin_lim": Vocoder(*VOCODERS["griffin_lim"], lambda rng, x: griffin_lim(rng, x, 32)),
    "griffin_lim_mel": Vocoder(
        *VOCODERS["griffin_lim_mel"], lambda rng, x: griffin_lim(rng, x, 32, 80)
    ),
}
