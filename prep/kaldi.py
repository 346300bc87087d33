"""Train lists from Kaldi's data folders, and data folders from train lists.

A data folder has the files wav.scp (utterance, path), utt2spk (utterance, speaker), spk2utt
(speaker, utterances), and perhaps trials (utterance, utterance, target|nontarget).
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
from corpus.rows import LineFormat, read_rows, read_text_lines
from prep.output import check_words, write_lists

log = logging.getLogger(__name__)
# Label of a trial in a list -> key of a trial of Kaldi.
KEYS = {"1": "target", "0": "nontarget"}
LABELS = {key: label for label, key in KEYS.items()}
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
    for number, line in enumerate(read_text_lines(path), 1):
        words = line.split(maxsplit=1)
        if len(words) < 2:
            raise InputError(f"{path}:{number}: want '<utterance> ...', got {line!r}")
        utterance, rest = words
        if utterance in table:
            raise InputError(
                f"{path}:{number}: {utterance} is there twice; remove one of the lines"
            )
        table[utterance] = rest
    return table


def read_paths(folder: Path, root: str | Path | None) -> dict[str, str]:
    """Reads wav.scp of a data folder as {utterance: path}.

    The paths become relative to root, if root is given. Raises InputError for a command, a place in
    an archive, a path with blanks, and a path outside of root.
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
                    f"{place}: want files below --path {root}, got {path}; "
                    "give a folder above all of them, or leave it out"
                )
        paths[utterance] = path
    return paths


def check_audio_path(path: str, place: str) -> None:
    """Raises InputError unless a path of wav.scp is the path of a file."""
    if path.endswith("|") or path == "-":
        raise InputError(
            f"{place}: want a path, got a command: {path}; "
            "run these commands into files first, and list the files"
        )
    if re.search(r"\.ark:\d+$", path):
        raise InputError(
            f"{place}: want an audio file, got a place in an archive: {path}; "
            "copy the archive into files first (wav-copy)"
        )
    check_words([path], place)


def from_kaldi(
    folder: Path, output: Path, root: Path | None = None, trials: Path | None = None
) -> None:
    """Writes the train list of a data folder to `output`.

    The paths of the list are relative to root, if root is given. `trials` is the file for the
    trials of the folder, None for no trials. Raises InputError if the folder cannot be a list.
    """
    if (folder / "segments").exists():
        raise InputError(
            f"{folder / 'segments'}: utterances are parts of files here, and lists name whole "
            "files; cut them first (extract-segments)"
        )
    paths = read_paths(folder, root)
    speakers = read_kaldi_table(folder / "utt2spk")
    check_utterances(folder, paths, speakers)
    lists = {output: [f"{speakers[utterance]} {path}" for utterance, path in paths.items()]}
    if trials:
        lists[trials] = trials_from_kaldi(folder, paths)
    write_lists(lists)
    log.info(
        "%s: %s speakers, %s utterances; their paths are relative to %s",
        output,
        f"{len(set(speakers.values())):,}",
        f"{len(paths):,}",
        root or "the folder that Kaldi ran in, or absolute",
    )


def check_utterances(folder: Path, paths: Mapping[str, str], speakers: Mapping[str, str]) -> None:
    """Checks {utterance: path} and {utterance: speaker} of a data folder.

    Raises InputError if an utterance has no path or no speaker, or if two utterances have one file.
    """
    lone = sorted(paths.keys() ^ speakers.keys())
    if lone:
        raise InputError(
            f"{folder}: want the same utterances in wav.scp and utt2spk, "
            f"got {len(lone)} in one alone: {', '.join(lone[:10])}"
        )
    owner: dict[str, str] = {}
    for utterance, path in paths.items():
        if owner.setdefault(path, utterance) != utterance:
            raise InputError(
                f"{folder / 'wav.scp'}: {path} is the file of {owner[path]} and of {utterance}; "
                "remove one of them"
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
    """Raises InputError unless all names of the file `place` are known from the file `source`."""
    unknown = list(dict.fromkeys(name for name in names if name not in known))
    if unknown:
        raise InputError(
            f"{place}: {len(unknown)} of its names are not in {source}: "
            f"{', '.join(unknown[:10])}; add them there"
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
                f"{list_file}: {by_name[name].path} and {utterance.path} would both be called "
                f"{name}; rename one of them"
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
                f"{list_file}: Kaldi wants utterances and their speakers in one order, but "
                f"{before} of {by_name[before].speaker} comes before "
                f"{after} of {by_name[after].speaker}; rename one of these speakers"
            )
    return names


def to_kaldi(list_file: Path, root: Path, folder: Path, trials: Path | None = None) -> None:
    """Writes the data folder of a train list of files below root.

    `trials` is a list of trials of these files, which becomes folder/trials. Raises InputError if
    Kaldi cannot represent the list.
    """
    utterances = read_train_list(list_file)
    if any(u.spoofed for u in utterances):
        raise InputError(
            f"{list_file}: want bona fide speech alone, as Kaldi's folders have no place for "
            "attacks; leave the others out"
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
    log.info("%s: %s: %s", folder, described(utterances), ", ".join(lists))


def trials_to_kaldi(trials: Path, names: Mapping[str, str], list_file: Path) -> list[str]:
    """Returns the lines of Kaldi's trials from a list of trials.

    `names` is {path: name of the utterance} of the files of `list_file`. Raises InputError for
    another format, and for a file that is not in `list_file`.
    """
    listed = read_trials(trials)
    if listed.label is None or listed.kinds is not None:
        raise InputError(
            f"{trials}: want lines '1|0 <file> <file>', got {listed.lines[0]!r}; give such a list"
        )
    rows = [line.split() for line in listed.lines]
    paths = itertools.chain.from_iterable(words[1:] for words in rows)
    check_known(names, paths, trials, list_file)
    return [f"{names[a]} {names[b]} {KEYS[label]}" for label, a, b in rows]
