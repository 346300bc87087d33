"""Trees of speaker embeddings, and lists to train an enhancement network on.

A tree contains speaker/session/utterance.npy, as in github.com/Dorika0203/proj_2022NC. The file of
an utterance contains one embedding for each crop, [K, D], as trainSpeakerNet.py --extract writes
it. The target of a speaker, [D], is stored in the root of the tree: SPEAKER.npy (B) or
SPEAKER_type2.npy (C).
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import PurePath
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from common.errors import InputError
from common.shell import shell_command
from corpus.arrays import read_npy
from corpus.line_formats import LineFormat
from corpus.missing import THE_FOLDER, MissingFiles, first_names
from corpus.roots import files_below, refuse_pack
from corpus.rows import read_rows

# --multiple_embedding_flag -> name of the file of a speaker's target.
TARGETS = {"B": "{}.npy", "C": "{}_type2.npy"}
HOW_TO_EXTRACT = (
    "Create embeddings with 'python trainSpeakerNet.py --extract LIST --initial_model CHECKPOINT "
    "--output DIR'."
)


# ---------------------------------------------------------------------- files
def read_embeddings(path: str | os.PathLike) -> np.ndarray:
    """Reads the embeddings of the crops of an utterance -> [K, D], floating point.

    For a file with a single embedding [D], K is 1. Raises InputError if the file has something
    else, or a number that is not finite.
    """

    def problem(text: str) -> str:
        return f"expected an array in .npy format, found another content ({text}). {HOW_TO_EXTRACT}"

    x = read_npy(path, problem)
    if x.ndim not in (1, 2) or not x.size or not np.issubdtype(x.dtype, np.floating):
        raise InputError(
            f"{path}: expected embeddings [crops, D] of floating-point numbers, found {x.dtype} "
            f"{list(x.shape)}. {HOW_TO_EXTRACT}"
        )
    x = np.atleast_2d(x)
    if not np.isfinite(x).all():
        raise InputError(
            f"{path}: expected finite numbers, found NaN or infinity. Create the file again."
        )
    return x


def scaled_to_length_one(x: np.ndarray, path: str | os.PathLike) -> np.ndarray:
    """Scales x [D] to length 1. path: the file or folder that x comes from, for errors.

    Raises InputError if x is zero.
    """
    length = np.linalg.norm(x)
    if not length > 0:
        raise InputError(
            f"{path}: the mean of the embeddings is zero, so it has no direction. Create the file "
            "again, or remove it from the list."
        )
    return x / length


def load_table(
    root: str | os.PathLike,
    names: Sequence[str],
    row_of: Callable[[np.ndarray, str], np.ndarray],
) -> np.ndarray:
    """Reads files below root -> float32 [files, ...], all of them in memory.

    row_of: makes the row of a file from its embeddings [K, D] and its path. Raises InputError if
    the rows have different shapes.
    """
    table = np.empty((0, 0), np.float32)
    first_path = ""
    for i, name in enumerate(tqdm(names, desc="load", unit="file", disable=None, leave=False)):
        path = os.path.join(root, name)
        x = read_embeddings(path)
        row = row_of(x, path)
        if i == 0:
            table = np.empty((len(names), *row.shape), np.float32)
            first_path = path
        if row.shape[-1] != table.shape[-1]:
            raise InputError(
                f"{path}: expected embeddings of {table.shape[-1]} numbers, as in {first_path}, "
                f"found {row.shape[-1]}. Use the embeddings of one network."
            )
        if row.shape != table.shape[1:]:
            raise InputError(
                f"{path}: expected embeddings of {table.shape[1]} crops, as in {first_path}, found "
                f"{len(row)}. Extract all embeddings with the same --num_eval and --eval_frames."
            )
        table[i] = row
    return table


def load_embeddings(root: str | os.PathLike, names: Sequence[str]) -> np.ndarray:
    """Reads files below root -> float32 [files, D].

    A row is the mean over the crops of a file, scaled to length 1. All rows are kept in memory: 2
    GB for a million embeddings of 512 numbers. Raises InputError if the files have different D.
    """
    return load_table(
        root, names, lambda x, path: scaled_to_length_one(x.mean(0, dtype=np.float64), path)
    )


def load_targets(root: str, speakers: Iterable[str], flag: str, dim: int) -> np.ndarray:
    """Reads the targets of the speakers -> float32 [speakers, dim].

    flag: a key of TARGETS. dataprep.py combine-embeddings creates targets. Raises InputError if a
    target is missing or does not have `dim` numbers.
    """
    paths = [os.path.join(root, TARGETS[flag].format(speaker)) for speaker in speakers]
    missing = [path for path in paths if not os.path.isfile(path)]
    command = shell_command("python", "dataprep.py", "combine-embeddings", str(root or "."))
    if missing:
        raise InputError(
            f"{root or 'the current folder'}: expected a target (--multiple_embedding_flag {flag}) "
            f"for each of {len(paths)} speakers, but {len(missing)} targets are missing: "
            f"{first_names(missing)}. Create them with {command}."
        )
    table = np.empty((len(paths), dim), np.float32)
    for row, path in zip(table, paths, strict=True):
        x = read_embeddings(path)
        if x.shape != (1, dim):
            raise InputError(
                f"{path}: expected a target of {dim} numbers, as in the embeddings, found an array "
                f"{list(x.shape)}. Create the target again with {command}."
            )
        row[:] = x[0]
    return table


def check_embeddings(
    root: str, names: Iterable[str], list_file: str, root_option: str = THE_FOLDER
) -> dict[str, str]:
    """Finds the embeddings of the names of a list -> {name: path of its .npy file below root}.

    The name of a file of speech may be used for the file of its embeddings. list_file, root_option:
    see MissingFiles. Raises InputError if a file is missing.
    """
    refuse_pack(root)
    found = {name: str(PurePath(name).with_suffix(".npy")) for name in dict.fromkeys(names)}
    missing = [path for path in found.values() if not os.path.isfile(os.path.join(root, path))]
    if missing:
        problem = MissingFiles(
            root, missing, len(found), str(list_file), root_option, kind=".npy files"
        )
        raise InputError(f"{problem.message()} This model needs embeddings. {HOW_TO_EXTRACT}")
    return found


def embedding_tree(folder: str | os.PathLike) -> dict[str, list[str]]:
    """Lists a tree of embeddings -> {speaker: paths of the utterances relative to the folder}.

    Both are sorted. Files in the folder itself are targets and lists, so they are left out. Raises
    InputError if there is no embedding.
    """
    if not os.path.isdir(folder):
        found = "a file" if os.path.exists(folder) else "no folder"
        raise InputError(
            f"{folder}: expected a folder with speaker/session/utterance.npy, found {found}. "
            f"{HOW_TO_EXTRACT}"
        )
    files: dict[str, list[str]] = {}
    for path in files_below(folder, (".npy",)):
        speaker, _, utterance = path.partition(os.sep)
        if utterance.endswith(".npy"):
            files.setdefault(speaker, []).append(path)
    if not files:
        raise InputError(
            f"{folder}: expected embeddings speaker/session/utterance.npy, found no .npy file in "
            f"the subfolders. {HOW_TO_EXTRACT}"
        )
    return {speaker: files[speaker] for speaker in sorted(files)}


# ---------------------------------------------------------------------- lists
class Example(NamedTuple):
    """A line of a list of training embeddings.

    other: the name of another speaker, or "". second: the file of a second utterance of the
    speaker, or "". same_session: whether the second utterance is from the session of the first.
    """

    speaker: str
    path: str
    other: str = ""
    second: str = ""
    same_session: bool = False

    @property
    def speed(self) -> float:
        """The speed is 1. Examples are used like Utterances, which have a speed."""
        return 1.0

    @property
    def spoofed(self) -> bool:
        """Embeddings are not spoofed. Examples are used like Utterances, which may be spoofed."""
        return False


EXAMPLE_FORMATS = {
    "<speaker> <file>": LineFormat(lambda words: len(words) == 2),
    "<speaker> <file> <other speaker>": LineFormat(
        lambda words: len(words) == 3 and words[2] != words[0]
    ),
    "<speaker> <file> <file> 0|1": LineFormat(
        lambda words: len(words) == 4 and words[3] in ("0", "1") and words[1] != words[2]
    ),
}


def read_examples(list_file: str | os.PathLike) -> list[Example]:
    """Reads a list in one of EXAMPLE_FORMATS. Raises InputError if an example is in it twice."""
    _, lines, rows = read_rows(list_file, EXAMPLE_FORMATS)
    # One string for each name instead of one for each line saves memory.
    shared_names: dict[str, str] = {}
    examples = []
    for words in rows:
        speaker = shared_names.setdefault(words[0], words[0])
        if len(words) == 4:
            example = Example(speaker, words[1], second=words[2], same_session=words[3] == "1")
        else:
            other = words[2] if len(words) == 3 else ""
            example = Example(speaker, words[1], other=shared_names.setdefault(other, other))
        examples.append(example)
    line_of: dict[tuple, int] = {}
    for number, example in zip(lines.numbers, examples, strict=True):
        key = (example.path, example.second, example.other)
        earlier = line_of.setdefault(key, number)
        if earlier != number:
            raise InputError(
                f"{list_file}:{number}: expected each example once, but "
                f"{' '.join(filter(None, key))} is also in line {earlier}. Remove one of the two "
                "lines."
            )
    return examples
