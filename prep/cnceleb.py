"""CN-Celeb 1 and 2 (Fan et al., arXiv:1911.01799; Li et al., arXiv:2012.12468), OpenSLR 82.

Most corpora have one kind of speech. CN-Celeb has eleven, such as singing and interviews. The name
of a file begins with its genre: CN-Celeb_flac/data/id00012/singing-01-002.flac.

python dataprep.py cnceleb data/cnceleb --join_seconds 5
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from common.errors import InputError
from corpus.missing import first_names
from corpus.rows import read_text_lines
from prep.constants import TRAIN_LIST, TRIALS
from prep.joining import Joined, Joining, SpeakerPaths, join_speaker
from prep.obtain import Request, obtain
from prep.output import report_failures, require_folder, write_lists, write_long_list
from prep.trees import speakers_of_tree
from prep.workers import in_parallel

log = logging.getLogger(__name__)
# Folders of the two corpora.
FIRST = "CN-Celeb_flac"
SECOND = "CN-Celeb2_flac"
# Trials of speakers that several files enrol. The evaluation finds their enrolment list by its name
# (corpus/enrolment.py).
SEPARATE_TRIALS = "trials_separate.txt"
SEPARATE_ENROLMENT = "enrolls_separate.txt"
FAILED = "join_failed.txt"
# What the published corpora have.
EXPECTED = {
    "speakers in CN-Celeb_flac/data": 1000,
    "training speakers in dev.lst": 800,
    "speakers in CN-Celeb2_flac/data": 2000,
    "enrolments in enroll.lst": 196,
    "test files in test.lst": 17777,
    "trials in trials.lst": 3484292,
}
LABELS = {"1": "1", "target": "1", "0": "0", "nontarget": "0"}
WORDS = {"1": "target", "0": "nontarget"}
AUDIO_SUFFIXES = (".flac", ".wav")


class Evaluation(NamedTuple):
    """The evaluation part of CN-Celeb1. Paths are relative to CN-Celeb_flac.

    enrolments: name of an enrolment -> joined file. parts: name -> the files from which it was
    joined, {} if they are unknown. tests: word of trials.lst -> file.
    """

    enrolments: dict[str, str]
    parts: dict[str, list[str]]
    tests: dict[str, str]


def warn_about_count(what: str, found: int) -> None:
    """Prints a warning if the corpus has another number of something than the published one."""
    if found != EXPECTED[what]:
        log.warning(
            "warning: %s: expected %s, found %s. Check whether the corpus is complete.",
            what,
            f"{EXPECTED[what]:,}",
            f"{found:,}",
        )


def rows_of_list(path: Path) -> Iterator[list[str]]:
    """Yields the words of each line. Raises InputError for a file without lines."""
    for line in read_text_lines(path):
        words = line.split()
        if not words:
            raise InputError(f"{path}: expected lines, found none. Extract the archive again.")
        yield words


# ---------------------------------------------------------------------- training part
def training_speakers(root: Path) -> Iterator[SpeakerPaths]:
    """Yields the training speakers of both corpora with their files, relative to `root`.

    Raises InputError if dev.lst names an unknown speaker, or if both corpora have one.
    """
    dev_list = root / FIRST / "dev" / "dev.lst"
    development = {Path(words[0]).name for words in rows_of_list(dev_list)}
    warn_about_count("training speakers in dev.lst", len(development))
    seen = set()
    for tree in (FIRST, SECOND):
        folder = root / tree / "data"
        if tree == SECOND and not folder.is_dir():
            log.warning("warning: %s: this folder does not exist. CN-Celeb2 is left out.", folder)
            continue
        count = 0
        for speaker, files in speakers_of_tree(folder):
            count += 1
            if tree == FIRST and speaker not in development or not files:
                continue
            if speaker in seen:
                raise InputError(
                    f"{folder}: expected different speakers in CN-Celeb 1 and 2, found {speaker} "
                    "in both. Extract the archives into a new folder."
                )
            seen.add(speaker)
            path = f"{tree}/data/{speaker}"
            yield SpeakerPaths(speaker, f"{tree}/{speaker}", [f"{path}/{file}" for file in files])
        warn_about_count(f"speakers in {tree}/data", count)
    unknown = sorted(development - seen)
    if unknown:
        raise InputError(
            f"{dev_list}: expected a folder with audio in {root / FIRST / 'data'} for each "
            f"speaker, found none for {first_names(unknown)}. Extract the archive again."
        )


def join_all_speakers(
    joining: Joining, speakers: list[SpeakerPaths], processes: int | None
) -> list[Joined]:
    """Joins the short utterances of all speakers, in their order."""
    results = {}
    work = partial(join_speaker, joining)
    with tqdm(total=len(speakers), unit="speaker", desc="join", disable=None) as bar:
        for joined in in_parallel(work, speakers, processes):
            results[joined.speaker] = joined
            bar.update()
    return [results[speaker.speaker] for speaker in speakers]


def write_train_list(path: Path, speakers: list[SpeakerPaths] | list[Joined]) -> None:
    """Writes a train list, and logs the numbers of speakers and files."""
    lines = []
    for speaker in speakers:
        lines += [f"{speaker.speaker} {file}" for file in speaker.paths]
    write_lists({path: lines})
    log.info("Wrote %s with %s speakers and %s files.", path, len(speakers), f"{len(lines):,}")


def write_joined_list(
    joining: Joining, speakers: list[SpeakerPaths], processes: int | None
) -> None:
    """Joins short utterances, and writes the train list with the joined files in their place.

    Raises InputError at the end if there are files that cannot be used.
    """
    results = join_all_speakers(joining, speakers, processes)
    log.info(
        "Joined %s utterances below %d s to %s files in %s.",
        f"{sum(result.short for result in results):,}",
        joining.seconds,
        f"{sum(result.files for result in results):,}",
        joining.root / joining.output,
    )
    write_train_list(joining.root / f"train_list_{joining.seconds}s.txt", results)
    paths = []
    failed = {}
    for speaker, result in zip(speakers, results, strict=True):
        paths += speaker.paths
        failed |= result.failed
    report_failures(joining.root / FAILED, paths, failed)


# ---------------------------------------------------------------------- evaluation part
def find_file(tree: Path, name: str) -> str | None:
    """Returns the file of a name in the lists of the corpus, relative to the tree.

    The lists name .wav files of the folder eval, and of the folder of the training data. The
    published files have the extension .flac. Returns None if there is no such file.
    """
    stem = name
    for suffix in AUDIO_SUFFIXES:
        stem = stem.removesuffix(suffix)
    speaker, _, rest = stem.partition("-")
    places = [f"{folder}/{stem}" for folder in ("eval", "eval/enroll", "eval/test", "data")]
    for place in [*places, f"data/{speaker}/{rest}"]:
        for suffix in AUDIO_SUFFIXES:
            if (tree / f"{place}{suffix}").is_file():
                return f"{place}{suffix}"
    return None


def found_files(tree: Path, names: list[str], list_file: Path) -> dict[str, str]:
    """Returns {name in a list: file}. Raises InputError if files are missing."""
    found = {}
    missing = []
    for name in names:
        file = find_file(tree, name)
        if file:
            found[name] = file
        else:
            missing.append(name)
    if missing:
        raise InputError(
            f"{list_file}: cannot find {len(missing):,} of {len(names):,} files in {tree / 'eval'} "
            f"and {tree / 'data'}: {first_names(missing)}. Extract the archive again."
        )
    return found


def parts_of_enrolments(tree: Path, enrolments: Mapping[str, str]) -> dict[str, list[str]]:
    """Reads enroll.map: {name of an enrolment: the files from which it was joined}.

    Returns {} with a warning if the map or files are missing, because the joined files suffice.
    """
    path = tree / "eval" / "lists" / "enroll.map"
    parts = {}
    try:
        if not path.is_file():
            raise InputError(f"{path}: this file does not exist. Extract the archive again.")
        for words in rows_of_list(path):
            name, *files = " ".join(words).replace(",", " ").split()
            parts[Path(name).stem] = [*found_files(tree, files, path).values()]
        missing = [name for name in enrolments if not parts.get(name)]
        if missing:
            raise InputError(
                f"{path}: expected files for each of {len(enrolments):,} enrolments, found none "
                f"for {first_names(missing)}. Extract the archive again."
            )
    except InputError as error:
        log.warning("warning: %s %s is not written.", error, SEPARATE_TRIALS)
        return {}
    return {name: parts[name] for name in enrolments}


def read_evaluation_lists(tree: Path) -> Evaluation:
    """Reads the lists of the evaluation part, and finds their files.

    Raises InputError if files are missing.
    """
    lists = tree / "eval" / "lists"
    files = {words[0]: words[-1] for words in rows_of_list(lists / "enroll.lst")}
    warn_about_count("enrolments in enroll.lst", len(files))
    found = found_files(tree, [*files.values()], lists / "enroll.lst")
    enrolments = {name: found[file] for name, file in files.items()}
    names = [words[-1] for words in rows_of_list(lists / "test.lst")]
    warn_about_count("test files in test.lst", len(names))
    tests = found_files(tree, names, lists / "test.lst")
    return Evaluation(enrolments, parts_of_enrolments(tree, enrolments), tests)


def trial_rows(tree: Path, evaluation: Evaluation) -> Iterator[tuple[str, str, str]]:
    """Yields (label 1|0, enrolment, file) of every trial. Raises InputError for a wrong line."""
    path = tree / "eval" / "lists" / "trials.lst"
    lines = read_text_lines(path)
    for number, line in zip(lines.numbers, lines, strict=True):
        try:
            name, test, label = line.split()
            file = evaluation.tests[test]
            key = LABELS[label]
            known = name in evaluation.enrolments
        except (ValueError, KeyError):
            known = False
        if not known:
            raise InputError(
                f"{path}:{number}: expected '<enrolment> <file> 1|0' with an enrolment of "
                f"enroll.lst and a file of test.lst, found {line!r}. Extract the archive again."
            )
        yield key, name, file


def write_trial_lists(root: Path) -> None:
    """Writes the trials with one joined file per enrolment, and with the separate files."""
    tree = root / FIRST
    evaluation = read_evaluation_lists(tree)
    counts: Counter = Counter()

    def joined_lines() -> Iterator[bytes]:
        for label, name, file in trial_rows(tree, evaluation):
            counts[label] += 1
            yield f"{label} {evaluation.enrolments[name]} {file}\n".encode()

    def separate_lines() -> Iterator[bytes]:
        for label, name, file in trial_rows(tree, evaluation):
            yield f"{name} {file} {WORDS[label]}\n".encode()

    write_long_list(root / TRIALS, joined_lines())
    warn_about_count("trials in trials.lst", counts.total())
    log.info(
        "Wrote %s with %s target trials and %s non-target trials of %s enrolments.",
        root / TRIALS,
        f"{counts['1']:,}",
        f"{counts['0']:,}",
        f"{len(evaluation.enrolments):,}",
    )
    if evaluation.parts:
        lines = [f"{name} {','.join(files)}" for name, files in evaluation.parts.items()]
        write_lists({root / SEPARATE_ENROLMENT: lines})
        write_long_list(root / SEPARATE_TRIALS, separate_lines())
        log.info(
            "Wrote %s, the same trials with the separate files of each enrolment in %s.",
            root / SEPARATE_TRIALS,
            root / SEPARATE_ENROLMENT,
        )


# ---------------------------------------------------------------------- the command
def make_cnceleb(
    request: Request,
    join_seconds: int = 0,
    lists_only: bool = False,
    processes: int | None = None,
) -> None:
    """Obtains CN-Celeb 1 and 2, and makes the train list and the trials.

    join_seconds: also join utterances below this length, 0 for none. lists_only: use the folders
    that exist, without a download.
    """
    root = request.folder
    if lists_only:
        require_folder(root / FIRST, "Extract CN-Celeb1 there, or omit --lists_only.")
    else:
        obtain(request)
    speakers = list(training_speakers(root))
    write_train_list(root / TRAIN_LIST, speakers)
    write_trial_lists(root)
    train_list = TRAIN_LIST
    if join_seconds:
        train_list = f"train_list_{join_seconds}s.txt"
        joining = Joining(root, f"joined_{join_seconds}s", join_seconds)
        write_joined_list(joining, speakers, processes)
    log.info(
        "Options of trainSpeakerNet.py: --train_list %s --train_path %s --test_list %s "
        "--test_path %s",
        root / train_list,
        root,
        root / TRIALS,
        root / FIRST,
    )
