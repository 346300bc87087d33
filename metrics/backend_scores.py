"""Scores of trials of embeddings in memory, with or without a back end."""

from collections.abc import Mapping, Sequence

import numpy as np

from common.errors import InputError
from metrics.backend_stages import scaled_to
from metrics.backends import EMBEDDINGS, BackEnd
from metrics.plda import ratio_of

# Numbers that are multiplied at once.
NUMBERS_AT_ONCE = 1 << 24


def trial_scores(
    backend: BackEnd | None,
    crops: Mapping[str, np.ndarray],
    models: Sequence[Sequence[str]],
    files: Sequence[str],
    enrol: np.ndarray,
    test: np.ndarray,
) -> np.ndarray:
    """Scores trials [n]: the mean score over all pairs of crops, as trainSpeakerNet.py --eval.

    crops: {file: [K, D]}. models: the enrolment files of each model, whose embeddings are averaged.
    files: the tested files. enrol, test: int [n], the numbers of model and tested file. Without a
    back end, scores are cosines. Raises InputError if embeddings do not fit.
    """
    enrolments = []
    for names in models:
        enrolments.append(projection(backend, np.mean([crops[name] for name in names], 0)))
    left = np.stack(enrolments)
    right = for_tests(backend, np.stack([projection(backend, crops[name]) for name in files]))
    scores = np.empty(len(enrol))
    at_once = max(NUMBERS_AT_ONCE // left.shape[1], 1)
    for first in range(0, len(enrol), at_once):
        part = slice(first, first + at_once)
        scores[part] = (left[enrol[part]] * right[test[part]]).sum(1)
    if not np.isfinite(scores).all():
        raise InputError(
            f"{EMBEDDINGS}: expected finite scores, found NaN or infinity. Check them, or "
            "estimate the back end again."
        )
    return scores


def projection(backend: BackEnd | None, x: np.ndarray) -> np.ndarray:
    """Maps crops x [K, D] to a vector [P]. The inner product of two files is their score."""
    y = np.asarray(x, float) if backend is None else backend.transform(x)
    if backend is None or backend.psi is None:
        return scaled_to(y, 1).mean(0)
    ratio = ratio_of(backend.psi)
    own = ratio.constant / 2 - (ratio.square * y**2).sum(1).mean() / 2
    return np.concatenate([ratio.root * y.mean(0), [own, 1.0]])


def for_tests(backend: BackEnd | None, projections: np.ndarray) -> np.ndarray:
    """Turns projections [F, P] into the projections of tested files."""
    if backend is None or backend.psi is None:
        return projections
    # A column of ones meets the numbers of the other side.
    return np.hstack([projections[:, :-2], projections[:, [-1, -2]]])
