"""Calibration and fusion by logistic regression: from scores to log-likelihood ratios.

The inputs are the scores of one or several systems, and quality measures.

    ln p(trial | same speaker) / p(trial | different speakers) = offset + sum of weight * input

The regression weights the trials of each kind as the effective prior says. The log odds of this
prior are subtracted afterwards (Bruemmer et al., "Fusion of heterogeneous speaker recognition
systems", IEEE TASLP 2007). So the ratios do not depend on a prior. The prior of the training says
where the ratios are most exact.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from common.foreign_files import are_numbers, are_texts, foreign_file
from common.pipes import read_bytes
from common.writing import write_atomically
from metrics.llr import logit
from metrics.own_files import is_fusion
from metrics.qualities import calibration_inputs, read_qualities
from metrics.scores import Scores, read_scores, reorder_like, write_scores

# Weight of the squared weights in the loss. It keeps the weights finite if trials are separated.
SMOOTHING = 1e-6

FilePath = str | Path
# {name: [n]}
Inputs = dict[str, np.ndarray]


class Calibration(NamedTuple):
    """A calibration of one system, or a fusion of several systems.

    inputs: names of its inputs: "score", or "score_1", "score_2", ... of a fusion, and the quality
    measures of metrics.qualities.calibration_inputs(). targets, nontargets: numbers of training
    trials. trained_on: scores files.
    """

    inputs: list[str]
    weights: list[float]
    offset: float
    effective_prior: float
    targets: int
    nontargets: int
    trained_on: list[str]

    def llrs(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns log-likelihood ratios [n]. inputs: {name: [n]}, all inputs of the calibration."""
        if set(inputs) != set(self.inputs):
            raise InputError(
                f"the calibration of {', '.join(self.trained_on)} expected the inputs "
                f"{', '.join(self.inputs)}, found {', '.join(inputs)}. Give exactly the expected "
                "inputs, or another calibration."
            )
        terms = []
        for name, weight in zip(self.inputs, self.weights, strict=True):
            terms.append(weight * inputs[name].astype(float))
        return self.offset + sum(terms[1:], terms[0])

    def __str__(self):
        lines = [
            f"calibration on {self.targets:,} target and {self.nontargets:,} non-target trials, "
            f"effective prior {self.effective_prior:g}"
        ]
        rows = [("offset", self.offset), *zip(self.inputs, self.weights, strict=True)]
        for name, value in rows:
            lines.append(f"{name:14s}{value:>10.5g}")
        return "\n".join(lines)


# ---------------------------------------------------------------------- training
def train(
    inputs: Mapping[str, np.ndarray],
    labels: np.ndarray,
    prior: float,
    trained_on: Sequence[FilePath] = (),
) -> Calibration:
    """Trains a calibration.

    inputs: {name: [n]}. labels: bool [n]. prior: the effective prior of a target trial. Raises
    InputError if nothing can be learned.
    """
    # Imported here, because the other metrics do without scikit-learn.
    from sklearn.linear_model import LogisticRegression

    if not 0 < prior < 1:
        raise InputError(
            f"--effective_prior: expected a probability above 0 and below 1, found {prior:g}."
        )
    targets = np.count_nonzero(labels)
    nontargets = np.count_nonzero(~labels)
    if not targets or not nontargets:
        raise InputError(
            "a calibration needs target and non-target trials, "
            f"found {targets:,} target and {nontargets:,} non-target trials. "
            "Add trials of the other kind."
        )
    check_scores_differ(inputs)
    # In float32 the regression would not converge.
    x = np.stack(list(inputs.values()), 1).astype(float)
    mean = x.mean(0)
    std = x.std(0)
    # A measure that is the same for all trials gets no weight.
    std[std <= 1e-12 * np.abs(mean)] = 1
    # The weights of all trials add up to 1.
    kind = labels.astype(int)
    weight = np.array([1 - prior, prior])[kind] / np.array([nontargets, targets])[kind]
    model = LogisticRegression(C=1 / SMOOTHING, solver="newton-cholesky", tol=1e-10)
    fitted = model.fit((x - mean) / std, labels, weight)
    weights = fitted.coef_[0] / std
    return Calibration(
        list(inputs),
        weights.tolist(),
        float(fitted.intercept_[0] - weights @ mean - logit(prior)),
        float(prior),
        int(targets),
        int(nontargets),
        [str(path) for path in trained_on],
    )


