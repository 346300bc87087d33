"""Train lists from Kaldi's data folders, and data folders from train lists.

A data folder contains the files wav.scp (utterance, path), utt2spk (utterance, speaker), spk2utt
(speaker, utterances), and optionally trials (utterance, utterance, target|nontarget).
"""

import itertools
import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from common.errors import InputError
from corpus.files import check_present
from corpus.lists import Utterance, described, read_train_list, read_trials
from corpus.missing import first_names
from corpus.rows import LineFormat, read_rows, read_text_lines
from prep.output import check_words, require_folder, write_lists

log = logging.getLogger(__name__)
# Label of a trial in a list -> key of a trial of Kaldi.
KEYS = {"1": "target", "0": "nontarget"}
LABELS = {key: label for label, key in KEYS.items()}
UNCHANGED_PATHS = "The paths are unchanged: absolute, or relative to the folder where Kaldi ran."
TRIAL_FORMATS = {
    "<utterance> <utterance> target|nontarget": LineFormat(
        lambda w: len(w) == 3 and w[2] in KEYS.values()
    )
}


# ---------------------------------------------------------------------- from Kaldi
def read_kaldi_table(path: Path) -> dict[str, str]:
    """Reads lines '<utterance> <rest>' as {utterance: rest}.

    Raises InputError if a line has one word, or if an utterance has two lines.
    """
    table: dict[str, str] = {}
    lines = read_text_lines(path)
    for number, line in zip(lines.numbers, lines, strict=True):
        words = line.split(maxsplit=1)
        if len(words) < 2:
            raise InputError(
                f"{path}:{number}: expected '<utterance> ...', found {line!r}. Correct this line."
            )
        utterance, rest = words
        if utterance in table:
            raise InputError(
                f"{path}:{number}: the utterance {utterance} has a second line here. Remove one of "
                "the two lines."
            )
        table[utterance] = rest
    return table


def read_paths(folder: Path, root: str | Path | None) -> dict[str, str]:
    """Reads wav.scp of a data folder as {utterance: path}.

    The paths become relative to root, if root is given. Raises InputError for a command, a place in
    an archive, a path with blanks, and a path outside root.
    """
    scp = folder / "wav.scp"
    base = os.path.abspath(root) if root else None
    paths = {}
    for number, (utterance, path) in enumerate(read_kaldi_table(scp).items(), 1):
        place = f"{scp}:{number}"
        check_audio_path(path, place)
        if base:
            path = os.path.relpath(path, base)
            if path.startswith("../"):
                raise InputError(
                    f"{place}: expected files inside --path {root}, found {path}. Give a folder "
                    "that contains all files, or omit --path."
                )
        paths[utterance] = path
    return paths


def check_audio_path(path: str, place: str) -> None:
    """Raises InputError unless a path of wav.scp is the path of a file."""
    if path.endswith("|") or path == "-":
        raise InputError(
            f"{place}: expected a path, found the command '{path}'. Write the output of the "
            "commands to files, and list these files."
        )
    if re.search(r"\.ark:\d+$", path):
        raise InputError(
            f"{place}: expected an audio file, found the place {path} in an archive. Copy the "
            "archive to files with Kaldi's wav-copy, and list these files."
        )
    check_words([path], place)


def from_kaldi(
    folder: Path, output: Path, root: Path | None = None, trials: Path | None = None
) -> None:
    """Writes the train list of a data folder to `output`.

    The paths of the list are relative to root, if root is given. `trials` is the file for the
    trials of the folder, None for no trials. Raises InputError if the folder cannot be a list.
    """
    require_folder(folder, "Give a Kaldi data folder.")
    if trials and os.path.realpath(trials) == os.path.realpath(output):
        raise InputError(
            f"--trials {trials}: expected another file than --output {output}, found the same. "
            "The trials would replace the train list. Give another name."
        )
    if (folder / "segments").exists():
        raise InputError(
            f"{folder / 'segments'}: expected one file per utterance, but these utterances are "
            "segments of files. Cut the files with Kaldi's extract-segments."
        )
    paths = read_paths(folder, root)
    speakers = read_kaldi_table(folder / "utt2spk")
    check_utterances(folder, paths, speakers)
    lists = {output: [f"{speakers[utterance]} {path}" for utterance, path in paths.items()]}
    if trials:
        lists[trials] = trials_from_kaldi(folder, paths)
    write_lists(lists)
    log.info(
        "Wrote %s with %s speakers and %s utterances. %s",
        output,
        f"{len(set(speakers.values())):,}",
        f"{len(paths):,}",
        f"The paths are relative to {root}." if root else UNCHANGED_PATHS,
    )


def check_utterances(folder: Path, paths: Mapping[str, str], speakers: Mapping[str, str]) -> None:
    """Checks {utterance: path} and {utterance: speaker} of a data folder.

    Raises InputError if an utterance has no path or no speaker, or if two utterances have one file.
    """
    lone = sorted(paths.keys() ^ speakers.keys())
    if lone:
        raise InputError(
            f"{folder}: expected the same utterances in wav.scp and utt2spk, found utterances in "
            f"only one of the two files: {first_names(lone)}. Correct the files."
        )
    owner: dict[str, str] = {}
    for utterance, path in paths.items():
        if owner.setdefault(path, utterance) != utterance:
            raise InputError(
                f"{folder / 'wav.scp'}: the utterances {owner[path]} and {utterance} have the same "
                f"file {path}. Remove one of the two utterances."
            )
    check_words(speakers.values(), folder / "utt2spk")


