"""Options of the evaluation."""

from typing import Literal

from common.constants import SHORTEST_SPEECH, SILENT
from metrics.confidence import REPEATS
from metrics.rates import EERS
from metrics.sasv import ADCF_SETS
from metrics.score_norm import NORMS
from metrics.stage_plan import STAGES
from options.option import Option

EVALUATION = [
    Option(
        "eval_frames",
        int,
        300,
        "frames of 10 ms in an evaluation crop (0: whole file)",
        0,
        daily=True,
    ),
    Option("num_eval", int, 10, "number of evenly spaced crops per file", 1, daily=True),
    Option(
        "bucket_frames",
        int,
        0,
        "with --eval_frames 0, repeat files up to a multiple of N frames, which allows batches and "
        "changes scores slightly (0: keep their lengths)",
        0,
        most=360_000,
    ),
    Option(
        "eval_speed",
        float,
        1.0,
        "play evaluated files at this speed; `tuneThreshold.py average` averages the scores of "
        "several speeds",
        0.5,
        most=2,
    ),
    Option(
        "scoring",
        Literal["similarity", "euclidean"],
        "similarity",
        "the similarity of the loss, or minus the mean Euclidean distance",
    ),
    Option(
        "score_norm",
        Literal[tuple(NORMS)],
        None,
        "also write normalised scores; the raw EER still selects best.model",
        daily=True,
    ),
    Option(
        "cohort_list",
        str,
        None,
        "cohort: a train list or lines '<file>', without speakers of the trials",
        placeholder="LIST",
        daily=True,
    ),
    Option(
        "cohort_path",
        str,
        "",
        "folder that contains the files of cohort_list",
        placeholder="DIR",
        daily=True,
    ),
    Option(
        "cohort_by",
        Literal["utterance", "speaker"],
        "utterance",
        "a member of the cohort is an utterance, or the mean of a speaker",
    ),
    Option("top_n", int, 300, "number of cohort members with the highest scores for asnorm", 2),
    Option(
        "qualities",
        bool,
        False,
        "also write scores_qualities.txt, a table of durations, norms of embeddings and cohort "
        "scores for tuneThreshold.py --quality",
    ),
    Option(
        "stages",
        Literal[STAGES],
        None,
        "what --eval adds to the raw scores, step by step; it prints a table",
        nargs="+",
        placeholder="STAGE",
        daily=True,
    ),
    Option(
        "calibration_list",
        str,
        None,
        "labelled trials from which --stages estimates qualities and calibration, without speakers "
        "of the trials",
        placeholder="LIST",
    ),
    Option(
        "calibration_path",
        str,
        "",
        "folder that contains the files of calibration_list",
        placeholder="DIR",
    ),
    Option(
        "bootstrap",
        int,
        REPEATS,
        "resamples of the speakers for the intervals and p-values of --stages (0: none)",
        0,
        most=1_000_000,
    ),
    Option(
        "cache_precision",
        Literal["float32", "float16"],
        "float32",
        "precision of the representations in memory; float16 needs half the memory",
    ),
    Option(
        "silence_db",
        float,
        SILENT,
        "level in dB relative to full scale below which a file is silent; --verify refuses silent "
        "files, --eval and --extract report them",
        placeholder="DB",
    ),
    Option(
        "min_seconds",
        float,
        SHORTEST_SPEECH,
        "duration below which a file is too short, as --silence_db",
        0,
        placeholder="S",
    ),
    Option(
        "trials_at_once", int, 32, "number of trials that a pair-wise pooling scores at once", 1
    ),
    Option(
        "eer",
        Literal[EERS],
        EERS[0],
        "definition of the EER: interpolated, corner (voxceleb_trainer) or grid (double attention)",
    ),
    Option(
        "dcf_p_target",
        float,
        0.05,
        "prior probability of a target trial in minDCF",
        0,
        placeholder="P",
        daily=True,
        most=1,
        between=True,
    ),
    Option("dcf_c_miss", float, 1.0, "cost of a miss in minDCF", 0, between=True),
    Option("dcf_c_fa", float, 1.0, "cost of a false alarm in minDCF", 0, between=True),
    Option(
        "adcf",
        Literal[tuple(ADCF_SETS)],
        "default",
        "priors and costs of the a-DCF of spoofing-aware trials: a-DCF 1 or ASVspoof 5",
    ),
    Option(
        "far",
        float,
        [0.1, 0.01, 0.001],
        "false-accept rates for which thresholds are printed",
        0,
        nargs="+",
        placeholder="P",
        most=1,
    ),
]
