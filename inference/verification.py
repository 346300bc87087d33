"""--verify: the score of two files, the decision, and the probability of the same speaker."""

import argparse
import math
from functools import cached_property
from typing import Any, NamedTuple

import torch

from common.errors import InputError
from corpus.cohort import load_cohort
from corpus.lists import Trials
from inference.backend_lists import plan_backend, prepare_backend
from inference.embedding import one_root, represent_separately
from inference.evaluation import moments_of, refuse_pairwise, represent_cohort, score_trials
from inference.networks import load_scorer
from inference.overview import Row, log_rows
from inference.scorer import Scorer
from inference.sources import DataSource, source_of
from metrics import calibration
from metrics.llr import logit
from metrics.qualities import calibration_inputs, quality_measures


def verify_pair(options: argparse.Namespace, state: dict | None) -> None:
    """Compares the two files of --verify and prints score, decision and probability."""
    pair = prepare_pair(options, state)
    score = pair.verifier.score(pair.trials, pair.dataset)
    log_rows(rows_of(score, pair.verifier.decide(score), options.prior))


class Pair(NamedTuple):
    """The two files of --verify, and what compares them.

    verifier: a Verifier that is ready. trials: the only trial. dataset: its files. root: the folder
    that contains them.
    """

    verifier: "Verifier"
    trials: Trials
    dataset: Any
    root: str


def prepare_pair(options: argparse.Namespace, state: dict | None) -> Pair:
    """Checks the two files of --verify and loads the network. state: the checkpoint.

    Raises InputError if the files or the network cannot be used.
    """
    trials = Trials.of_pairs([options.verify])
    source = source_of(options)
    root = one_root(options)
    found = source.check_files(root, trials.paths(), "--verify", options, "--test_path")
    trials = trials.renamed(found)
    verifier = Verifier(options, state, source)
    scorer = load_scorer(options, state)
    dataset = source.eval_dataset(trials.paths(), root, options)
    refuse_pairwise(scorer.pairwise, options)
    refuse_weak(dataset)
    verifier.prepare(scorer)
    return Pair(verifier, trials, dataset, root)


class PairScore(NamedTuple):
    """The score of two recordings.

    value: with score normalisation, the normalised score. part: "" or the name of the score norm,
    as "_asnorm". llr: the log-likelihood ratio, None without a calibration.
    """

    value: float
    part: str = ""
    llr: float | None = None


class Decision(NamedTuple):
    """A decision about two recordings.

    same: whether the speaker is the same, None without a decision. threshold: of the score, or of
    the log-likelihood ratio if `by_llr` is true; None without one. reason, remedy: why there is no
    decision, and what to do.
    """

    same: bool | None
    threshold: float | None = None
    by_llr: bool = False
    reason: str = ""
    remedy: str = ""