def check_scores_differ(inputs: Mapping[str, np.ndarray]) -> None:
    """Raises InputError if all trials have the same score."""
    for name, values in inputs.items():
        if name.startswith("score") and np.ptp(values) == 0:
            raise InputError(
                f"expected scores that differ, found the same {name} for all {len(values):,} "
                "trials. Check the scores file."
            )


# ---------------------------------------------------------------------- files
def load_calibration(path: FilePath) -> Calibration:
    """Reads the JSON file of a calibration. Raises InputError if it is another file."""

    def problem(text: str) -> str:
        return (
            "expected a calibration that `tuneThreshold.py calibrate` wrote, found another file "
            f"({text}). Give the JSON file of a calibration."
        )

    with foreign_file(path, problem):
        if is_fusion(read_bytes(path)):
            raise ValueError("a fusion with a countermeasure")
        found = Calibration(**json.loads(read_bytes(path)))
        if not is_valid(found):
            raise ValueError("its numbers and its inputs do not fit together")
    return found


def to_bytes(calibration: Calibration) -> bytes:
    """Returns the contents of the JSON file of a calibration."""
    return (json.dumps(calibration._asdict(), indent=1) + "\n").encode()


def save(calibration: Calibration, path: FilePath) -> None:
    """Writes the JSON file of a calibration."""
    write_atomically(path, to_bytes(calibration))


def is_valid(found: Calibration) -> bool:
    """Whether the numbers are finite, and each input has a name and a weight."""
    numbers = [*found.weights, found.offset, found.effective_prior]
    counts = [found.targets, found.nontargets]
    if not are_numbers([*numbers, *counts]) or not np.isfinite(np.array(numbers, float)).all():
        return False
    if not found.inputs or len(found.inputs) != len(found.weights):
        return False
    return are_texts(found.inputs) and are_texts(found.trained_on)


def read_inputs(
    paths: Sequence[FilePath], quality: FilePath | None = None, labelled: bool = True
) -> tuple[Scores, Inputs]:
    """Reads scores files of the same trials, in any order, and their table of quality measures.

    Returns the Scores of the first file, and {name: [n]} in its order.
    """
    first = read_scores(paths[0], labelled)
    if len(paths) == 1:
        inputs = {"score": first.scores}
    else:
        inputs = {"score_1": first.scores}
        for number, path in enumerate(paths[1:], 2):
            read = reorder_like(first, read_scores(path, labelled), path)
            inputs[f"score_{number}"] = read.scores
    if quality:
        inputs |= calibration_inputs(read_qualities(quality, first.lines))
    return first, inputs


def calibrate(
    paths: Sequence[FilePath], output: FilePath, prior: float, quality: FilePath | None = None
) -> tuple[Calibration, Scores, np.ndarray]:
    """Trains on scores files of the same trials, and writes the JSON file `output`.

    Returns the calibration, the Scores of the first file, and their log-likelihood ratios [n].
    """
    first, inputs = read_inputs(paths, quality)
    calibration = train(inputs, first.labels, prior, paths)
    save(calibration, output)
    return calibration, first, calibration.llrs(inputs)


def apply(
    path: FilePath, paths: Sequence[FilePath], output: FilePath, quality: FilePath | None = None
) -> tuple[Scores, np.ndarray]:
    """Applies the calibration of the JSON file `path` to scores files, and writes `output`.

    Returns the Scores of the first file, and their log-likelihood ratios [n].
    """
    calibration = load_calibration(path)
    first, inputs = read_inputs(paths, quality, labelled=False)
    llrs = calibration.llrs(inputs)
    write_scores(output, first.lines, llrs)
    return first, llrs


def posterior(llr: float, prior: float) -> float:
    """Returns the probability of the same speaker, by Bayes's rule. prior: before the trial."""
    return 1 / (1 + math.exp(min(-llr - logit(prior), 700)))
