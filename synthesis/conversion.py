"""Changes of a voice and of phases: attacks whose amounts are drawn for each utterance.

Every function takes a random generator first. The same state of the generator gives the same
samples.
"""

from collections.abc import Callable

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.signal

from common.constants import SAMPLE_RATE
from synthesis.speech import FFT, SHIFT
from synthesis.vocoders import Analysis, analyse, griffin_lim, resynthesise

# Largest factor of the pitch, up or down: from a man to a woman.
PITCH = 1.7
# Largest factor of the formants, up or down: the range of the length of vocal tracts of adults.
TRACT = 1.18
# Ratio of the log formants and the log pitch between men and women.
TRACT_OF_PITCH = 0.25
# Cepstral coefficients of an envelope: 2.5 ms, a period of a pitch of 400 Hz.
LIFTER = 40
# Steps that raise an envelope from the mean of harmonics and gaps to the harmonics.
STEPS = 8
# Largest gain of a moved envelope in nepers: 30 dB.
GAIN = 3.45
WINDOW = {"nperseg": FFT, "noverlap": FFT - SHIFT}


def draw_factor(rng: np.random.Generator, largest: float) -> float:
    """Draws a factor between 1 / largest and largest. Its logarithm is uniform."""
    return float(np.exp(rng.uniform(-np.log(largest), np.log(largest))))


# ---------------------------------------------------------------------- voices
def warp(log_envelope: np.ndarray, factor: float) -> np.ndarray:
    """Returns envelopes [n, bins] whose frequencies are multiplied by `factor`.

    The last value of an envelope continues above its end.
    """
    bins = log_envelope.shape[1]
    position = np.minimum(np.arange(bins) / factor, bins - 1)
    below = np.minimum(position.astype(int), bins - 2)
    share = position - below
    return (1 - share) * log_envelope[:, below] + share * log_envelope[:, below + 1]


def change_voice(analysis: Analysis, pitch: float, formants: float) -> Analysis:
    """Returns a WORLD analysis with pitch and formants multiplied by these factors."""
    envelope = np.exp(warp(np.log(analysis.envelope), formants))
    return analysis._replace(pitch=analysis.pitch * pitch, envelope=envelope)


def world_voice(
    rng: np.random.Generator,
    x: np.ndarray,
    pitch: float | None = None,
    formants: float | None = None,
) -> np.ndarray:
    """Returns speech x [T] with another pitch and other formants, by WORLD.

    `pitch` and `formants` are factors. By default both are drawn.
    """
    pitch = pitch or draw_factor(rng, PITCH)
    formants = formants or draw_factor(rng, TRACT)
    return resynthesise(change_voice(analyse(x), pitch, formants), len(x))


