"""Checks whether a corpus agrees with its lists.

The program opens and reads every file once and compares the lists with each other. It writes a
report, and for each list a cleaned list with only the valid lines. A finding is a problem of a
file or of a speaker. PROBLEM_KINDS lists all kinds of problems. A line without a finding is valid.
"""

import json
import logging
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from common.constants import HOP, SAMPLE_RATE, SILENT
from common.errors import InputError
from common.outputs import beside, check_output
from common.writing import write_atomically
from corpus.lists import parse_trials
from corpus.raw_lists import RawList, folder_of, read_raw_list, shared_speakers, speakers_by_folder
from corpus.trial_checks import warn_about_trials
from prep.constants import CHECK_REPORT, CLIPPED, PROBLEM_KINDS
from prep.examination import Results, check_paths, examine_all, identity
from prep.output import require_folder

log = logging.getLogger(__name__)


class CheckOptions(NamedTuple):
    """The options of the command check.

    lists: train lists and trial lists.
    paths: the folder of the files of each list, or one folder for all lists.
    output: the folder of the results. None: the folder of each list.
    max_frames: number of frames of a crop, which a file must have. 0 allows any length.
    nPerSpeaker: smallest number of valid utterances of a training speaker.
    """

    lists: list[str]
    paths: list[str]
    output: Path | None
    max_frames: int
    nPerSpeaker: int


class Finding(NamedTuple):
    """One problem of a list.

    kind: a key of PROBLEM_KINDS.
    file: None if the problem concerns the speaker and not one file.
    figure: the measured value, or None if nothing was measured.
    """

    kind: str
    file: str | None
    speaker: str
    figure: float | None
    text: str


# ---------------------------------------------------------------------- lists
def speakers_of_files(listing: RawList, level: int) -> dict[str, str]:
    """Returns file -> speaker in the order of the list.

    A file that is listed twice gets the speaker of its first line. In trials, the folder at this
    level of the path is the speaker.
    """
    if listing.owners is None:
        return {name: folder_of(name, level) for name in listing.files()}
    speakers: dict[str, str] = {}
    for (name,), (speaker, _) in zip(listing.named, listing.owners, strict=True):
        speakers.setdefault(name, speaker)
    return speakers


def file_findings(
    listing: RawList, speakers: dict[str, str], results: Results
) -> Iterator[Finding]:
    """Yields the problems of single files, and the files that equal an earlier file."""
    first: dict[bytes, str] = {}
    for name, speaker in speakers.items():
        file = results[listing.root, name]
        for kind, figure, text in file.faults:
            yield Finding(kind, name, speaker, figure, text)
        if not file.digest:
            continue
        other = first.setdefault(file.digest, name)
        if other != name:
            text = f"has the samples of {other}"
            if speakers[other] != speaker:
                text += f" of {speakers[other]}"
            yield Finding("duplicate", name, speaker, None, text)


def overlap_findings(
    listing: RawList, speakers: dict[str, str], tests: list[RawList], results: Results
) -> Iterator[Finding]:
    """Yields the files and speakers that a train list shares with lists of trials."""
    level, folders = speakers_by_folder(list(speakers.values()), list(speakers))
    for test in tests:
        tested = {identity(results, test.root, name): name for name in test.files()}
        for name, speaker in speakers.items():
            other = tested.get(identity(results, listing.root, name))
            if other:
                text = f"is {other} of {test.list_file}"
                yield Finding("shared file", name, speaker, None, text)
        for speaker in shared_speakers(level, folders, test.files()):
            yield Finding("shared speaker", None, speaker, None, f"has files in {test.list_file}")


def valid_lines(listing: RawList, findings: list[Finding]) -> Iterator[int]:
    """Yields the numbers of the lines without findings.

    If several lines of a train list name the same file, only the first line is valid.
    """
    files = {finding.file for finding in findings if finding.file}
    speakers = {finding.speaker for finding in findings if not finding.file}
    seen = set()
    for number, names in enumerate(listing.named):
        repeated = names in seen
        seen.add(names)
        if not files.isdisjoint(names):
            continue
        if listing.owners is not None:
            speaker, _ = listing.owners[number]
            if repeated or speaker in speakers:
                continue
        yield number


