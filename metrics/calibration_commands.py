"""The commands calibrate, fuse, apply and average of tuneThreshold.py, up to their metrics.

metrics/calibration.py has calibrations, metrics/sasv_fusion.py fusions with a countermeasure.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from common.errors import InputError
from common.pipes import read_bytes
from metrics import calibration
from metrics.llr import effective_prior, llr_text
from metrics.own_files import is_fusion
from metrics.rates import error_rates
from metrics.sasv_fusion_text import apply_fusion, check_fuse_options, fuse
from metrics.scores import Scores, write_scores


def learn(args: argparse.Namespace, given: list[str]) -> str:
    """Learns what calibrate or fuse is to learn, and writes it. Returns the text about it.

    given: names of the options that differ from their defaults.
    """
    if hasattr(args, "fusion"):
        check_fuse_options(args, given)
        if args.cm:
            return fuse(args)
    prior = args.effective_prior
    if prior is None:
        prior = effective_prior(args.p_target[0], args.c_miss, args.c_fa)
    made, read, llrs = calibration.calibrate(args.scores, args.output, prior, args.quality)
    rates = error_rates(llrs, read.labels)
    metrics = llr_text(llrs, read.labels, rates, args.p_target, args.c_miss, args.c_fa)
    return f"{made}\n\nmetrics of the same trials\n{metrics}\n\ncalibration: {args.output}"


def apply_file(args: argparse.Namespace, output: str) -> tuple[Scores, list[str]]:
    """Applies the file of apply to scores files, and writes the scores file `output`.

    Returns the trials, and lines that follow their metrics. Sets the options of the metrics that
    suit the new scores.
    """
    if is_fusion(read_bytes(args.json)):
        found = apply_fusion(args, output)
        # The new scores contain the scores of the countermeasure.
        args.cm = None
        return found
    # The ratios of a fusion do not compare targets with non-targets only, so there it is an option.
    args.llr = True
    return calibration.apply(args.json, args.scores, output, args.quality)[0], []


def average_scores(paths: Sequence[str], output: str) -> Scores:
    """Writes the means of the scores in several files of the same trials, in any order.

    Returns the Scores of the first file. Raises InputError if there is only one file.
    """
    if len(paths) == 1:
        raise InputError(
            f"{paths[0]}: expected several scores files, found one. Give all files to average."
        )
    first, inputs = calibration.read_inputs(paths, labelled=False)
    write_scores(output, first.lines, np.mean([*inputs.values()], axis=0))
    return first
