"""Where the errors are: the speakers with the highest error rates at a threshold, and the trials farthest on the wrong side."""

from typing import NamedTuple

import numpy as np

from metrics.slices import aligned


class Errors(NamedTuple):
    """Of a speaker: misses among the target trials, false accepts among all others that the speaker is part of."""

    speaker: str
    misses: int
    targets: int
    accepts: int
    others: int

    @property
    def rate(self):
        """Mean of the two rates; the only one where there is one kind of trials."""
        rates = [
            part / whole
            for part, whole in ((self.misses, self.targets), (self.accepts, self.others))
            if whole
        ]
        return sum(rates) / len(rates)


def errors_of(read, speakers, threshold):
    """Scores, their Speakers -> Errors of every speaker at the threshold, most first."""

    # trials of each speaker, of one or two speakers each
    def counted(which):
        sides = speakers.sides[which]
        return np.bincount(sides[sides >= 0], minlength=len(speakers.names))

    passed, target = read.scores >= threshold, read.labels
    columns = (
        counted(which).tolist() for which in (target & ~passed, target, ~target & passed, ~target)
    )
    return sorted(map(Errors, speakers.names, *columns), key=lambda e: (-e.rate, e.speaker))


def hardest(read, most):
    """-> indices of the target trials with the lowest scores, of the others with the highest, hardest first; in the order of the list where equal."""
    targets, others = np.flatnonzero(read.labels), np.flatnonzero(~read.labels)
    return targets[np.argsort(read.scores[targets], kind="stable")][:most], others[
        np.argsort(-read.scores[others], kind="stable")
    ][:most]


def text_of(read, speakers, threshold, most):
    """-> tables of the `most` worst speakers and hardest trials."""
    rows = [["speaker", "misses", "of", "", "false accepts", "of", ""]]
    for e in errors_of(read, speakers, threshold)[:most]:
        share = [
            f"{100 * part / whole:.1f} %" if whole else "-"
            for part, whole in ((e.misses, e.targets), (e.accepts, e.others))
        ]
        rows.append(
            [
                e.speaker,
                f"{e.misses:,}",
                f"{e.targets:,}",
                share[0],
                f"{e.accepts:,}",
                f"{e.others:,}",
                share[1],
            ]
        )
    tables = [f"worst speakers at threshold {threshold:.5g}", aligned(rows)]
    for name, trials in zip(("target trials", "other trials"), hardest(read, most), strict=True):
        tables += [
            f"hardest {name}",
            "\n".join(f"{read.scores[i]:10.5g}  {read.lines[i]}" for i in trials),
        ]
    return "\n".join(tables)
