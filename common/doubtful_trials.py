"""Finds trials that distort the EER: contradictory ones, repeated ones, a file against itself."""

import logging
import os
from collections.abc import Sequence

import numpy as np

log = logging.getLogger(__name__)
# Odd multiple of the golden ratio. So a pair of numbers below 2^31 has a number of its own, and a
# pair of hashes nearly always.
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def warn_about_pairs(
    place: str | os.PathLike, a: np.ndarray, b: np.ndarray, label: np.ndarray, lines: Sequence[str]
) -> None:
    """Prints one warning with the numbers of such trials, if there are any.

    Two sides are the same pair in both orders. A trial is repeated if it has the same two sides and
    the same label as an earlier trial. place: of the trials. a, b: numbers or hashes of the two
    sides, int64 [n]. label: bool [n]. lines: the trials [n].
    """
    a, b = a.view(np.uint64), b.view(np.uint64)
    pair = np.minimum(a, b) * GOLDEN + np.maximum(a, b)
    found = {"trials of a file against itself": np.flatnonzero(a == b)}
    # Most lists have each pair once. This test needs little memory.
    if len(np.unique(pair)) < len(pair):
        found = {
            "pairs of files that are target and non-target": opposite_labels(pair, label),
            "repeated trials": repetitions((a * GOLDEN + b) * GOLDEN + label.astype(np.uint64)),
        } | found
    findings = []
    for text, which in found.items():
        if len(which):
            findings.append(f"{text}: {len(which):,} (first '{lines[which[0]]}')")
    if findings:
        log.warning(
            "warning: %s: %s. Such trials distort the EER. Correct or remove them.",
            place,
            "; ".join(findings),
        )


def opposite_labels(pair: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Returns a trial of each pair that has both labels, int64 [m]. pair, label: [n]."""
    _, first, number = np.unique(pair, return_index=True, return_inverse=True)
    targets = np.bincount(number, label)
    both = (targets > 0) & (targets < np.bincount(number))
    return np.sort(first[both])


def repetitions(key: np.ndarray) -> np.ndarray:
    """Returns the trials whose key an earlier trial has, int64 [m]. key: [n]."""
    _, first = np.unique(key, return_index=True)
    return np.delete(np.arange(len(key)), first)
