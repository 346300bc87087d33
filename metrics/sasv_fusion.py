"""Fusion of speaker scores with countermeasure scores: one log-likelihood ratio for each trial.

A trial is a point in the plane of its two scores. A fusion has the log-likelihoods of the three
kinds of trials at each point, up to one constant. The log-likelihood ratio compares targets with
the mixture of the others, which the priors and costs of the a-DCF weight:

    ln p(trial | target) - ln (w p(trial | nontarget) + (1 - w) p(trial | spoof))

Here w is the share of non-targets in the cost of accepting everything. There are three fusions:

    linear: multinomial logistic regression
    gaussian: a Gaussian with a full covariance matrix for each kind of trials
    mlp: a neural network with one hidden layer
"""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from common.errors import InputError
from common.foreign_files import are_numbers, are_texts, foreign_file
from common.pipes import read_bytes
from common.trial_kinds import SPOOF, TRIAL_KINDS
from common.writing import write_atomically
from metrics.calibration import SMOOTHING, check_scores_differ
from metrics.rates import eer, error_rates
from metrics.sasv import NotDefined, a_dcf, adcf_weights, groups_of
from metrics.scores import Scores, read_cm_scores, read_scores

FilePath = str | Path
INPUTS = ["speaker score", "countermeasure score"]
# A covariance needs at least this number of trials of each kind.
LEAST_TRIALS = 3
# The least weight of a kind of trials in a training, as a share of all. A cost can be tiny.
LEAST_WEIGHT = 0.01
# This share of the variance of each score is added to the variances of a Gaussian.
RIDGE = 1e-6
# Of the network: the units of the hidden layer, and the weight of the squared weights.
UNITS = 16
DECAY = 3e-3
FOLDS = 5

# Names of the numbers of a fusion -> their values, as nested lists.
Parameters = dict[str, Any]


class Fusion(NamedTuple):
    """A fusion of speaker scores with countermeasure scores.

    fusion: "linear", "gaussian" or "mlp". inputs: INPUTS. costs: arguments of a_dcf(). threshold:
    of the fused score, with the lowest a-DCF on the training trials. speaker_threshold: of speaker
    scores, at the EER of targets against non-targets. cm_threshold: of countermeasure scores, at
    the EER of bona fide against spoofed speech. trials: numbers of training trials. trained_on: the
    scores files.
    """

    fusion: str
    inputs: list[str]
    costs: dict[str, float]
    threshold: float
    speaker_threshold: float
    cm_threshold: float
    trials: dict[str, int]
    trained_on: list[str]
    parameters: Parameters

    def log_likelihoods(self, speaker: ArrayLike, cm: ArrayLike) -> np.ndarray:
        """Returns the log-likelihoods [n, 3] of the kinds TRIAL_KINDS, up to one constant.

        speaker, cm: the two scores of each trial, [n].
        """
        x = np.stack([np.asarray(speaker, float), np.asarray(cm, float)], 1)
        return LOG_LIKELIHOODS[self.fusion](x, self.parameters)

    def llrs(self, speaker: ArrayLike, cm: ArrayLike) -> np.ndarray:
        """Returns log-likelihood ratios [n]; targets have high ones. See log_likelihoods()."""
        target, nontarget, spoof = self.log_likelihoods(speaker, cm).T
        _, cost_nontarget, cost_spoof = adcf_weights(**self.costs)
        with np.errstate(divide="ignore"):
            # The logarithm of a share of zero is minus infinity, which is right here.
            shares = np.log(np.array([cost_nontarget, cost_spoof]) / (cost_nontarget + cost_spoof))
        return target - np.logaddexp(nontarget + shares[0], spoof + shares[1])

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {kind}" for kind, count in self.trials.items())
        return (
            f"fusion {self.fusion} of {' and '.join(self.inputs)}\n"
            f"trained on {counts} trials of {', '.join(self.trained_on)}\n"
            f"accepts log-likelihood ratios of at least {self.threshold:.5g}"
        )


