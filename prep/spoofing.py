"""Corpora with spoofed speech: archives or folders become lists with checked counts.

Each list of a corpus is found by its name, its lines are counted and compared with the published
numbers, and its files must exist. Links to the lists, which the trainer reads as published, are
made in one folder. prep/spoofing_corpora.py says what each corpus has.

python dataprep.py asvspoof5 ASVspoof5_protocols.tar.gz flac_T_aa.tar ... --save_path data
"""

import fnmatch
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import InputError
from common.outputs import remove_link
from common.trial_kinds import BONA_FIDE, SPOOF
from corpus.files import check_present, find_files
from corpus.line_formats import PROTOCOL_FORMATS, TRAIN_FORMATS, attack_of
from corpus.lists import parse_trials
from corpus.roots import refuse_unreadable
from corpus.rows import first_line_of, fits_any, read_rows
from prep.archives import extract
from prep.output import protocol_line, require_folder, write_lists
from prep.sources import Source

log = logging.getLogger(__name__)
ARCHIVES = (".zip", ".tar", ".gz", ".tgz")
# Folders of audio. They are not searched for lists, because they have up to a million files.
AUDIO_FOLDERS = ("flac*", "wav*")
# Formats of lists of single files that say which speech is spoofed.
LABELLED_FILES = {
    line: line_format
    for line, line_format in {**TRAIN_FORMATS, **PROTOCOL_FORMATS}.items()
    if line_format.attack_column is not None
}
# Names of counts.
SPEAKERS = "speakers"
FILES = "files"
BONA_FIDE_FILES = "bona fide files"
SPOOFED_FILES = "spoofed files"
ATTACKS = "attacks"
TRIALS = "trials"
COUNT_OF_KIND = {
    "target": "target trials",
    "nontarget": "non-target trials",
    SPOOF: "spoofed trials",
}

Counts = Mapping[str, int]


class CorpusList(NamedTuple):
    """One list of a corpus.

    names: patterns of the name of its file; the first one that is found counts. link: the name
    under which the list is linked, "" for its own name. counts: the published numbers. trials:
    whether the list has trials, and not single files. starts: the beginning of its files, if other
    lists have the same name. convert: whether it is also written as a protocol of ASVspoof 2019,
    because the evaluation of countermeasures does not read it as published. use: the option of the
    trainer that takes it.
    """

    names: tuple[str, ...]
    counts: Counts = {}
    link: str = ""
    trials: bool = False
    starts: str = ""
    convert: bool = False
    use: str = "--test_list"


class Corpus(NamedTuple):
    """A corpus with spoofed speech.

    folder: where its archives are extracted, below --save_path. parts: its lists. enrolment:
    patterns of enrolment lists. whole: the published numbers of all its lists of single files
    together. source: where to get it, a sentence.
    """

    folder: str
    parts: tuple[CorpusList, ...]
    source: str
    enrolment: tuple[str, ...] = ()
    whole: Counts = {}


class Tally(NamedTuple):
    """The contents of a list. names: all its files, each of them once."""

    counts: Counter
    names: list[str]
    speakers: set[str]
    attacks: set[str]


# ---------------------------------------------------------------------- counts
def tally_of_files(list_file: Path) -> Tally:
    """Counts the lines of a list of single files.

    In the keys of a challenge with phases only FILES counts all lines. The other counts are of the
    phase eval. "spoofed files of A07" is a count, too.
    """
    line_format, _, rows = read_rows(list_file, LABELLED_FILES)
    speaker, file = line_format.columns
    counts: Counter = Counter()
    speakers = set()
    names: dict[str, None] = {}
    attacks: Counter = Counter()
    for words in rows:
        names[words[file]] = None
        if line_format.phase_column is None or words[line_format.phase_column] == "eval":
            speakers.add(words[speaker])
            attacks[attack_of(words, line_format)] += 1
    for attack, count in sorted(attacks.items()):
        if attack in BONA_FIDE:
            counts[BONA_FIDE_FILES] += count
        else:
            counts[SPOOFED_FILES] += count
            counts[f"{SPOOFED_FILES} of {attack}"] = count
    counts |= {FILES: len(names), SPEAKERS: len(speakers)}
    spoofed = {*attacks} - {*BONA_FIDE}
    counts[ATTACKS] = len(spoofed)
    return Tally(counts, list(names), speakers, spoofed)


