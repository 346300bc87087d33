"""RawBoost: its filters, its three algorithms, and their combinations."""

import numpy as np
import pytest
from scipy.signal import firwin, freqz

from corpus.rawboost import (
    ALGORITHMS,
    Notches,
    Ranges,
    RawBoost,
    convolutive,
    impulsive,
    notch_filters,
    stationary,
)

SPEECH = (np.random.default_rng(1).standard_normal(16000) * 0.05).astype(np.float32)
# One band-stop filter with 101 taps, around 2 kHz and 600 Hz wide.
ONE_NOTCH = Notches(1, 2000, 2000, 600, 600, 100, 100)
NOTCH = firwin(101, [1700, 2300], fs=16000)
NOTCH = NOTCH / abs(freqz(NOTCH, worN=8192)[1]).max()


def generator(seed=0):
    return np.random.default_rng(seed)


def decibels(ratio):
    return 10 * np.log10(ratio)


# ---------------------------------------------------------------------- filters
@pytest.mark.parametrize("bands", [1, 3])
def test_response_of_the_filters(bands):
    """It is the response of scipy's design, as often as there are bands."""
    filters = notch_filters(2, ONE_NOTCH._replace(bands=bands), generator())
    hertz = [0, 500, 1500, 1750, 2000, 2200, 3000, 8000]
    expected = abs(freqz(NOTCH, worN=hertz, fs=16000)[1]) ** bands
    for taps in filters:
        assert abs(freqz(taps, worN=hertz, fs=16000)[1]) == pytest.approx(expected, abs=2e-3)
    # The stop band is attenuated by more than 20 dB for each band, and nothing else is.
    assert expected[4] < 0.1**bands
    assert expected[[0, 1, 6, 7]].min() > 0.98


def test_filters_delay_nothing():
    for taps in notch_filters(8, Notches(), generator()):
        centre = len(taps) // 2
        ahead, behind = taps[1:centre][::-1], taps[centre + 1 :]
        assert np.allclose(ahead, behind, atol=1e-12)
        assert abs(freqz(taps, worN=4096)[1]).max() == pytest.approx(1, abs=0.01)


def test_ranges_of_the_filters():
    """The lowest gains are within the range of centres, and lengths are odd."""
    ranges = Notches(1, 3000, 5000, 400, 400, 100, 100)
    hertz = np.arange(0, 8000, 10)
    lowest = []
    for taps in notch_filters(50, ranges, generator()):
        lowest.append(hertz[abs(freqz(taps, worN=hertz, fs=16000)[1]).argmin()])
    assert 2800 < min(lowest) < 3200
    assert 4800 < max(lowest) < 5200
    for drawn, taps in ((10, 11), (11, 11), (100, 101)):
        ranges = Notches(1, 2100, 2100, 600, 600, drawn, drawn)
        (found,) = notch_filters(1, ranges, generator())
        places = np.flatnonzero(abs(found) > 1e-9)
        assert places[-1] - places[0] + 1 == taps


# ---------------------------------------------------------------------- algorithms
def test_filters_of_the_powers():
    """Algorithm 1 adds the powers, each filtered and scaled, without the mean."""
    ranges = Ranges(ONE_NOTCH, powers=3, least_bias=6, most_bias=6)
    x = SPEECH.astype(float)
    powers = x + 10 ** (-6 / 20) * (x**2 + x**3)
    expected = np.convolve(powers, NOTCH, "same")
    got = convolutive(SPEECH, ranges, generator())
    assert got.dtype == np.float32
    assert np.allclose(got, expected - expected.mean(), atol=2e-5)


def test_gains_of_the_powers():
    """The second harmonic of a tone is 5 to 20 dB below the square of the tone."""
    ranges = Ranges(Notches(1, 6000, 6000, 100, 100, 100, 100), powers=2)
    tone = 0.8 * np.cos(2 * np.pi * 500 * np.arange(16000) / 16000)
    gains = []
    for seed in range(80):
        y = convolutive(tone.astype(np.float32), ranges, generator(seed))
        first, second = abs(np.fft.rfft(y))[[500, 1000]]
        # The square of a tone of amplitude a has the amplitude a * a / 2.
        gains.append(20 * np.log10(second / first * 0.8 / (0.8**2 / 2)))
    assert -20.2 < min(gains) < -18.5
    assert -6.5 < max(gains) < -4.8


