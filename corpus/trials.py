"""Trials drawn by a seed: half target, half non-target of the same gender."""
from itertools import combinations

import numpy as np


def draw_indices(rng, sizes, count):
    """At most `count` different elements of sets of these sizes, all equally likely -> list of (set, element)."""
    ends = np.cumsum(sizes)
    total = int(ends[-1]) if len(ends) else 0
    chosen = rng.choice(total, min(count, total), replace=False) if total else np.array([], int)
    sets = np.searchsorted(ends, chosen, side="right")
    return list(zip(sets.tolist(), (chosen - ends[sets] + np.asarray(sizes)[sets]).tolist(), strict=True))


def draw_trials(rng, files, genders, count):
    """files: {speaker: paths}; genders: {speaker: any word} -> lines '1|0 <file> <file>', at most `count`, no pair twice."""
    speakers = sorted(files)
    own = [list(combinations(files[speaker], 2)) for speaker in speakers]
    targets = [own[i][j] for i, j in draw_indices(rng, [len(pairs) for pairs in own], count // 2)]
    alike = [(files[a], files[b]) for a, b in combinations(speakers, 2) if genders[a] == genders[b]]
    drawn = draw_indices(rng, [len(a) * len(b) for a, b in alike], count - count // 2)
    nontargets = [(alike[i][0][j // len(alike[i][1])], alike[i][1][j % len(alike[i][1])]) for i, j in drawn]
    lines = [f"1 {a} {b}" for a, b in targets] + [f"0 {a} {b}" for a, b in nontargets]
    return [lines[i] for i in rng.permutation(len(lines))]
