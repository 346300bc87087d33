"""Two-covariance PLDA: a probabilistic model of the embeddings of speakers.

An embedding is the vector of its speaker plus a deviation. Speakers have the covariance B around
the mean mu, and deviations the covariance W. The model is "The speaker partitioning problem" of
Bruemmer & de Villiers, Odyssey 2010. It is trained by expectation-maximisation, as in Kaldi.

Legend of the shapes: n embeddings of D numbers, K speakers, t trials.
"""

import math
from typing import NamedTuple

import numpy as np

from metrics.backend_stages import Settings, SpeakerEmbeddings, Step, scaled_to


class Plda(NamedTuple):
    """The parameters of the model: mu [D], B and W [D, D]."""

    mean: np.ndarray
    between: np.ndarray
    within: np.ndarray

    def diagonal_form(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns A [D, D] and psi [D], descending, with A W A' = I and A B A' = diag(psi).

        The rows of A are known up to their sign.
        """
        inverse = np.linalg.inv(np.linalg.cholesky(self.within))
        values, vectors = np.linalg.eigh(inverse @ self.between @ inverse.T)
        return vectors[:, ::-1].T @ inverse, np.maximum(values[::-1], 0)

    def steps(self, settings: Settings) -> tuple[list[Step], np.ndarray]:
        """Returns the steps that map embeddings to the space of A, and psi [D].

        With plda_length, embeddings are scaled to sqrt(D) before and after the mapping.
        """
        transform, psi = self.diagonal_form()
        length = math.sqrt(len(psi)) if settings.plda_length else 0.0
        mapping = Step("plda", self.mean, transform.T, length)
        if not length:
            return [mapping], psi
        return [Step("plda", length=length), mapping], psi


def prepared(x: np.ndarray, settings: Settings) -> np.ndarray:
    """Scales embeddings x [n, D] to sqrt(D) with plda_length."""
    return scaled_to(x, math.sqrt(x.shape[1])) if settings.plda_length else x


def trained(group: SpeakerEmbeddings, settings: Settings) -> Plda:
    """Trains the model with plda_iterations of expectation-maximisation."""
    group = group._replace(x=prepared(group.x, settings))
    means = group.means()
    centred = group.centred()
    scatter = centred.T @ centred
    dim = group.x.shape[1]
    plda = Plda(means.mean(0), np.eye(dim), np.eye(dim))
    for _ in range(settings.plda_iterations):
        plda = updated(plda, means, group.counts, scatter)
    return plda


def updated(plda: Plda, means: np.ndarray, counts: np.ndarray, scatter: np.ndarray) -> Plda:
    """Performs one iteration. means: of the speakers [K, D]. counts: their embeddings [K].

    scatter: [D, D], the sum over embeddings of d d', with d the embedding minus its speaker's mean.

    All speakers are processed at once in the space of A, where the covariances V of the posteriors
    are diagonal: V = psi / (1 + n psi) and w = n V z, for the mean z of n embeddings.
    """
    transform, psi = plda.diagonal_form()
    z = (means - plda.mean) @ transform.T
    number = counts[:, None]
    variances = psi / (1 + number * psi)
    w = number * variances * z
    between = np.diag(variances.mean(0)) + w.T @ w / len(w)
    residual = z - w
    within = np.diag((number * variances).sum(0)) + (number * residual).T @ residual
    back = np.linalg.inv(transform)
    between = back @ between @ back.T
    within = (scatter + back @ within @ back.T) / counts.sum()
    return Plda(plda.mean, (between + between.T) / 2, (within + within.T) / 2)


def model_of(step: Step, psi: np.ndarray) -> Plda:
    """Returns the model whose last step and psi Plda.steps() returned."""
    if step.offset is None or step.matrix is None:
        raise ValueError("the stage plda has no mean or no matrix")
    back = np.linalg.inv(step.matrix)
    return Plda(step.offset, back.T * psi @ back, back.T @ back)


def adapted_plda(plda: Plda, x: np.ndarray, between_scale: float, within_scale: float) -> Plda:
    """Adapts the model to embeddings x [n, D] of another domain, whose speakers are unknown.

    The variance of x that the model does not explain is added to B and W with these scales. The
    mean becomes the mean of x. x is prepared() as for the training. This is the unsupervised
    adaptation of Kaldi.
    """
    # Imported here, because the other parts do without SciPy.
    import scipy.linalg

    covariance = np.cov(x, rowvar=False)
    ratio, vectors = scipy.linalg.eigh(covariance, plda.between + plda.within)
    inverse = np.linalg.inv(vectors).T
    more = ratio > 1
    excess = inverse[:, more] * np.sqrt(ratio[more] - 1)
    added = excess @ excess.T
    return Plda(x.mean(0), plda.between + between_scale * added, plda.within + within_scale * added)


def log_ratios(
    enrolments: np.ndarray, tests: np.ndarray, psi: np.ndarray, files: int = 1
) -> np.ndarray:
    """Returns ln p(test | speaker of the enrolment) / p(test | another speaker), [t].

    enrolments, tests: [t, D] in the space of A. files: number of embeddings whose mean an enrolment
    is, or 1 to treat the mean as one embedding.
    """
    share = files * psi / (files * psi + 1)
    same = 1 + psi / (files * psi + 1)
    other = 1 + psi
    logs = (tests - share * enrolments) ** 2 / same + np.log(same)
    logs -= tests**2 / other + np.log(other)
    return -0.5 * logs.sum(1)


class Ratio(NamedTuple):
    """The parts of log_ratios() for an enrolment of one file, where both sides are alike.

    A ratio is the sum of root^2 * e * t - square / 2 * (e^2 + t^2), plus the constant. root,
    square: [D].
    """

    root: np.ndarray
    square: np.ndarray
    constant: float


def ratio_of(psi: np.ndarray) -> Ratio:
    """Returns the parts of the log-likelihood ratios of variances psi [D]."""
    return Ratio(
        np.sqrt(psi / (1 + 2 * psi)),
        psi**2 / ((1 + psi) * (1 + 2 * psi)),
        float((np.log1p(psi) - np.log1p(2 * psi) / 2).sum()),
    )
