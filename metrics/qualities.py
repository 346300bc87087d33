"""Quality measures of trials, extra inputs of a calibration: how much can be expected of a score (Thienpondt et al., ICASSP 2021, arXiv:2010.11255).

A table has a line of names and a line for each trial, columns divided by tabs: the trial as it stands in the scores file, then for every measure the
value of the enrolment and that of the test file, `NAME_enrol` and `NAME_test`. trainSpeakerNet.py --eval --qualities writes duration (seconds), norm
(length of the embedding) and cohort (mean score against the cohort of --score_norm); any other measures may be added.
"""

import math

import numpy as np

from common.writing import write_atomically
from metrics.scores import check_same_trials, read_text_lines

SIDES = ("enrol", "test")
# measures above 0 whose ratio counts, and so their logarithm
RATIOS = ("duration", "norm")


def quality_measures(scorer, trials, dataset, reps, moments):
    """What is known about the two sides of every trial -> {name: [n, 2]}: duration, of all files that a speaker is enrolled with, where files tell it; norm;
    cohort, where there are `moments` of Scorer.cohort_moments."""
    measures, seconds = {}, dataset.seconds()
    if seconds:
        enrol, test = (
            [sum(seconds[file] for file in files) for files in trials.models],
            [seconds[file] for file in trials.files],
        )
        measures["duration"] = np.stack(
            [np.array(enrol)[trials.enrol], np.array(test)[trials.test]], 1
        )
    measures["norm"] = scorer.norms(trials, reps)
    return measures | ({"cohort": moments[0]} if moments else {})


def write_qualities(path, lines, measures):
    """Trials [n], lines as in report.scores.Scores; measures {name: [n, 2]}."""
    head = "\t".join(["trial", *(f"{name}_{side}" for name in measures for side in SIDES)])
    rows = np.concatenate(list(measures.values()), 1).tolist()
    text = "".join(
        " ".join(line.split()) + "\t" + "\t".join(f"{value:.6g}" for value in row) + "\n"
        for line, row in zip(lines, rows, strict=True)
    )
    write_atomically(path, f"{head}\n{text}".encode())


def read_qualities(path, trials):
    """Table of the trials, in their order -> {name: float64 [n, 2]}. ValueError naming the line."""
    head, *lines = (
        line.split("\t")
        for line in read_text_lines(path, "'trial<tab>NAME_enrol<tab>NAME_test...'")
    )
    names = [column.removesuffix("_enrol") for column in head[1::2]]
    if not names or head != ["trial", *(f"{name}_{side}" for name in names for side in SIDES)]:
        raise ValueError(
            f"{path}:1: want the names 'trial', 'NAME_enrol', 'NAME_test', ... with tabs between them, got '{' '.join(head)}'"
        )
    check_same_trials(path, [line[0] for line in lines], trials, first=2)
    return dict(
        zip(
            names,
            np.array([numbers(path, head, number, line) for number, line in enumerate(lines, 2)])
            .reshape(len(lines), -1, 2)
            .swapaxes(0, 1),
            strict=True,
        )
    )


def numbers(path, head, number, line):
    """Line `number` of a table with the columns `head` -> its values."""
    if len(line) != len(head):
        raise ValueError(
            f"{path}:{number}: want {len(head)} columns with tabs between them, got {len(line)}"
        )
    for column, word in zip(head[1:], line[1:], strict=True):
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or (column.rpartition("_")[0] in RATIOS and value <= 0):
            raise ValueError(
                f"{path}:{number}: want a number{' above 0' if math.isfinite(value) else ''} as {column}, got '{word}'"
            )
    return [float(word) for word in line[1:]]


def inputs_of(measures):
    """{name: [n, 2]} -> {"name_min": [n], "name_max": [n], ...}, what a linear calibration uses: which side is the worse one counts, not which is the test.
    Of durations and norms the logarithm, so that differences of inputs, which are combinations of these, are ratios."""
    inputs = {}
    for name, values in measures.items():
        values = np.log(values) if name in RATIOS else values
        inputs |= {f"{name}_min": values.min(1), f"{name}_max": values.max(1)}
    return inputs
