"""Error rates of a scores file with intervals over speakers, for a model card."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from metrics.confidence import TooFew, bootstrap, intervals
from metrics.kinds import groups_of_scores, rates_of_eers
from metrics.rates import accepted_counts, eer
from metrics.scores import Scores, read_scores
from metrics.speakers import FIRST_FOLDER, speakers_of

# Levels of the intervals, in per cent.
CONFIDENCE = 95


class ErrorRate(NamedTuple):
    """An equal error rate in per cent. interval: (low, high), or None if it is unknown."""

    name: str
    value: float
    interval: tuple[float, float] | None


class CardScores(NamedTuple):
    """The error rates on a list of trials.

    name: of the list. trials, speakers: their numbers; speakers is 0 if the names of the files do
    not contain them. problem: why there are no intervals, or "".
    """

    name: str
    trials: int
    speakers: int
    rates: list[ErrorRate]
    problem: str


def scores_for_card(path: Path, name: str, definition: str) -> CardScores:
    """Measures a scores file. name: of its list of trials. definition: of the EER.

    Raises ValueError if the file is no scores file, or lacks target or other trials.
    """
    read = read_scores(path)
    _, observed = rates_of(*accepted_trials(read), definition)
    try:
        low_and_high, speakers = intervals_of(read, observed, definition)
        problem = ""
    except (TooFew, ValueError) as error:
        low_and_high = {}
        speakers = 0
        problem = str(error)
    rates = []
    for rate, value in observed.items():
        rates.append(ErrorRate(rate, value, low_and_high.get(rate)))
    return CardScores(name, len(read.lines), speakers, rates, problem)


def groups(read: Scores) -> dict[str, np.ndarray]:
    """Returns {kind of trial: bool [n]}. Raises ValueError if all trials are of one kind."""
    found = groups_of_scores(read)
    if not found["target"].any() or found["target"].all():
        raise ValueError("expected target trials and other trials, found one kind only.")
    return found


def accepted_trials(read: Scores) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Returns the thresholds, and the number of accepted trials of each kind at each of them."""
    return accepted_counts(read.scores, groups(read))


def rates_of(
    threshold: np.ndarray, accepted: dict[str, np.ndarray], definition: str
) -> tuple[dict, dict[str, float]]:
    """Returns {name of an EER: its rates} and {name of an EER: per cent}, for bootstrap().

    accepted: {kind of trial: number of accepted trials at each threshold}.
    """
    rates = rates_of_eers(threshold, accepted)
    return rates, {name: eer(*each, definition)[0] for name, each in rates.items()}


def intervals_of(
    read: Scores, observed: dict[str, float], definition: str
) -> tuple[dict[str, tuple[float, float]], int]:
    """Returns {name of an EER: its interval}, and the number of speakers.

    Raises ValueError if the names of the files do not contain speakers, or too few of them.
    """
    sides = speakers_of(read, FIRST_FOLDER).sides

    def measure(threshold, accepted):
        return rates_of(threshold, accepted, definition)

    resamples = bootstrap(read.scores, groups(read), sides, measure, {})
    return intervals(resamples, observed, CONFIDENCE / 100), resamples.speakers
