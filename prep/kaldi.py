"""Train lists from Kaldi's data folders and back: wav.scp (utterance, path), utt2spk, spk2utt, trials (utterance, utterance, target|nontarget)."""

import itertools
import logging
import os
import re

from common.errors import InputError
from corpus.files import check_present
from corpus.line_formats import LineFormat
from corpus.lists import described, read_train_list, read_trials
from corpus.rows import read_rows, read_text_lines
from prep.output import check_words, write_lists

log = logging.getLogger(__name__)
KEYS = {"1": "target", "0": "nontarget"}
TRIAL_FORMATS = {
    "<utterance> <utterance> target|nontarget": LineFormat(
        lambda w: len(w) == 3 and w[2] in KEYS.values()
    )
}


def read_table(path):
    """Lines '<utterance> <rest>' -> {utterance: rest}. InputError if one is there twice."""
    table = {}
    for number, line in enumerate(read_text_lines(path), 1):
        words = line.split(maxsplit=1)
        if len(words) < 2:
            raise InputError(f"{path}:{number}: want '<utterance> ...', got {line!r}")
        if words[0] in table:
            raise InputError(f"{path}:{number}: {words[0]} is there twice; remove one of the lines")
        table[words[0]] = words[1]
    return table


def read_paths(folder, root):
    """Folder with wav.scp -> {utterance: path}, relative to root if that is given."""
    scp, paths = folder / "wav.scp", {}
    base = os.path.abspath(root) if root else None
    for number, (utterance, path) in enumerate(read_table(scp).items(), 1):
        place = f"{scp}:{number}"
        if path.endswith("|") or path == "-":
            raise InputError(
                f"{place}: want a path, got a command: {path}; run these commands into files first, and list the files"
            )
        if re.search(r"\.ark:\d+$", path):
            raise InputError(
                f"{place}: want an audio file, got a place in an archive: {path}; copy the archive into files first (wav-copy)"
            )
        check_words([path], place)
        if base:
            path = os.path.relpath(path, base)
            if path.startswith("../"):
                raise InputError(
                    f"{place}: want files below --path {root}, got {path}; give a folder above all of them, or leave it out"
                )
        paths[utterance] = path
    return paths


def from_kaldi(folder, output, root=None, trials=None):
    """A data folder -> train list `output`, its paths relative to root if that is given; trials: file that gets its trials."""
    if (folder / "segments").exists():
        raise InputError(
            f"{folder / 'segments'}: utterances are parts of files here, and lists name whole files; cut them first (extract-segments)"
        )
    paths, speakers = read_paths(folder, root), read_table(folder / "utt2spk")
    if lone := sorted(paths.keys() ^ speakers.keys()):
        raise InputError(
            f"{folder}: want the same utterances in wav.scp and utt2spk, got {len(lone)} in one alone: {', '.join(lone[:10])}"
        )
    owner = {}
    for utterance, path in paths.items():
        if owner.setdefault(path, utterance) != utterance:
            raise InputError(
                f"{folder / 'wav.scp'}: {path} is the file of {owner[path]} and of {utterance}; remove one of them"
            )
    check_words(speakers.values(), folder / "utt2spk")
    lists = {output: [f"{speakers[utterance]} {path}" for utterance, path in paths.items()]}
    if trials:
        keys, rows = (
            {key: label for label, key in KEYS.items()},
            list(read_rows(folder / "trials", TRIAL_FORMATS)[2]),
        )
        refuse_strangers(
            paths,
            (name for words in rows for name in words[:2]),
            folder / "trials",
            folder / "wav.scp",
        )
        lists[trials] = [f"{keys[key]} {paths[a]} {paths[b]}" for a, b, key in rows]
    write_lists(lists)
    log.info(
        "%s: %s speakers, %s utterances; their paths are relative to %s",
        output,
        f"{len(set(speakers.values())):,}",
        f"{len(paths):,}",
        root or "the folder that Kaldi ran in, or absolute",
    )


def refuse_strangers(known, names, place, where):
    strangers = list(dict.fromkeys(name for name in names if name not in known))
    if strangers:
        raise InputError(
            f"{place}: {len(strangers)} of its names are not in {where}: {', '.join(strangers[:10])}; add them there"
        )


def utterance_of(speaker, path):
    """Kaldi's name of an utterance, which begins with its speaker: id1, id1/video/1.wav -> id1-video-1."""
    name = os.path.splitext(path)[0].strip("/").replace("/", "-")
    return name if name.startswith(f"{speaker}-") else f"{speaker}-{name}"


def to_kaldi(list_file, root, folder, trials=None):
    """Train list of files below root -> data folder, sorted as Kaldi wants it. trials: a list of trials of these files, which becomes folder/trials."""
    utterances = read_train_list(list_file)
    if any(u.spoofed for u in utterances):
        raise InputError(
            f"{list_file}: want bona fide speech alone, as Kaldi's folders have no place for attacks; leave the others out"
        )
    found = check_present(root, [u.path for u in utterances], list_file)
    owner, names = {}, {}
    for u in utterances:
        names[u.path] = name = utterance_of(u.speaker, u.path)
        if name in owner:
            raise InputError(
                f"{list_file}: {owner[name].path} and {u.path} would both be called {name}; rename one of them"
            )
        owner[name] = u
    # by characters, which in UTF-8 is the order of LC_ALL=C
    order = sorted(owner)
    for before, after in itertools.pairwise(order):
        if owner[before].speaker > owner[after].speaker:
            raise InputError(
                f"{list_file}: Kaldi wants utterances and their speakers in one order, but {before} of {owner[before].speaker} comes before "
                f"{after} of {owner[after].speaker}; rename one of these speakers"
            )
    belonging = itertools.groupby(order, lambda name: owner[name].speaker)
    lists = {
        "wav.scp": [
            f"{name} {os.path.abspath(os.path.join(root, found[owner[name].path]))}"
            for name in order
        ],
        "utt2spk": [f"{name} {owner[name].speaker}" for name in order],
        "spk2utt": [f"{speaker} {' '.join(own)}" for speaker, own in belonging],
    }
    if trials:
        listed = read_trials(trials)
        if listed.label is None or listed.kinds is not None:
            raise InputError(
                f"{trials}: want lines '1|0 <file> <file>', got {listed.lines[0]!r}; give such a list"
            )
        rows = [line.split() for line in listed.lines]
        refuse_strangers(names, (name for _, *pair in rows for name in pair), trials, list_file)
        lists["trials"] = [f"{names[a]} {names[b]} {KEYS[label]}" for label, a, b in rows]
    write_lists({folder / name: lines for name, lines in lists.items()})
    log.info("%s: %s: %s", folder, described(utterances), ", ".join(lists))
