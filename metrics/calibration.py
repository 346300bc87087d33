"""Calibration and fusion: from the scores of one or several systems, and quality measures, to log-likelihood ratios, by logistic regression.

ln p(trial | same speaker) / p(trial | different speakers) = offset + sum of weight * input. The regression is told the trials of each kind as if there were
so many as the effective prior says, and what this prior adds to the log odds is taken off again (Brümmer et al., Fusion of heterogeneous speaker
recognition systems, IEEE TASLP 2007). Ratios depend on no prior; the one of training says where they are to be most exact.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from common.writing import write_atomically
from metrics.llr import logit
from metrics.qualities import calibration_inputs, read_qualities
from metrics.scores import read_scores, reorder_like, write_scores

# weight of the squared weights in the loss: finite where trials are separated
SMOOTHING = 1e-6


class Calibration(NamedTuple):
    """inputs: names of what it takes, "score" or of a fusion "score_1", "score_2", ..., and those of report.qualities.calibration_inputs. trained_on: scores files."""

    inputs: list[str]
    weights: list[float]
    offset: float
    effective_prior: float
    targets: int
    nontargets: int
    trained_on: list[str]

    def llrs(self, inputs):
        """{name: [n]} of all its inputs -> log-likelihood ratios [n]."""
        if {*inputs} != {*self.inputs}:
            raise InputError(
                f"the calibration of {', '.join(self.trained_on)} takes {', '.join(self.inputs)}, got {', '.join(inputs)}; "
                "give it all of these and nothing else, or take another calibration"
            )
        return self.offset + sum(
            weight * inputs[name] for name, weight in zip(self.inputs, self.weights, strict=True)
        )

    def __str__(self):
        rows = [("offset", self.offset), *zip(self.inputs, self.weights, strict=True)]
        return "\n".join(
            [
                f"calibration on {self.targets:,} target and {self.nontargets:,} non-target trials, effective prior {self.effective_prior:g}",
                *(f"{name:14s}{value:>10.5g}" for name, value in rows),
            ]
        )


def add_options(parser):
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
        help="a calibration: the scores files, one of each of its systems, become one of log-likelihood ratios",
    )
    group.add_argument(
        "--quality",
        metavar="FILE",
        help="quality measures of the trials as further inputs, a table of trainSpeakerNet.py --eval --qualities",
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
        help="the scores are log-likelihood ratios: actDCF, Cllr and minCllr too, of targets against all others",
    )


def check_options(args):
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


def train(inputs, labels, prior, trained_on=()):
    """inputs {name: [n]}, labels bool [n], prior: the effective one -> Calibration."""
    # here: the metrics need numpy alone
    from sklearn.linear_model import LogisticRegression

    if not 0 < prior < 1:
        raise InputError(
            f"--effective_prior: want a probability between 0 and 1, both excluded, got {prior:g}"
        )
    count = np.array([np.count_nonzero(~labels), np.count_nonzero(labels)])
    if not count.all():
        raise InputError(
            f"want target and non-target trials to calibrate with, got {count[1]:,} and {count[0]:,}; add the others"
        )
    x = np.stack(list(inputs.values()), 1)
    mean, std = x.mean(0), x.std(0)
    flat = [
        name for name, values in inputs.items() if name.startswith("score") and np.ptp(values) == 0
    ]
    if flat:
        raise InputError(
            f"{flat[0]} is the same for all {len(x):,} trials: nothing to calibrate; look at the scores file"
        )
    # the same everywhere: a measure without weight
    std[std <= 1e-12 * np.abs(mean)] = 1
    # together 1
    weight = np.array([1 - prior, prior])[labels.astype(int)] / count[labels.astype(int)]
    found = LogisticRegression(C=1 / SMOOTHING, solver="newton-cholesky", tol=1e-10).fit(
        (x - mean) / std, labels, weight
    )
    weights = found.coef_[0] / std
    return Calibration(
        list(inputs),
        weights.tolist(),
        float(found.intercept_[0] - weights @ mean - logit(prior)),
        float(prior),
        int(count[1]),
        int(count[0]),
        [str(path) for path in trained_on],
    )


def load(path):
    """JSON file -> Calibration. InputError where it is none."""
    try:
        found = Calibration(**json.loads(Path(path).read_text(encoding="utf-8")))
        numbers = np.array([*found.weights, found.offset, found.effective_prior], float)
        sound = (
            np.isfinite(numbers).all()
            and len(found.inputs) == len(found.weights) > 0
            and all(type(name) is str for name in found.inputs)
        )
    except (ValueError, TypeError):
        sound = False
    if not sound:
        raise InputError(
            f"{path}: want a calibration as tuneThreshold.py --calibrate writes it; make it again, or give another file"
        )
    return found


def read_inputs(paths, quality=None, labelled=True):
    """Scores files of the same trials in any order, and their table of quality measures -> (Scores of the first, {name: [n]})."""
    first = read_scores(paths[0], labelled)
    reads = [first, *(reorder_like(first, read_scores(path, labelled), path) for path in paths[1:])]
    names = (
        ["score"] if len(paths) == 1 else [f"score_{number}" for number in range(1, len(paths) + 1)]
    )
    inputs = {name: read.scores for name, read in zip(names, reads, strict=True)}
    return first, inputs | (
        calibration_inputs(read_qualities(quality, first.lines)) if quality else {}
    )


def posterior(llr, prior):
    """Probability of the same speaker after a trial of this ratio, by Bayes's rule."""
    return 1 / (1 + math.exp(min(-llr - logit(prior), 700)))


def calibrate(paths, output, prior, quality=None):
    """Trains on scores files of the same trials and writes the JSON file `output` -> (Calibration, Scores of the first file, their ratios [n])."""
    first, inputs = read_inputs(paths, quality)
    calibration = train(inputs, first.labels, prior, paths)
    write_atomically(output, (json.dumps(calibration._asdict(), indent=1) + "\n").encode())
    return calibration, first, calibration.llrs(inputs)


def apply(path, paths, output, quality=None):
    """Writes the ratios that the calibration of the JSON file `path` makes of scores files to the scores file `output` -> (Scores, ratios [n])."""
    calibration = load(path)
    first, inputs = read_inputs(paths, quality, labelled=False)
    llrs = calibration.llrs(inputs)
    write_scores(output, first.lines, llrs)
    return first, llrs
