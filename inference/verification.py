"""--verify: the score of two files, the decision, and the probability of the same speaker."""

import argparse
import logging

import numpy as np

from common.errors import InputError
from corpus.cohort import load_cohort
from corpus.lists import Trials
from inference.embedding import one_root
from inference.evaluation import (
    moments_of,
    refuse_pairwise,
    represent_cohort,
    represent_files,
    score_trials,
)
from inference.networks import load_scorer
from inference.sources import source_of
from metrics import calibration
from metrics.qualities import calibration_inputs, quality_measures

log = logging.getLogger("trainSpeakerNet")


def run_verify(options: argparse.Namespace, state: dict | None) -> None:
    """Compares the two files of --verify and prints what is known about them."""
    trials = Trials.of_pairs([options.verify])
    source = source_of(options)
    root = one_root(options)
    found = source.check_files(root, trials.paths(), "--verify", options, "--test_path")
    trials = trials.renamed(found)
    cohort = load_cohort(options, source)
    calibrated = options.calibration and calibration.load(options.calibration)
    if not 0 < options.prior < 1:
        raise InputError(
            f"--prior: want a probability between 0 and 1, both excluded, got {options.prior:g}"
        )
    options.qualities = bool(calibrated) and len(calibrated.inputs) > 1
    scorer = load_scorer(options, state)
    dataset = source.eval_dataset(trials.paths(), root, options)
    refuse_pairwise(scorer.pairwise, options)
    reps = dict(represent_files(scorer, dataset, options))
    represented_cohort = represent_cohort(scorer, cohort, options)
    moments = moments_of(scorer, trials, reps, options, represented_cohort)
    parts = score_trials(scorer, trials, reps, options, moments=moments)
    # The last part is the normalised score if there is one.
    part, scores = list(parts.items())[-1]
    print_decision(scores[0], part, options.threshold, (state or {}).get("result", {}))
    if calibrated:
        measures = {}
        if options.qualities:
            measures = calibration_inputs(quality_measures(scorer, trials, dataset, reps, moments))
        print_probability(calibrated, scores, measures, options.prior)


def print_decision(score: float, part: str, threshold: float | None, result: dict) -> None:
    """Prints the score and the decision.

    part: "" or the name of a score norm, as "_asnorm". result: of the last evaluation in the
    checkpoint, whose threshold is used if `threshold` is None.
    """
    if threshold is None:
        threshold = result.get(f"threshold{part}")
    if threshold is None:
        norm = part and f" with --score_norm {part[1:]}"
        log.info(
            "score %.4f; no decision: the checkpoint has seen no trials%s, give --threshold",
            score,
            norm,
        )
        return
    decision = "same speaker" if score >= threshold else "different speakers"
    log.info("score %.4f  threshold %.4f  %s", score, threshold, decision)


def print_probability(calibrated, scores: np.ndarray, measures: dict, prior: float) -> None:
    """Prints the probability of the same speaker, from a calibration and its quality measures."""
    inputs = {"score": scores}
    for name, values in measures.items():
        if name in calibrated.inputs:
            inputs[name] = values
    llr = calibrated.llrs(inputs)[0]
    log.info(
        "probability of the same speaker %.4f  prior %g  log-likelihood ratio %.4f",
        calibration.posterior(llr, prior),
        prior,
        llr,
    )