def tally_of_trials(list_file: Path) -> Tally:
    """Counts trials. The names also contain the files of the enrolment.

    "spoofed trials of A07" is a count, too.
    """
    trials = parse_trials(list_file)
    counts = Counter({TRIALS: len(trials.lines), SPEAKERS: len(trials.models)})
    if trials.kinds is not None and trials.attacks is not None:
        for kind, count in Counter(trials.kinds.tolist()).items():
            counts[COUNT_OF_KIND[kind]] = count
        spoofed = trials.attacks[trials.kinds == SPOOF].tolist()
        for attack, count in sorted(Counter(spoofed).items()):
            counts[f"{COUNT_OF_KIND[SPOOF]} of {attack}"] = count
    return Tally(counts, trials.paths(), set(), set())


def described_counts(counts: Counts) -> str:
    """Returns 'spoofed files 3, A07 2, A08 1, ...' for a message."""
    return ", ".join(f"{what.rpartition(' of ')[2]} {number:,}" for what, number in counts.items())


def compare_counts(place: object, expected: Counts, found: Counts, force: bool) -> None:
    """Raises InputError if published numbers differ from the found ones; force: warns instead.

    place: the list or the folder, for the message.
    """
    wrong = []
    for what, number in expected.items():
        if found.get(what, 0) != number:
            wrong.append(f"{what}: expected {number:,}, found {found.get(what, 0):,}")
    if not wrong:
        return
    problem = f"{place}: the counts differ from the published ones. {'; '.join(wrong)}."
    if not force:
        raise InputError(
            f"{problem} Download the corpus again, or add --force if it is meant to differ."
        )
    log.warning("warning: %s", problem)


# ---------------------------------------------------------------------- what is on the disk
class Found(NamedTuple):
    """What some folders contain.

    lists: the files outside folders of audio. roots: the folders that contain folders of audio, and
    then the folders themselves.
    """

    lists: list[Path]
    roots: list[Path]


def has_audio(name: str) -> bool:
    """Whether a folder has the name of a folder of audio."""
    return any(fnmatch.fnmatch(name, pattern) for pattern in AUDIO_FOLDERS)


def look_for_lists(folders: Sequence[Path], skipped: Path) -> Found:
    """Searches folders and their subfolders, but not folders of audio and not `skipped`."""
    found = Found([], [])
    for folder in folders:
        if has_audio(folder.name):
            found.roots.append(folder.parent)
            continue
        tree = os.walk(folder, onerror=refuse_unreadable, followlinks=True)
        for place, inner, files in tree:
            if any(map(has_audio, inner)):
                found.roots.append(Path(place))
            inner[:] = sorted(name for name in inner if not has_audio(name))
            if not skipped.exists() or not os.path.samefile(place, skipped):
                found.lists.extend(Path(place) / name for name in sorted(files))
    return found._replace(roots=list(dict.fromkeys([*found.roots, *folders])))


def list_of_part(part: CorpusList, lists: Sequence[Path]) -> Path | None:
    """Returns the first list that has one of the names of a part, None without one."""
    for pattern in part.names:
        for path in lists:
            if fnmatch.fnmatch(path.name, pattern) and can_be(part, path):
                return path
    return None


def can_be(part: CorpusList, path: Path) -> bool:
    """Whether a list can be the list of a part. Several lists of ASVspoof 2021 have one name."""
    if not part.starts:
        return True
    words = first_line_of(path).split()
    return fits_any(words, LABELLED_FILES) and words[1].startswith(part.starts)


def root_of(names: Sequence[str], roots: Sequence[Path]) -> Path | None:
    """Returns the folder that has the first and the last file of a list, or one of them.

    Returns None if no folder has them.
    """
    ends = [names[0], names[-1]]
    with_one = None
    for root in roots:
        found = [path is not None for path in find_files(root, ends).values()]
        if all(found):
            return root
        if any(found) and with_one is None:
            with_one = root
    return with_one


# ---------------------------------------------------------------------- results
def place_link(path: Path, link: Path) -> None:
    """Makes a relative link. A link to another file, or to none, is replaced."""
    if link.is_symlink() and link.resolve() != path.resolve():
        link.unlink()
    if not link.exists():
        link.symlink_to(os.path.relpath(path, link.parent))


