"""Who speaks in the trials of a scores file: from the names of the files, or from a table."""

import re
from typing import NamedTuple

import numpy as np

from metrics.scores import read_text_lines

# the second speaker of a trial that has one
NOBODY = -1


class Speakers(NamedTuple):
    """Speakers of trials. names: each once, sorted. who: int [n, 2], the rows of `names` of a trial's two speakers; the second is NOBODY in a trial of one
    speaker, where nobody else is known, or where a spoof stands in for the claimed one."""

    names: list[str]
    sides: np.ndarray


def add_options(parser):
    group = parser.add_argument_group("speakers of the trials").add_mutually_exclusive_group()
    group.add_argument(
        "--speaker_level",
        type=int,
        metavar="N",
        help="the speaker is the name of a file's folder number N (1: the first one)",
    )
    group.add_argument(
        "--speaker_regex",
        metavar="RE",
        help="the speaker is what the group of this regular expression finds in the name of a file",
    )
    group.add_argument(
        "--speaker_table", metavar="FILE", help="lines 'file speaker' of all files of the trials"
    )


def words_of(read):
    """Scores -> (enrolment file or claimed speaker, tested file) of every trial."""
    first = 1 if read.kinds is None else 0
    return [tuple(line.split(maxsplit=first + 2)[first : first + 2]) for line in read.lines]


def naming(args):
    """-> function that tells the speaker of a file. Raises ValueError where the options cannot."""
    if args.speaker_table:
        table = {}
        for number, line in enumerate(read_text_lines(args.speaker_table, "'<file> <speaker>'"), 1):
            words = line.split()
            if len(words) != 2 or table.setdefault(*words) != words[1]:
                raise ValueError(
                    f"{args.speaker_table}:{number}: want '<file> <speaker>', one speaker for a file, got '{line}'"
                )
        return lambda file: found_in(table, file, args.speaker_table)
    if args.speaker_regex:
        try:
            pattern = re.compile(args.speaker_regex)
        except re.error as error:
            raise ValueError(f"--speaker_regex {args.speaker_regex}: {error}") from None
        if pattern.groups != 1:
            raise ValueError(
                f"--speaker_regex {args.speaker_regex}: want one group, which is the speaker, got {pattern.groups}"
            )
        return lambda file: matched(pattern, file)
    level = 1 if args.speaker_level is None else args.speaker_level
    if level < 1:
        raise ValueError(f"--speaker_level: want 1 (the first folder) or more, got {level}")
    return lambda file: folder(file, level)


def speaker_of(path, level, regex=None):
    """Path below the root -> speaker, None if there is none in it: the level-th folder, 1 = the first, or of a compiled regex its group."""
    if regex:
        found = regex.search(path)
        return found and found[1]
    folders = path.split("/")[:-1]
    return folders[level - 1] if len(folders) >= level else None


def found_in(table, file, path):
    if file not in table:
        raise ValueError(f"{path}: want the speakers of all files of the trials, {file} is missing")
    return table[file]


def matched(pattern, file):
    speaker = speaker_of(file, None, pattern)
    if not speaker:
        raise ValueError(f"--speaker_regex {pattern.pattern}: finds no speaker in {file}")
    return speaker


def folder(file, level):
    speaker = speaker_of(file, level)
    if speaker is None:
        raise ValueError(
            f"{file}: has no folder number {level} that would be the speaker; give --speaker_level, --speaker_regex or --speaker_table"
        )
    return speaker


def speakers_of(read, args) -> Speakers:
    """Scores -> their speakers.

    Spoofing-aware trials have the claimed speaker, and non-target ones that of the tested file too where an option tells it; by themselves the names
    of those corpora's files do not. Raises ValueError where the speakers contradict the labels of the trials.
    """
    pairs, known = words_of(read), {}
    told = (
        read.kinds is None
        or args.speaker_level is not None
        or args.speaker_regex
        or args.speaker_table
    )
    name = naming(args) if told else None
    if name:
        files = dict.fromkeys(
            file for pair in pairs for file in (pair if read.kinds is None else pair[1:])
        )
        known = {file: name(file) for file in files}
    if read.kinds is None:
        named = [(known[a], known[b]) for a, b in pairs]
    else:
        named = [
            (claimed, known.get(file, claimed) if kind == "nontarget" else claimed)
            for (claimed, file), kind in zip(pairs, read.kinds, strict=True)
        ]
    # so that the same draws fall on them whatever the order of the trials
    names = sorted({name for pair in named for name in pair})
    rows = {name: i for i, name in enumerate(names)}
    sides = np.array([(rows[a], rows[b]) for a, b in named])
    one = sides[:, 0] == sides[:, 1]
    wrong = one & ~read.labels & bool(name) & (read.kinds != "spoof") | ~one & read.labels
    if wrong.any():
        i = int(np.argmax(wrong))
        got = (
            f"one speaker, {named[i][0]}," if one[i] else f"two speakers, {' and '.join(named[i])},"
        )
        raise ValueError(
            f"trial {i + 1}, '{read.lines[i]}': got {got} from the names of its files, which its label contradicts; give --speaker_level, "
            "--speaker_regex or --speaker_table"
        )
    sides[one, 1] = NOBODY
    return Speakers(names, sides)
