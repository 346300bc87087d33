"""The linear stages of a back end, and how they are estimated from embeddings of speakers.

Legend of the shapes: n embeddings of D numbers, K speakers.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from common.errors import InputError

# Eigenvalues of the within-speaker covariance below this share of the largest one are raised to it
# for LDA.
SMALLEST_EIGENVALUE = 1e-6
# An embedding is not larger.
LARGEST_DIM = 1 << 16


class Step(NamedTuple):
    """One stage of a back end: y = (x - offset) @ matrix, and then scaled to `length`.

    name: of the stage. offset: [D] or None. matrix: [D, D'] or None. length: 0 keeps the lengths.
    """

    name: str
    offset: np.ndarray | None = None
    matrix: np.ndarray | None = None
    length: float = 0.0

    def apply(self, x: np.ndarray) -> np.ndarray:
        """Maps embeddings x [n, D] -> [n, D']."""
        if self.offset is not None:
            x = x - self.offset
        if self.matrix is not None:
            x = x @ self.matrix
        return scaled_to(x, self.length) if self.length else x


def input_size(step: Step) -> int | None:
    """Returns the size of the embeddings that a step reads. None if it reads any size."""
    if step.offset is not None:
        return len(step.offset)
    return None if step.matrix is None else len(step.matrix)


def is_finite_step(step: Step) -> bool:
    """Whether all numbers of a step are finite."""
    parts = [part for part in (step.offset, step.matrix) if part is not None]
    return all(np.isfinite(part).all() for part in parts)


class Settings(NamedTuple):
    """Settings of the stages, see HELP."""

    lda_dim: int | None = None
    wccn_shrinkage: float = 0.5
    plda_iterations: int = 10
    plda_length: bool = True


# Setting -> what it means.
HELP = {
    "lda_dim": "numbers that the stage lda keeps (default: as many as possible)",
    "wccn_shrinkage": "share of the mean variance that the stage wccn adds to all directions",
    "plda_iterations": "iterations of expectation-maximisation of the stage plda",
    "plda_length": "scale embeddings to the root of their size before and after the stage plda",
}
# Setting -> the stage that it belongs to.
STAGE_OF = {
    "lda_dim": "lda",
    "wccn_shrinkage": "wccn",
    "plda_iterations": "plda",
    "plda_length": "plda",
}
# Setting -> its smallest and its largest value.
BOUNDS = {
    "lda_dim": (1, LARGEST_DIM),
    "wccn_shrinkage": (0, 1000),
    "plda_iterations": (1, 10_000),
}


class SpeakerEmbeddings(NamedTuple):
    """The embeddings of the speakers. speaker: int [n], the number of the speaker of each row.

    counts: embeddings of each speaker [K]. source: where they come from, for messages.
    """

    x: np.ndarray
    speaker: np.ndarray
    counts: np.ndarray
    source: str

    def means(self) -> np.ndarray:
        """Returns the mean of each speaker [K, D]."""
        sums = np.zeros((len(self.counts), self.x.shape[1]))
        np.add.at(sums, self.speaker, self.x)
        return sums / self.counts[:, None]

    def centred(self) -> np.ndarray:
        """Returns the embeddings minus the mean of their speaker [n, D]."""
        return self.x - self.means()[self.speaker]

    def with_several_files(self) -> "SpeakerEmbeddings":
        """Returns the embeddings of the speakers with two or more of them."""
        chosen = self.counts[self.speaker] > 1
        _, speaker, counts = np.unique(
            self.speaker[chosen], return_inverse=True, return_counts=True
        )
        return SpeakerEmbeddings(self.x[chosen], speaker, counts, self.source)


def scaled_to(x: np.ndarray, length: float) -> np.ndarray:
    """Scales each row of x [n, D] to a length. A row of zeros stays."""
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    return x * (length / np.where(lengths > 0, lengths, 1))


# ---------------------------------------------------------------------- stages
def mean_step(group: SpeakerEmbeddings, settings: Settings) -> Step:
    """Subtracts the mean of all embeddings."""
    return Step("mean", offset=group.x.mean(0))


def length_step(group: SpeakerEmbeddings, settings: Settings) -> Step:
    """Scales embeddings to length 1. Garcia-Romero & Espy-Wilson, Interspeech 2011."""
    return Step("length", length=1.0)


def wccn_step(group: SpeakerEmbeddings, settings: Settings) -> Step:
    """Within-class covariance normalisation: the covariance within speakers becomes the identity.

    Hatch et al., Interspeech 2006. With C the covariance of the embeddings minus their speaker's
    mean (divisor n - 1), W = C + shrinkage * trace(C) / D * I. The matrix M of the stage has
    M M' = inverse(W), so that a cosine after the stage is a cosine in the metric inverse(W).
    """
    centred = group.centred()
    within = centred.T @ centred / (len(centred) - 1)
    within += settings.wccn_shrinkage * np.trace(within) / len(within) * np.eye(len(within))
    smallest, largest = np.linalg.eigvalsh(within)[[0, -1]]
    if not smallest > 1e-12 * largest:
        raise InputError(
            f"{group.source}: --wccn_shrinkage {settings.wccn_shrinkage:g} is too small. Expected "
            f"embeddings that vary within their speakers in all {len(within)} directions, found "
            f"fewer directions in {len(group.x):,} files of {len(group.counts):,} speakers. Give a "
            "larger --wccn_shrinkage, such as 0.5, or a list with more files."
        )
    return Step("wccn", matrix=np.linalg.inv(np.linalg.cholesky(within)).T)


def lda_step(group: SpeakerEmbeddings, settings: Settings) -> Step:
    """Linear discriminant analysis: the directions in which speakers differ most.

    Fisher 1936. Both covariances weight a speaker by the number of its embeddings, and are biased.
    Speakers with one embedding are left out. The covariance within speakers becomes the identity.
    The first direction has the largest ratio of the covariances. The mean is subtracted.
    """
    group = group.with_several_files()
    most = min(group.x.shape[1], len(group.counts) - 1)
    dim = settings.lda_dim or most
    if dim > most:
        raise InputError(
            f"--lda_dim: expected at most {most}, because {group.source} has "
            f"{len(group.counts):,} speakers with two or more files and an embedding has "
            f"{group.x.shape[1]} numbers, found {dim}. Give --lda_dim {most} or less."
        )
    shares = group.counts[:, None] / len(group.x)
    mean = group.x.mean(0)
    from_mean = group.means() - mean
    between = (shares * from_mean).T @ from_mean
    centred = group.centred()
    values, vectors = np.linalg.eigh(centred.T @ centred / len(group.x))
    if not values[-1] > 0:
        raise np.linalg.LinAlgError("the embeddings do not vary within their speakers")
    values = np.maximum(values, SMALLEST_EIGENVALUE * values[-1])
    whitening = vectors / np.sqrt(values)
    _, directions = np.linalg.eigh(whitening.T @ between @ whitening)
    return Step("lda", mean, whitening @ directions[:, : -dim - 1 : -1])


# Name of a stage -> the function that estimates it. plda is in metrics/plda.py.
LINEAR_STAGES: dict[str, Callable[[SpeakerEmbeddings, Settings], Step]] = {
    "mean": mean_step,
    "length": length_step,
    "lda": lda_step,
    "wccn": wccn_step,
}
