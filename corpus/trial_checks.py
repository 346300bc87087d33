"""Finds trials that distort the EER: contradictory ones, repeated ones, a file against itself."""

import logging
import os

import numpy as np

from common.text import NumberedNames
from corpus.lists import Trials

log = logging.getLogger(__name__)


def warn_about_trials(list_file: str | os.PathLike, trials: Trials) -> None:
    """Prints one warning with the numbers of such trials of a list, if there are any.

    Two files are the same pair in both orders. A trial is repeated if it has the same two sides and
    the same label as an earlier trial. Lists of single files have no pairs.
    """
    if not trials.models:
        return
    # A reference of one file has the same number as this file.
    numbers: NumberedNames = NumberedNames()
    tested = numbers.numbers_of([(file,) for file in trials.files])  # type: ignore[misc]
    enrolled = numbers.numbers_of(trials.models)  # type: ignore[arg-type]
    a = enrolled[trials.enrol]
    b = tested[trials.test]
    low, high = np.minimum(a, b), np.maximum(a, b)
    label = np.zeros(len(a), bool) if trials.label is None else trials.label
    findings = []
    contradictory = opposite_labels(low * len(numbers) + high, label)
    for which, text in (
        (contradictory, "pairs of files that are target and non-target"),
        (repetitions((a * len(numbers) + b) * 2 + label), "repeated trials"),
        (np.flatnonzero(a == b), "trials of a file against itself"),
    ):
        if len(which):
            findings.append(f"{text}: {len(which):,} (first '{trials.lines[which[0]]}')")
    if findings:
        log.warning(
            "warning: %s: %s. Such trials distort the EER. Correct or remove them.",
            list_file,
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