def repeated_files(listing: RawList, speakers: dict[str, str]) -> list[Finding]:
    """Returns the files that have several lines in a train list."""
    found = []
    for (name,), count in Counter(listing.named).items():
        if count > 1:
            text = f"{count} lines, only the first is kept"
            found.append(Finding("listed twice", name, speakers[name], count, text))
    return found


def remove_small_speakers(
    listing: RawList, findings: list[Finding], least: int
) -> tuple[list[Finding], list[int]]:
    """Finds the speakers of a train list with fewer than `least` valid utterances.

    Bona fide and spoofed speech of a speaker are counted separately. Returns the findings, and the
    numbers of the valid lines of the other speakers.
    """
    lines = list(valid_lines(listing, findings))
    counts = Counter(listing.owners[number] for number in lines)
    removed = {finding.speaker for finding in findings if not finding.file}
    small = set()
    found = []
    for owner in dict.fromkeys(listing.owners):
        speaker, spoofed = owner
        count = counts[owner]
        if count < least and speaker not in removed:
            small.add(owner)
            kind = "spoofed utterances" if spoofed else "utterances"
            text = f"expected at least {least} valid {kind}, found {count}"
            found.append(Finding("few", None, speaker, count, text))
    return found, [number for number in lines if listing.owners[number] not in small]


def judge(
    listing: RawList, level: int, tests: list[RawList], results: Results, least: int
) -> tuple[list[Finding], list[int]]:
    """Returns the findings in a list and the numbers of its valid lines.

    level: see speakers_of_files.
    tests: the lists of trials.
    least: smallest number of valid utterances of a training speaker.
    """
    speakers = speakers_of_files(listing, level)
    findings = list(file_findings(listing, speakers, results))
    if listing.owners is None:
        return findings, list(valid_lines(listing, findings))
    findings += overlap_findings(listing, speakers, tests, results)
    repeated = repeated_files(listing, speakers)
    small, lines = remove_small_speakers(listing, findings, least)
    return findings + repeated + small, lines


# ---------------------------------------------------------------------- output
def print_findings(
    listing: RawList, findings: list[Finding], lines: list[int], clean: Path
) -> None:
    """Prints a table of the findings in a list, and the speakers with most findings."""
    log.info(
        "%s has %s lines. The %s valid lines are in %s.",
        listing.list_file,
        f"{len(listing.lines):,}",
        f"{len(lines):,}",
        clean,
    )
    if findings:
        log.info("  %-14s %9s %9s", "problem", "findings", "speakers")
    for kind, text in PROBLEM_KINDS.items():
        found = [finding for finding in findings if finding.kind == kind]
        if found:
            log.info(
                "  %-14s %9s %9s  %s. Example: %s: %s",
                kind,
                f"{len(found):,}",
                f"{len({finding.speaker for finding in found}):,}",
                text,
                found[0].file or found[0].speaker,
                found[0].text,
            )
    worst = Counter(finding.speaker for finding in findings).most_common(5)
    if worst:
        counts = [f"{speaker or '(no speaker)'}: {count:,}" for speaker, count in worst]
        log.info("  Speakers with most findings: %s", ", ".join(counts))


def list_report(
    listing: RawList, findings: list[Finding], lines: list[int], clean: Path
) -> dict[str, Any]:
    """Returns the part of the report about one list."""
    speakers: dict[str, Counter] = defaultdict(Counter)
    for finding in findings:
        speakers[finding.speaker][finding.kind] += 1
    return {
        "list": listing.list_file,
        "path": listing.root,
        "lines": len(listing.lines),
        "sound": len(lines),
        "clean": str(clean),
        "kinds": Counter(finding.kind for finding in findings),
        "speakers": dict(sorted(speakers.items())),
        "findings": [finding._asdict() for finding in findings],
    }


def check_folders(options: CheckOptions) -> None:
    """Raises InputError unless there is one folder, or one folder for each list.

    All folders must exist.
    """
    if len(options.paths) not in (1, len(options.lists)):
        raise InputError(
            f"--path: expected one folder, or one folder for each of the {len(options.lists)} "
            f"lists, found {len(options.paths)} folders."
        )
    for path in options.paths:
        require_folder(path, "Give the folder of the files of the list.", "--path")


