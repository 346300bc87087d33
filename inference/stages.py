"""--eval --stages: from the raw scores of a network to its final scores, stage by stage.

Each stage adds to the stages before it. Everything is estimated from lists that the command names:
the back end from --backend_list, the cohort scores from --cohort_list, and the calibration from the
trials of --calibration_list, which pass through the same stages as the trials to be evaluated.
"""

import argparse
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import distributed
from common.errors import InputError
from common.outputs import check_output, input_files, is_special
from corpus.lists import Trials
from inference.backend_lists import estimate_of_list, refuse_scoring
from inference.evaluation import (
    moments_of,
    pairwise_problem,
    path_of_part,
    score_trials,
    summary_of_trials,
)
from inference.networks import load_scorer
from inference.overview import log_rows, log_use
from inference.score_paths import OUTPUTS, QUALITIES, check_results, scores_paths
from inference.scorer import Scorer
from inference.shared_files import represent_new
from inference.sources import DataSource, source_of
from inference.stage_lists import (
    ListOfTrials,
    Lists,
    place_of_file,
    read_lists,
    source_rows,
    warn_of_overlaps,
)
from metrics import calibration
from metrics.backend_options import warn_of_settings
from metrics.backends import BackEnd
from metrics.calibration import Calibration
from metrics.direction import OF_NETWORK, warn_of_direction
from metrics.llr import effective_prior
from metrics.own_files import is_backend, is_calibration
from metrics.qualities import Measures, calibration_inputs, quality_measures, write_qualities
from metrics.scores import Scores, write_scores
from metrics.speakers import FIRST_FOLDER, speakers_of
from metrics.stage_plan import CALIBRATION, RAW, StagePlan, plan_of
from metrics.stage_plan import QUALITIES as WITH_QUALITIES
from metrics.stage_table import Costs, explanation, measure_stages, table_of_stages

log = logging.getLogger("trainSpeakerNet")

# Ends of the names of the scores files of stages. All others end with the name of the stage.
ENDS = {RAW: "", WITH_QUALITIES: "_with_qualities"}


class Chain:
    """All stages on one network.

    scorers: {row of the table: a scorer}, for the raw scores and for each stage of embeddings. The
    last one is used for the rest. cohort: its representations [C, K, ...], or None.
    """

    def __init__(
        self,
        scorers: Mapping[str, Scorer],
        plan: StagePlan,
        options: argparse.Namespace,
        cohort: torch.Tensor | None,
    ):
        self.scorers = scorers
        self.plan = plan
        self.options = options
        self.cohort = cohort

    def scores(
        self, tested: ListOfTrials, reps: Mapping, rows: Mapping[str, Scorer]
    ) -> tuple[dict[str, np.ndarray], Measures]:
        """Scores trials with the given rows of `scorers`, and normalises the scores of the last.

        Returns {row: scores [n]} and the quality measures of the trials.
        """
        *_, last = rows
        found = {}
        moments = None
        for row, scorer in rows.items():
            if row == last:
                moments = moments_of(scorer, tested.trials, reps, self.options, self.cohort)
            parts = score_trials(scorer, tested.trials, reps, self.options, moments=moments)
            found[row] = parts.pop("")
            for part, values in parts.items():
                found[part.removeprefix("_")] = values
        measures = {}
        if self.options.qualities:
            measures = quality_measures(rows[last], tested.trials, tested.dataset, reps, moments)
        return found, measures

    def inputs(self, scores: Mapping[str, np.ndarray], measures: Measures) -> calibration.Inputs:
        """Returns the inputs of the calibration: the last scores, and measures if it uses them."""
        *_, last = scores.values()
        inputs = {"score": last}
        if self.plan.qualities:
            inputs |= calibration_inputs(measures)
        return inputs

    def calibration_of(self, development: ListOfTrials, reps: Mapping) -> Calibration:
        """Trains the calibration on development trials."""
        *_, last = self.scorers
        found = self.scores(development, reps, {last: self.scorers[last]})
        options = self.options
        prior = effective_prior(options.dcf_p_target, options.dcf_c_miss, options.dcf_c_fa)
        label = development.trials.label
        return calibration.train(self.inputs(*found), label, prior, [development.name])

    def all_scores(
        self, tested: ListOfTrials, reps: Mapping, trained: Calibration | None
    ) -> tuple[dict[str, np.ndarray], Measures]:
        """Returns the scores of all rows of the table {row: [n]}, and the quality measures.

        Quality measures change the order of the scores. The calibration afterwards maps the result
        to ratios. One regression estimates both. So the row of the quality measures has its ratios
        in the unit of the scores before.
        """
        scores, measures = self.scores(tested, reps, self.scorers)
        if trained:
            llrs = trained.llrs(self.inputs(scores, measures))
            if self.plan.qualities:
                scores[WITH_QUALITIES] = llrs / (abs(trained.weights[0]) or 1)
            if self.plan.calibration:
                scores[CALIBRATION] = llrs
        return scores, measures


