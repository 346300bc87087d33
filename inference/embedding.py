"""--extract and --generate: embeddings of files, as .npy files or printed."""

import argparse
import io
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import distributed
from common.errors import InputError
from common.npy import is_array
from common.outputs import check_output, is_same_file, paths_below
from common.terminal import log_to_stderr
from common.writing import write_atomically
from corpus.arrays import read_npy
from corpus.file_lists import read_file_list
from corpus.files import is_recording
from DatasetLoader import EvalDataset
from inference.backend_lists import plan_backend, prepare_backend
from inference.evaluation import represent_files
from inference.networks import load_scorer
from inference.overview import log_use
from inference.scorer import Scorer
from inference.sources import source_of

log = logging.getLogger("trainSpeakerNet")
# Largest relative difference between embeddings of one file by one network, and with --mixedprec.
LARGEST_DIFFERENCE = 1e-2
DIFFERENCE_OF_MIXEDPREC = 0.05


def represent_separately(
    scorer: Scorer,
    dataset,
    options: argparse.Namespace,
    most: int | None = None,
    progress: bool = True,
) -> Iterator[tuple[str, torch.Tensor]]:
    """Does the same as represent_files(), for single embeddings instead of a list of trials.

    On a CPU a file gets the same bits whatever other files there are: it has a batch of its own,
    because the kernels of convolutions and matrix products depend on the size of the batch. On a
    GPU, and with --bucket_frames, files of equal length share a batch. most: largest number of
    files in a batch.
    """
    if isinstance(dataset, EvalDataset):
        separate = scorer.device.type == "cpu" and not options.bucket_frames
        dataset.group_by_length(1 if separate else most)
    return represent_files(scorer, dataset, options, progress=progress)


def run_extract(options: argparse.Namespace, state: dict | None) -> None:
    """Embeds the files of a list or a folder. Existing embeddings are not changed.

    Raises InputError if they are embeddings of another network.
    """
    if not options.output:
        print_embedding(options, state)
        return
    dataset, target, known, existing = distributed.on_rank_zero(files_to_embed, options)
    plan = distributed.on_rank_zero(plan_backend, options, source_of(options))
    scorer = load_scorer(options, state)
    log_use(options, scorer.net, scorer.device)
    prepare_backend(scorer, plan, options)
    if known and not scorer.own_mean:
        # The own mean depends on the files that are embedded now.
        refuse_other_embeddings(scorer, known, target, options)
    if dataset.paths:
        for path, rep in represent_separately(scorer, dataset, options):
            buffer = io.BytesIO()
            np.save(buffer, scorer.transform(rep).numpy())
            write_atomically(target[path], buffer.getbuffer())
    log.info(
        "Wrote %d embeddings to %s. %d existed before and are unchanged.",
        len(dataset.paths),
        options.output,
        existing,
    )


def refuse_other_embeddings(
    scorer: Scorer, known: Any, target: dict[str, Path], options: argparse.Namespace
) -> None:
    """Raises InputError if an existing embedding is not the one of this network and its options.

    known: the data set of a file whose embedding exists. target: {file: path of its embedding}.
    """
    place = target[known.paths[0]]
    tolerance = DIFFERENCE_OF_MIXEDPREC if options.mixedprec else LARGEST_DIFFERENCE
    differs = False
    for _, rep in represent_separately(scorer, known, options, progress=False):
        x = scorer.transform(rep).numpy()
        old = read_npy(place, "cannot be read as an embedding ({}). Remove the file.".format)
        differs = x.shape != old.shape or old.dtype.kind != "f"
        differs = differs or not np.linalg.norm(x - old) <= tolerance * np.linalg.norm(x)
    # One process has represented the file.
    if any(distributed.any_rank(differs)):
        raise InputError(
            f"{place}: expected the embedding of {options.initial_model} with these options, found "
            "another one, and existing files are not changed. Choose another --output, or remove "
            "the embeddings in this folder."
        )


def files_to_embed(options: argparse.Namespace) -> tuple[Any, dict[str, Path], Any, int]:
    """Finds the files of --extract that have no embedding yet.

    Returns their data set, the path of each file's embedding, the data set of one file that has an
    embedding or None, and the number of embeddings that exist already.
    """
    source = source_of(options)
    folder = options.extract
    if os.path.isdir(folder):
        root = folder
        names = source.files_below(folder)
    else:
        root = one_root(options)
        names = [folder] if is_recording(folder) else read_file_list(folder)
    root_option = "--gen_path" if options.generate else "--test_path"
    found = source.check_files(root, names, folder, options, root_option)
    paths = list(dict.fromkeys(found.values()))
    target = paths_below(options.output, paths, folder, ".npy")
    existing = [path for path in paths if target[path].exists()]
    if any(is_same_file(target[path], Path(root, path)) for path in existing):
        raise InputError(
            f"--output: {options.output} contains the embeddings to be processed, which are not "
            "overwritten. Choose another folder."
        )
    for path in existing:
        check_output(f"--output {target[path]}", target[path], {}, is_array)
    embedded = {*existing}
    missing = [path for path in paths if path not in embedded]
    known = source.eval_dataset(existing[:1], root, options) if existing else None
    return source.eval_dataset(missing, root, options), target, known, len(existing)


def print_embedding(options: argparse.Namespace, state: dict | None) -> None:
    """Prints the embedding of one file, a line per crop."""
    if not is_recording(options.extract):
        raise InputError(
            f"--extract: without --output, expected one audio file, found {options.extract}. Give "
            "--output DIR for the .npy files."
        )
    source = source_of(options)
    root = one_root(options)
    found = source.check_files(root, [options.extract], "--extract", options, "--test_path")
    dataset = source.eval_dataset(list(found.values()), root, options)
    plan = plan_backend(options, source)
    with log_to_stderr():
        scorer = load_scorer(options, state)
        prepare_backend(scorer, plan, options)
    for _, rep in represent_separately(scorer, dataset, options):
        for row in scorer.transform(rep).flatten(1).tolist():
            log.info("%s", " ".join(f"{value:.6g}" for value in row))


def run_generate(options: argparse.Namespace, state: dict | None) -> None:
    """Runs --extract with the option names of the published enhancement program."""
    if not options.gen_list or not options.gen_target_dir:
        raise InputError(
            "--generate needs --gen_list FILE and --gen_target_dir DIR. Give both, and --gen_path "
            "DIR for the folder of the files."
        )
    options.extract = options.gen_list
    options.test_path = [options.gen_path]
    options.output = options.gen_target_dir
    run_extract(options, state)


def one_root(options: argparse.Namespace) -> str:
    """Returns the folder that the files of --extract and --verify are relative to."""
    roots = options.test_path or [""]
    if len(roots) > 1:
        raise InputError(
            f"--test_path: expected one folder, found {len(roots)}: {' '.join(roots)}. Give one."
        )
    return roots[0]
