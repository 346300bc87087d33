"""Confusions between speakers, and a map of the embeddings of speakers."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from metrics.scores import Scores

# t-SNE has no sensible map of fewer utterances.
FEWEST_UTTERANCES = 5


class Confusion(NamedTuple):
    """Numbers of trials between speakers, and how many of the trials a threshold accepts.

    rows: names of the speakers with the highest error rates.
    columns: the same speakers, or the kinds of trials of a spoofing-aware list.
    accepted, trials: numbers of trials [rows, columns].
    speakers: number of speakers in the scores file.
    """

    rows: list[str]
    columns: list[str]
    accepted: np.ndarray
    trials: np.ndarray
    speakers: int

    @property
    def share(self) -> np.ndarray:
        """Share of accepted trials [rows, columns] between 0 and 1, NaN without trials."""
        return np.where(self.trials > 0, self.accepted / np.maximum(self.trials, 1), np.nan)


def count_cells(
    rows: np.ndarray,
    columns: np.ndarray,
    shape: tuple[int, int],
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Count the entries of each cell of a table.

    rows, columns: position [n] of each entry. weights: [n], the counts are sums of the weights.
    Returns the counts [shape].
    """
    counts = np.bincount(rows * shape[1] + columns, weights, shape[0] * shape[1])
    return counts.reshape(shape)


def worst_speakers(errors: np.ndarray, trials: np.ndarray, most: int) -> np.ndarray:
    """Find the `most` speakers with the highest error rates.

    errors, trials: numbers [speakers, kinds of trials]. The error rate of a speaker is the mean
    over the kinds of trials that the speaker has. Returns row numbers, the highest rate first.
    """
    rates = errors / np.maximum(trials, 1)
    mean_rate = rates.sum(1) / np.maximum((trials > 0).sum(1), 1)
    return np.argsort(-mean_rate, kind="stable")[:most]


def confusion(scores: Scores, threshold: float, most: int = 12) -> Confusion:
    """Count the trials between speakers that a threshold accepts.

    The speaker of a file is the first folder of its name. For spoofing-aware trials the table has
    claimed speakers against kinds of trials. The table shows the `most` speakers with the highest
    mean of the miss rate and the false-accept rates.
    Raises ValueError for scores of single files, and if the names of files contain no speakers.
    """
    if scores.are_of_files:
        raise ValueError("its scores are of single files")
    accepted = scores.scores >= threshold
    if scores.kinds is not None:
        return confusion_of_claims(scores, accepted, most)
    names, left, right = speaker_pairs(scores)
    rows = worst_of_pairs(scores.labels, accepted, left, right, len(names), most)
    # The row of each speaker in the table, -1 for a speaker that the table does not show.
    row_of = np.full(len(names), -1)
    row_of[rows] = np.arange(len(rows))
    left, right = row_of[left], row_of[right]
    shown = (left >= 0) & (right >= 0)
    low = np.minimum(left, right)[shown]
    high = np.maximum(left, right)[shown]
    shape = len(rows), len(rows)
    shown_names = names[rows].tolist()
    return Confusion(
        rows=shown_names,
        columns=shown_names,
        accepted=mirrored(count_cells(low, high, shape, accepted[shown])),
        trials=mirrored(count_cells(low, high, shape)),
        speakers=len(names),
    )


