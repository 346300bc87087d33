"""Options of the evaluation."""

from typing import Literal

from metrics.rates import EERS
from metrics.score_norm import NORMS
from options.option import Option

EVALUATION = [
    Option(
        "scoring",
        Literal["similarity", "euclidean"],
        "similarity",
        "the loss's own similarity, or minus the mean Euclidean distance",
    ),
    Option(
        "score_norm",
        Literal[tuple(NORMS)],
        None,
        "normalise scores by a cohort, beside the raw ones: Z-norm, T-norm, S-norm, adaptive "
        "S-norm; the raw EER chooses the best checkpoint",
    ),
    Option(
        "cohort_list",
        str,
        None,
        "the cohort: a train list or lines '<file>', of other speakers than the trials'",
    ),
    Option("cohort_path", str, "", "folder that the files of cohort_list are relative to"),
    Option(
        "cohort_by",
        Literal["utterance", "speaker"],
        "utterance",
        "members of the cohort: its files, or the means of its speakers",
    ),
    Option(
        "top_n",
        int,
        300,
        "members of the cohort that count in asnorm, for each side those that score highest",
        2,
    ),
    Option(
        "qualities",
        bool,
        False,
        "also write a table of quality measures for tuneThreshold.py --quality, "
        "scores_qualities.txt beside scores.txt: durations, norms of embeddings, and with "
        "--score_norm mean scores against the cohort",
    ),
    Option(
        "cache_precision",
        Literal["float32", "float16"],
        "float32",
        "of the representations kept for scoring; float16 halves the memory",
    ),
    Option("trials_at_once", int, 32, "trials that a pair-wise pooling scores at a time", 1),
    Option(
        "eer",
        Literal[EERS],
        EERS[0],
        "definition of the EER: interpolated, or as voxceleb_trainer (corner), the "
        "double-attention trainer (grid)",
    ),
    Option("dcf_p_target", float, 0.05, "prior of a target trial in minDCF", 0),
    Option("dcf_c_miss", float, 1.0, "cost of a miss in minDCF", 0),
    Option("dcf_c_fa", float, 1.0, "cost of a false alarm in minDCF", 0),
    Option(
        "far",
        float,
        [0.1, 0.01, 0.001],
        "false-accept rates to print thresholds for",
        0,
        nargs="+",
    ),
]
