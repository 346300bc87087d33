"""Is a corpus what its lists say? Every file is opened and read once, lists are compared, and lists of what is sound are written.

A finding is a file or a speaker that a list would be better without; PROBLEM_KINDS tells which there are.
"""

import hashlib
import json
import logging
import math
import os
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from common.constants import HOP, SAMPLE_RATE
from common.errors import InputError
from common.writing import write_atomically
from corpus.audio import Audio, AudioError
from corpus.files import find_files
from corpus.listing import folder_of, read_listing, shared_speakers, speakers_by_folder
from prep.workers import in_parallel

log = logging.getLogger(__name__)
# dB: root mean square relative to full scale; of speech it is -45 to -15
SILENT = -70.0
# share of samples at the file's own extremes; of clear speech 0.003 or less
CLIPPED = 0.01
# dB that stand for zeros
FLOOR = -200.0
# files in a job
CHUNK = 64
REPORT = "check.json"
MISSING = [("missing", None, "is not there")]
PROBLEM_KINDS = {
    "missing": "there is no such file",
    "unreadable": "not audio",
    "format": f"not {SAMPLE_RATE} Hz, 1 channel",
    "truncated": "the end is missing, or damaged",
    "empty": "without samples",
    "not finite": "NaN or infinity",
    "silent": f"below {SILENT:g} dB",
    "clipped": f"over {CLIPPED:.0%} of the samples at the highest and lowest value",
    "short": "shorter than a crop of --max_frames",
    "duplicate": "the samples of a file before it",
    "listed twice": "is in the train list before",
    "shared file": "of a train list, is in a test list too",
    "shared speaker": "of a train list, is in a test list too",
    "few": "speakers with fewer sound utterances than --nPerSpeaker",
}


class CheckOptions(NamedTuple):
    """lists, paths: train or trial lists, the folder of each. output: folder of what is written, None for that of each list. max_frames: of a crop, 0 for
    any length. nPerSpeaker: least utterances of a speaker."""

    lists: list
    paths: list
    output: Path | None
    max_frames: int
    nPerSpeaker: int


class Finding(NamedTuple):
    """file: None where it is of the speaker as a whole. figure: what was measured, where something was."""

    kind: str
    file: str | None
    speaker: str
    figure: float | None
    text: str


class Examined(NamedTuple):
    """Of a file: [(kind, figure, text)], its length, and a digest of its samples, None where they cannot be read."""

    faults: list
    frames: int = 0
    digest: bytes | None = None


# ---------------------------------------------------------------------- files
def examine(path, least):
    """least: samples it should have."""
    try:
        with Audio(path) as audio:
            x = audio.read(0, audio.frames)  # [T]
    except AudioError as error:
        return Examined([(error.kind, None, str(error))])
    level = 10 * math.log10(max(np.dot(x, x) / len(x), 10 ** (FLOOR / 10)))
    clipped = (np.count_nonzero(x == x.max()) + np.count_nonzero(x == x.min()) - 2) / len(x)
    faults = []
    # too few values to tell clipping
    if level < SILENT:
        faults.append(("silent", round(level, 1), f"{level:.1f} dB"))
    elif clipped > CLIPPED:
        faults.append(("clipped", round(clipped, 4), f"{clipped:.1%} of the samples"))
    if len(x) < least:
        faults.append(
            (
                "short",
                round(len(x) / SAMPLE_RATE, 3),
                f"{len(x) / SAMPLE_RATE:.3f} s, want {least / SAMPLE_RATE:.2f} s",
            )
        )
    # the same samples have the same digest in any format
    pcm = np.clip(x * 32768, -32768, 32767).astype("<i2")
    return Examined(faults, len(x), hashlib.sha1(pcm, usedforsecurity=False).digest())


def examine_chunk(least, job):
    """(folder, names) -> {(folder, name): Examined}."""
    root, names = job
    return {
        (root, name): Examined(MISSING)
        if path is None
        else examine(os.path.join(root, path), least)
        for name, path in find_files(root, names).items()
    }


