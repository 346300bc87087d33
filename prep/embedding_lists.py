"""Targets and lists for embedding enhancement, made from a tree of speaker embeddings.

Every speaker gets one target per definition. The lists are for training an enhancement network.
"""

import functools
import io
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from tqdm import tqdm

from common.errors import InputError
from common.npy import is_array
from common.outputs import check_output
from common.writing import write_atomically
from corpus.embeddings import TARGETS, embedding_tree, read_embeddings, scaled_to_length_one
from prep.constants import ListSizes
from prep.output import encode_lines
from prep.workers import in_parallel

log = logging.getLogger("dataprep")
# {speaker: paths of the embeddings}
Files = Mapping[str, Sequence[str]]


def session_of(path: str) -> str:
    """Returns the folders between speaker and file, "" if there are none."""
    folders = PurePath(path).parts[1:-1]
    return str(PurePath(*folders)) if folders else ""


# ---------------------------------------------------------------------- targets
def compute_targets(root: str | Path, files: Sequence[str]) -> dict[str, np.ndarray]:
    """Returns the targets of one speaker, {"B": float32 [D], "C": float32 [D]}.

    `files` are paths below root. The mean of an utterance is the mean over its crops. Target B is
    the mean over utterances of their means, after each is made unit length. Target C is the mean
    over utterances of their means, made unit length. Raises InputError if the embeddings have
    different dimensions, or if a mean is zero.
    """
    means: list[np.ndarray] = []
    for file in files:
        path = os.path.join(root, file)
        means.append(read_embeddings(path).mean(0, dtype=np.float64))
        if len(means[-1]) != len(means[0]):
            raise InputError(
                f"{path}: expected embeddings of {len(means[0])} numbers as in {files[0]}, found "
                f"{len(means[-1])} numbers. Use embeddings of one network only."
            )
    units = []
    for file, mean in zip(files, means, strict=True):
        units.append(scaled_to_length_one(mean, os.path.join(root, file)))
    b = np.mean(units, 0)
    # The reference implementation normalises the mean of the last utterance instead.
    c = scaled_to_length_one(np.mean(means, 0), os.path.join(root, PurePath(files[0]).parts[0]))
    return {"B": b.astype(np.float32), "C": c.astype(np.float32)}


def targets_of_speaker(
    job: tuple[str, Sequence[str]], root: str
) -> tuple[str, dict[str, np.ndarray]]:
    """Returns the speaker and its targets. A job is (speaker, files)."""
    speaker, files = job
    return speaker, compute_targets(root, files)


def combine_embeddings(folder: str | Path, processes: int | None = None) -> None:
    """Writes the two targets of every speaker of the tree into the root of the tree.

    `processes` is the number of worker processes, None for all cores. Existing targets are
    replaced. Raises InputError if an embedding cannot be used, if two targets would have the same
    file name, or if a file of another kind has the name of a target.
    """
    files = embedding_tree(folder)
    for speaker in files:
        if TARGETS["C"].format(speaker).removesuffix(".npy") in files:
            raise InputError(
                f"{folder}: the targets of the speakers {speaker} and {speaker}_type2 would have "
                "the same file name. Rename one of the two folders."
            )
    log.info(
        "Making targets of %s speakers from %s utterances.",
        f"{len(files):,}",
        f"{sum(map(len, files.values())):,}",
    )
    for speaker in files:
        for name in TARGETS.values():
            path = Path(folder, name.format(speaker))
            check_output(str(path), path, {}, is_array)
    work = functools.partial(targets_of_speaker, root=str(folder))
    results = in_parallel(work, files.items(), processes)
    for speaker, targets in tqdm(
        results, total=len(files), desc="combine", unit="speaker", disable=None, leave=False
    ):
        for flag, x in targets.items():
            path = Path(folder, TARGETS[flag].format(speaker))
            buffer = io.BytesIO()
            np.save(buffer, x)
            write_atomically(path, buffer.getbuffer(), flush=False)
    log.info("Wrote two targets of each speaker to %s.", folder)


# ---------------------------------------------------------------------- lists
def draw_items(rng: np.random.Generator, items: Any, limit: int) -> list:
    """Draws at most `limit` of the items without replacement."""
    indices = rng.choice(len(items), min(limit, len(items)), replace=False)
    return [items[i] for i in indices]


def draw_impostor_files(
    rng: np.random.Generator,
    files: Sequence[str],
    owner: Sequence[str],
    speaker: str,
    count: int,
) -> list[str]:
    """Draws `count` different files of other speakers.

    `owner` contains the speaker of every file.
    """
    drawn: dict[str, None] = {}
    while len(drawn) < count:
        number = int(rng.integers(len(files)))
        if owner[number] != speaker:
            drawn[files[number]] = None
    return list(drawn)


