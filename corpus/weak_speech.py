"""Speech that is too weak for a decision about its speaker: silent and very short files."""

import math
from typing import NamedTuple

import numpy as np

# Level in dB of a file with only zeros.
FLOOR = -200.0


class Limits(NamedTuple):
    """The lowest level in dB relative to full scale, and the shortest duration in seconds."""

    silence_db: float
    min_seconds: float

    def problem(self, seconds: float, level: float | None = None) -> str | None:
        """Says what is wrong with a file, as "silent (-200.0 dB)". None if nothing is wrong.

        level: in dB, None if it is not known.
        """
        if seconds < self.min_seconds:
            return f"short ({seconds:.4g} s)"
        if level is not None and level < self.silence_db:
            return f"silent ({level:.1f} dB)"
        return None

    def __str__(self) -> str:
        return (
            f"a level of at least {self.silence_db:g} dB (--silence_db) and at least "
            f"{self.min_seconds:g} s (--min_seconds)"
        )


def level_of(x: np.ndarray) -> float:
    """Returns the level of the samples [T] in dB relative to full scale, without their mean.

    The mean is the offset of a recorder, which cannot be heard.
    """
    power = np.dot(x, x) / len(x) - float(x.mean(dtype=np.float64)) ** 2
    return 10 * math.log10(max(power, 10 ** (FLOOR / 10)))