def examine_all(listings, least, processes):
    """-> {(folder, name): Examined} of every file of the lists; of each once."""
    names = defaultdict(dict)
    for listing in listings:
        names[listing.root].update(dict.fromkeys(listing.files()))
    jobs = [
        (root, [*own][i : i + CHUNK])
        for root, own in names.items()
        for i in range(0, len(own), CHUNK)
    ]
    examined = {}
    with tqdm(total=sum(map(len, names.values())), unit="file", desc="check", disable=None) as bar:
        for result in in_parallel(partial(examine_chunk, least), jobs, processes):
            examined |= result
            bar.update(len(result))
    return examined


# ---------------------------------------------------------------------- lists
def speakers_of(listing, level):
    """-> {file: speaker} in the order of the list, the first of a file that is listed twice; in trials the folder at that level of a path is the speaker."""
    if listing.owners is None:
        return {name: folder_of(name, level) for name in listing.files()}
    speakers = {}
    for (name,), (speaker, _) in zip(listing.named, listing.owners, strict=True):
        speakers.setdefault(name, speaker)
    return speakers


def of_files(listing, speakers, examined):
    """Findings of single files, and of those with the samples of one before."""
    first = {}
    for name in speakers:
        file = examined[listing.root, name]
        yield from (
            Finding(kind, name, speakers[name], figure, text) for kind, figure, text in file.faults
        )
        other = first.setdefault(file.digest, name) if file.digest else name
        if other != name:
            whose = "" if speakers[other] == speakers[name] else f" of {speakers[other]}"
            yield Finding(
                "duplicate", name, speakers[name], None, f"has the samples of {other}{whose}"
            )


def of_overlap(listing, speakers, tests, examined):
    """Findings of a train list: what it has in common with trials."""

    def identity(root, name):
        return examined[root, name].digest or os.path.join(root, name)

    for test in tests:
        tested = {identity(test.root, name): name for name in test.files()}
        for name in speakers:
            if other := tested.get(identity(listing.root, name)):
                yield Finding(
                    "shared file", name, speakers[name], None, f"is {other} of {test.list_file}"
                )
        for speaker in shared_speakers(
            *speakers_by_folder([*speakers.values()], [*speakers]), test.files()
        ):
            yield Finding("shared speaker", None, speaker, None, f"has files in {test.list_file}")


def sound_lines(listing, findings):
    """-> numbers of the lines that nothing is said against; of a file that is listed twice the first."""
    files, speakers, seen = (
        {f.file for f in findings if f.file},
        {f.speaker for f in findings if not f.file},
        set(),
    )
    for i, names in enumerate(listing.named):
        again = listing.owners is not None and names in seen
        seen.add(names)
        if (
            files.isdisjoint(names)
            and not again
            and (listing.owners is None or listing.owners[i][0] not in speakers)
        ):
            yield i


def of_train_list(listing, speakers, findings, least):
    """-> (more findings, numbers of sound lines): lines that are there twice, and speakers of whom too little is left."""
    more = [
        Finding("listed twice", name, speakers[name], count, f"{count} times, kept once")
        for (name,), count in Counter(listing.named).items()
        if count > 1
    ]
    lines = [*sound_lines(listing, findings)]
    left, dropped = (
        Counter(listing.owners[i] for i in lines),
        {f.speaker for f in findings if not f.file},
    )
    few = {
        owner: left[owner]
        for owner in dict.fromkeys(listing.owners)
        if left[owner] < least and owner[0] not in dropped
    }
    more += [
        Finding(
            "few",
            None,
            speaker,
            count,
            f"{count} sound {'spoofed ' * spoofed}utterances, want {least}",
        )
        for (speaker, spoofed), count in few.items()
    ]
    return more, [i for i in lines if listing.owners[i] not in few]


def judge(listing, level, tests, examined, least):
    """-> (findings in a list, numbers of its sound lines). level: see speakers_of; tests: lists of trials; least: utterances of a training speaker."""
    speakers = speakers_of(listing, level)
    findings = [*of_files(listing, speakers, examined)]
    if listing.owners is None:
        return findings, [*sound_lines(listing, findings)]
    findings += of_overlap(listing, speakers, tests, examined)
    more, lines = of_train_list(listing, speakers, findings, least)
    return findings + more, lines


