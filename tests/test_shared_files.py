"""--eval with several lists of trials: each file is embedded once.

pytest tests/test_shared_files.py
"""

import os
import weakref
from types import SimpleNamespace

import numpy as np
import torch

from inference import shared_files
from inference.evaluation import represent_all
from metrics.scores import read_scores


def recorded(monkeypatch):
    """Makes represent_all() write down the files that it gets. Returns the list of them."""
    embedded = []

    def represent(scorer, dataset, options):
        embedded.append(list(dataset.paths))
        return represent_all(scorer, dataset, options)

    monkeypatch.setattr(shared_files, "represent_all", represent)
    return embedded


def test_files_of_several_lists_are_embedded_once(
    corpus, checkpoint, tmp_path, program, monkeypatch
):
    """Separate commands give the same scores. The second folder has another name."""
    lines = (corpus / "trials.txt").read_text().splitlines()
    words = ["--eval", "--initial_model", checkpoint, "--nDataLoaderThread", 0]
    parts = {"first": lines[: len(lines) * 2 // 3], "second": lines[len(lines) // 3 :]}
    lists = []
    for name, part in parts.items():
        lists.append(tmp_path / f"{name}.txt")
        lists[-1].write_text("\n".join(part))
        alone = ["--test_list", lists[-1], "--test_path", corpus / "wav"]
        code, _, err = program(*words, *alone, "--output", tmp_path / f"{name}_scores.txt")
        assert code == 0, err
    embedded = recorded(monkeypatch)
    both = ["--test_list", *lists, "--test_path", corpus / "wav", f"{corpus}{os.sep}.{os.sep}wav"]
    code, _, err = program(*words, *both, "--output", tmp_path / "both.txt")
    assert code == 0, err
    for name, joint in (("first", "both.txt"), ("second", "both_2.txt")):
        known = read_scores(tmp_path / f"{name}_scores.txt")
        found = read_scores(tmp_path / joint)
        assert list(found.lines) == list(known.lines)
        np.testing.assert_allclose(found.scores, known.scores, atol=1e-5)
    files = []
    for part in parts.values():
        files.append({word for line in part for word in line.split()[1:]})
    assert files[0] & files[1]
    assert set(embedded[0]) == files[0]
    assert set().union(*embedded[1:]) == files[1] - files[0]
    assert sum(map(len, embedded)) == len(files[0] | files[1])


def test_only_files_that_a_later_list_needs_stay_in_memory(monkeypatch):
    lists = [["a", "b"], ["c"], ["b", "c"]]
    alive = {}
    embedded = []

    def represent(scorer, dataset, options):
        reps = {path: torch.zeros(1) for path in dataset.paths}
        alive.update({path: weakref.ref(rep) for path, rep in reps.items()})
        embedded.extend(reps)
        return reps

    monkeypatch.setattr(shared_files, "represent_all", represent)
    tests = [(None, SimpleNamespace(paths=paths)) for paths in lists]
    source = SimpleNamespace(eval_dataset=lambda paths, *_: SimpleNamespace(paths=paths))
    roots = ["x", "x", "x"]
    kept = []
    for reps in shared_files.represent_lists(None, tests, roots, None, source):
        kept.append(sorted(path for path, rep in alive.items() if rep() is not None))
        assert sorted(reps) == lists[len(kept) - 1]
        del reps
    assert kept == [["a", "b"], ["b", "c"], ["b", "c"]]
    assert embedded == ["a", "b", "c"]


def test_the_same_name_below_another_folder_is_another_file(monkeypatch):
    embedded = []

    def represent(scorer, dataset, options):
        embedded.extend(dataset.paths)
        return {path: torch.full((1,), len(embedded)) for path in dataset.paths}

    monkeypatch.setattr(shared_files, "represent_all", represent)
    tests = [(None, SimpleNamespace(paths=["a"]))] * 2
    both = list(shared_files.represent_lists(None, tests, ["x", "y"], None, None))
    assert embedded == ["a", "a"]
    assert both[0]["a"] != both[1]["a"]
