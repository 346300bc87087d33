"""Error rates of parts of the trials: by attack, by duration, by any column of a table of speakers or of files."""

import csv

import numpy as np

from metrics.scores import read_text_lines, select_trials
from metrics.speakers import words_of
from metrics.summary import interval_text

# distinct numbers are binned, fewer stand for themselves
SEVERAL = 5


def add_options(parser):
    group = parser.add_argument_group(
        "slices",
        "a trial of two speakers or files belongs where both do, else to a slice of its own ('F / M'); of numbers "
        "the smaller one counts",
    )
    group.add_argument(
        "--by",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="EER and minDCF for each value of these columns of --table; attack: of "
        "spoofing-aware scores; duration: also of the files in --path",
    )
    group.add_argument(
        "--table",
        metavar="FILE",
        help="lines of comma- or tab-separated or blank-separated words, the first has the names of the columns; the "
        "first column is of speakers or of files",
    )
    group.add_argument("--path", metavar="DIR", help="folder of the audio files, for --by duration")
    group.add_argument(
        "--bins",
        type=float,
        nargs="+",
        metavar="X",
        help="edges between bins of numbers (quartiles of the trials)",
    )
    group.add_argument(
        "--worst",
        type=int,
        metavar="N",
        help="lists the N speakers with the highest error rates at the threshold of the EER, and the N hardest trials",
    )


def check_options(args):
    if args.worst is not None and args.worst < 1:
        raise ValueError(f"--worst: want 1 or more, got {args.worst}")
    if not np.isfinite(args.bins or 0).all():
        raise ValueError(f"--bins: want numbers, got {' '.join(map(str, args.bins))}")


# ---------------------------------------------------------------------- tables
def read_table(path):
    """File -> {column in lower case: {speaker or file: value}}, without the first column. Raises ValueError naming the line."""
    lines = read_text_lines(path, "of a table, the first with the names of its columns")
    separator = next((s for s in "\t," if s in lines[0]), None)
    rows = [
        [word.strip() for word in row]
        for row in (csv.reader(lines, delimiter=separator) if separator else map(str.split, lines))
    ]
    header = [name.lower() for name in rows[0]]
    table = {name: {} for name in header[1:]}
    for number, row in enumerate(rows[1:], 2):
        if len(row) != len(header):
            raise ValueError(
                f"{path}:{number}: want {len(header)} columns ({', '.join(rows[0])}), got {len(row)}: '{lines[number - 1]}'"
            )
        for name, value in zip(header[1:], row[1:], strict=True):
            if table[name].setdefault(row[0], value) != value:
                raise ValueError(
                    f"{path}:{number}: want one line for {row[0]}, got another above with {name} {table[name][row[0]]}, here {value}"
                )
    return table


def from_table(column, read, speakers, path):
    """-> the words of `column` for the two sides of every trial; one side where only the tested file or the claimed speaker counts."""
    table = read_table(path)
    if column.lower() not in table:
        raise ValueError(
            f"{path}: want a column {column}, got {', '.join(table) or 'one column alone'}"
        )
    known = table[column.lower()]
    files = [pair if read.kinds is None else pair[1:] for pair in words_of(read)]
    if all(file in known for pair in files for file in pair):
        return [[known[file] for file in pair] for pair in files]
    names, sides = speakers()
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"{path}: want all speakers of the trials in the first column, or all files; {len(missing):,} of {len(names):,} speakers are "
            f"missing, the first {missing[0]}"
        )
    sides = [[known[names[i]] for i in pair if i >= 0] for pair in sides.tolist()]
    return sides if read.kinds is None else [side[:1] for side in sides]


def seconds_of_sides(read, path, durations):
    """Seconds of the audio files of every trial, as from_table has them. durations: see slices_of."""
    files = [pair if read.kinds is None else pair[1:] for pair in words_of(read)]
    names = dict.fromkeys(file for pair in files for file in pair)
    seconds = {name: str(value) for name, value in durations(path, names, "--path").items()}
    return [[seconds[file] for file in pair] for pair in files]


# ---------------------------------------------------------------------- slices
def slices_of(column, read, speakers, args, durations=None):
    """-> {name of a slice: bool [n]}, sorted. speakers: function that gives them, called where they are needed.
    durations: function (folder, names, place) -> {name: seconds}."""
    if column == "attack" and read.kinds is not None:
        return {
            attack: read.labels | ~read.labels & (read.attacks == attack)
            for attack in sorted({*read.attacks[~read.labels].tolist()})
        }
    if args.table and not (column == "duration" and args.path):
        values = from_table(column, read, speakers, args.table)
    elif column == "duration" and args.path:
        values = seconds_of_sides(read, args.path, durations)
    else:
        raise ValueError(
            f"--by {column}: want --table FILE with this column{', or --path DIR with the files' * (column == 'duration')}"
        )
    numbers = numbers_of(values)
    if numbers is not None and (args.bins or len(np.unique(numbers)) >= SEVERAL):
        return bins_of(numbers, np.unique(args.bins or np.quantile(numbers, [0.25, 0.5, 0.75])))
    names = np.array([" / ".join(sorted({*side})) for side in values])
    return {str(name): names == name for name in np.unique(names)}


def numbers_of(values):
    """Words of the sides of every trial -> the smaller ones of two numbers [n], or None where some are no numbers."""
    try:
        numbers = np.array([min(map(float, side)) for side in values])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None


def bins_of(numbers, edges):
    """numbers [n], edges ascending -> {"from a to b": bool [n]}, a included, without empty bins."""
    names = [
        f"below {edges[0]:.4g}",
        *(f"{a:.4g} to {b:.4g}" for a, b in zip(edges, edges[1:], strict=False)),
        f"from {edges[-1]:.4g}",
    ]
    at = np.searchsorted(edges, numbers, "right")
    return {name: at == i for i, name in enumerate(names) if (at == i).any()}


def aligned(rows):
    """Rows of as many words each -> lines of a table, the first column to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            f"{word:{'>' if i else '<'}{width}}"
            for i, (word, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def text_of(column, slices, read, evaluate):
    """-> a table of size, EER and costs of each slice, "-" where it has one kind of trials alone. evaluate(Scores, bool [n]) -> Summary of the trials that are
    taken, targets against all others."""
    rows, names = [], {"EER": None}
    for name, used in slices.items():
        part = select_trials(read, used)._replace(kinds=None, attacks=None)
        targets, numbers = int(np.count_nonzero(part.labels)), {}
        if 0 < targets < len(part.labels):
            found = evaluate(part, used)
            numbers = {
                key: f"{value:.2f} %" if key == "EER" else f"{value:.4f}"
                for key, value in found.values.items()
            }
            numbers = {
                key: number + interval_text(found.intervals, key).rstrip()
                for key, number in numbers.items()
            }
        names |= numbers
        rows.append(([name, f"{targets:,}", f"{len(part.labels) - targets:,}"], numbers))
    return aligned(
        [
            [column, "target", "others", *names],
            *([*words, *(numbers.get(key, "-") for key in names)] for words, numbers in rows),
        ]
    )