def trials_from_kaldi(folder: Path, paths: Mapping[str, str]) -> list[str]:
    """Returns the trials of a data folder as lines '1|0 <file> <file>'."""
    rows = list(read_rows(folder / "trials", TRIAL_FORMATS)[2])
    names = itertools.chain.from_iterable(words[:2] for words in rows)
    check_known(paths, names, folder / "trials", folder / "wav.scp")
    return [f"{LABELS[key]} {paths[a]} {paths[b]}" for a, b, key in rows]


def check_known(
    known: Collection[str], names: Iterable[str], place: str | Path, source: str | Path
) -> None:
    """Raises InputError unless all names of the file `place` are in `known`.

    The names in `known` come from the file `source`.
    """
    unknown = list(dict.fromkeys(name for name in names if name not in known))
    if unknown:
        raise InputError(
            f"{place}: expected only names from {source}, found other names: "
            f"{first_names(unknown)}. Add these names to {source}, or remove them here."
        )


# ---------------------------------------------------------------------- to Kaldi
def utterance_name(speaker: str, path: str) -> str:
    """Returns Kaldi's name of an utterance, which begins with the speaker.

    An example: speaker id1 and path id1/video/1.wav give id1-video-1.
    """
    name = os.path.splitext(path)[0].strip("/").replace("/", "-")
    return name if name.startswith(f"{speaker}-") else f"{speaker}-{name}"


def utterances_by_name(list_file: Path, utterances: Iterable[Utterance]) -> dict[str, Utterance]:
    """Returns {name of Kaldi: utterance}. Raises InputError if two utterances have one name."""
    by_name: dict[str, Utterance] = {}
    for utterance in utterances:
        name = utterance_name(utterance.speaker, utterance.path)
        if name in by_name:
            raise InputError(
                f"{list_file}: {by_name[name].path} and {utterance.path} would both get Kaldi's "
                f"name {name}. Rename one of the two files."
            )
        by_name[name] = utterance
    return by_name


def sorted_names(list_file: Path, by_name: Mapping[str, Utterance]) -> list[str]:
    """Returns the names of utterances in the order that Kaldi requires.

    Raises InputError if the speakers are not in the same order.
    """
    # By characters. In UTF-8 this is the order of LC_ALL=C.
    names = sorted(by_name)
    for before, after in itertools.pairwise(names):
        if by_name[before].speaker > by_name[after].speaker:
            raise InputError(
                f"{list_file}: Kaldi requires utterances and speakers in the same order, but "
                f"{before} of speaker {by_name[before].speaker} comes before {after} of speaker "
                f"{by_name[after].speaker}. Rename one of the two speakers."
            )
    return names


def to_kaldi(list_file: Path, root: Path, folder: Path, trials: Path | None = None) -> None:
    """Writes the data folder of a train list of files below root.

    `trials` is a list of trials of the files, which becomes folder/trials. Raises InputError if
    Kaldi cannot represent the list.
    """
    utterances = read_train_list(list_file)
    if any(u.spoofed for u in utterances):
        raise InputError(
            f"{list_file}: expected only bona fide speech, found spoofed speech. Remove the "
            "spoofed speech, because Kaldi's data folders cannot store attacks."
        )
    names = [u.path for u in utterances]
    found = check_present(root, names, list_file, root_option="--path")
    by_name = utterances_by_name(list_file, utterances)
    names = sorted_names(list_file, by_name)
    lists: dict[str, list[str]] = {"wav.scp": [], "utt2spk": [], "spk2utt": []}
    for name in names:
        path = os.path.abspath(os.path.join(root, found[by_name[name].path]))
        lists["wav.scp"].append(f"{name} {path}")
        lists["utt2spk"].append(f"{name} {by_name[name].speaker}")
    for speaker, own in itertools.groupby(names, lambda name: by_name[name].speaker):
        lists["spk2utt"].append(f"{speaker} {' '.join(own)}")
    if trials:
        names_of_paths = {utterance.path: name for name, utterance in by_name.items()}
        lists["trials"] = trials_to_kaldi(trials, names_of_paths, list_file)
    write_lists({folder / name: lines for name, lines in lists.items()})
    log.info("Wrote %s to %s: %s.", ", ".join(lists), folder, described(utterances))


def trials_to_kaldi(trials: Path, names: Mapping[str, str], list_file: Path) -> list[str]:
    """Returns the lines of Kaldi's trials from a list of trials.

    `names` is {path: name of the utterance} of the files of `list_file`. Raises InputError for
    another format, and for a file that is not in `list_file`.
    """
    listed = read_trials(trials)
    if listed.label is None or listed.kinds is not None:
        raise InputError(
            f"{trials}: expected lines '1|0 <file> <file>', found {listed.lines[0]!r}. Choose a "
            "list of trials in this format."
        )
    rows = [line.split() for line in listed.lines]
    paths = itertools.chain.from_iterable(words[1:] for words in rows)
    check_known(names, paths, trials, list_file)
    return [f"{names[a]} {names[b]} {KEYS[label]}" for label, a, b in rows]
