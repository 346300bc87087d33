"""The cohort of score normalisation: strangers, speakers other than those of the trials, as a rule from the training list."""

import logging
from typing import NamedTuple

from common.errors import InputError
from corpus.lists import read_cohort

log = logging.getLogger(__name__)


class Cohort(NamedTuple):
    """members: tuples of files, of one or of all of a speaker; dataset: of all these files."""

    members: list
    dataset: object


def load_cohort(options, source):
    """Cohort of --score_norm, its files checked; None without. source: what reads files for the model, see DatasetLoader.SOURCES."""
    if not options.score_norm:
        return None
    if not options.cohort_list:
        raise InputError(
            f"--score_norm {options.score_norm}: want --cohort_list FILE (and --cohort_path FOLDER) with other speakers than the trials'"
        )
    members = read_cohort(options.cohort_list, options.cohort_by)
    least, remedy = (
        (options.top_n, "lower --top_n, or list more")
        if options.score_norm == "asnorm"
        else (2, "list more, better hundreds")
    )
    if len(members) < least:
        raise InputError(
            f"{options.cohort_list}: want a cohort of at least {least}, got {len(members)} (--cohort_by {options.cohort_by}); {remedy}"
        )
    found = source.check_files(
        options.cohort_path,
        [name for names in members for name in names],
        options.cohort_list,
        options,
    )
    log.info(
        "%s: a cohort of %s, by %s", options.cohort_list, f"{len(members):,}", options.cohort_by
    )
    return Cohort(
        [tuple(found[name] for name in names) for names in members],
        source.eval_dataset([*found.values()], options.cohort_path, options),
    )
