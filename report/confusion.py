"""Who is taken for whom: the speakers of a scores file with the most errors, and a map of the embeddings of some."""

from typing import NamedTuple

import numpy as np

from common.errors import InputError


class Confusion(NamedTuple):
    """accepted and trials: counts [rows, columns]; speakers: how many there are, of whom `rows` have the highest error rates."""

    rows: list[str]
    columns: list[str]
    accepted: np.ndarray
    trials: np.ndarray
    speakers: int

    @property
    def share(self):
        """Accepted trials, NaN where there are none."""
        return np.where(self.trials > 0, self.accepted / np.maximum(self.trials, 1), np.nan)


def count(rows, columns, shape, weights=None):
    return np.bincount(rows * shape[1] + columns, weights, shape[0] * shape[1]).reshape(shape)


def worst(wrong, trials, most):
    """Errors and trials [speakers, kinds] -> rows of the speakers with the highest error rates, the mean over the kinds of trials that they have."""
    rate = (wrong / np.maximum(trials, 1)).sum(1) / np.maximum((trials > 0).sum(1), 1)
    return np.argsort(-rate, kind="stable")[:most]


def confusion(scores, threshold, most=12) -> Confusion:
    """Trials between speakers, the first folder of a file's name; of spoofing-aware trials, claimed speakers against kinds of trials. Accepted at
    this threshold. Of the `most` speakers with the highest mean of miss rate and false-accept rates. ValueError where names do not tell speakers."""
    accepted = scores.scores >= threshold
    if scores.kinds is not None:
        return claims(scores, accepted, most)
    words = [line.split() for line in scores.lines]
    if not all("/" in a and "/" in b for _, a, b in words):
        raise ValueError("its files are not in folders of speakers")
    names, of = np.unique(
        [word.partition("/")[0] for _, *pair in words for word in pair], return_inverse=True
    )
    left, right = of.reshape(-1, 2).T
    if not np.array_equal(left == right, scores.labels):
        raise ValueError("the first folders of its files are not speakers")
    kind, shape = scores.labels.astype(int), (len(names), 2)
    both, kinds, wrong = (
        np.append(left, right),
        np.append(kind, kind),
        np.tile(accepted != scores.labels, 2),
    )
    rows = worst(count(both, kinds, shape, wrong), count(both, kinds, shape), most)
    place = np.full(len(names), -1)
    place[rows] = np.arange(len(rows))
    left, right = place[left], place[right]
    mine = (left >= 0) & (right >= 0)
    low, high, shape = (
        np.minimum(left, right)[mine],
        np.maximum(left, right)[mine],
        (len(rows), len(rows)),
    )
    filled = [
        np.triu(table) + np.triu(table, 1).T
        for table in (count(low, high, shape, accepted[mine]), count(low, high, shape))
    ]
    shown = names[rows].tolist()
    return Confusion(shown, shown, *filled, len(names))


def claims(scores, accepted, most):
    """Claimed speakers against target, nontarget and each attack."""
    names, of = np.unique([line.partition(" ")[0] for line in scores.lines], return_inverse=True)
    kinds = np.where(scores.kinds == "spoof", scores.attacks, scores.kinds)
    columns = [kind for kind in ("target", "nontarget") if (kinds == kind).any()] + sorted(
        {*kinds} - {"target", "nontarget"}
    )
    column = np.array([columns.index(kind) for kind in kinds.tolist()])
    shape = len(names), len(columns)
    trials = count(of, column, shape)
    rows = worst(count(of, column, shape, accepted != scores.labels), trials, most)
    return Confusion(
        names[rows].tolist(),
        columns,
        count(of, column, shape, accepted)[rows],
        trials[rows],
        len(names),
    )


# ---------------------------------------------------------------------- embeddings
class Embedded(NamedTuple):
    """Places [n, 2] on the map, the speaker [n] of each, a number into the names; total: speakers of the folder."""

    places: np.ndarray
    speaker: np.ndarray
    names: list[str]
    total: int


def map_of(folder, most_speakers=30, most_files=30) -> Embedded:
    """Embeddings `folder`/speaker/....npy, of --extract -> a map of the utterances by t-SNE (van der Maaten and Hinton 2008) of cosine distances.

    Of the speakers with the most files, the files evenly spread. InputError where there are fewer than five, or one cannot be used.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    from corpus.embeddings import embedding_tree, load_embeddings

    files = embedding_tree(folder)
    names = sorted(sorted(files, key=lambda speaker: -len(files[speaker]))[:most_speakers])
    chosen = [files[name][:: -(-len(files[name]) // most_files)] for name in names]
    paths = [path for mine in chosen for path in mine]
    if len(paths) < 5:
        raise InputError(
            f"{folder}: want at least 5 embeddings for a map, got {len(paths)}; give a folder with more of them"
        )
    # of length 1: squared distances are twice the cosine ones
    x = load_embeddings(folder, paths)
    start = {"init": "pca"} if x.shape[1] > 1 else {"init": "random"}
    # several would wait for each other in many short loops
    with threadpool_limits(1):
        places = TSNE(perplexity=min(30, (len(x) - 1) / 4), random_state=0, **start).fit_transform(
            x
        )
    return Embedded(
        places, np.repeat(np.arange(len(names)), [len(mine) for mine in chosen]), names, len(files)
    )
