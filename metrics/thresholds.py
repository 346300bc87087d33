"""Thresholds as text, with the digits that the decisions on the trials need."""

import decimal
import math

import numpy as np
from numpy.typing import ArrayLike

# Significant digits with which every float64 is unique.
EXACT_DIGITS = 17


def threshold_text(threshold: float, scores: ArrayLike, digits: int = 5) -> str:
    """Writes a threshold with at least `digits` significant digits, and more if they decide.

    scores: [n], ascending. The text, read as a number, accepts and rejects the same scores as the
    threshold. A score at or above the threshold is accepted. The infinite threshold, which rejects
    all scores, is written as "> 0.98" for the highest score 0.98.
    """
    # float64, because NumPy would round the threshold to the precision of the scores.
    ascending = np.asarray(scores, float)
    if threshold == math.inf:
        return above_text(ascending, digits)
    rejected = np.searchsorted(ascending, threshold)
    for number in range(digits, EXACT_DIGITS):
        text = f"{threshold:.{number}g}"
        if np.searchsorted(ascending, float(text)) == rejected:
            return with_decimals(text, threshold, number)
    return f"{threshold:.{EXACT_DIGITS}g}"


def above_text(scores: np.ndarray, digits: int) -> str:
    """Returns "> X", where X is the highest finite score, rounded up to some digits."""
    finite = scores[np.isfinite(scores)]
    if not len(finite):
        return "inf"
    rounding = decimal.Context(prec=digits, rounding=decimal.ROUND_CEILING)
    highest = float(rounding.create_decimal(repr(float(finite.max()))))
    return f"> {with_decimals(f'{highest:.{digits}g}', highest, digits)}"


def with_decimals(text: str, threshold: float, digits: int) -> str:
    """Returns 1.0000 for the text 1 of a threshold such as 0.9999997, and other texts unchanged."""
    longer = f"{threshold:#.{digits}g}"
    is_whole = "." not in text and "e" not in text
    return longer if is_whole and not longer.endswith(".") else text