# ---------------------------------------------------------------------- action
def run_stages(options: argparse.Namespace, state: dict | None) -> None:
    """Scores the lists of trials through all stages, and prints a table for each list."""
    plan = plan_of(options.stages)
    apply_plan(options, plan)
    source = source_of(options)
    lists = distributed.on_rank_zero(read_lists, options, plan, source)
    paths = scores_paths(options)
    distributed.on_rank_zero(check_stage_results, paths, options, plan)
    distributed.on_rank_zero(warn_of_overlaps, lists, options)
    scorer = load_scorer(options, state)
    for row in plan.rows[1:]:
        if scorer.pairwise and row != CALIBRATION:
            raise pairwise_problem(f"--stages {row}", options)
    log_use(options, scorer.net, scorer.device)
    reps = represent_once(scorer, lists, options, source)
    distributed.on_rank_zero(evaluate_stages, scorer, lists, plan, options, paths, reps)


def apply_plan(options: argparse.Namespace, plan: StagePlan) -> None:
    """Sets the options that stages replace, such as --score_norm.

    Raises InputError if the command contradicts its stages.
    """
    for name in ("backend", "mean_subtraction"):
        if getattr(options, name):
            raise InputError(
                f"--{name}: with --stages, every back end is a stage that is estimated from "
                f"--backend_list, found --{name} {getattr(options, name)}. Leave out --{name}."
            )
    if options.score_norm not in (None, plan.norm):
        raise InputError(
            f"--score_norm {options.score_norm}: with --stages, the score normalisation is a "
            f"stage, found {' '.join(options.stages)}. Leave out --score_norm, or add "
            f"{options.score_norm} to --stages."
        )
    options.score_norm = plan.norm
    options.qualities = options.qualities or plan.qualities
    if plan.embeddings:
        refuse_scoring(f"--stages {plan.embeddings[0]}", options)
        options.backend_stages = plan.embeddings
        warn_of_settings(options.given, options.backend_stages)


def check_stage_results(paths: list[Path], options: argparse.Namespace, plan: StagePlan) -> None:
    """Raises InputError if a result would overwrite an input, or a file of others."""
    parts = [end_of(row) for row in plan.rows]
    if options.qualities:
        parts.append(QUALITIES)
    check_results(paths, options, parts)
    inputs = input_files(vars(options), OUTPUTS)
    for written, path, is_own in (
        (plan.embeddings, path_of_backend(paths[0]), is_backend),
        (plan.calibration, path_of_calibration(paths[0]), is_calibration),
    ):
        if written:
            check_output(str(path), path, inputs, is_own)


def end_of(row: str) -> str:
    """Returns the end of the name of the scores file of a row of the table."""
    return ENDS.get(row, f"_{row}")


def path_of_backend(path: Path) -> Path:
    """The file of the back end of the last stage, next to the scores file of the first list."""
    return path_of_part(path, "_backend").with_suffix(".npz")


def path_of_calibration(path: Path) -> Path:
    """The file of the calibration, next to the scores file of the first list."""
    return path_of_part(path, "_calibration").with_suffix(".json")


# ---------------------------------------------------------------------- representations
def represent_once(
    scorer: Scorer, lists: Lists, options: argparse.Namespace, source: DataSource
) -> dict[str, torch.Tensor] | None:
    """Represents each file of all lists once.

    Returns {place_of_file(): representation [K, ...]} on rank 0, None on other ranks.
    """
    seen: set[str] = set()
    found: dict[str, torch.Tensor] = {}
    for root, dataset in lists.datasets(options):
        found |= represent_new(scorer, root, dataset, seen, options, source)
    return None if distributed.rank() else found


def of_list(reps: Mapping[str, torch.Tensor], root: str, dataset: Any) -> dict[str, torch.Tensor]:
    """Returns {path: representation} of the files of one list."""
    return {path: reps[place_of_file(root, path)] for path in dataset.paths}