# ---------------------------------------------------------------------- log-likelihoods
def linear_log_likelihoods(x: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Returns log-likelihoods [n, 3] at points x [n, 2], by logistic regression."""
    return x @ np.array(parameters["weights"]).T + np.array(parameters["offsets"])


def gaussian_log_likelihoods(x: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Returns log-likelihoods [n, 3] at points x [n, 2], by one Gaussian for each kind."""
    found = []
    for mean, covariance in zip(parameters["means"], parameters["covariances"], strict=True):
        lower = np.linalg.cholesky(np.array(covariance))
        white = np.linalg.solve(lower, (x - np.array(mean)).T)
        found.append(-0.5 * (white**2).sum(0) - np.log(np.diag(lower)).sum())
    return np.stack(found, 1)


def mlp_log_likelihoods(x: np.ndarray, parameters: Parameters) -> np.ndarray:
    """Returns log-likelihoods [n, 3] at points x [n, 2], by a network with one hidden layer."""
    x = (x - np.array(parameters["mean"])) / np.array(parameters["deviation"])
    first, last = [np.array(weights) for weights in parameters["weights"]]
    offset, last_offset = [np.array(offsets) for offsets in parameters["offsets"]]
    return np.tanh(x @ first + offset) @ last + last_offset


LOG_LIKELIHOODS: dict[str, Callable[[np.ndarray, Parameters], np.ndarray]] = {
    "linear": linear_log_likelihoods,
    "gaussian": gaussian_log_likelihoods,
    "mlp": mlp_log_likelihoods,
}


# ---------------------------------------------------------------------- training
def train_linear(x: np.ndarray, kind: np.ndarray, share: np.ndarray) -> Parameters:
    """Trains logistic regression. x: [n, 2]. kind: indices [n]. share: weights [3] of the kinds."""
    # Imported here, because the other metrics do without scikit-learn.
    from sklearn.linear_model import LogisticRegression

    mean, deviation = moments(x)
    model = LogisticRegression(C=1 / SMOOTHING, solver="newton-cholesky", tol=1e-10)
    fitted = model.fit((x - mean) / deviation, kind, share[kind] / np.bincount(kind)[kind])
    weights = fitted.coef_ / deviation
    # The logits are log posteriors, up to one constant. The priors of the training are taken out.
    offsets = fitted.intercept_ - weights @ mean - np.log(share)
    return {"weights": weights.tolist(), "offsets": offsets.tolist()}


def train_gaussian(x: np.ndarray, kind: np.ndarray, _: np.ndarray) -> Parameters:
    """Estimates a mean and a covariance matrix for each kind of trials. See train_linear()."""
    ridge = np.diag(RIDGE * x.var(0))
    parts = [x[kind == number] for number in range(len(TRIAL_KINDS))]
    means = [part.mean(0).tolist() for part in parts]
    covariances = [(np.cov(part.T, bias=True) + ridge).tolist() for part in parts]
    return {"means": means, "covariances": covariances}


def train_mlp(x: np.ndarray, kind: np.ndarray, share: np.ndarray) -> Parameters:
    """Trains a neural network from a fixed seed. See train_linear()."""
    from sklearn.neural_network import MLPClassifier

    mean, deviation = moments(x)
    # A mean weight of 1, so that the decay has the same effect for any number of trials.
    weight = share[kind] / share.sum() * len(kind) / np.bincount(kind)[kind]
    model = MLPClassifier(
        (UNITS,),
        activation="tanh",
        solver="lbfgs",
        alpha=DECAY * len(kind),
        max_iter=1000,
        random_state=0,
    )
    with warnings.catch_warnings():
        # A network that could still improve a little is good enough.
        warnings.simplefilter("ignore")
        fitted = model.fit((x - mean) / deviation, kind, weight)
    first_offset, last_offset = fitted.intercepts_
    return {
        "mean": mean.tolist(),
        "deviation": deviation.tolist(),
        "weights": [weights.tolist() for weights in fitted.coefs_],
        "offsets": [first_offset.tolist(), (last_offset - np.log(share)).tolist()],
    }


TRAININGS = {"linear": train_linear, "gaussian": train_gaussian, "mlp": train_mlp}


def moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the means and the standard deviations [2] of the scores x [n, 2]."""
    return x.mean(0), x.std(0)


def train_fusion(
    fusion: str,
    speaker: np.ndarray,
    cm: np.ndarray,
    kinds: np.ndarray,
    costs: Mapping[str, float],
    trained_on: Sequence[FilePath] = (),
) -> Fusion:
    """Trains a fusion.

    fusion: its name. speaker, cm: the two scores of each trial [n]. kinds: words of TRIAL_KINDS
    [n]. costs: arguments of a_dcf(). Raises InputError if nothing can be learned.
    """
    groups = groups_of(kinds, speaker, cm)
    counts = {name: int(np.count_nonzero(group)) for name, group in groups.items()}
    if min(counts.values()) < LEAST_TRIALS:
        found = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        raise InputError(
            f"--cm: expected at least {LEAST_TRIALS} trials of each kind for a fusion, found "
            f"{found}. Add trials of the other kinds."
        )
    check_scores_differ({"score": speaker, "score of the countermeasure": cm})
    share = np.array(adcf_weights(**costs))
    share = np.maximum(share / share.sum(), LEAST_WEIGHT)
    x = np.stack([speaker, cm], 1).astype(float)
    kind = sum(number * groups[name] for number, name in enumerate(TRIAL_KINDS))
    made = Fusion(
        *(fusion, INPUTS, dict(costs), 0.0),
        eer_threshold(speaker[~groups[SPOOF]], groups["target"][~groups[SPOOF]]),
        eer_threshold(cm, ~groups[SPOOF]),
        *(counts, [str(path) for path in trained_on]),
        TRAININGS[fusion](x, np.asarray(kind), share),
    )
    return made._replace(threshold=best_threshold(made.llrs(speaker, cm), kinds, costs))


def eer_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """Returns the finite threshold at the EER of scores [n] with labels, bool [n]."""
    return float(np.clip(eer(*error_rates(scores, labels))[1], scores.min(), scores.max() + 1))


def best_threshold(llrs: np.ndarray, kinds: np.ndarray, costs: Mapping[str, float]) -> float:
    """Returns the finite threshold with the lowest a-DCF. llrs, kinds: [n]."""
    threshold = a_dcf(llrs, kinds, **costs)[1]
    return float(np.clip(threshold, llrs.min(), llrs.max() + 1))


def cross_validated(
    fusion: str,
    speaker: np.ndarray,
    cm: np.ndarray,
    kinds: np.ndarray,
    groups: Sequence[str],
    costs: Mapping[str, float],
) -> np.ndarray | None:
    """Returns the ratios [n] of fusions that were trained without the group of the trial.

    groups: name of the enrolled speaker of each trial. train_fusion() has the other arguments.
    Returns None if there are too few speakers, or too few trials without a part of
    them.
    """
    names, number = np.unique(np.asarray(groups), return_inverse=True)
    folds = min(FOLDS, len(names))
    if folds < 2:
        return None
    fold = np.random.default_rng(0).permutation(len(names))[number] % folds
    found = np.empty(len(speaker))
    for tested in range(folds):
        out = fold == tested
        try:
            made = train_fusion(fusion, speaker[~out], cm[~out], kinds[~out], costs)
        except (InputError, NotDefined):
            return None
        found[out] = made.llrs(speaker[out], cm[out])
    return found


# ---------------------------------------------------------------------- files
def read_pair(scores: FilePath, cm: FilePath, labelled: bool = True) -> tuple[Scores, np.ndarray]:
    """Reads a speaker scores file, and the countermeasure scores [n] of its trials.

    With labelled=False the lines may have no labels, else the trials have kinds and attacks. Raises
    ValueError naming the line.
    """
    read = read_scores(scores, labelled)
    if read.kinds is None and (labelled or read.labels is not None):
        raise InputError(
            f"{scores}: expected spoofing-aware scores, lines 'speaker file bonafide|attack "
            "target|nontarget|spoof score', because of --cm, found other lines. Give another "
            "file, or leave out --cm."
        )
    return read, read_cm_scores(cm, read)


def load_fusion(path: FilePath) -> Fusion:
    """Reads the JSON file of a fusion. Raises InputError if it is another file."""

    def problem(text: str) -> str:
        return (
            "expected a fusion that `tuneThreshold.py fuse --cm` wrote, found another file "
            f"({text}). Give the JSON file of a fusion with a countermeasure."
        )

    with foreign_file(path, problem):
        found = json.loads(read_bytes(path))
        if not isinstance(found, dict) or set(found) != set(Fusion._fields):
            raise ValueError("its names are not the names of a fusion")
        made = Fusion(**found)
        values = [made.threshold, made.speaker_threshold, made.cm_threshold]
        is_typed = are_numbers([*values, *made.costs.values(), *made.trials.values()])
        values += [*map(float, made.llrs(np.zeros(2), np.zeros(2)))]
        is_typed = is_typed and are_texts(made.trained_on) and set(made.trials) == set(TRIAL_KINDS)
        if made.inputs != INPUTS or not is_typed or not np.isfinite(values).all():
            raise ValueError("its numbers do not fit together")
    return made


def save_fusion(fusion: Fusion, path: FilePath) -> None:
    """Writes the JSON file of a fusion."""
    write_atomically(path, (json.dumps(fusion._asdict(), indent=1) + "\n").encode())
