"""Trials drawn from files of speakers, half of them target, half non-target; their pairs are told by numbers, so that there may be billions."""

import bisect
import os

import numpy as np


def draw(rng, sizes, count):
    """At most `count` different pairs from groups of so many -> group of each, its number in there. Of a group of many no more are on offer than of the
    smallest one, unless they are needed for `count`: otherwise a few speakers with many files would be most of a list."""
    sizes = np.asarray(sizes)
    needed = bisect.bisect_left(
        range(sizes.max()), count, key=lambda most: np.minimum(sizes, most).sum()
    )
    offered = np.minimum(sizes, max(needed, sizes.min()))
    ends = offered.cumsum()
    chosen = rng.choice(ends[-1], min(count, ends[-1]), replace=False)
    group = np.searchsorted(ends, chosen, side="right")
    number = chosen - (ends - offered)[group]
    by_group = np.argsort(group, kind="stable")
    for same in np.split(by_group, np.flatnonzero(np.diff(group[by_group])) + 1):
        if sizes[group[same[0]]] > offered[group[same[0]]]:
            number[same] = rng.choice(sizes[group[same[0]]], len(same), replace=False)
    return group.tolist(), number.tolist()


def target_pairs(paths):
    """Two different files of a speaker each, [P, 2] numbers of them: of two sessions (folders) if the speaker has several."""
    session = np.array([os.path.dirname(path) for path in paths])
    pairs = np.array(np.triu_indices(len(paths), 1)).T
    across = pairs[session[pairs[:, 0]] != session[pairs[:, 1]]]
    return across if len(across) else pairs


def draw_targets(rng, files, count):
    several = [np.array(paths) for paths in files.values() if len(paths) > 1]
    if not several or not count:
        return []
    pairs = [target_pairs(paths) for paths in several]
    return [
        several[g][pairs[g][n]].tolist()
        for g, n in zip(*draw(rng, [len(own) for own in pairs], count), strict=True)
    ]


def draw_nontargets(rng, files, count, sex):
    paths = list(files.values())
    size, kind = (
        np.array([len(own) for own in paths]),
        np.array([sex[speaker] if sex else "" for speaker in files]),
    )
    # all pairs of speakers
    first, second = np.triu_indices(len(files), 1)
    alike = kind[first] == kind[second]
    if not alike.any() or not count:
        return []
    first, second = first[alike], second[alike]
    pairs = zip(*draw(rng, size[first] * size[second], count), strict=True)
    return [
        (paths[first[g]][n // size[second[g]]], paths[second[g]][n % size[second[g]]])
        for g, n in pairs
    ]


def draw_trials(rng, files, count, sex=None):
    """files: {speaker: paths} -> at most `count` lines '1|0 <file> <file>', half of them target, in random order. Non-targets are of the same
    sex if sex, {speaker: sex}, is given."""
    lines = [f"1 {a} {b}" for a, b in draw_targets(rng, files, count // 2)]
    lines += [f"0 {a} {b}" for a, b in draw_nontargets(rng, files, count - count // 2, sex)]
    return [lines[i] for i in rng.permutation(len(lines))]
