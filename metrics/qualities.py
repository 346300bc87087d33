"""Quality measures of trials, which are extra inputs of a calibration.

They indicate how reliable a score is (Thienpondt et al., ICASSP 2021, arXiv:2010.11255).

A table has a header line and one line for each trial. Tabs separate the columns. The first column
is the trial as in the scores file. Each measure has two columns, `NAME_enrol` and `NAME_test`, for
the enrolment and for the test file. trainSpeakerNet.py --eval --qualities writes three measures:
duration (seconds), norm (length of the embedding) and cohort (mean score against the cohort of
--score_norm). Users may add any other measures.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from common.writing import write_atomically
from metrics.scores import FilePath, check_same_trials, read_file_lines

SIDES = ("enrol", "test")
# Positive measures whose ratios matter. The calibration uses their logarithm.
RATIOS = ("duration", "norm")

# {name of a measure: float [n, 2]}, with one column for each of SIDES.
Measures = dict[str, np.ndarray]


def quality_measures(
    scorer: Any,
    trials: Any,
    dataset: Any,
    reps: Any,
    moments: tuple[np.ndarray, np.ndarray] | None,
) -> Measures:
    """Returns the quality measures of both sides of every trial: {name: [n, 2]}.

    The measures are duration, norm and cohort. The duration of an enrolment is the sum over its
    files. It is missing if dataset.seconds() returns nothing, because embeddings have no duration.
    The cohort measure needs `moments`, the result of Scorer.cohort_moments().
    """
    measures: Measures = {}
    seconds = dataset.seconds()
    if seconds:
        enrol = []
        for files in trials.models:
            enrol.append(sum(seconds[file] for file in files))
        test = [seconds[file] for file in trials.files]
        columns = [np.array(enrol)[trials.enrol], np.array(test)[trials.test]]
        measures["duration"] = np.stack(columns, 1)
    measures["norm"] = scorer.norms(trials, reps)
    if moments:
        measures["cohort"] = moments[0]
    return measures


def column_names(measures: Sequence[str]) -> list[str]:
    """Returns the names of the columns of a table of the measures."""
    names = ["trial"]
    for measure in measures:
        for side in SIDES:
            names.append(f"{measure}_{side}")
    return names


def write_qualities(path: FilePath, lines: Sequence[str], measures: Measures) -> None:
    """Writes the table of the trials [n], with lines as in metrics.scores.Scores."""
    text_lines = ["\t".join(column_names(list(measures)))]
    rows = np.concatenate(list(measures.values()), 1).tolist()
    for line, row in zip(lines, rows, strict=True):
        trial = " ".join(line.split())
        text_lines.append("\t".join([trial, *(f"{value:.6g}" for value in row)]))
    text = "\n".join(text_lines)
    write_atomically(path, f"{text}\n".encode())


def read_qualities(path: FilePath, trials: Sequence[str]) -> Measures:
    """Reads the table of the trials, which must be in the same order.

    Returns {name: float64 [n, 2]}. Raises ValueError naming the line.
    """
    lines = read_file_lines(path, "'trial<tab>NAME_enrol<tab>NAME_test...'")
    header, *rows = [line.split("\t") for line in lines]
    names = [column.removesuffix("_enrol") for column in header[1::2]]
    if not names or header != column_names(names):
        raise ValueError(
            f"{path}:1: expected the names 'trial', 'NAME_enrol', 'NAME_test', ... with tabs "
            f"between them, found '{' '.join(header)}'. Use a table that trainSpeakerNet.py --eval "
            "--qualities wrote."
        )
    check_same_trials(path, [row[0] for row in rows], trials, first=2)
    values = []
    for number, row in enumerate(rows, 2):
        values.append(parse_qualities(path, header, number, row))
    measures = np.array(values).reshape(len(rows), -1, 2).swapaxes(0, 1)
    return dict(zip(names, measures, strict=True))


def parse_qualities(
    path: FilePath, header: Sequence[str], number: int, row: Sequence[str]
) -> list[float]:
    """Converts the values in line `number` of a table.

    `row` holds the columns of the line. Raises ValueError naming the line if a column is missing or
    a value is not allowed.
    """
    if len(row) != len(header):
        raise ValueError(
            f"{path}:{number}: expected {len(header)} columns with tabs between them, "
            f"found {len(row)}."
        )
    values = []
    for column, word in zip(header[1:], row[1:], strict=True):
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise ValueError(f"{path}:{number}: expected a number as {column}, found '{word}'.")
        if column.rpartition("_")[0] in RATIOS and value <= 0:
            raise ValueError(
                f"{path}:{number}: expected a number above 0 as {column}, found '{word}'."
            )
        values.append(value)
    return values


def calibration_inputs(measures: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Converts measures {name: [n, 2]} to {"name_min": [n], "name_max": [n], ...}.

    These are the inputs of a linear calibration. It matters which side is worse, not which side is
    the test. Durations and norms become logarithms. So differences between the inputs are ratios in
    a linear combination.
    """
    inputs = {}
    for name, values in measures.items():
        if name in RATIOS:
            values = np.log(values)
        inputs[f"{name}_min"] = values.min(1)
        inputs[f"{name}_max"] = values.max(1)
    return inputs
