"""Reads the lists of trials of an evaluation, and checks their files."""

import argparse
import logging

import numpy as np

from common.errors import InputError
from corpus.lists import Trials, described_trials, read_clients_and_impostors, read_trials
from corpus.protocols import is_protocol, read_protocol
from corpus.recognition import TRIALS, Expected, require_kind
from corpus.trial_checks import warn_about_trials
from inference.evaluation import summary_of_trials
from inference.sources import DataSource
from options.plugins import find

log = logging.getLogger("trainSpeakerNet")


def lists_and_roots(options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Returns the names of all lists of trials, and the folder or pack of each list's files."""
    lists = [name for name in options.test_list or [] if name]
    roots = options.test_path or [""]
    pairs = [options.valid_clients, options.valid_impostors]
    if any(pairs) and (not all(pairs) or lists):
        raise InputError(
            "--valid_clients: give --valid_clients together with --valid_impostors, and without "
            "--test_list."
        )
    if any(pairs):
        lists = [" and ".join(pairs)]
    if len(roots) not in (1, max(len(lists), 1)):
        raise InputError(
            f"--test_path: expected one folder, or one for each of {len(lists)} lists, found "
            f"{len(roots)}: {' '.join(roots)}. Give one folder per list."
        )
    roots = (roots * len(lists))[: len(lists)]
    if options.test_list_libri:
        lists = [*lists, options.test_list_libri]
        roots = [*roots, options.test_path_libri]
    return lists, roots


def read_tests(options: argparse.Namespace, source: DataSource) -> list[tuple[Trials, object]]:
    """Reads the trials of every --test_list, or of --valid_clients and --valid_impostors.

    A network that detects spoofed speech also takes protocols of single files. Returns [(trials,
    data set of their files)]. All files are checked. source: reads the files for the model. Raises
    InputError if a list or a file cannot be used.
    """
    lists, roots = lists_and_roots(options)
    if lists:
        check_costs(options)
    tests = []
    for list_file, root in zip(lists, roots, strict=True):
        trials = None
        if options.valid_clients and not tests:
            trials = read_clients_and_impostors(options.valid_clients, options.valid_impostors)
        is_libri = list_file == options.test_list_libri
        root_option = "--test_path_libri" if is_libri else "--test_path"
        tests.append(read_test(list_file, root, options, source, root_option, trials))
    return tests


def read_test(
    list_file: str,
    root: str,
    options: argparse.Namespace,
    source: DataSource,
    root_option: str,
    trials: Trials | None = None,
) -> tuple[Trials, object]:
    """Reads a list of trials, unless they are given -> (trials, data set of their files).

    root_option: the option that names root, for errors.
    """
    detects_spoofing = find("trainfunc", options.trainfunc).detects_spoofing
    if trials is None and detects_spoofing and is_protocol(list_file):
        trials = read_protocol(list_file)
    if trials is None:
        require_kind(list_file, Expected(root_option.replace("_path", "_list"), TRIALS))
        trials = read_trials(list_file, options.enroll_list, options.spk_meta_eval)
    log.info("%s: %s", list_file, described_trials(trials))
    warn_about_trials(list_file, trials)
    found = source.check_files(root, trials.paths(), list_file, options, root_option)
    trials = trials.renamed(found)
    return trials, source.eval_dataset(trials.paths(), root, options)


def check_costs(options: argparse.Namespace) -> None:
    """Raises InputError for impossible priors, costs and rates, before anything is computed."""
    trials = Trials.of_pairs([("", "")] * 2, label=np.array([False, True]))
    summary_of_trials(np.arange(2.0), trials, options)
