"""Options of tuneThreshold.py that belong to calibration, speakers, confidence and slices.

For each part a function declares the options, and another one checks their values. A check raises
ValueError.
"""

import argparse
from typing import Any

import numpy as np

from metrics.confidence import REPEATS
from metrics.score_options import Options


# ---------------------------------------------------------------------- calibration
def add_quality_option(parser: Options) -> None:
    """Declares the table of quality measures."""
    parser.add_argument(
        "--quality",
        metavar="FILE",
        help="quality measures of the trials as further inputs: the table that trainSpeakerNet.py "
        "--eval --qualities writes",
    )


def add_prior_option(parser: Options) -> None:
    """Declares the prior of the training of a calibration."""
    parser.add_argument(
        "--effective_prior",
        type=float,
        metavar="P",
        help="prior of a target trial, costs included, for which the calibration is most exact "
        "(default: computed from the first --p_target, --c_miss and --c_fa)",
    )


def add_fusion_options(group: Any) -> None:
    """Declares the options of metrics/sasv_fusion.py."""
    group.add_argument(
        "--fusion",
        choices=("linear", "gaussian", "mlp"),
        default="linear",
        metavar="NAME",
        help="linear (logistic regression, default), gaussian (a Gaussian for each kind of trials) "
        "or mlp (a small neural network)",
    )
    group.add_argument(
        "--test", metavar="SCORES", help="speaker scores of test trials, whose metrics are printed"
    )
    group.add_argument(
        "--test_cm", metavar="FILE", help="countermeasure scores of the test trials, as --cm"
    )


# ---------------------------------------------------------------------- speakers
def add_speaker_options(parser: Options) -> None:
    """Declares the options of metrics/speakers.py."""
    titled = parser.add_argument_group("speakers of the trials")
    group = titled.add_mutually_exclusive_group()
    group.add_argument(
        "--speaker_level",
        type=int,
        metavar="N",
        help="the name of folder number N of a file is the speaker (default: 1)",
    )
    group.add_argument(
        "--speaker_regex",
        metavar="REGEX",
        help="the group of this regular expression is the speaker of a file",
    )
    group.add_argument(
        "--speaker_table",
        metavar="FILE",
        help="lines 'file speaker' for all files, or a protocol of spoofed speech",
    )


# ---------------------------------------------------------------------- confidence
def add_confidence_options(parser: Options, bootstrap: int | None = None) -> None:
    """Declares the options of metrics/confidence.py. bootstrap: the default of --bootstrap."""
    group = parser.add_argument_group("confidence intervals by resampling of speakers")
    group.add_argument(
        "--bootstrap",
        type=int,
        default=bootstrap,
        metavar="N",
        help=f"print intervals and draw pointwise bands from N resamples, e.g. {REPEATS}",
    )
    group.add_argument(
        "--confidence",
        type=float,
        default=0.95,
        metavar="P",
        help="level of the intervals and bands, between 0 and 1 (%(default)s)",
    )
    group.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the resamples (%(default)s)"
    )


def check_confidence_options(args: argparse.Namespace) -> None:
    """Checks the options of metrics/confidence.py."""
    if args.bootstrap is not None and args.bootstrap < 2:
        raise ValueError(f"--bootstrap: expected at least 2 resamples, found {args.bootstrap}.")
    if not 0 < args.confidence < 1:
        raise ValueError(
            f"--confidence: expected a number between 0 and 1, found {args.confidence:g}."
        )
    if args.seed < 0:
        raise ValueError(f"--seed: expected at least 0, found {args.seed}.")


# ---------------------------------------------------------------------- slices
def add_slice_options(parser: Options) -> None:
    """Declares the options of metrics/slices.py and metrics/worst.py."""
    group = parser.add_argument_group("metrics of parts of the trials")
    group.add_argument(
        "--by",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="metrics for each value of columns of --table; without --table: duration (needs "
        "--path), attack (spoofed speech), or codec and speaker (single files)",
    )
    group.add_argument(
        "--table",
        metavar="FILE",
        help="table; its first line names the columns, its first column has speakers or files",
    )
    group.add_argument("--path", metavar="DIR", help="folder of the audio files, for --by duration")
    group.add_argument(
        "--bins",
        type=float,
        nargs="+",
        metavar="X",
        help="edges between bins of numbers (default: quartiles of the trials)",
    )
    group.add_argument(
        "--worst",
        type=int,
        metavar="N",
        help="list the N speakers with the highest error rates and the N hardest trials or files",
    )


def check_slice_options(args: argparse.Namespace) -> None:
    """Checks the options of metrics/slices.py and metrics/worst.py."""
    if args.worst is not None and args.worst < 1:
        raise ValueError(f"--worst: expected at least 1, found {args.worst}.")
    if not np.isfinite(args.bins or 0).all():
        raise ValueError(f"--bins: expected finite numbers, found {' '.join(map(str, args.bins))}.")
