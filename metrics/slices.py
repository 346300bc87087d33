"""Error rates of parts of the trials: by attack, by duration, or by a column of a table.

A table describes speakers or files.
"""

import argparse
import csv
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from metrics.score_formats import CODEC_LINE
from metrics.scores import Scores, read_file_lines, select_trials
from metrics.speakers import Speakers, files_of_trials
from metrics.summary import interval_text

# Numbers with at least this number of distinct values are put into bins.
FEWEST_BINNED = 5
# What else a column of --by can come from, for errors.
REMEDIES = {
    "duration": ", or --path DIR with the audio files",
    "codec": f", or scores with lines '{CODEC_LINE}'",
    "speaker": ", or --speaker_table FILE with lines '<file> <speaker>' or with a protocol",
}

# {column in lower case: {speaker or file: value}}
Table = dict[str, dict[str, str]]
# The values of both sides of every trial, or of one side.
Sides = list[list[str]]
# (folder, names, place) -> {name: seconds}, see corpus/durations.py.
ReadDurations = Callable[[str, list[str], str], Mapping[str, float]]


# ---------------------------------------------------------------------- tables
def read_table(path: str) -> Table:
    """Reads a table whose first line names the columns.

    Returns {column in lower case: {value of the first column: value}}. Raises ValueError naming the
    line.
    """
    lines = read_file_lines(path, "of a table, the first with the names of its columns")
    rows = split_rows(lines)
    header = [name.lower() for name in rows[0]]
    table: Table = {name: {} for name in header[1:]}
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise ValueError(
                f"{path}:{number}: expected {len(header)} columns ({', '.join(rows[0])}), "
                f"found {len(row)}: '{lines[number - 1]}'."
            )
        for name, value in zip(header[1:], row[1:], strict=True):
            before = table[name].setdefault(row[0], value)
            if before != value:
                raise ValueError(
                    f"{path}:{number}: expected one line for {row[0]}, found another one above. "
                    f"Its {name} is {before} there and {value} here."
                )
    return table


def split_rows(lines: list[str]) -> list[list[str]]:
    """Splits lines at tabs or commas if the first line has any, else at blanks."""
    for separator in "\t,":
        if separator in lines[0]:
            rows = []
            for row in csv.reader(lines, delimiter=separator):
                rows.append([word.strip() for word in row])
            return rows
    return [line.split() for line in lines]


def values_from_table(
    column: str, read: Scores, speakers: Callable[[], Speakers], path: str
) -> Sides:
    """Returns the values of a column for the sides of every trial.

    There is one side where only the test file or the claimed speaker counts. Raises ValueError if
    the table has no such column, or lacks speakers or files.
    """
    table = read_table(path)
    if column.lower() not in table:
        raise ValueError(
            f"{path}: expected a column {column}, found {', '.join(table) or 'only one column'}. "
            "Give one of the columns, or another --table."
        )
    known = table[column.lower()]
    files = files_of_trials(read)
    if known.keys() >= names_in(files):
        return values_of_groups(known, files)
    names, sides, unit = speakers()
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"{path}: expected all speakers or all files of the trials in the first column, but "
            f"{len(missing):,} of {len(names):,} {unit} are missing. The first one is "
            f"{missing[0]}."
        )
    values = []
    for pair in sides.tolist():
        known_sides = [known[names[i]] for i in pair if i >= 0]
        values.append(known_sides if read.kinds is None else known_sides[:1])
    return values


def values_of_groups(known: Mapping[str, str], groups: list[tuple[str, ...]]) -> Sides:
    """Returns the values of the names in every group. known: {name: value}."""
    values = []
    for names in groups:
        values.append([known[name] for name in names])
    return values


def names_in(groups: list[tuple[str, ...]]) -> set[str]:
    """Returns all names that occur in the groups."""
    names: set[str] = set()
    for group in groups:
        names.update(group)
    return names


def seconds_of_sides(read: Scores, path: str, read_durations: ReadDurations) -> Sides:
    """Returns the seconds of the audio files of every trial, as values_from_table does."""
    files = files_of_trials(read)
    names: dict[str, None] = {}
    for group in files:
        names |= dict.fromkeys(group)
    seconds = {}
    for name, value in read_durations(path, list(names), "--path").items():
        seconds[name] = str(value)
    return values_of_groups(seconds, files)


