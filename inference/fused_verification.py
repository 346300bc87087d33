"""--verify with a countermeasure: speaker network, countermeasure, and fusion of both scores.

The second file of --verify is tested: the countermeasure scores it alone. metrics/sasv_fusion.py
has the fusions, and `tuneThreshold.py fuse --cm` writes their files.
"""

import argparse
from typing import Any, NamedTuple

from common.errors import InputError
from corpus.lists import Trials
from inference import verification
from inference.embedding import represent_separately
from inference.networks import load_scorer
from inference.overview import Row, log_rows
from inference.sources import DataSource, source_of
from metrics.sasv_fusion import Fusion, load_fusion
from network.checkpoints import MisfitError, read_checkpoint
from network.suggestions import explain_misfit
from options.parser import parse
from options.plugins import find

# Options of the command that the countermeasure follows too. All others come from its checkpoint.
SHARED = ("device", "nDataLoaderThread")
# (decision, the speaker score alone suffices, the countermeasure score alone suffices) -> the
# decision and its reason.
REASONS = {
    (True, True, True): "same speaker: the speaker matches and the speech looks genuine",
    (True, True, False): "same speaker: the speech looks a little synthetic, but the speaker "
    "matches so well that both scores together suffice",
    (
        True,
        False,
        True,
    ): "same speaker: the speaker matches little, but the speech looks so genuine "
    "that both scores together suffice",
    (True, False, False): "same speaker: both scores together suffice, although each of them alone "
    "is low",
    (False, True, True): "rejected: the speaker matches and the speech looks genuine, but both "
    "scores together do not suffice",
    (False, True, False): "rejected: the speaker matches, the speech looks synthetic",
    (False, False, True): "rejected: another speaker",
    (False, False, False): "rejected: another speaker, and the speech looks synthetic",
}


class FusedScores(NamedTuple):
    """The scores of two recordings, and the threshold of the fused score."""

    speaker: float
    countermeasure: float
    fused: float
    threshold: float


def run_verify(options: argparse.Namespace, state: dict | None) -> None:
    """Compares the two files of --verify, with a countermeasure if there is one."""
    if not options.cm_model and not options.fusion_file:
        verification.verify_pair(options, state)
        return
    check_fused_options(options)
    fusion = load_fusion(options.fusion_file)
    pair = verification.prepare_pair(options, state)
    detector = Countermeasure(options)
    speaker = pair.verifier.score(pair.trials, pair.dataset).value
    countermeasure = detector.score(pair.trials, pair.root)
    fused = float(fusion.llrs([speaker], [countermeasure])[0])
    threshold = fusion.threshold if options.threshold is None else options.threshold
    scores = FusedScores(speaker, countermeasure, fused, threshold)
    log_rows(fused_rows(scores, fusion))


def check_fused_options(options: argparse.Namespace) -> None:
    """Raises InputError for options that do not go together."""
    if not options.cm_model or not options.fusion_file:
        given = "--cm_model" if options.cm_model else "--fusion_file"
        raise InputError(
            "--cm_model, --fusion_file: expected both, because the fusion combines the scores of "
            f"both networks, found only {given}. Give --cm_model CHECKPOINT, a countermeasure, and "
            "--fusion_file JSON, a file of `tuneThreshold.py fuse --cm`."
        )
    if options.calibration:
        raise InputError(
            "--calibration: expected no calibration with --fusion_file, because both map the score "
            "to a log-likelihood ratio, found both. Leave one of them out."
        )


class Countermeasure:
    """The network of --cm_model, with the options of its checkpoint.

    options: of the command. Raises InputError if the checkpoint cannot be used.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        path = options.cm_model
        words = ["--eval", f"--initial_model={path}"]
        words += [f"--{name}={getattr(options, name)}" for name in SHARED]
        try:
            self.options, state = parse(words, {}, "", read_checkpoint)
        except InputError as error:
            raise self.error(str(error)) from None
        if not find("trainfunc", self.options.trainfunc).detects_spoofing:
            raise InputError(
                f"--cm_model {path}: expected a network that detects spoofed speech, such as with "
                f"--trainfunc cm_softmax, found --trainfunc {self.options.trainfunc}. Give the "
                "checkpoint of a countermeasure."
            )
        self.source: DataSource = source_of(self.options)
        try:
            self.scorer = load_scorer(self.options, state)
        except MisfitError as error:
            raise self.error(explain_misfit(error, self.options, {}, in_use=True)) from None
        except InputError as error:
            raise self.error(str(error)) from None

    def error(self, text: str) -> InputError:
        """Returns the error of a message about a network, which is the one of --cm_model."""
        return InputError(text.replace("--initial_model", "--cm_model"))

    def score(self, trials: Trials, root: str) -> float:
        """Returns the score of the tested file of the only trial. A high one means genuine speech.

        root: the folder of the file. Raises InputError if the file cannot be used.
        """
        (tested,) = [trials.files[number] for number in trials.test]
        self.source.check_files(root, [tested], "--verify", self.options, "--test_path")
        dataset: Any = self.source.eval_dataset([tested], root, self.options)
        reps = dict(represent_separately(self.scorer, dataset, self.options))
        scores = self.scorer.bonafide(Trials.of_pairs([(tested, tested)]), reps)
        return float(scores[0])


# ---------------------------------------------------------------------- printing
def fused_rows(scores: FusedScores, fusion: Fusion) -> list[Row]:
    """Returns the lines about both scores, the fused score, and the decision with its reason."""
    matches = scores.speaker >= fusion.speaker_threshold
    genuine = scores.countermeasure >= fusion.cm_threshold
    decision = REASONS[scores.fused >= scores.threshold, matches, genuine]
    fused, threshold = verification.texts_that_differ(scores.fused, scores.threshold)
    return [
        ("Speaker", part_text(scores.speaker, fusion.speaker_threshold)),
        ("Genuine", part_text(scores.countermeasure, fusion.cm_threshold)),
        ("Score", f"{fused}, the fused log-likelihood ratio"),
        ("Threshold", threshold),
        ("Decision", decision),
    ]


def part_text(score: float, threshold: float) -> str:
    """Returns the text about one of the two scores, and the threshold that it has alone."""
    score_text, threshold_text = verification.texts_that_differ(score, threshold)
    return f"{score_text} (alone, the threshold is {threshold_text})"