def written_files(options: CheckOptions) -> tuple[list[Path], Path]:
    """Returns the paths of the cleaned lists and of the report.

    Raises InputError if two cleaned lists would have the same path, and if a result would replace a
    list or a file of others.
    """
    clean = []
    for path in map(Path, options.lists):
        name = f"{path.stem}.clean{path.suffix}"
        if options.output:
            clean.append(options.output / name)
        else:
            clean.append(beside(path, name, "--output DIR"))
    if len(set(clean)) < len(clean):
        raise InputError(
            "check: expected lists with different names, found "
            f"{' '.join(map(str, options.lists))}. Rename one list, because their cleaned lists "
            "would have the same path."
        )
    report = clean[0].with_name(CHECK_REPORT)
    inputs = {"the lists": options.lists}
    check_output(str(report), report, inputs, is_check_report)
    reported = names_in_report(report)
    for path, list_file in zip(clean, options.lists, strict=True):
        is_own = path.name in reported or has_only_lines_of(path, list_file)
        check_output(str(path), path, inputs, lambda _, is_own=is_own: is_own)
    return clean, report


def is_check_report(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is a report of this command."""
    return head.startswith(b"{") and b'"nPerSpeaker"' in head


def names_in_report(report: Path) -> set[str]:
    """Returns the names of the cleaned lists that an earlier command has written."""
    names = set()
    try:
        for each in json.loads(report.read_bytes())["lists"]:
            names.add(Path(each["clean"]).name)
    except (OSError, ValueError, RecursionError, LookupError, TypeError):
        # There is no report yet, or somebody has changed it.
        return set()
    return names


def has_only_lines_of(path: Path, list_file: str) -> bool:
    """Returns whether all lines of a file are in a list. Replacing the file loses nothing then."""
    if not path.is_file() or not Path(list_file).is_file():
        return False
    found, expected = (set(Path(each).read_bytes().split(b"\n")) for each in (path, list_file))
    return {line.strip() for line in found} <= {line.strip() for line in expected} | {b""}


def read_listings(options: CheckOptions) -> list[RawList]:
    """Reads the lists. Raises InputError if a list is wrong."""
    paths = options.paths * (len(options.lists) // len(options.paths))
    listings = []
    for list_file, path in zip(options.lists, paths, strict=True):
        listings.append(read_raw_list(list_file, path))
    return listings


def speaker_level(listings: list[RawList]) -> int:
    """Returns which folder of a path is the speaker, according to the last train list."""
    level = 0
    for listing in listings:
        if listing.owners:
            speakers = [speaker for speaker, _ in listing.owners]
            level, _ = speakers_by_folder(speakers, [name for (name,) in listing.named])
    return level


def write_check_report(
    path: Path, options: CheckOptions, results: Results, reports: list[dict[str, Any]]
) -> bool:
    """Writes the report of all lists. Returns whether there is any finding."""
    hours = sum(file.frames for file in results.values()) / SAMPLE_RATE / 3600
    settings = {
        "max_frames": options.max_frames,
        "nPerSpeaker": options.nPerSpeaker,
        "silent": SILENT,
        "clipped": CLIPPED,
    }
    report = {
        "files": len(results),
        "hours": round(hours, 3),
        "settings": settings,
        "lists": reports,
    }
    write_atomically(path, json.dumps(report, indent=1).encode())
    count = sum(len(each["findings"]) for each in reports)
    log.info("Read %s files with %.2f hours of speech.", f"{len(results):,}", hours)
    log.info("Findings: %s. The report is %s.", f"{count:,}", path)
    return count > 0


def check_lists(options: CheckOptions, processes: int | None = None) -> bool:
    """Writes a report and cleaned lists. Returns whether there is any finding.

    Raises InputError if options contradict each other or if a list cannot be read.
    """
    check_folders(options)
    clean_lists, report_file = written_files(options)
    listings = read_listings(options)
    results = examine_all(listings, options.max_frames * HOP, processes)
    check_paths(listings, results)
    tests = [listing for listing in listings if listing.owners is None]
    level = speaker_level(listings)
    reports = []
    for listing, clean in zip(listings, clean_lists, strict=True):
        findings, lines = judge(listing, level, tests, results, options.nPerSpeaker)
        kept = [*listing.header, *(listing.lines[number] for number in lines)]
        write_atomically(clean, "".join(f"{line}\n" for line in kept).encode())
        print_findings(listing, findings, lines, clean)
        if listing.owners is None:
            warn_about_trials(listing.list_file, parse_trials(listing.list_file))
        reports.append(list_report(listing, findings, lines, clean))
    return write_check_report(report_file, options, results, reports)
