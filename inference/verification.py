"""--verify: the score of two files, the decision, and the probability of the same speaker."""

import argparse
import math

import numpy as np

from common.errors import InputError
from corpus.cohort import load_cohort
from corpus.lists import Trials
from inference.backend_lists import plan_backend, prepare_backend
from inference.embedding import one_root
from inference.evaluation import (
    moments_of,
    refuse_pairwise,
    represent_cohort,
    represent_files,
    score_trials,
)
from inference.networks import load_scorer
from inference.overview import log_rows
from inference.sources import source_of
from metrics import calibration
from metrics.qualities import calibration_inputs, quality_measures


def run_verify(options: argparse.Namespace, state: dict | None) -> None:
    """Compares the two files of --verify and prints score, decision and probability."""
    trials = Trials.of_pairs([options.verify])
    source = source_of(options)
    root = one_root(options)
    found = source.check_files(root, trials.paths(), "--verify", options, "--test_path")
    trials = trials.renamed(found)
    cohort = load_cohort(options, source)
    plan = plan_backend(options, source)
    calibrated = options.calibration and calibration.load(options.calibration)
    if not 0 < options.prior < 1:
        raise InputError(
            f"--prior: expected a probability above 0 and below 1, found {options.prior:g}."
        )
    options.qualities = bool(calibrated) and len(calibrated.inputs) > 1
    scorer = load_scorer(options, state)
    dataset = source.eval_dataset(trials.paths(), root, options)
    refuse_pairwise(scorer.pairwise, options)
    refuse_weak(dataset)
    prepare_backend(scorer, plan, options)
    reps = dict(represent_files(scorer, dataset, options))
    represented_cohort = represent_cohort(scorer, cohort, options)
    moments = moments_of(scorer, trials, reps, options, represented_cohort)
    parts = score_trials(scorer, trials, reps, options, moments=moments)
    # The last part is the normalised score if there is one.
    part, scores = list(parts.items())[-1]
    result = None if scorer.backend else (state or {}).get("result", {})
    print_decision(scores[0], part, options.threshold, result, bool(calibrated))
    if calibrated:
        measures = {}
        if options.qualities:
            measures = calibration_inputs(quality_measures(scorer, trials, dataset, reps, moments))
        print_probability(calibrated, scores, measures, options.prior)


def refuse_weak(dataset) -> None:
    """Raises InputError if a file is silent or too short for a decision."""
    if not dataset.limits:
        return
    for path in dataset.paths:
        if problem := dataset.problem_of(dataset.whole(path)):
            raise InputError(
                f"{path}: expected speech with {dataset.limits}, found a file that is {problem}. "
                "Give another recording, or change the limit."
            )


def print_decision(
    score: float, part: str, threshold: float | None, result: dict | None, calibrated: bool = False
) -> None:
    """Prints the score and the decision.

    part: "" or the name of a score norm, as "_asnorm". result: of the last evaluation in the
    checkpoint. Its threshold is used if `threshold` is None. The result is None for scores that
    this threshold does not suit. calibrated: the probability is printed too.
    """
    if threshold is None and result:
        threshold = result.get(f"threshold{part}")
    if threshold is None or not math.isfinite(threshold):
        norm = part and f" with --score_norm {part[1:]}"
        reason = f"the checkpoint was not evaluated on trials{norm}"
        remedy = "give --threshold"
        if result is None:
            remedy += "" if calibrated else ", or --calibration for a probability"
            reason = "the threshold of the checkpoint does not suit scores of a back end"
        elif threshold is not None:
            reason = "in its last evaluation the checkpoint did not separate the trials"
        log_rows(
            [
                ("Score", f"{score:#.5g}"),
                ("Threshold", f"none: {reason}"),
                ("Decision", f"none: {remedy}"),
            ]
        )
        return
    score_text, threshold_text = texts_that_differ(score, threshold)
    decision = "same speaker" if score >= threshold else "different speakers"
    rows = [("Score", score_text), ("Threshold", threshold_text), ("Decision", decision)]
    log_rows(rows)


def texts_that_differ(a: float, b: float) -> tuple[str, str]:
    """Formats two numbers with 5 significant digits, or with more if they would look equal."""
    digits = 5
    while digits < 17 and a != b and f"{a:.{digits}g}" == f"{b:.{digits}g}":
        digits += 1
    return f"{a:#.{digits}g}", f"{b:#.{digits}g}"


def print_probability(calibrated, scores: np.ndarray, measures: dict, prior: float) -> None:
    """Prints the probability of the same speaker, from a calibration and its quality measures."""
    inputs = {"score": scores}
    for name, values in measures.items():
        if name in calibrated.inputs:
            inputs[name] = values
    llr = calibrated.llrs(inputs)[0]
    text = (
        f"{calibration.posterior(llr, prior):.4f} that both files are from one speaker "
        f"(prior {prior:g}, log-likelihood ratio {llr:.4f})"
    )
    log_rows([("Probability", text)])
