"""Of a tree of speaker embeddings: one target for each speaker, and lists to train an enhancement network on."""

import functools
import io
import logging
import os
import re
from pathlib import Path, PurePath

import numpy as np
from tqdm import tqdm

from common.errors import InputError
from common.writing import write_atomically
from corpus.embeddings import (
    TARGETS,
    embedding_tree,
    read_embeddings,
    scaled_to_length_one,
)
from prep.output import in_parallel

log = logging.getLogger("dataprep")


def session_of(path):
    """The folders between speaker and file; "" where there are none."""
    return str(PurePath(*PurePath(path).parts[1:-1])) if len(PurePath(path).parts) > 2 else ""


def targets_of(root, files):
    """Files of one speaker below root -> {"B": mean over utterances of their means over crops made unit length, "C": mean over utterances of
    their means over crops, made unit length}, float32 [D] each."""
    means = []
    for file in files:
        means.append(read_embeddings(os.path.join(root, file)).mean(0, dtype=np.float64))
        if len(means[-1]) != len(means[0]):
            raise InputError(
                f"{os.path.join(root, file)}: want embeddings of {len(means[0])} numbers, as in {files[0]}, got {len(means[-1])}; "
                "take embeddings of one network"
            )
    b = np.mean(
        [
            scaled_to_length_one(x, os.path.join(root, file))
            for x, file in zip(means, files, strict=True)
        ],
        0,
    )
    # reference normalises the last utterance's mean instead
    c = scaled_to_length_one(np.mean(means, 0), os.path.join(root, PurePath(files[0]).parts[0]))
    return {"B": b.astype(np.float32), "C": c.astype(np.float32)}


def combine_one(job, root):
    speaker, files = job
    return speaker, targets_of(root, files)


def combine_embeddings(folder, processes=None):
    """Writes the two targets of every speaker of the tree into its root; those of before are replaced, nothing else is touched."""
    files = embedding_tree(folder)
    clash = [
        speaker for speaker in files if TARGETS["C"].format(speaker).removesuffix(".npy") in files
    ]
    if clash:
        raise InputError(
            f"{folder}: the targets of {clash[0]} and {clash[0]}_type2 would have the same name; rename a folder"
        )
    made = in_parallel(functools.partial(combine_one, root=str(folder)), files.items(), processes)
    for speaker, targets in tqdm(
        made, total=len(files), desc="combine", unit="speaker", disable=None, leave=False
    ):
        for flag, x in targets.items():
            buffer = io.BytesIO()
            np.save(buffer, x)
            write_atomically(
                Path(folder, TARGETS[flag].format(speaker)), buffer.getbuffer(), flush=False
            )
    log.info(
        "%s: targets of %d speakers from %d utterances",
        folder,
        len(files),
        sum(map(len, files.values())),
    )


def some(rng, things, most):
    """At most `most` of a list of things, drawn without replacement."""
    return [things[i] for i in rng.choice(len(things), min(most, len(things)), replace=False)]


def strangers(rng, files, owner, speaker, most):
    """At most `most` different ones of the files, none of the speaker's: owner has the speaker of each."""
    drawn = {}
    while len(drawn) < most:
        number = int(rng.integers(len(files)))
        if owner[number] != speaker:
            drawn[files[number]] = None
    return list(drawn)


def trial_lines(rng, files, sizes):
    every = [path for paths in files.values() for path in paths]
    owner = [speaker for speaker, paths in files.items() for _ in paths]
    for speaker, paths in files.items():
        different = min(sizes.different, len(every) - len(paths))
        for path in paths:
            yield from (
                f"1 {path} {other}"
                for other in some(rng, [other for other in paths if other != path], sizes.same)
            )
            yield from (
                f"0 {path} {other}" for other in strangers(rng, every, owner, speaker, different)
            )


def triplet_lines(rng, files, sizes):
    speakers = list(files)
    for number, (speaker, paths) in enumerate(files.items()):
        others = speakers[:number] + speakers[number + 1 :]
        yield from (
            f"{speaker} {path} {other}"
            for path in paths
            for other in some(rng, others, sizes.others)
        )


def distribution_lines(rng, files, sizes):
    """Only of speakers of whom there are pairs of one session and pairs of two: of the others the distances cannot be compared."""
    for speaker, paths in files.items():
        session = np.array([session_of(path) for path in paths])
        # all pairs
        first, second = np.triu_indices(len(paths), 1)
        same = session[first] == session[second]
        if same.any() and not same.all():
            for flag in (1, 0):
                yield from (
                    f"{speaker} {paths[first[i]]} {paths[second[i]]} {flag}"
                    for i in some(rng, np.flatnonzero(same == flag), sizes.pairs)
                )


def make_lists(folder, name, sizes, seed):
    """Writes the four lists NAME_..._list.txt of the tree into its root; those of before are replaced. The draws of each depend on the seed alone."""
    if not re.fullmatch(r"[^/\s]+", name):
        raise InputError(
            f"--name {name}: want a name without blanks and slashes, the beginning of the names of the lists"
        )
    files = embedding_tree(folder)
    strange = [path for paths in files.values() for path in paths if path.split() != [path]]
    if strange:
        raise InputError(
            f"{folder}: {len(strange)} names have blanks in them, which separate the columns of a list; rename them: {strange[0]!r}, ..."
        )
    if len(files) < 2:
        raise InputError(
            f"{folder}: want at least 2 speakers, got {len(files)}: {', '.join(files)}; is this the root of the tree?"
        )
    makers = {
        "normal": lambda *_: (
            f"{speaker} {path}" for speaker, paths in files.items() for path in paths
        ),
        "test": trial_lines,
        "triplet": triplet_lines,
        "distribution": distribution_lines,
    }
    for number, (kind, lines) in enumerate(makers.items()):
        path = Path(folder, f"{name}_{kind}_list.txt")
        text = [f"{line}\n" for line in lines(np.random.default_rng((seed, number)), files, sizes)]
        if text:
            write_atomically(path, "".join(text).encode())
            log.info("%s: %d lines", path, len(text))
        else:
            why = (
                "no speaker has pairs of utterances of one session folder and of two"
                if kind == "distribution" and sizes.pairs
                else "its size is 0"
            )
            log.warning("warning: %s: left out, %s", path, why)
