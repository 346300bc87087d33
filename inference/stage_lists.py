"""The lists of --stages: what is tested, and what the stages are estimated from."""

import argparse
import logging
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from common.errors import InputError
from common.trial_kinds import SPOOF
from corpus.cohort import Cohort, load_cohort
from corpus.lists import Trials
from inference.backend_lists import ListToEmbed, list_of_backend
from inference.sources import DataSource
from inference.trial_lists import lists_and_roots, read_test, read_tests
from metrics.speakers import speaker_of
from metrics.stage_plan import CALIBRATION, QUALITIES, StagePlan

log = logging.getLogger("trainSpeakerNet")


class ListOfTrials(NamedTuple):
    """Trials, and the data set of their files below `root`."""

    name: str
    root: str
    trials: Trials
    dataset: Any


class Lists(NamedTuple):
    """All lists of a command. What no stage needs is None."""

    tests: list[ListOfTrials]
    backend: ListToEmbed | None
    cohort: Cohort | None
    development: ListOfTrials | None

    def datasets(self, options: argparse.Namespace) -> list[tuple[str, Any]]:
        """Returns the root and the data set of the files of each list."""
        found = [(test.root, test.dataset) for test in self.tests]
        if self.development:
            found.append((self.development.root, self.development.dataset))
        if self.backend:
            found.append((options.backend_path, self.backend.dataset))
        if self.cohort:
            found.append((options.cohort_path, self.cohort.dataset))
        return found


def place_of_file(root: str, path: str) -> str:
    """Returns the path of a file, equal for the same file in lists with different roots."""
    return os.path.normpath(os.path.join(root, path))


# ---------------------------------------------------------------------- reading
def read_lists(options: argparse.Namespace, plan: StagePlan, source: DataSource) -> Lists:
    """Reads and checks all lists and looks up their files.

    Raises InputError if a list is missing or cannot be used.
    """
    require_lists(options, plan)
    names, roots = lists_and_roots(options)
    tests = []
    for name, root, test in zip(names, roots, read_tests(options, source), strict=True):
        tests.append(ListOfTrials(name, root, *test))
        refuse_spoofed("--test_list", tests[-1])
    if not tests:
        raise InputError(
            "--stages needs trials. Give --test_list FILE and --test_path DIR, or --valid_clients "
            "FILE and --valid_impostors FILE."
        )
    development = read_development(options, source) if plan.learns_from_trials else None
    backend = list_of_backend(options) if plan.embeddings else None
    return Lists(tests, backend, load_cohort(options, source), development)


def require_lists(options: argparse.Namespace, plan: StagePlan) -> None:
    """Raises InputError if a stage has no list from which it is estimated."""
    stages = ["qualities"] * plan.qualities + ["calibration"] * plan.calibration
    for names, option, contents in (
        (plan.embeddings, "backend", "a list '<speaker> <file>' of other speakers"),
        ([plan.norm] * bool(plan.norm), "cohort", "a list of other speakers"),
        (stages, "calibration", "labelled trials of other speakers"),
    ):
        if names and not getattr(options, f"{option}_list"):
            raise InputError(
                f"--stages {names[0]}: expected {contents} than those in the trials, from which "
                f"the stage is estimated. Add --{option}_list LIST and --{option}_path DIR."
            )


def read_development(options: argparse.Namespace, source: DataSource) -> ListOfTrials:
    """Reads the trials from which the calibration is estimated."""
    name = options.calibration_list
    root = options.calibration_path
    trials, dataset = read_test(name, root, options, source, "--calibration_path")
    found = ListOfTrials(name, root, trials, dataset)
    refuse_spoofed("--calibration_list", found)
    if trials.label is None:
        raise InputError(
            f"{name}: expected trials with labels for --calibration_list, '1|0 <file> <file>', "
            "found trials without labels. Give labelled trials."
        )
    return found