def speaker_pairs(scores: Scores) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read the two speakers of each trial from the names of the files.

    Returns the names of the speakers [speakers], and the positions in this array of the first and
    the second speaker of each trial [n]. Raises ValueError if the first folders are not speakers.
    """
    words = [line.split() for line in scores.lines]
    if not all("/" in first and "/" in second for _, first, second in words):
        raise ValueError("its files are not in folders of speakers")
    speakers = []
    for _, *files in words:
        speakers += [file.partition("/")[0] for file in files]
    names, positions = np.unique(speakers, return_inverse=True)
    left, right = positions.reshape(-1, 2).T
    if not np.array_equal(left == right, scores.labels):
        raise ValueError("the first folders of its files are not speakers")
    return names, left, right


def worst_of_pairs(
    labels: np.ndarray,
    accepted: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    speakers: int,
    most: int,
) -> np.ndarray:
    """Find the speakers with the most errors. Each trial counts for both its speakers."""
    speaker = np.append(left, right)
    kind = np.tile(labels.astype(int), 2)
    wrong = np.tile(accepted != labels, 2)
    shape = speakers, 2
    errors = count_cells(speaker, kind, shape, wrong)
    return worst_speakers(errors, count_cells(speaker, kind, shape), most)


def mirrored(upper: np.ndarray) -> np.ndarray:
    """Copy the upper triangle of a square table into the lower triangle."""
    return np.triu(upper) + np.triu(upper, 1).T


def confusion_of_claims(scores: Scores, accepted: np.ndarray, most: int) -> Confusion:
    """Count the trials of claimed speakers against target, nontarget and each attack."""
    claimed = [line.partition(" ")[0] for line in scores.lines]
    names, row = np.unique(claimed, return_inverse=True)
    kinds = np.where(scores.kinds == "spoof", scores.attacks, scores.kinds)
    columns = [kind for kind in ("target", "nontarget") if (kinds == kind).any()]
    columns += sorted({*kinds} - {"target", "nontarget"})
    column = np.array([columns.index(kind) for kind in kinds.tolist()])
    shape = len(names), len(columns)
    trials = count_cells(row, column, shape)
    errors = count_cells(row, column, shape, accepted != scores.labels)
    rows = worst_speakers(errors, trials, most)
    return Confusion(
        rows=names[rows].tolist(),
        columns=columns,
        accepted=count_cells(row, column, shape, accepted)[rows],
        trials=trials[rows],
        speakers=len(names),
    )


# ---------------------------------------------------------------------- embeddings
class EmbeddingMap(NamedTuple):
    """Positions of utterances on a map.

    places: [n, 2]. speaker: [n], positions in `names`. names: the speakers on the map.
    total: number of speakers in the folder.
    """

    places: np.ndarray
    speaker: np.ndarray
    names: list[str]
    total: int


def make_embedding_map(
    folder: str | Path, most_speakers: int = 30, most_files: int = 30
) -> EmbeddingMap:
    """Draw a map of the embeddings `folder`/speaker/....npy, which --extract wrote.

    The map is a t-SNE (van der Maaten and Hinton, 2008) of the cosine distances. It contains the
    `most_speakers` speakers with the most files, and at most `most_files` files of each speaker,
    evenly spread. Raises InputError if there are fewer than five files, or if a file is unusable.
    """
    # Imported here, because other reports need neither scikit-learn nor the readers of embeddings.
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    from corpus.embeddings import embedding_tree, load_embeddings

    files = embedding_tree(folder)
    by_size = sorted(files, key=lambda speaker: -len(files[speaker]))
    names = sorted(by_size[:most_speakers])
    paths = []
    counts = []
    for name in names:
        stride = -(-len(files[name]) // most_files)
        chosen = files[name][::stride]
        paths += chosen
        counts.append(len(chosen))
    if len(paths) < FEWEST_UTTERANCES:
        raise InputError(
            f"{folder}: expected at least {FEWEST_UTTERANCES} embeddings for a map, "
            f"found {len(paths)}. Give a folder with more embeddings."
        )
    # The embeddings have length 1, so their squared distances are twice the cosine distances.
    x = load_embeddings(folder, paths)
    perplexity = min(30, (len(x) - 1) / 4)
    start = "pca" if x.shape[1] > 1 else "random"
    # One thread, because several threads would wait for each other in many short loops.
    with threadpool_limits(1):
        places = TSNE(perplexity=perplexity, random_state=0, init=start).fit_transform(x)
    speaker = np.repeat(np.arange(len(names)), counts)
    return EmbeddingMap(places, speaker, names, len(files))