class Verifier:
    """Compares recordings as the options of --verify say.

    Reads the cohort, the back end and the calibration, before the network is built. source: reads
    the files for the model. state: the checkpoint. Raises InputError if they cannot be used.
    """

    def __init__(self, options: argparse.Namespace, state: dict | None, source: DataSource) -> None:
        self.options = options
        self.cohort = load_cohort(options, source)
        self.plan = plan_backend(options, source)
        self.calibration: calibration.Calibration | None = None
        if options.calibration:
            self.calibration = calibration.load_calibration(options.calibration)
        if not 0 < options.prior < 1:
            raise InputError(
                f"--prior: expected a probability above 0 and below 1, found {options.prior:g}."
            )
        self.needs_qualities = bool(self.calibration and len(self.calibration.inputs) > 1)
        options.qualities = self.needs_qualities
        self.result = (state or {}).get("result", {})
        self.scorer: Any = None

    def prepare(self, scorer: Scorer) -> None:
        """Gives the scorer its back end, which may be estimated first."""
        self.scorer = scorer
        prepare_backend(scorer, self.plan, self.options)

    @cached_property
    def represented_cohort(self) -> torch.Tensor | None:
        """The representations of the cohort, None without score normalisation."""
        return represent_cohort(self.scorer, self.cohort, self.options)

    def score(self, trials: Trials, dataset: Any, progress: bool = True) -> PairScore:
        """Scores the only trial of `trials`. dataset: its files.

        progress: whether a terminal shows the progress.
        """
        options = self.options
        scorer = self.scorer
        reps = dict(represent_separately(scorer, dataset, options, progress=progress))
        moments = moments_of(scorer, trials, reps, options, self.represented_cohort)
        parts = score_trials(scorer, trials, reps, options, moments=moments)
        # The last part is the normalised score if there is one.
        part, scores = list(parts.items())[-1]
        if not self.calibration:
            return PairScore(float(scores[0]), part)
        inputs = {"score": scores}
        if self.needs_qualities:
            measures = quality_measures(scorer, trials, dataset, reps, moments)
            for name, values in calibration_inputs(measures).items():
                if name in self.calibration.inputs:
                    inputs[name] = values
        return PairScore(float(scores[0]), part, float(self.calibration.llrs(inputs)[0]))

    def decide(self, score: PairScore) -> Decision:
        """Decides about the two recordings of a score, see decide()."""
        return decide(score, self.options, None if self.scorer.backend else self.result)


def decide(score: PairScore, options: argparse.Namespace, result: dict | None) -> Decision:
    """Decides by --threshold, or by the calibration, or by the threshold of the checkpoint.

    With a calibration the speaker is the same if the probability is at least one half. result: of
    the last evaluation in the checkpoint. It is None for the scores of a back end, which the
    threshold of the checkpoint does not suit.
    """
    threshold = options.threshold
    if threshold is None and score.llr is not None:
        needed = -logit(options.prior)
        return Decision(score.llr >= needed, needed, by_llr=True)
    if threshold is None and result:
        threshold = result.get(f"threshold{score.part}")
    if threshold is not None and math.isfinite(threshold):
        return Decision(score.value >= threshold, threshold)
    remedy = "give --threshold"
    if result is None:
        reason = "the threshold of the checkpoint does not suit scores of a back end"
        remedy += ", or --calibration for a probability"
    elif threshold is not None:
        reason = "in its last evaluation the checkpoint did not separate the trials"
    else:
        norm = score.part and f" with --score_norm {score.part[1:]}"
        reason = f"the checkpoint was not evaluated on trials{norm}"
    return Decision(None, reason=reason, remedy=remedy)


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


# ---------------------------------------------------------------------- printing
def rows_of(score: PairScore, decision: Decision, prior: float) -> list[Row]:
    """Returns the lines about a score and a decision, and the probability with a calibration."""
    score_text = f"{score.value:#.5g}"
    decision_text = "same speaker" if decision.same else "different speakers"
    if decision.threshold is None:
        threshold_text = f"none: {decision.reason}"
        decision_text = f"none: {decision.remedy}"
    elif decision.by_llr:
        threshold_text = f"{decision.threshold:.4f} for the log-likelihood ratio"
    else:
        score_text, threshold_text = texts_that_differ(score.value, decision.threshold)
    rows = [("Score", score_text), ("Threshold", threshold_text), ("Decision", decision_text)]
    if score.llr is not None:
        text = (
            f"{calibration.posterior(score.llr, prior):.4f} that both files are from one speaker "
            f"(prior {prior:g}, log-likelihood ratio {score.llr:.4f})"
        )
        rows.append(("Probability", text))
    return rows


def texts_that_differ(a: float, b: float) -> tuple[str, str]:
    """Formats two numbers with 5 significant digits, or with more if they would look equal."""
    digits = 5
    while digits < 17 and a != b and f"{a:.{digits}g}" == f"{b:.{digits}g}":
        digits += 1
    return f"{a:#.{digits}g}", f"{b:#.{digits}g}"
