"""The cohort of score normalisation: speakers who occur in no trial.

The cohort usually comes from the training list.
"""

import argparse
import logging
from typing import Any, NamedTuple

from common.errors import InputError
from corpus.file_lists import read_cohort

log = logging.getLogger("trainSpeakerNet")


class Cohort(NamedTuple):
    """The members of a cohort and the data set of all their files.

    members: a tuple of files for each member, one file or all files of a speaker.
    """

    members: list[tuple[str, ...]]
    dataset: Any


def load_cohort(options: argparse.Namespace, source: Any) -> Cohort | None:
    """Reads the cohort of --score_norm and checks its files. Returns None without --score_norm.

    source: reads files for the model, see inference/sources.py. Raises InputError if the cohort is
    missing or too small, or if a file cannot be used.
    """
    if not options.score_norm:
        return None
    if not options.cohort_list:
        raise InputError(
            f"--score_norm {options.score_norm}: expected a list of other speakers than those in "
            "the trials. Add --cohort_list LIST and --cohort_path DIR."
        )
    members = read_cohort(options.cohort_list, options.cohort_by)
    check_size(len(members), options)
    names: list[str] = []
    for member in members:
        names += member
    found = source.check_files(
        options.cohort_path, names, options.cohort_list, options, "--cohort_path"
    )
    size = f"{len(members):,}"
    log.info("%s: a cohort of %s %ss", options.cohort_list, size, options.cohort_by)
    renamed_members = []
    for member in members:
        renamed_members.append(tuple(found[name] for name in member))
    dataset = source.eval_dataset([*found.values()], options.cohort_path, options)
    return Cohort(renamed_members, dataset)


def check_size(size: int, options: argparse.Namespace) -> None:
    """Raises InputError if the cohort has too few members for the score normalisation."""
    # A standard deviation needs two members.
    least = 2
    remedy = "Add more to the list, hundreds if possible."
    if options.score_norm == "asnorm":
        least = options.top_n
        remedy = "Lower --top_n, or add more to the list."
    if size < least:
        raise InputError(
            f"{options.cohort_list}: expected a cohort of at least {least} {options.cohort_by}s "
            f"(--cohort_by), found {size}. {remedy}"
        )
