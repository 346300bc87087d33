"""Thresholds as text, with the digits that the decisions on the trials need."""

import numpy as np
from numpy.typing import ArrayLike

# Significant digits with which every float64 is unique.
EXACT_DIGITS = 17


def threshold_text(threshold: float, scores: ArrayLike, digits: int = 5) -> str:
    """Writes a threshold with at least `digits` significant digits, and more if they decide.

    scores: [n], ascending. The text, read as a number, accepts and rejects the same scores as the
    threshold. A score at or above the threshold is accepted.
    """
    # float64, because NumPy would round the threshold to the precision of the scores.
    ascending = np.asarray(scores, float)
    rejected = np.searchsorted(ascending, threshold)
    for number in range(digits, EXACT_DIGITS):
        text = f"{threshold:.{number}g}"
        if np.searchsorted(ascending, float(text)) == rejected:
            return text
    return f"{threshold:.{EXACT_DIGITS}g}"