def other_pitch(rng: np.random.Generator, pitch: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns the pitch [n] of another speaker, a woman or a man, and a factor of the formants.

    `pitch` [n] is in Hz, and 0 in unvoiced frames, which stay unvoiced. The mean of the log pitch
    is drawn as for the synthetic speakers. The new pitch is also more lively or more monotone. The
    formants move as they do between women and men.
    """
    voiced = pitch > 0
    target = rng.normal(np.log(rng.choice([118, 205])), 0.2)
    liveliness = draw_factor(rng, 2)
    if not voiced.any():
        return pitch, 1.0
    log_pitch = np.log(pitch[voiced])
    mean = log_pitch.mean()
    other = np.zeros_like(pitch)
    other[voiced] = np.exp(target + liveliness * (log_pitch - mean))
    # Errors of the analysis must not leave the range of voices.
    other[voiced] = np.clip(other[voiced], 50, 600)
    return other, float(np.clip(np.exp(TRACT_OF_PITCH * (target - mean)), 1 / TRACT, TRACT))


def world_convert(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Returns speech x [T] with the pitch of another speaker, formants moved with it, by WORLD."""
    analysis = analyse(x)
    pitch, formants = other_pitch(rng, analysis.pitch)
    return resynthesise(change_voice(analysis, 1, formants)._replace(pitch=pitch), len(x))


def world_drawn(rng: np.random.Generator, x: np.ndarray, period: float | None = None) -> np.ndarray:
    """Returns speech x [T] from WORLD with a frame every `period` ms, and small disturbances.

    By default the period is drawn between 2.5 and 20 ms. The pitch gets slow noise of at most 2 %,
    and the voice becomes more or less breathy.
    """
    period = period or float(np.exp(rng.uniform(np.log(2.5), np.log(20))))
    pitch, envelope, aperiodicity = analyse(x, period)
    frames = max(1.0, 20 / period)
    noise = scipy.ndimage.gaussian_filter1d(rng.standard_normal(len(pitch)), frames)
    noise *= rng.uniform(0, 0.02) / max(noise.std(), 1e-9)
    # A share of noise between 0 and 1 stays in this range.
    aperiodicity = aperiodicity ** draw_factor(rng, 2)
    return resynthesise(Analysis(pitch * np.exp(noise), envelope, aperiodicity), len(x), period)


def true_envelope(log_magnitude: np.ndarray) -> np.ndarray:
    """Returns smooth envelopes through the harmonics of spectra [n, FFT / 2 + 1].

    The method is the true envelope (Röbel & Rodet 2005): a smooth cepstrum, in which values below
    the envelope are replaced by the envelope, again and again.
    """
    envelope = np.full_like(log_magnitude, -np.inf)
    for _ in range(STEPS):
        cepstrum = scipy.fft.irfft(np.maximum(log_magnitude, envelope), FFT)
        cepstrum[:, LIFTER : FFT - LIFTER + 1] = 0
        envelope = scipy.fft.rfft(cepstrum).real
    return envelope


def move_formants(
    rng: np.random.Generator, x: np.ndarray, factor: float | None = None
) -> np.ndarray:
    """Returns speech x [T] with formants multiplied by `factor`, drawn by default.

    The change of the envelope is a filter of every frame, so pitch and phases stay as they are.
    """
    factor = factor or draw_factor(rng, TRACT)
    spectra = scipy.signal.stft(x, **WINDOW)[2].T  # [n, FFT / 2 + 1]
    power = np.abs(spectra)
    envelope = true_envelope(np.log(power + 1e-5 * power.max()))
    gain = np.clip(warp(envelope, factor) - envelope, -GAIN, GAIN)
    return scipy.signal.istft((spectra * np.exp(gain)).T, **WINDOW)[1][: len(x)]


# ---------------------------------------------------------------------- phases
def randomise_phase(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Returns speech x [T] whose phases are random, and whose mel powers stay nearly the same.

    Independent random phases would smear the sound over a frame. Here the added phase is a random
    field that changes slowly over 40 ms and 250 Hz: delays of about 1 ms.
    """
    spectra = scipy.signal.stft(x, **WINDOW)[2]  # [FFT / 2 + 1, n]
    field = scipy.ndimage.gaussian_filter(rng.standard_normal(spectra.shape), (8, 5))
    # With this standard deviation in rad, all phases are almost equally likely.
    field *= 2.5 / field.std()
    return scipy.signal.istft(spectra * np.exp(1j * field), **WINDOW)[1][: len(x)]


def griffin_lim_drawn(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Returns speech x [T] from Griffin-Lim with a drawn frame and number of iterations."""
    size = int(rng.choice([256, 400, 512, 800, 1024]))
    return griffin_lim(rng, x, int(rng.integers(1, 17)), size=size)


# ---------------------------------------------------------------------- mixtures
def voice_griffin_lim(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Returns speech x [T] with another voice, whose phases are then found by Griffin-Lim."""
    return griffin_lim_drawn(rng, world_voice(rng, x))


def draw_segments(rng: np.random.Generator, samples: int) -> np.ndarray:
    """Draws which samples are spoofed, 0 or 1 [samples]: every second part of 0.2 to 0.8 s.

    At least one part is spoofed.
    """
    parts = int(samples / (0.2 * SAMPLE_RATE)) + 2
    lengths = rng.integers(int(0.2 * SAMPLE_RATE), int(0.8 * SAMPLE_RATE), parts)
    spoofed = np.repeat((np.arange(parts) + rng.integers(2)) % 2, lengths)[:samples]
    return spoofed if spoofed.any() else np.ones(samples, int)


def mix_segments(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Returns speech x [T] in which every second part is a copy, with fades of 10 ms.

    The copy of a file is made by Griffin-Lim, with or without mel bands, or has other phases.
    """
    vocoders: list[Callable[[], np.ndarray]] = [
        lambda: griffin_lim(rng, x, 32),
        lambda: griffin_lim(rng, x, 32, 80),
        lambda: randomise_phase(rng, x),
    ]
    share = draw_segments(rng, len(x)).astype(float)
    share = scipy.ndimage.uniform_filter1d(share, SAMPLE_RATE // 100, mode="nearest")
    copy = vocoders[rng.integers(len(vocoders))]()
    return (1 - share) * x + share * copy
