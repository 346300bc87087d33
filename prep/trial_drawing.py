"""Random trials from the files of speakers: half target trials, half non-target trials.

Pairs of files are numbered and never listed, because there can be billions of them.
"""

import bisect
import os
from collections.abc import Mapping, Sequence

import numpy as np

Files = Mapping[str, Sequence[str]]
Pair = tuple[str, str]


def draw_pairs(
    rng: np.random.Generator, sizes: Sequence[int] | np.ndarray, count: int
) -> tuple[list[int], list[int]]:
    """Draws at most `count` different pairs of files from groups of pairs.

    `sizes` contains the number of pairs of every group. The function returns the group of every
    drawn pair, and the number of the pair within its group. A large group offers no more pairs than
    the smallest group, unless `count` requires more. Otherwise most pairs would come from a few
    speakers with many files.
    """
    sizes = np.asarray(sizes)
    required = bisect.bisect_left(
        range(sizes.max()), count, key=lambda limit: np.minimum(sizes, limit).sum()
    )
    offered = np.minimum(sizes, max(required, sizes.min()))
    ends = offered.cumsum()
    chosen = rng.choice(ends[-1], min(count, ends[-1]), replace=False)
    group = np.searchsorted(ends, chosen, side="right")
    number = chosen - (ends - offered)[group]
    by_group = np.argsort(group, kind="stable")
    for same in np.split(by_group, np.flatnonzero(np.diff(group[by_group])) + 1):
        size = sizes[group[same[0]]]
        if size > offered[group[same[0]]]:
            # The offered pairs are any pairs of a large group, not its first pairs.
            number[same] = rng.choice(size, len(same), replace=False)
    return group.tolist(), number.tolist()


def target_pairs(paths: Sequence[str] | np.ndarray) -> np.ndarray:
    """Returns all pairs of different files of one speaker, as indices [P, 2] into `paths`.

    A session is a folder. If the speaker has several sessions, both files of a pair come from
    different sessions.
    """
    session = np.array([os.path.dirname(path) for path in paths])
    pairs = np.array(np.triu_indices(len(paths), 1)).T
    across = pairs[session[pairs[:, 0]] != session[pairs[:, 1]]]
    return across if len(across) else pairs


def draw_targets(rng: np.random.Generator, files: Files, count: int) -> list[Pair]:
    """Draws at most `count` target trials from {speaker: paths}."""
    speakers = [np.array(paths) for paths in files.values() if len(paths) > 1]
    if not speakers or not count:
        return []
    pairs = [target_pairs(paths) for paths in speakers]
    groups, numbers = draw_pairs(rng, [len(own) for own in pairs], count)
    trials = []
    for group, number in zip(groups, numbers, strict=True):
        first, second = speakers[group][pairs[group][number]].tolist()
        trials.append((first, second))
    return trials


def draw_nontargets(
    rng: np.random.Generator, files: Files, count: int, sex: Mapping[str, str] | None
) -> list[Pair]:
    """Draws at most `count` non-target trials from {speaker: paths}.

    With `sex`, {speaker: sex}, both speakers of a trial have the same sex.
    """
    paths = list(files.values())
    sizes = np.array([len(own) for own in paths])
    sexes = np.array([sex[speaker] if sex else "" for speaker in files])
    # All pairs of speakers.
    first, second = np.triu_indices(len(files), 1)
    same_sex = sexes[first] == sexes[second]
    if not same_sex.any() or not count:
        return []
    first = first[same_sex]
    second = second[same_sex]
    groups, numbers = draw_pairs(rng, sizes[first] * sizes[second], count)
    trials = []
    for group, number in zip(groups, numbers, strict=True):
        a, b = first[group], second[group]
        trials.append((paths[a][number // sizes[b]], paths[b][number % sizes[b]]))
    return trials


def draw_trials(
    rng: np.random.Generator, files: Files, count: int, sex: Mapping[str, str] | None = None
) -> list[str]:
    """Draws at most `count` lines '1|0 <file> <file>' from {speaker: paths}, in random order.

    Half of the trials are target trials. With `sex`, {speaker: sex}, both speakers of a non-target
    trial have the same sex.
    """
    lines = [f"1 {a} {b}" for a, b in draw_targets(rng, files, count // 2)]
    lines += [f"0 {a} {b}" for a, b in draw_nontargets(rng, files, count - count // 2, sex)]
    return [lines[i] for i in rng.permutation(len(lines))]
