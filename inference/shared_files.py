"""Represents files that several lists of trials have only once, as in VoxCeleb1-E and -H."""

import argparse
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch

import distributed
from corpus.lists import Trials
from inference.evaluation import represent_all
from inference.scorer import Scorer
from inference.sources import DataSource
from inference.stage_lists import place_of_file

# {place_of_file(): representation [K, ...]}
RepsOfPlaces = dict[str, torch.Tensor]


def represent_new(
    scorer: Scorer,
    root: str,
    dataset: Any,
    seen: set[str],
    options: argparse.Namespace,
    source: DataSource,
) -> RepsOfPlaces:
    """Represents the files of a data set below `root` that were not seen before.

    seen: the places of the files that were represented. The new ones are added. Returns {} on ranks
    above 0.
    """
    place = {path: place_of_file(root, path) for path in dataset.paths}
    new = [path for path in dataset.paths if place[path] not in seen]
    if len(new) < len(dataset.paths):
        dataset = source.eval_dataset(new, root, options)
    seen |= {*place.values()}
    reps = represent_all(scorer, dataset, options) if new else {}
    return {place[path]: rep for path, rep in (reps or {}).items()}


def represent_lists(
    scorer: Scorer,
    tests: Sequence[tuple[Trials, Any]],
    roots: Sequence[str],
    options: argparse.Namespace,
    source: DataSource,
) -> Iterator[dict[str, torch.Tensor] | None]:
    """Yields {path: representation} of the files of each list of trials, None on ranks above 0.

    tests: of read_tests(). roots: the folder or pack of each list. Between two lists only the files
    stay in memory that a later list needs.
    """
    # How many of the coming lists need the file at a place.
    needed: Counter[str] = Counter()
    for root, (_, dataset) in zip(roots, tests, strict=True):
        needed.update(place_of_file(root, path) for path in dataset.paths)
    seen: set[str] = set()
    known: RepsOfPlaces = {}
    for root, (_, dataset) in zip(roots, tests, strict=True):
        known |= represent_new(scorer, root, dataset, seen, options, source)
        place = {path: place_of_file(root, path) for path in dataset.paths}
        needed.subtract(place.values())
        yield None if distributed.rank() else {path: known[place[path]] for path in dataset.paths}
        known = {there: rep for there, rep in known.items() if needed[there]}
