"""Options of tuneThreshold.py that belong to calibration, speakers, confidence and slices.

For each part a function declares the options, and another one checks their values. A check raises
ValueError.
"""

import argparse

import numpy as np

from metrics.confidence import REPEATS


# ---------------------------------------------------------------------- calibration
def add_calibration_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of metrics/calibration.py."""
    group = parser.add_argument_group("calibration")
    group.add_argument(
        "--calibrate",
        "--fuse",
        nargs="+",
        metavar="FILE",
        help="scores files of the same development trials, one of each system: "
        "learns their common log-likelihood ratio by logistic regression",
    )
    group.add_argument(
        "--apply",
        metavar="JSON",
        help="a calibration: the scores files, one of each of its systems, become one of "
        "log-likelihood ratios",
    )
    group.add_argument(
        "--quality",
        metavar="FILE",
        help="quality measures of the trials as further inputs, a table of trainSpeakerNet.py "
        "--eval --qualities",
    )
    group.add_argument(
        "--effective_prior",
        type=float,
        metavar="P",
        help="prior of a target trial, costs included, near which the ratios are to be most "
        "exact (default: that of the first --p_target with --c_miss and --c_fa)",
    )
    group.add_argument(
        "--llr",
        action="store_true",
        help="the scores are log-likelihood ratios: actDCF, Cllr and minCllr too, of targets "
        "against all others",
    )


def check_calibration_options(args: argparse.Namespace) -> None:
    """Checks the options of metrics/calibration.py."""
    if args.calibrate and not args.output:
        raise ValueError("--calibrate: want --output FILE for the calibration")
    if args.quality and not (args.calibrate or args.apply):
        raise ValueError("--quality: goes with --calibrate or --apply")
    if args.output and not (args.calibrate or args.apply or args.report):
        raise ValueError("--output: goes with --calibrate, --apply or --report")
    if args.apply and not args.scores:
        raise ValueError(
            "--apply: want scores files to calibrate, and neither --compare nor --plot"
        )


# ---------------------------------------------------------------------- speakers
def add_speaker_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of metrics/speakers.py."""
    titled = parser.add_argument_group("speakers of the trials")
    group = titled.add_mutually_exclusive_group()
    group.add_argument(
        "--speaker_level",
        type=int,
        metavar="N",
        help="the speaker is the name of a file's folder number N (1: the first one)",
    )
    group.add_argument(
        "--speaker_regex",
        metavar="RE",
        help="the speaker is what the group of this regular expression finds in the name of a file",
    )
    group.add_argument(
        "--speaker_table", metavar="FILE", help="lines 'file speaker' of all files of the trials"
    )


# ---------------------------------------------------------------------- confidence
def add_confidence_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of metrics/confidence.py."""
    group = parser.add_argument_group(
        "confidence",
        "speakers, not trials, are drawn with replacement; bands of the DET plot are pointwise",
    )
    group.add_argument(
        "--bootstrap", type=int, metavar="R", help=f"intervals from R resamples, e.g. {REPEATS}"
    )
    group.add_argument(
        "--confidence",
        type=float,
        default=0.95,
        metavar="C",
        help="of the intervals and bands (%(default)s)",
    )
    group.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="another seed, other resamples (%(default)s)",
    )
    group.add_argument(
        "--compare",
        nargs=2,
        metavar="FILE",
        help="instead of scores: two scores files of the same trials in any order, which are told "
        "as usual, and their differences with intervals and p-values under the same resamples "
        f"(--bootstrap {REPEATS} unless given)",
    )


def check_confidence_options(args: argparse.Namespace) -> None:
    """Checks the options of metrics/confidence.py. --compare sets the number of resamples."""
    if args.compare and args.bootstrap is None:
        args.bootstrap = REPEATS
    if args.bootstrap is not None and args.bootstrap < 2:
        raise ValueError(f"--bootstrap: want 2 resamples or more, got {args.bootstrap}")
    if not 0 < args.confidence < 1:
        raise ValueError(f"--confidence: want a share between 0 and 1, got {args.confidence:g}")
    if args.seed < 0:
        raise ValueError(f"--seed: want 0 or more, got {args.seed}")


# ---------------------------------------------------------------------- slices
def add_slice_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of metrics/slices.py and metrics/worst.py."""
    group = parser.add_argument_group(
        "slices",
        "a trial of two speakers or files belongs where both do, else to a slice of its own "
        "('F / M'); of numbers the smaller one counts",
    )
    group.add_argument(
        "--by",
        nargs="+",
        default=[],
        metavar="COLUMN",
        help="EER and minDCF for each value of these columns of --table; attack: of "
        "spoofing-aware scores; duration: also of the files in --path",
    )
    group.add_argument(
        "--table",
        metavar="FILE",
        help="lines of comma- or tab-separated or blank-separated words, the first has the names "
        "of the columns; the first column is of speakers or of files",
    )
    group.add_argument("--path", metavar="DIR", help="folder of the audio files, for --by duration")
    group.add_argument(
        "--bins",
        type=float,
        nargs="+",
        metavar="X",
        help="edges between bins of numbers (quartiles of the trials)",
    )
    group.add_argument(
        "--worst",
        type=int,
        metavar="N",
        help="lists the N speakers with the highest error rates at the threshold of the EER, and "
        "the N hardest trials",
    )


def check_slice_options(args: argparse.Namespace) -> None:
    """Checks the options of metrics/slices.py and metrics/worst.py."""
    if args.worst is not None and args.worst < 1:
        raise ValueError(f"--worst: want 1 or more, got {args.worst}")
    if not np.isfinite(args.bins or 0).all():
        raise ValueError(f"--bins: want numbers, got {' '.join(map(str, args.bins))}")