def normal_lines(rng: np.random.Generator, files: Files, sizes: ListSizes) -> Iterator[str]:
    """Yields '<speaker> <file>' of every file. Nothing is random."""
    for speaker, paths in files.items():
        for path in paths:
            yield f"{speaker} {path}"


def trial_lines(rng: np.random.Generator, files: Files, sizes: ListSizes) -> Iterator[str]:
    """Yields the trials of every file, '1|0 <file> <file>', target trials first."""
    every: list[str] = []
    owner: list[str] = []
    for speaker, paths in files.items():
        every += paths
        owner += [speaker] * len(paths)
    for speaker, paths in files.items():
        different = min(sizes.different, len(every) - len(paths))
        for path in paths:
            candidates = [other for other in paths if other != path]
            for other in draw_items(rng, candidates, sizes.same):
                yield f"1 {path} {other}"
            for other in draw_impostor_files(rng, every, owner, speaker, different):
                yield f"0 {path} {other}"


def triplet_lines(rng: np.random.Generator, files: Files, sizes: ListSizes) -> Iterator[str]:
    """Yields triplets '<speaker> <file> <other speaker>'."""
    speakers = list(files)
    for number, (speaker, paths) in enumerate(files.items()):
        candidates = speakers[:number] + speakers[number + 1 :]
        for path in paths:
            for other in draw_items(rng, candidates, sizes.others):
                yield f"{speaker} {path} {other}"


def distribution_lines(rng: np.random.Generator, files: Files, sizes: ListSizes) -> Iterator[str]:
    """Yields pairs '<speaker> <file> <file> 1|0', where 1 means the same session.

    The loss compares distances within a session with distances between sessions. Speakers without
    both kinds of pairs are therefore left out.
    """
    for speaker, paths in files.items():
        session = np.array([session_of(path) for path in paths])
        # All pairs of files.
        first, second = np.triu_indices(len(paths), 1)
        same = session[first] == session[second]
        if same.all() or not same.any():
            continue
        for flag in (1, 0):
            for i in draw_items(rng, np.flatnonzero(same == flag), sizes.pairs):
                yield f"{speaker} {paths[first[i]]} {paths[second[i]]} {flag}"


# The position of a list is part of the seed of its random draws.
LISTS: dict[str, Callable[[np.random.Generator, Files, ListSizes], Iterator[str]]] = {
    "normal": normal_lines,
    "test": trial_lines,
    "triplet": triplet_lines,
    "distribution": distribution_lines,
}


def check_tree(folder: str | Path, files: Files) -> None:
    """Raises InputError if a name has blanks, or if there are fewer than two speakers."""
    with_blanks = []
    for paths in files.values():
        with_blanks += [path for path in paths if path.split() != [path]]
    if with_blanks:
        raise InputError(
            f"{folder}: expected names without blanks, found {len(with_blanks):,} names with "
            f"blanks, for example {with_blanks[0]!r}. Rename the files, because blanks separate "
            "the columns of a list."
        )
    if len(files) < 2:
        raise InputError(
            f"{folder}: expected at least 2 speakers, found {len(files)}: {', '.join(files)}. "
            "Choose the folder that contains the folders of the speakers."
        )


def is_embedding_list(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is a list of embeddings."""
    return any(word.endswith(b".npy") for word in head.partition(b"\n")[0].split())


def make_lists(folder: str | Path, name: str, sizes: ListSizes, seed: int) -> None:
    """Writes the four lists NAME_..._list.txt of the tree into the root of the tree.

    Existing lists are replaced. The random draws of a list depend only on the seed and the list.
    Raises InputError for a name or a tree that cannot be used.
    """
    if not re.fullmatch(r"[^/\s]+", name):
        raise InputError(
            f"--name: expected a name without blanks and slashes, found {name!r}. The names of the "
            "lists begin with it."
        )
    files = embedding_tree(folder)
    check_tree(folder, files)
    paths = {kind: Path(folder, f"{name}_{kind}_list.txt") for kind in LISTS}
    for path in paths.values():
        check_output(str(path), path, {}, is_embedding_list)
    for number, (kind, make_lines) in enumerate(LISTS.items()):
        path = paths[kind]
        lines = list(make_lines(np.random.default_rng((seed, number)), files, sizes))
        if lines:
            write_atomically(path, encode_lines(lines))
            log.info("Wrote %s with %s lines.", path, f"{len(lines):,}")
        else:
            reason = "its size is 0"
            if kind == "distribution" and sizes.pairs:
                reason = "no speaker has pairs within one session folder and across two"
            log.warning("warning: %s: this list is not written, because %s.", path, reason)
