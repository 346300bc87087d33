"""Vocoders that make spoofed copies: analysis of speech, and synthesis from the analysis.

`vocode` is attack A01 of the synthetic corpus, and `griffin_lim` with its defaults is attack A02.
The vocoders of copy synthesis are listed in synthesis/copies.py.
"""

import functools
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.signal

from common.constants import SAMPLE_RATE
from synthesis.speech import FFT, SHIFT, overlap_add, short_time_spectra


def vocode(x: np.ndarray, pitch: float, order: int = 18) -> np.ndarray:
    """Returns speech x [T] with a constant pitch in Hz: attack A01, a monotone vocoder.

    Linear prediction of this order gives the spectral envelopes. Pulses excite the filters. The
    result contains the complete frames of x, [T // SHIFT * SHIFT].
    """
    x = x[: len(x) // SHIFT * SHIFT]
    power = np.abs(short_time_spectra(x)) ** 2
    # Autocorrelation of every frame.
    r = scipy.fft.irfft(power, FFT)[:, : order + 1].astype(float)  # [n, order + 1]
    r[:, 0] = r[:, 0] * 1.0001 + 1e-9
    a, error = np.ones((len(r), 1)), r[:, 0]
    # Levinson-Durbin recursion of all frames at once.
    for i in range(1, order + 1):
        k = -np.sum(a * r[:, i:0:-1], 1) / error
        a = np.pad(a, [(0, 0), (0, 1)])
        a = a + k[:, None] * a[:, ::-1]
        error = error * (1 - k**2)
    pulses = np.diff(np.floor(np.arange(len(x) + 1) * (pitch / SAMPLE_RATE)))
    excitation = short_time_spectra(pulses)
    # No sound below 45 Hz.
    excitation[:, :2] = 0
    energy = np.maximum(np.mean(np.abs(excitation) ** 2, 1), 1e-6)
    return overlap_add(excitation * np.sqrt(error / energy)[:, None] / scipy.fft.rfft(a, FFT))


@functools.cache
def mel_projection(bands: int) -> np.ndarray:
    """Returns a matrix [FFT / 2 + 1, FFT / 2 + 1] that reduces a spectrum to mel bands and back.

    The spectrum is computed from the mel bands of magnitudes by least squares.
    """
    # Imported here, because the import needs seconds.
    import torchaudio

    filters = torchaudio.functional.melscale_fbanks(
        FFT // 2 + 1, 0.0, SAMPLE_RATE / 2, bands, SAMPLE_RATE
    ).numpy()  # [FFT / 2 + 1, bands]
    return np.linalg.pinv(filters.T) @ filters.T


def griffin_lim(
    rng: np.random.Generator,
    x: np.ndarray,
    iterations: int = 8,
    bands: int | None = None,
    size: int = FFT,
) -> np.ndarray:
    """Returns speech [T] from the magnitude spectrogram of x [T] (Griffin & Lim 1984).

    The first phases are random. A frame has `size` samples, and a shift is a quarter of a frame.
    With `bands`, the spectrogram is first reduced to this number of mel bands, like the input of
    neural vocoders. Then `size` must be FFT.
    """
    window = {"nperseg": size, "noverlap": size - size // 4}
    magnitude = np.abs(scipy.signal.stft(x, **window)[2])  # [size / 2 + 1, n]
    if bands:
        magnitude = np.maximum(mel_projection(bands) @ magnitude, 0)
    phase = np.exp(2j * np.pi * rng.random(magnitude.shape))
    for _ in range(iterations):
        y = scipy.signal.istft(magnitude * phase, **window)[1]
        spectrum = scipy.signal.stft(y, **window)[2][:, : magnitude.shape[1]]
        phase = spectrum / np.maximum(np.abs(spectrum), 1e-12)
    return scipy.signal.istft(magnitude * phase, **window)[1][: len(x)]


class Analysis(NamedTuple):
    """What WORLD finds in speech, in n frames.

    `pitch` [n] is in Hz, and 0 in unvoiced frames. `envelope` [n, bins] is the power spectrum
    without the pitch. `aperiodicity` [n, bins] is the share of noise, from 0 to 1.
    """

    pitch: np.ndarray
    envelope: np.ndarray
    aperiodicity: np.ndarray


def analyse(x: np.ndarray, period: float = 5.0) -> Analysis:
    """Returns the WORLD analysis of speech x [T] every `period` ms (Morise et al. 2016)."""
    # Optional, see synthesis/copies.py.
    import pyworld

    x = x.astype(float)
    # Harvest is better in noise, but it needs five times the time of all other steps.
    pitch, time = pyworld.dio(x, SAMPLE_RATE, frame_period=period)
    pitch = pyworld.stonemask(x, pitch, time, SAMPLE_RATE)
    envelope = pyworld.cheaptrick(x, pitch, time, SAMPLE_RATE)
    return Analysis(pitch, envelope, pyworld.d4c(x, pitch, time, SAMPLE_RATE))


def resynthesise(analysis: Analysis, samples: int, period: float = 5.0) -> np.ndarray:
    """Returns speech [samples] from a WORLD analysis with frames every `period` ms."""
    import pyworld

    # pyworld refuses arrays with another order in memory.
    parts = [np.ascontiguousarray(part) for part in analysis]
    return pyworld.synthesize(*parts, SAMPLE_RATE, period)[:samples]


def world(x: np.ndarray, period: float = 5.0, coefficients: int | None = None) -> np.ndarray:
    """Returns speech [T] from the WORLD analysis of x [T] every `period` ms.

    With `coefficients`, the envelope is reduced to this number of mel-cepstral coefficients, and
    the aperiodicity to its bands, as in statistical speech synthesis.
    """
    import pyworld

    pitch, envelope, aperiodicity = analyse(x, period)
    if coefficients:
        size = 2 * (envelope.shape[1] - 1)
        envelope = pyworld.decode_spectral_envelope(
            pyworld.code_spectral_envelope(envelope, SAMPLE_RATE, coefficients), SAMPLE_RATE, size
        )
        aperiodicity = pyworld.decode_aperiodicity(
            pyworld.code_aperiodicity(aperiodicity, SAMPLE_RATE), SAMPLE_RATE, size
        )
    return resynthesise(Analysis(pitch, envelope, aperiodicity), len(x), period)