# ---------------------------------------------------------------------- results
def evaluate_stages(
    scorer: Scorer,
    lists: Lists,
    plan: StagePlan,
    options: argparse.Namespace,
    paths: list[Path],
    reps: Mapping[str, torch.Tensor],
) -> None:
    """Estimates all stages, writes all files, and prints the tables. Runs on rank 0."""
    backends = estimated_backends(scorer, lists, plan, options, reps)
    scorers = {RAW: scorer}
    for row, backend in backends.items():
        scorers[row] = Scorer(
            scorer.net, device=scorer.device, mixedprec=options.mixedprec, backend=backend
        )
    cohort = None
    if lists.cohort:
        files = of_list(reps, options.cohort_path, lists.cohort.dataset)
        cohort = scorer.references(lists.cohort.members, files)
    chain = Chain(scorers, plan, options, cohort)
    trained = None
    if lists.development:
        development = lists.development
        files = of_list(reps, development.root, development.dataset)
        trained = chain.calibration_of(development, files)
    for path, test in zip(paths, lists.tests, strict=True):
        scores, measures = chain.all_scores(test, of_list(reps, test.root, test.dataset), trained)
        write_stages(path, test.trials, scores, measures)
        print_stages(path, test, scores, lists, plan, options)
    write_final(paths[0], backends, trained if plan.calibration else None)


def estimated_backends(
    scorer: Scorer,
    lists: Lists,
    plan: StagePlan,
    options: argparse.Namespace,
    reps: Mapping[str, torch.Tensor],
) -> dict[str, BackEnd]:
    """Returns {row of the table: back end}: each one has one stage more than the one before."""
    if not lists.backend:
        return {}
    files = of_list(reps, options.backend_path, lists.backend.dataset)
    means = {path: rep.double().mean(0).numpy() for path, rep in files.items()}
    complete = estimate_of_list(scorer, means, lists.backend, plan.embeddings, options)
    found = {}
    for number, row in enumerate(plan.rows[1 : len(plan.embeddings)]):
        found[row] = dataclasses.replace(complete, steps=complete.steps[: number + 1], psi=None)
    # plda has several steps, and is always the last stage.
    found[plan.rows[len(plan.embeddings)]] = complete
    return found


def write_stages(
    path: Path, trials: Trials, scores: Mapping[str, np.ndarray], measures: Measures
) -> None:
    """Writes the scores files of all rows of the table, and the quality measures."""
    for row, values in scores.items():
        write_scores(path_of_part(path, end_of(row)), trials.lines, values)
    if measures:
        write_qualities(path_of_part(path, QUALITIES), trials.lines, measures)


def write_final(path: Path, backends: Mapping[str, BackEnd], trained: Calibration | None) -> None:
    """Writes the back end and the calibration of the last stage, for --verify and other uses.

    path: of the scores file of the first list.
    """
    if is_special(path):
        return
    if backends:
        *_, last = backends.values()
        last.save(path_of_backend(path))
        log.info("Back end: %s", path_of_backend(path))
    if trained:
        calibration.save(trained, path_of_calibration(path))
        log.info("Calibration: %s", path_of_calibration(path))


def print_stages(
    path: Path,
    test: ListOfTrials,
    scores: Mapping[str, np.ndarray],
    lists: Lists,
    plan: StagePlan,
    options: argparse.Namespace,
) -> None:
    """Prints the table of a list of trials, where its stages come from, and its scores files."""
    trials = test.trials
    log.info("")
    if trials.label is None:
        log.info("%s: trials without labels, so there is no table.", test.name)
    else:
        log.info("%s\n%s", test.name, table_text(test, scores, options))
        warn_of_direction(path, summary_of_trials(scores[RAW], trials, options), OF_NETWORK)
    log_rows(source_rows(lists, plan, options))
    others = [path_of_part(path, end_of(row)).name for row in plan.rows[1:]]
    log.info("Scores: %s", ", ".join([str(path), *others]))


def table_text(
    test: ListOfTrials, scores: Mapping[str, np.ndarray], options: argparse.Namespace
) -> str:
    """Returns the table of labelled trials.

    Warns if the speakers are unknown or too few. Then the table has no intervals.
    """
    trials = test.trials
    costs = Costs(options.dcf_p_target, options.dcf_c_miss, options.dcf_c_fa, options.eer)
    repeats = options.bootstrap
    try:
        sides = sides_of(trials) if repeats else None
        measured = measure_stages(scores, trials.label, costs, sides, repeats)
    except ValueError as error:
        log.warning("warning: %s: the table has no intervals and no p-values. %s", test.name, error)
        measured = measure_stages(scores, trials.label, costs)
    return "\n".join([table_of_stages(measured), *explanation(measured, repeats)])


def sides_of(trials: Trials) -> np.ndarray:
    """Returns the speakers of the trials, int [n, 2], see Speakers. A first folder is a speaker.

    Raises ValueError if a file has no folder, or if the folders contradict the labels.
    """
    read = Scores(trials.lines, np.array([]), trials.label, trials.kinds, trials.attacks)
    try:
        return speakers_of(read, FIRST_FOLDER).sides
    except ValueError as error:
        raise ValueError(
            f"{error} These are options of `tuneThreshold.py compare`, for the scores files of two "
            "stages."
        ) from None
