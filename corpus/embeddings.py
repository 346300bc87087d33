"""Trees of speaker embeddings, speaker/session/utterance.npy: reading, one target for each speaker, and lists to train an enhancement network on.

After github.com/Dorika0203/proj_2022NC. An utterance's file holds an embedding a crop, [K, D], as trainSpeakerNet.py --extract writes it; the targets,
[D], lie in the root of the tree: SPEAKER.npy (B) and SPEAKER_type2.npy (C).
"""

import logging
import os
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from common.errors import InputError
from corpus.roots import refuse_pack
from corpus.rows import LineFormat, read_rows

log = logging.getLogger("dataprep")
# --multiple_embedding_flag -> name of a speaker's target
TARGETS = {"B": "{}.npy", "C": "{}_type2.npy"}
EXTRACT = "make embeddings with trainSpeakerNet.py --extract LIST --output DIR"


# ---------------------------------------------------------------------- files
def read_embeddings(path):
    """File -> embeddings [K, D] of the crops of an utterance, floating point; of [D], K is 1."""
    try:
        x = np.load(path, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (ValueError, EOFError) as error:
        raise InputError(
            f"{path}: want an array in .npy format, got something else ({error}); {EXTRACT}"
        ) from None
    if x.ndim not in (1, 2) or not x.size or not np.issubdtype(x.dtype, np.floating):
        raise InputError(
            f"{path}: want embeddings [crops, D] of floating-point numbers, got {x.dtype} {list(x.shape)}; {EXTRACT}"
        )
    x = np.atleast_2d(x)
    if not np.isfinite(x).all():
        raise InputError(f"{path}: want finite numbers, got NaN or infinity; make it again")
    return x


def unit(x, path):
    """x [D], made from the file or folder `path` -> x of length 1."""
    length = np.linalg.norm(x)
    if not length > 0:
        raise InputError(
            f"{path}: the mean of its embeddings is zero and has no direction; make it again or take it off the list"
        )
    return x / length


def load_embeddings(root, names):
    """Files below root -> float32 [files, D]: of each the mean over its crops, of length 1. All in memory: 2 GB for a million of 512."""
    table = None
    for i, name in enumerate(tqdm(names, desc="load", unit="file", disable=None, leave=False)):
        path = os.path.join(root, name)
        x = read_embeddings(path)
        if table is None:
            table, first = np.empty((len(names), x.shape[1]), np.float32), path
        if x.shape[1] != table.shape[1]:
            raise InputError(
                f"{path}: want embeddings of {table.shape[1]} numbers, as in {first}, got {x.shape[1]}; take embeddings of one network"
            )
        table[i] = unit(x.mean(0, dtype=np.float64), path)
    return table


def load_targets(root, speakers, flag, dim):
    """Targets of the speakers, as combine_embeddings makes them -> float32 [speakers, dim]."""
    paths = [os.path.join(root, TARGETS[flag].format(speaker)) for speaker in speakers]
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise InputError(
            f"{root or 'the current folder'}: want a target (--multiple_embedding_flag {flag}) for each of {len(paths)} speakers, got none for "
            f"{len(missing)}: {', '.join(missing[:10])}; make them: python dataprep.py --combine_embeddings {root or '.'}"
        )
    table = np.empty((len(paths), dim), np.float32)
    for row, path in zip(table, paths, strict=True):
        x = read_embeddings(path)
        if x.shape != (1, dim):
            raise InputError(
                f"{path}: want a target of {dim} numbers, as the embeddings are, got {list(x.shape)}; make it again: "
                f"python dataprep.py --combine_embeddings {root or '.'}"
            )
        row[:] = x[0]
    return table


def check_embeddings(root, names, list_file):
    """Names of a list -> {name: path of its .npy file below root}; the names of speech stand for its embeddings. InputError unless all are there."""
    refuse_pack(root)
    found = {name: str(PurePath(name).with_suffix(".npy")) for name in dict.fromkeys(names)}
    missing = [path for path in found.values() if not os.path.isfile(os.path.join(root, path))]
    if missing:
        raise InputError(
            f"{list_file}: the model takes embeddings, and {len(missing)} of {len(found)} .npy files are missing in "
            f"{root or 'the current folder'}; correct the folder or the list, or {EXTRACT}: {', '.join(missing[:10])}"
            f"{', ...' if len(missing) > 10 else ''}"
        )
    return found


def tree(folder):
    """Folder -> {speaker: paths of the utterances relative to it}, both sorted; what lies in the folder itself is targets and lists."""
    if not os.path.isdir(folder):
        raise InputError(
            f"{folder}: want a folder speaker/session/utterance.npy, got {'a file' if os.path.exists(folder) else 'nothing'}; {EXTRACT}"
        )
    files = {
        path.name: sorted(str(file.relative_to(folder)) for file in path.rglob("*.npy"))
        for path in sorted(Path(folder).iterdir())
        if path.is_dir()
    }
    files = {speaker: paths for speaker, paths in files.items() if paths}
    if not files:
        raise InputError(
            f"{folder}: want embeddings speaker/session/utterance.npy, got no .npy file below a folder of it; {EXTRACT}"
        )
    return files


# ---------------------------------------------------------------------- targets
# ---------------------------------------------------------------------- lists
class Example(NamedTuple):
    """A line of a list to train on. other: another speaker's name. second: file of a second utterance of the speaker; same_session: it is of the
    session of the first."""

    speaker: str
    path: str
    other: str = ""
    second: str = ""
    same_session: bool = False
    # as of Utterance
    speed = 1.0

    @property
    def spoofed(self):
        return False


EXAMPLE_FORMATS = {
    "<speaker> <file>": LineFormat(lambda w: len(w) == 2),
    "<speaker> <file> <other speaker>": LineFormat(lambda w: len(w) == 3 and w[2] != w[0]),
    "<speaker> <file> <file> 0|1": LineFormat(
        lambda w: len(w) == 4 and w[3] in ("0", "1") and w[1] != w[2]
    ),
}


def read_examples(list_file):
    """A list of EXAMPLE_FORMATS -> list of Example; one that is on the list twice is an InputError."""
    kind, _, rows = read_rows(list_file, EXAMPLE_FORMATS)
    rows = list(rows)
    # one string per name
    names, first = {}, {}
    if len(rows[0]) == 4:
        examples = [
            Example(names.setdefault(a, a), path, second=second, same_session=same == "1")
            for a, path, second, same in rows
        ]
    else:
        examples = [
            Example(*(names.setdefault(w, w) if i != 1 else w for i, w in enumerate(words)))
            for words in rows
        ]
    for number, e in enumerate(examples, kind.first):
        before = first.setdefault((e.path, e.second, e.other), number)
        if before != number:
            raise InputError(
                f"{list_file}:{number}: {' '.join(filter(None, [e.path, e.second, e.other]))} is in line {before} already; remove one of them"
            )
    return examples
