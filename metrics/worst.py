"""Where the errors are: the speakers with the highest error rates, and the hardest trials."""

from typing import NamedTuple

import numpy as np

from metrics.scores import Scores
from metrics.slices import align_columns
from metrics.speakers import Speakers
from metrics.thresholds import threshold_text


class SpeakerErrors(NamedTuple):
    """The errors of a speaker.

    misses: of the target trials. accepts: false accepts among the other trials of the speaker.
    """

    speaker: str
    misses: int
    targets: int
    accepts: int
    others: int

    @property
    def rate(self) -> float:
        """The mean of the two error rates, or the only one if there is one kind of trials."""
        rates = []
        if self.targets:
            rates.append(self.misses / self.targets)
        if self.others:
            rates.append(self.accepts / self.others)
        return sum(rates) / len(rates)


def errors_of_speakers(read: Scores, speakers: Speakers, threshold: float) -> list[SpeakerErrors]:
    """Returns the errors of every speaker at a threshold, the highest rate first."""

    def trials_per_speaker(selected: np.ndarray) -> list[int]:
        """Counts the selected trials of each speaker. A trial has one or two speakers."""
        sides = speakers.sides[selected]
        return np.bincount(sides[sides >= 0], minlength=len(speakers.names)).tolist()

    passed = read.scores >= threshold
    target = read.labels
    errors = map(
        SpeakerErrors,
        speakers.names,
        trials_per_speaker(target & ~passed),
        trials_per_speaker(target),
        trials_per_speaker(~target & passed),
        trials_per_speaker(~target),
    )
    return sorted(errors, key=lambda e: (-e.rate, e.speaker))


def hardest_trials(read: Scores, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns indices of the target trials with the lowest, and others with the highest scores.

    The hardest trial is the first. Trials with equal scores stay in the order of the list.
    """
    targets = np.flatnonzero(read.labels)
    others = np.flatnonzero(~read.labels)
    hard_targets = targets[np.argsort(read.scores[targets], kind="stable")]
    hard_others = others[np.argsort(-read.scores[others], kind="stable")]
    return hard_targets[:number], hard_others[:number]


def tables_of_worst(read: Scores, speakers: Speakers, threshold: float, number: int) -> str:
    """Returns tables of the worst speakers at a threshold and of the hardest trials.

    Scores of single files that name no speakers have the second table alone.
    """
    tables = []
    if speakers.unit == "speakers":
        tables += table_of_speakers(read, speakers, threshold, number)
    kinds = ("bona fide files", "spoofed files")
    if not read.are_of_files:
        kinds = ("target trials", "other trials")
    for name, trials in zip(kinds, hardest_trials(read, number), strict=True):
        lines = [f"{read.scores[i]:10.5g}  {read.lines[i]}" for i in trials]
        tables += [f"hardest {name}", "\n".join(lines)]
    return "\n".join(tables)


def table_of_speakers(read: Scores, speakers: Speakers, threshold: float, number: int) -> list[str]:
    """Returns the title and the table of the worst speakers at a threshold."""
    rows = [["speaker", "misses", "of", "", "false accepts", "of", ""]]
    for errors in errors_of_speakers(read, speakers, threshold)[:number]:
        rows.append(
            [
                errors.speaker,
                f"{errors.misses:,}",
                f"{errors.targets:,}",
                share_text(errors.misses, errors.targets),
                f"{errors.accepts:,}",
                f"{errors.others:,}",
                share_text(errors.accepts, errors.others),
            ]
        )
    shown = threshold_text(threshold, np.sort(read.scores))
    return [f"worst speakers at threshold {shown}", align_columns(rows)]


def share_text(part: int, whole: int) -> str:
    """A share in per cent, "-" of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "-"