# ---------------------------------------------------------------------- slices
def slices_of(
    column: str,
    read: Scores,
    speakers: Callable[[], Speakers],
    args: argparse.Namespace,
    read_durations: ReadDurations | None = None,
) -> dict[str, np.ndarray]:
    """Returns {name of a slice: bool [n], its trials} for a column of --by, sorted.

    speakers: returns the speakers of the trials. It is called only if the speakers are needed.
    read_durations: reads the durations of files. Raises ValueError if the column is unknown.
    """
    if column == "attack" and read.attacks is not None:
        return slices_by_attack(read)
    known = words_of_files(column, read, speakers)
    if known is not None:
        return {name: known == name for name in np.unique(known).tolist()}
    if column == "duration" and args.path and read_durations:
        values = seconds_of_sides(read, args.path, read_durations)
    elif args.table:
        values = values_from_table(column, read, speakers, args.table)
    else:
        remedy = REMEDIES.get(column, "") if column == "duration" or read.are_of_files else ""
        raise ValueError(f"--by {column}: this needs --table FILE with the column{remedy}.")
    numbers = numbers_of_sides(values)
    if numbers is not None and (args.bins or len(np.unique(numbers)) >= FEWEST_BINNED):
        edges = args.bins or np.quantile(numbers, [0.25, 0.5, 0.75])
        return bins_of(numbers, np.unique(edges))
    names = np.array([" / ".join(sorted(set(side))) for side in values])
    return {str(name): names == name for name in np.unique(names)}


def words_of_files(
    column: str, read: Scores, speakers: Callable[[], Speakers]
) -> np.ndarray | None:
    """Returns the codec or the speaker of single files [n], None if their scores name none."""
    if column == "codec":
        return read.codecs
    if column != "speaker" or not read.are_of_files:
        return None
    found = speakers()
    return None if found.unit == "files" else np.array(found.names)[found.sides[:, 0]]


def slices_by_attack(read: Scores) -> dict[str, np.ndarray]:
    """Returns, for every attack, the target trials and the trials of the attack."""
    attacks = np.asarray(read.attacks)
    found = {}
    for attack in np.unique(attacks[~read.labels]).tolist():
        found[attack] = read.labels | (~read.labels & (attacks == attack))
    return found


def numbers_of_sides(values: Sides) -> np.ndarray | None:
    """Returns the smaller number of the sides of every trial, float [n].

    Returns None if a value is not a finite number.
    """
    try:
        numbers = np.array([min(map(float, side)) for side in values])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def bins_of(numbers: np.ndarray, edges: np.ndarray) -> dict[str, np.ndarray]:
    """Puts numbers [n] into bins between ascending edges.

    Returns {"from a to b": bool [n]}. A bin includes its lower edge. Empty bins are left out.
    """
    names = [f"below {edges[0]:.4g}"]
    for lower, upper in zip(edges, edges[1:], strict=False):
        names.append(f"{lower:.4g} to {upper:.4g}")
    names.append(f"from {edges[-1]:.4g}")
    bin_of_number = np.searchsorted(edges, numbers, "right")
    found = {}
    for i, name in enumerate(names):
        inside = bin_of_number == i
        if inside.any():
            found[name] = inside
    return found


# ---------------------------------------------------------------------- text
def align_columns(rows: list[list[str]]) -> str:
    """Returns a table of rows of the same length. The first column is aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        words = [f"{first:<{widths[0]}}"]
        for word, width in zip(others, widths[1:], strict=True):
            words.append(f"{word:>{width}}")
        lines.append("  ".join(words))
    return "\n".join(lines)


def table_of_slices(
    column: str,
    slices: Mapping[str, np.ndarray],
    read: Scores,
    evaluate: Callable,
    more: Callable[[Scores, Any], dict[str, str]] = lambda *_: {},
) -> str:
    """Returns a table of size, EER and costs of each slice.

    A slice with one kind of trials has "-" for its numbers. evaluate(Scores, bool [n]) returns the
    summary of the selected trials, targets against all others. more(Scores, summary) returns
    further numbers of a slice by their names.
    """
    names: dict[str, None] = {"EER": None}
    found = []
    for name, selected in slices.items():
        part = select_trials(read, selected)._replace(kinds=None, attacks=None, codecs=None)
        targets = int(np.count_nonzero(part.labels))
        others = len(part.labels) - targets
        numbers = {}
        if targets and others:
            summary = evaluate(part, selected)
            numbers = numbers_text(summary) | more(part, summary)
        names |= dict.fromkeys(numbers)
        found.append(([name, f"{targets:,}", f"{others:,}"], numbers))
    kinds = ["bona fide", "spoofed"] if read.are_of_files else ["target", "others"]
    rows = [[column, *kinds, *names]]
    for words, numbers in found:
        rows.append([*words, *(numbers.get(key, "-") for key in names)])
    return align_columns(rows)


def numbers_text(summary) -> dict[str, str]:
    """Returns {name: number with its interval} of a summary."""
    texts = {}
    for name, value in summary.values.items():
        number = f"{value:.2f} %" if name == "EER" else f"{value:.4f}"
        texts[name] = number + interval_text(summary.intervals, name).rstrip()
    return texts
