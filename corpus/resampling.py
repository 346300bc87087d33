"""Resampled speech: at another sampling rate, or played at another speed.

At another speed, tempo and pitch change together, as on a tape.
"""

import math
from fractions import Fraction

import numpy as np


def at_other_rate(x: np.ndarray, up: int, down: int) -> np.ndarray:
    """Returns samples x [T] at up / down of their rate -> [T * up / down, rounded up]."""
    # Imported here, because the import takes a second and most data sets do without it.
    import scipy.signal

    return scipy.signal.resample_poly(x, up, down)


def as_fraction(speed: float) -> Fraction:
    """Returns a speed as a fraction of small numbers, because resampling needs a fraction."""
    return Fraction(speed).limit_denominator(100)


def played_length(samples: int, speed: Fraction) -> int:
    """Returns the number of samples that played() makes of a number of samples."""
    return math.ceil(samples / speed)


def played(x: np.ndarray, speed: Fraction) -> np.ndarray:
    """Plays samples x [T] at a speed -> float32 [ceil(T / speed)], at the same sampling rate."""
    if speed == 1:
        return x
    return at_other_rate(x, speed.denominator, speed.numerator)
