"""Warns of trials of a list that distort the EER, see common/doubtful_trials.py."""

import os

import numpy as np

from common.doubtful_trials import warn_about_pairs
from common.text import NumberedNames
from corpus.lists import Trials


def warn_about_trials(list_file: str | os.PathLike, trials: Trials) -> None:
    """Prints one warning about doubtful trials of a list. Lists of single files have no pairs."""
    if not trials.models:
        return
    # A reference of one file has the same number as this file.
    numbers: NumberedNames = NumberedNames()
    tested = numbers.numbers_of([(file,) for file in trials.files])  # type: ignore[misc]
    enrolled = numbers.numbers_of(trials.models)  # type: ignore[arg-type]
    label = np.zeros(len(trials.test), bool) if trials.label is None else trials.label
    warn_about_pairs(list_file, enrolled[trials.enrol], tested[trials.test], label, trials.lines)
