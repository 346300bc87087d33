"""Short names of runs and scores files for the legends of pictures and for the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from common.run_paths import SCORES

# The folder of a run that contains its scores files.
RESULT = Path(SCORES).parent.name


def possible_names(path: str | Path) -> list[str]:
    """Returns the names of a run folder or a scores file, the shortest one first.

    They are the name of the run or of the file, then with one more part, then the path. The ending
    .txt is left out.
    """
    full = Path(path).resolve()
    name = full.name.removesuffix(".txt")
    folder = full.parent
    if folder.name == RESULT:
        run = folder.parent.name
        return [run, f"{run}/{name}", str(path)]
    return [name, f"{folder.name}/{name}", str(path)]


def short_names(paths: Sequence[str | Path]) -> list[str]:
    """Names runs and scores files by the run or the file. Longer names distinguish equal ones."""
    possible = [possible_names(path) for path in paths]
    chosen = [0] * len(paths)
    while True:
        names = [texts[level] for texts, level in zip(possible, chosen, strict=True)]
        counts = Counter(names)
        longer = []
        for name, texts, level in zip(names, possible, chosen, strict=True):
            is_equal = counts[name] > 1 and level + 1 < len(texts)
            longer.append(level + 1 if is_equal else level)
        if longer == chosen:
            return names
        chosen = longer
