"""RawBoost: distortions of microphones, amplifiers and lines for training crops.

Three algorithms of Tak, Kamble, Patino, Todisco and Evans, ICASSP 2022 (arXiv:2111.04433), and
their published combinations. They need no other data. The default ranges are the paper's.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft

from common.constants import SAMPLE_RATE
from corpus.augment import TINY, energy, fast_size


class Notches(NamedTuple):
    """Ranges of a cascade of band-stop filters.

    bands: number of filters. Their centres are between lowest_hz and highest_hz, their widths
    between narrowest_hz and widest_hz. Each has at least `fewest_taps` taps, at most `most_taps`,
    and one more if this number is even.
    """

    bands: int = 5
    lowest_hz: float = 20
    highest_hz: float = 8000
    narrowest_hz: float = 100
    widest_hz: float = 1000
    fewest_taps: int = 10
    most_taps: int = 100


class Ranges(NamedTuple):
    """Ranges of the draws. Gains and ratios are in dB.

    1, linear and non-linear convolutive noise: the filter of the signal has a largest gain
    between lowest_gain and highest_gain. Each filter of its powers 2 to `powers` has a largest gain
    between highest_gain - most_bias and lowest_gain - least_bias. 2, impulsive signal-dependent
    noise: at most `most_percent` of the samples change, each by at most impulse_gain times its
    value. 3, stationary signal-independent noise: its signal-to-noise ratio.
    """

    notches: Notches = Notches()
    powers: int = 5
    lowest_gain: float = 0
    highest_gain: float = 0
    least_bias: float = 5
    most_bias: float = 20
    most_percent: float = 10
    impulse_gain: float = 2
    lowest_snr: float = 10
    highest_snr: float = 40


# ---------------------------------------------------------------------- filters
def notch_filters(number: int, notches: Notches, rng: np.random.Generator) -> np.ndarray:
    """Draws filters, each of which is a cascade of band-stop filters -> float64 [number, L].

    The taps are symmetric around tap L // 2, so the filters delay nothing. The largest gain of each
    filter is 1 (at the frequencies of a transform of L samples). The band-stop filters are windowed
    sinc functions with a Hamming window.
    """
    shape = (number, notches.bands, 1)
    centre = rng.uniform(notches.lowest_hz, notches.highest_hz, shape)
    half_width = rng.uniform(notches.narrowest_hz, notches.widest_hz, shape) / 2
    half_taps = rng.integers(notches.fewest_taps, notches.most_taps, shape, endpoint=True) // 2
    low = np.clip((centre - half_width) / SAMPLE_RATE, 0, 0.5)
    high = np.clip((centre + half_width) / SAMPLE_RATE, 0, 0.5)
    place = np.arange(-half_taps.max(), half_taps.max() + 1)
    taps = 2 * low * np.sinc(2 * low * place) - 2 * high * np.sinc(2 * high * place) + (place == 0)
    window = 0.54 + 0.46 * np.cos(np.pi * place / half_taps)
    taps *= np.where(abs(place) <= half_taps, window, 0)
    # The size holds the taps of the whole cascade. Places before the centre are at the end.
    size = fast_size(notches.bands * len(place))
    centred = np.zeros((*shape[:2], size))
    centred[..., place] = taps
    gain = scipy.fft.rfft(centred).real.prod(1)
    gain /= abs(gain).max(-1, keepdims=True)
    return np.roll(scipy.fft.irfft(gain, size), size // 2, -1)


def filtered(signals: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Returns the sum of signals [n, T], each through its filter [n, L] -> float32 [T].

    The centre of a filter is tap L // 2, as in notch_filters().
    """
    samples, taps = signals.shape[1], filters.shape[1]
    size = fast_size(samples + taps)
    spectrum = scipy.fft.rfft(signals.astype(np.float32), size)
    spectrum *= scipy.fft.rfft(filters.astype(np.float32), size)
    return scipy.fft.irfft(spectrum.sum(0), size)[taps // 2 :][:samples]


def at_most_full_scale(x: np.ndarray) -> np.ndarray:
    """Returns x [T], divided by its largest absolute value if this is above 1."""
    return x / max(1, abs(x).max(initial=0))


# ---------------------------------------------------------------------- algorithms
def convolutive(x: np.ndarray, ranges: Ranges, rng: np.random.Generator) -> np.ndarray:
    """Algorithm 1: adds up the powers 1 to N of x [T], each through a filter of its own -> [T].

    A cascade of band-stop filters attenuates some bands, as lines do. The powers are the harmonics
    of an overloaded amplifier.
    """
    gain = rng.uniform(
        ranges.highest_gain - ranges.most_bias,
        ranges.lowest_gain - ranges.least_bias,
        (ranges.powers, 1),
    )
    gain[0] = rng.uniform(ranges.lowest_gain, ranges.highest_gain)
    filters = 10 ** (gain / 20) * notch_filters(ranges.powers, ranges.notches, rng)
    powers = np.multiply.accumulate(np.repeat(x[None], ranges.powers, 0))
    y = filtered(powers, filters)
    # Even powers are positive.
    return at_most_full_scale(y - y.mean())


def impulsive(x: np.ndarray, ranges: Ranges, rng: np.random.Generator) -> np.ndarray:
    """Algorithm 2: changes some samples of x [T] in proportion to their values -> [T].

    The factors are products of two numbers between -1 and 1, so that small ones are more frequent.
    """
    count = int(len(x) * rng.uniform(0, ranges.most_percent) / 100)
    places = rng.choice(len(x), count, replace=False, shuffle=False)
    factor = rng.uniform(-1, 1, (2, count)).prod(0)
    y = x.copy()
    y[places] += ranges.impulse_gain * factor * x[places]
    return at_most_full_scale(y)


def stationary(x: np.ndarray, ranges: Ranges, rng: np.random.Generator) -> np.ndarray:
    """Algorithm 3: adds white noise through a filter to x [T], at a drawn ratio -> [T]."""
    white = rng.standard_normal((1, len(x)), np.float32)
    noise = filtered(white, notch_filters(1, ranges.notches, rng))
    snr = rng.uniform(ranges.lowest_snr, ranges.highest_snr)
    ratio = energy(x) / max(energy(noise), np.float32(TINY))
    return x + noise * np.sqrt(ratio * np.float32(10 ** (-snr / 10)))


def added_up(x: np.ndarray, ranges: Ranges, rng: np.random.Generator) -> np.ndarray:
    """Adds up the results of the algorithms 1 and 2 for x [T] -> [T]."""
    return at_most_full_scale(convolutive(x, ranges, rng) + impulsive(x, ranges, rng))


Algorithm = Callable[[np.ndarray, Ranges, np.random.Generator], np.ndarray]
# Published number -> the algorithms that follow each other. 0 leaves the crop unchanged.
ALGORITHMS: dict[int, tuple[Algorithm, ...]] = {
    0: (),
    1: (convolutive,),
    2: (impulsive,),
    3: (stationary,),
    4: (convolutive, impulsive, stationary),
    5: (convolutive, impulsive),
    6: (convolutive, stationary),
    7: (impulsive, stationary),
    8: (added_up,),
}


class RawBoost:
    """Distorts training crops.

    numbers: keys of ALGORITHMS, one of which is drawn for each crop. probability: the share of
    crops that are distorted. ranges: the ranges of all other draws.
    """

    def __init__(
        self, numbers: Sequence[int], probability: float = 1.0, ranges: Ranges | None = None
    ):
        self.numbers = numbers
        self.probability = probability
        self.ranges = ranges or Ranges()

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns a crop x [T] float32 with drawn distortions, float32 [T]."""
        if rng.random() >= self.probability:
            return x
        for algorithm in ALGORITHMS[self.numbers[int(rng.integers(len(self.numbers)))]]:
            x = algorithm(x, self.ranges, rng)
        return x
