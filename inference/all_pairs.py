"""--all_pairs: the scores of every pair of the files of a list, F (F - 1) / 2 trials.

Neither the complete score matrix nor the complete text is in memory at any time. Metrics need all
scores at once, about 50 bytes per pair.
"""

import argparse
import io
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

import distributed
from common.errors import InputError
from common.text import NumberedNames
from common.writing import write_atomically
from corpus.file_lists import read_utterances
from corpus.lists import Trials
from inference.evaluation import represent_all, summary_of_trials
from inference.scorer import Scorer
from inference.sources import DataSource
from metrics.direction import OF_NETWORK, warn_of_direction
from metrics.scores import score_lines


class PairedFiles(NamedTuple):
    """The files of --all_pairs.

    names: as in the list. paths: of the files that were found. speaker: number of the speaker of
    each file, int64 [F], or None if the list names no speakers.
    """

    names: list[str]
    paths: list[str]
    speaker: np.ndarray | None


def read_files(options: argparse.Namespace, source: DataSource, root: str) -> PairedFiles:
    """Reads the list of --all_pairs and checks its files.

    source: reads the files for the model.
    """
    for name in ("score_norm", "qualities"):
        if getattr(options, name):
            raise InputError(
                f"--{name} does not work with --all_pairs. Leave it out, or write the trials to a "
                "list and use --eval."
            )
    speakers = read_utterances(options.all_pairs)
    if len(speakers) < 2:
        raise InputError(
            f"{options.all_pairs}: expected at least two files, whose pairs are scored, found "
            f"{len(speakers)}. Add files to the list."
        )
    number = None
    if None not in speakers.values():
        number = NumberedNames().numbers_of(list(speakers.values()))
        if number.max() == 0 or np.bincount(number).max() == 1:
            raise InputError(
                f"{options.all_pairs}: expected several speakers, and several files of at least "
                f"one speaker, found {len(speakers)} files of {number.max() + 1} speakers. Add "
                "files, or list them without speakers to get scores without metrics."
            )
    found = source.check_files(root, [*speakers], options.all_pairs, options, "--test_path")
    return PairedFiles([*speakers], [found[name] for name in speakers], number)


def evaluate_pairs(
    scorer: Scorer, files: PairedFiles, dataset, options: argparse.Namespace, path: Path
):
    """Scores all pairs and writes the scores to `path`.

    A path that ends in .npy receives the matrix [F, F] of float32, any other path a scores file.
    Returns the metrics, or None if the list names no speakers.
    """
    if scorer.fusion:
        other = "" if scorer.net.loss.learns_fusion else "--fusion 0, or "
        raise InputError(
            f"--all_pairs: with --trainfunc {options.trainfunc} the score depends on which file of "
            f"a pair is the test file. Use {other}--eval with a list of trials."
        )
    reps = represent_all(scorer, dataset, options)

    def write_and_summarize():
        scorer.prepare_for(reps)
        bank = [reps[name] for name in files.paths]
        return write_pairs(scorer, files, bank, options, path)

    return distributed.on_rank_zero(write_and_summarize)


def write_pairs(
    scorer: Scorer,
    files: PairedFiles,
    bank: list[torch.Tensor],
    options: argparse.Namespace,
    path: Path,
):
    """See evaluate_pairs(). bank: representations [K, ...] of the F files."""
    # The part of each row to the right of the diagonal, for the metrics.
    kept: list[np.ndarray] = []

    def rows():
        number = 0
        for block in scorer.matrix(bank, bank, options.scoring):
            for row in block.cpu().numpy():
                number += 1
                if files.speaker is not None:
                    # A copy, because a view would keep the complete block in memory.
                    kept.append(row[number:].copy())
                yield row

    if path.suffix == ".npy":
        write_atomically(path, matrix_bytes(rows(), len(bank)))
    else:
        write_atomically(path, lines_bytes(rows(), files))
    if files.speaker is None:
        return None
    same = [files.speaker[i + 1 :] == speaker for i, speaker in enumerate(files.speaker)]
    trials = Trials([], [], [], np.array([]), np.array([]), np.concatenate(same))
    summary = summary_of_trials(np.concatenate(kept), trials, options)
    warn_of_direction(path, summary, OF_NETWORK)
    return summary


def is_matrix(head: bytes) -> bool:
    """Returns whether a .npy file that begins with `head` is a square matrix of float32."""
    found = re.search(rb"'descr': '<f4'.*'shape': \((\d+), (\d+)\)", head)
    return head.startswith(b"\x93NUMPY") and bool(found) and found[1] == found[2]


def matrix_bytes(rows: Iterable[np.ndarray], size: int) -> Iterator[bytes]:
    """Yields the parts of a .npy file with the rows of a matrix [size, size]."""
    header = io.BytesIO()
    description = {"descr": "<f4", "fortran_order": False, "shape": (size, size)}
    np.lib.format.write_array_header_1_0(header, description)
    yield header.getvalue()
    for row in rows:
        yield row.astype("<f4").tobytes()


def lines_bytes(rows: Iterable[np.ndarray], files: PairedFiles) -> Iterator[bytes]:
    """Yields the parts of a scores file: each pair once, in the order of the list."""
    for i, row in enumerate(rows):
        keys: Iterable[str] = itertools.repeat("")
        if files.speaker is not None:
            same = files.speaker[i + 1 :] == files.speaker[i]
            keys = np.where(same, "1 ", "0 ").tolist()
        lines = []
        for key, name in zip(keys, files.names[i + 1 :], strict=False):
            lines.append(f"{key}{files.names[i]} {name}")
        yield score_lines(lines, row[i + 1 :])