def refuse_spoofed(option: str, read: ListOfTrials) -> None:
    """Raises InputError if some of the speech of the trials is spoofed."""
    if read.trials.kinds is not None and SPOOF in read.trials.kinds:
        raise InputError(
            f"{option} {read.name}: expected trials without spoofed speech for --stages, found "
            "spoofed trials. Leave out --stages, or give a list without spoofed trials."
        )


# ---------------------------------------------------------------------- overlaps
def warn_of_overlaps(lists: Lists, options: argparse.Namespace) -> None:
    """Warns of speakers and files of trials that also belong to a list of the estimation.

    There is one warning for each list of trials. The development trials are compared with the other
    lists of the estimation.
    """
    estimated = []
    for name, root, dataset in estimation_lists(lists, options):
        estimated.append((name, dataset, Names.of(root, dataset.paths)))
    compared = [*lists.tests]
    if lists.development:
        compared.append(lists.development)
    for test in compared:
        tested = Names.of(test.root, test.dataset.paths)
        shared = []
        for name, dataset, names in estimated:
            text = names.shared_with(tested)
            if text and dataset is not test.dataset:
                shared.append(f"{name} ({text})")
        if shared:
            log.warning(
                "warning: %s: its trials share speakers or files with lists from which stages are "
                "estimated: %s. The stages fit these speakers better than new ones. Give lists of "
                "other speakers.",
                test.name,
                ", ".join(shared),
            )


def estimation_lists(lists: Lists, options: argparse.Namespace) -> Iterable[tuple[str, str, Any]]:
    """Yields the option and name, the root and the data set of each list of the estimation."""
    if lists.backend:
        place = f"--backend_list {options.backend_list}"
        yield place, options.backend_path, lists.backend.dataset
    if lists.cohort:
        yield f"--cohort_list {options.cohort_list}", options.cohort_path, lists.cohort.dataset
    if lists.development:
        development = lists.development
        yield f"--calibration_list {development.name}", development.root, development.dataset


class Names(NamedTuple):
    """The files of a list, and their speakers, which are the first folders of the files."""

    files: set[str]
    speakers: set[str | None]

    @classmethod
    def of(cls, root: str, paths: Sequence[str]) -> "Names":
        """Collects the names of files below a root."""
        speakers = {speaker_of(path, 1) for path in paths} - {None}
        return cls({place_of_file(root, path) for path in paths}, speakers)

    def shared_with(self, tested: "Names") -> str:
        """Returns what both lists contain, with numbers, or ""."""
        files = len(self.files & tested.files)
        # A folder that contains all files is no speaker.
        speakers = len(self.speakers & tested.speakers) if len(tested.speakers) > 1 else 0
        parts = []
        if speakers:
            parts.append(f"{speakers:,} of the {len(tested.speakers):,} speakers")
        if files:
            parts.append(f"{files:,} of the {len(tested.files):,} files")
        return " and ".join(parts)


# ---------------------------------------------------------------------- text
def source_rows(
    lists: Lists, plan: StagePlan, options: argparse.Namespace
) -> list[tuple[str, str]]:
    """Returns (row of the table, from which list it was estimated) for all stages."""
    rows = []
    stages = plan.rows[1:]
    if lists.backend:
        text = f"from {options.backend_list}: {len(lists.backend.dataset.paths):,} files"
        if lists.backend.speakers:
            text += f" of {len({*lists.backend.speakers}):,} speakers"
        rows += [(stage, text) for stage in stages[: len(plan.embeddings)]]
    if lists.cohort:
        text = f"from {options.cohort_list}: {len(lists.cohort.members):,} {options.cohort_by}s"
        if plan.norm == "asnorm":
            text += f", of which the {options.top_n:,} closest ones"
        rows.append((plan.norm or "", text))
    if lists.development:
        size = len(lists.development.trials.lines)
        text = f"from {lists.development.name}: {size:,} trials through the same stages"
        rows += [(stage, text) for stage in (QUALITIES, CALIBRATION) if stage in stages]
    return rows