def protocol_lines_of(list_file: Path) -> Iterator[str]:
    """Yields the lines of a list of single files in the format of ASVspoof 2019."""
    line_format, _, rows = read_rows(list_file, LABELLED_FILES)
    speaker, file = line_format.columns
    for words in rows:
        yield protocol_line(words[speaker], words[file], attack_of(words, line_format))


def link_of(part: CorpusList, path: Path, protocols: Path) -> Path:
    """Links a list, or writes it as a protocol. Returns the path for the option of the trainer."""
    link = protocols / (part.link or path.name)
    if part.convert:
        lines = [*protocol_lines_of(path)]
        # Writing through the link would change the list of the corpus.
        remove_link(link)
        write_lists({link: lines})
    else:
        place_link(path, link)
    return link


def require_audio(
    part: CorpusList, path: Path, link: Path, names: list[str], roots: list[Path]
) -> bool:
    """Checks that all files of a list exist. Returns whether any does.

    Raises InputError if some of them are missing.
    """
    root = root_of(names, roots)
    if root is None:
        log.warning("warning: %s: found no audio of this list, such as %s.", path, names[0])
        return False
    check_present(root, names, path)
    folder = part.use.replace("list", "path")
    log.info("Options of trainSpeakerNet.py: %s %s %s %s", part.use, link, folder, root)
    return True


def extracted(corpus: Corpus, sources: Sequence[Path], save_path: Path) -> list[Path]:
    """Extracts the archives among the sources. Returns all folders with the corpus.

    Raises InputError if a source does not exist.
    """
    own = save_path / corpus.folder
    folders: dict[Path, Path] = {}
    for source in sources:
        if is_archive(source):
            extract(Source(source.name, into=str(own.absolute())), source.parent)
        elif not source.is_file():
            require_folder(source, corpus.source)
            folders.setdefault(source.resolve(), source)
    if own.is_dir():
        folders.setdefault(own.resolve(), own)
    return list(folders.values())


def is_archive(path: Path) -> bool:
    return path.is_file() and path.suffix in ARCHIVES


def prepare_corpus(
    corpus: Corpus, sources: Sequence[Path], save_path: Path, force: bool = False
) -> None:
    """Extracts archives, checks all lists of the corpus, and links them in save_path/protocols.

    sources: archives, folders that contain the extracted corpus, and single lists. force: counts
    that differ from the published ones are warnings. Raises InputError for wrong counts, for
    missing files, and if no list or audio of no list is found.
    """
    protocols = save_path / "protocols"
    found = look_for_lists(extracted(corpus, sources, save_path), protocols)
    lists = [path for path in sources if path.is_file() and not is_archive(path)] + found.lists
    protocols.mkdir(parents=True, exist_ok=True)
    for path in lists:
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in corpus.enrolment):
            place_link(path, protocols / path.name)
    tallies = []
    any_audio = False
    for part in corpus.parts:
        path = list_of_part(part, lists)
        if path is None:
            log.info("%s was not found and is left out.", part.link or part.names[0])
            continue
        tally = tally_of_trials(path) if part.trials else tally_of_files(path)
        log.info("%s: %s.", path, described_counts(tally.counts))
        compare_counts(path, part.counts, tally.counts, force)
        link = link_of(part, path, protocols)
        any_audio |= require_audio(part, path, link, tally.names, found.roots)
        tallies.append(tally)
    require_any(corpus, sources or [save_path / corpus.folder], bool(tallies), any_audio)
    if len(tallies) == len(corpus.parts):
        compare_counts(corpus.folder, corpus.whole, counts_of_whole(tallies), force)


def counts_of_whole(tallies: Iterable[Tally]) -> Counts:
    """Returns the numbers of speakers and of attacks in several lists together."""
    speakers = set()
    attacks = set()
    for tally in tallies:
        speakers |= tally.speakers
        attacks |= tally.attacks
    return {SPEAKERS: len(speakers), ATTACKS: len(attacks)}


def require_any(corpus: Corpus, places: Iterable[Path], any_list: bool, any_audio: bool) -> None:
    """Raises InputError if there is no list of a corpus, or no audio of its lists."""
    if any_audio:
        return
    names = ", ".join(part.names[0] for part in corpus.parts)
    problem = "found lists without audio" if any_list else "found no list"
    raise InputError(
        f"{', '.join(map(str, places))}: expected lists ({names}) and their audio, {problem}. "
        f"{corpus.source}"
    )