# ---------------------------------------------------------------------- what is told
def tell(listing, findings, lines, clean):
    """A table of the findings in a list, and the speakers with most of them."""
    log.info(
        "%s: %s lines, %s sound: %s",
        listing.list_file,
        f"{len(listing.lines):,}",
        f"{len(lines):,}",
        clean,
    )
    kinds = Counter(f.kind for f in findings)
    for kind, text in PROBLEM_KINDS.items():
        if kinds[kind]:
            of_kind = [f for f in findings if f.kind == kind]
            log.info(
                "  %-14s %9s  of %6s speakers: %s; %s: %s",
                kind,
                f"{len(of_kind):,}",
                f"{len({f.speaker for f in of_kind}):,}",
                text,
                of_kind[0].file or of_kind[0].speaker,
                of_kind[0].text,
            )
    worst = Counter(f.speaker for f in findings).most_common(5)
    if worst:
        log.info(
            "  most findings: %s",
            ", ".join(f"{speaker or '(no speaker)'} {count:,}" for speaker, count in worst),
        )


def summary_of(listing, findings, lines, clean):
    """-> what the report says of a list."""
    speakers = defaultdict(Counter)
    for finding in findings:
        speakers[finding.speaker][finding.kind] += 1
    return {
        "list": listing.list_file,
        "path": listing.root,
        "lines": len(listing.lines),
        "sound": len(lines),
        "clean": str(clean),
        "kinds": Counter(f.kind for f in findings),
        "speakers": dict(sorted(speakers.items())),
        "findings": [f._asdict() for f in findings],
    }


def written_files(options):
    """-> (the cleaned lists, the report). InputError if two would be one."""
    clean = [
        (options.output or path.parent) / f"{path.stem}.clean{path.suffix}"
        for path in map(Path, options.lists)
    ]
    if len({*clean}) < len(clean):
        raise InputError(
            f"--check: want lists of different names, got {' '.join(map(str, options.lists))}; their cleaned lists would be one file"
        )
    return clean, clean[0].with_name(REPORT)


def check_lists(options, processes=None):
    """Writes a report and cleaned lists -> is there anything that they leave out?"""
    if len(options.paths) not in (1, len(options.lists)):
        raise InputError(
            f"--path: want one folder, or one for each of {len(options.lists)} lists, got {len(options.paths)}"
        )
    for path in options.paths:
        if not Path(path).is_dir():
            raise InputError(
                f"--path {path}: want the folder of the files of the list, got no folder"
            )
    written, report = written_files(options)
    paths = options.paths * (len(options.lists) // len(options.paths))
    listings = [
        read_listing(list_file, path) for list_file, path in zip(options.lists, paths, strict=True)
    ]
    examined = examine_all(listings, options.max_frames * HOP, processes)
    for listing in listings:
        if all(examined[listing.root, name].faults[:1] == MISSING for name in listing.files()):
            raise InputError(
                f"{listing.list_file}: none of its files is in {listing.root}; correct --path"
            )
    tests, levels = [listing for listing in listings if listing.owners is None], [0]
    levels += [
        speakers_by_folder(
            [speaker for speaker, _ in each.owners], [name for (name,) in each.named]
        )[0]
        for each in listings
        if each.owners
    ]
    summaries = []
    for listing, clean in zip(listings, written, strict=True):
        findings, lines = judge(listing, levels[-1], tests, examined, options.nPerSpeaker)
        write_atomically(
            clean,
            "".join(
                f"{line}\n" for line in [*listing.header, *(listing.lines[i] for i in lines)]
            ).encode(),
        )
        tell(listing, findings, lines, clean)
        summaries.append(summary_of(listing, findings, lines, clean))
    hours = sum(file.frames for file in examined.values()) / SAMPLE_RATE / 3600
    settings = {
        "max_frames": options.max_frames,
        "nPerSpeaker": options.nPerSpeaker,
        "silent": SILENT,
        "clipped": CLIPPED,
    }
    write_atomically(
        report,
        json.dumps(
            {
                "files": len(examined),
                "hours": round(hours, 3),
                "settings": settings,
                "lists": summaries,
            },
            indent=1,
        ).encode(),
    )
    found = sum(len(summary["findings"]) for summary in summaries)
    log.info(
        "%s files, %.2f hours: %s; report: %s",
        f"{len(examined):,}",
        hours,
        f"{found:,} findings" if found else "all sound",
        report,
    )
    return found > 0