def test_share_and_size_of_the_impulses():
    """Algorithm 2 changes up to 10 % of the samples, by up to twice their value."""
    shares = []
    for seed in range(60):
        y = impulsive(SPEECH, Ranges(), generator(seed))
        changed = y != SPEECH
        shares.append(changed.mean())
        factor = y[changed] / SPEECH[changed] - 1
        assert abs(factor).max(initial=0) <= 2.001
    assert 0 <= min(shares) < 0.01
    assert 0.09 < max(shares) <= 0.1
    # The product of two numbers between -1 and 1 has the average 0 and the average size 1/4.
    assert abs(factor.mean()) < 0.1
    assert abs(factor).mean() == pytest.approx(0.5, abs=0.1)


def test_ratio_of_the_noise():
    """Algorithm 3 adds noise at 10 to 40 dB, and a drawn ratio is met."""
    ratios = []
    for seed in range(80):
        noise = stationary(SPEECH, Ranges(), generator(seed)).astype(float) - SPEECH
        ratios.append(decibels((SPEECH.astype(float) ** 2).sum() / (noise**2).sum()))
    assert 9.99 < min(ratios) < 12
    assert 38 < max(ratios) < 40.01
    exact = Ranges(lowest_snr=17, highest_snr=17)
    noise = stationary(SPEECH, exact, generator()).astype(float) - SPEECH
    assert decibels((SPEECH.astype(float) ** 2).sum() / (noise**2).sum()) == pytest.approx(
        17, abs=0.01
    )


def test_colour_of_the_noise():
    ranges = Ranges(ONE_NOTCH, lowest_snr=0, highest_snr=0)
    power = abs(np.fft.rfft(stationary(SPEECH, ranges, generator()) - SPEECH)) ** 2
    # 1 Hz for each place.
    assert decibels(power[1900:2100].mean() / power[3000:7000].mean()) < -25
    assert abs(decibels(power[200:1200].mean() / power[3000:7000].mean())) < 1


# ---------------------------------------------------------------------- combinations
@pytest.mark.parametrize(
    "number, series", {0: "", 1: "1", 2: "2", 3: "3", 4: "123", 5: "12", 6: "13", 7: "23"}.items()
)
def test_series(number, series):
    single = {"1": convolutive, "2": impulsive, "3": stationary}
    rng = generator()
    # The draws of the share of crops and of the number.
    rng.random()
    rng.integers(1)
    expected = SPEECH
    for name in series:
        expected = single[name](expected, Ranges(), rng)
    assert np.array_equal(RawBoost([number])(SPEECH, generator()), expected)


def test_parallel():
    (algorithm,) = ALGORITHMS[8]
    rng = generator()
    expected = convolutive(SPEECH, Ranges(), rng) + impulsive(SPEECH, Ranges(), rng)
    got = algorithm(SPEECH, Ranges(), generator())
    assert np.allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("number", range(9))
def test_crops(number):
    """Results follow the draws. Loud crops are scaled to 1, silence stays, short crops work."""
    boost = RawBoost([number])
    before = SPEECH.copy()
    got = boost(SPEECH, generator())
    assert np.array_equal(got, boost(SPEECH, generator()))
    assert np.array_equal(got, SPEECH) == (number == 0)
    assert np.array_equal(SPEECH, before)
    assert got.dtype == np.float32
    assert got.shape == SPEECH.shape
    silence = np.zeros(400, np.float32)
    assert np.array_equal(boost(silence, generator()), silence)
    assert boost(SPEECH[:7], generator()).shape == (7,)
    if number in (1, 2, 5, 8):
        assert abs(boost(30 * SPEECH, generator())).max() == pytest.approx(1)


def test_shares_of_the_numbers():
    boost = RawBoost([0, 2], 0.5)
    same = sum(np.array_equal(boost(SPEECH, generator(seed)), SPEECH) for seed in range(400))
    # Half of the crops, and half of the others because of the number 0.
    assert 270 < same < 330
