"""Files of log-mel features, made once so that no epoch computes the features again.

This is the first step of double multi-head attention (India et al., arXiv:2007.13199).
corpus/features.py describes the contents of the files.
"""

import io
import logging
import os
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from common.constants import HOP, N_FFT, SAMPLE_RATE
from common.errors import InputError
from common.outputs import require_different
from common.writing import write_atomically
from corpus.audio import Audio
from corpus.features import NPY, load_array
from corpus.file_lists import read_file_list
from corpus.files import check_present
from corpus.roots import refuse_pack
from prep.constants import FEATURE_TYPES
from prep.output import report_failures
from prep.workers import in_parallel

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)
FAILED = "features_failed.txt"


class FeatureOptions(NamedTuple):
    """Options of feature extraction.

    `list_file` has one file per line, or is a train list. `path` is the folder of the listed
    files. `output` is the folder of the features, None for the folder of each audio file. `n_mels`
    is the number of mel bands.
    """

    list_file: Path
    path: Path
    output: Path | None
    feature_type: str
    n_mels: int


@cache
def front_end(feature_type: str, n_mels: int) -> "nn.Module":
    """Returns the front end of a feature type, a module in eval mode."""
    # Imported here, because it loads torch, which needs seconds.
    from models._frontend import MFSC, FrontEnd, LogBeforeMel, sasv2_front_end

    if feature_type == "mfsc":
        module = MFSC(n_mels, normalization="none")
    elif feature_type == "logmel":
        module = FrontEnd(n_mels, norm="none")
    elif feature_type == "sasv2":
        module = sasv2_front_end(n_mels, norm="none")
    else:
        module = LogBeforeMel(n_mels, norm="none")
    return module.eval()


def compute_features(options: FeatureOptions, path: str) -> np.ndarray:
    """Returns the features of an audio file, float32 [T, n_mels].

    Raises InputError if the file cannot be read, or is shorter than one frame.
    """
    import torch

    with Audio(options.path / path) as audio:
        if audio.frames < N_FFT:
            raise InputError(
                f"{options.path / path}: expected at least {N_FFT} samples "
                f"({1000 * N_FFT / SAMPLE_RATE:g} ms), found {audio.frames} samples. Remove the "
                "file from the list."
            )
        x = torch.from_numpy(audio.read(0, audio.frames).copy())[None]
    # One thread, because the other cores work on other files.
    torch.set_num_threads(1)
    x = front_end(options.feature_type, options.n_mels)(x)[0]
    if FEATURE_TYPES[options.feature_type].transposed:
        x = x.T
    return x.contiguous().numpy()


def feature_path(options: FeatureOptions, path: str) -> Path:
    """Returns the path of the features of an audio file."""
    name = Path(path).with_suffix(NPY)
    if options.output is None:
        return options.path / name
    return options.output / str(name).lstrip("/")


def make_feature_file(options: FeatureOptions, path: str) -> tuple[str, float, str | None]:
    """Writes the features of an audio file.

    Returns the path of the audio, its duration in seconds, and an error message if the file cannot
    be used.
    """
    try:
        x = compute_features(options, path)
    except InputError as error:
        return path, 0.0, str(error)
    data = io.BytesIO()
    np.save(data, x)
    write_atomically(feature_path(options, path), data.getbuffer(), flush=False)
    return path, len(x) * HOP / SAMPLE_RATE, None


def check_existing_features(options: FeatureOptions, paths: Sequence[str]) -> None:
    """Computes the features of the first path again, and compares them with the existing file.

    `paths` are audio files that have features. Raises InputError if the features differ.
    """
    if not paths:
        return
    existing = feature_path(options, paths[0])
    old, new = load_array(existing), compute_features(options, paths[0])
    if old.shape != new.shape or not np.allclose(old, new, rtol=1e-3, atol=1e-3):
        raise InputError(
            f"{existing}: expected the features --feature_type {options.feature_type} --n_mels "
            f"{options.n_mels} of {options.path / paths[0]}, found other features. Choose another "
            "--output, or remove the existing features."
        )


def audio_paths(options: FeatureOptions) -> list[str]:
    """Returns the paths of the files of the list on the disk, without duplicates.

    Raises InputError if a file is missing, if its features would be outside of --output, or if two
    files would have the same features.
    """
    refuse_pack(options.path)
    names = read_file_list(options.list_file)
    found = check_present(options.path, names, options.list_file, root_option="--path")
    paths = list(dict.fromkeys(found.values()))
    for path in paths:
        if options.output is not None and os.path.normpath(path).startswith(".."):
            raise InputError(
                f"{options.list_file}: expected files inside --path {options.path}, found {path}. "
                f"The features of this file would be outside --output {options.output}. Correct "
                "the list, or omit --output."
            )
    require_different([feature_path(options, path) for path in paths], options.list_file)
    return paths


def make_features(options: FeatureOptions, processes: int | None = None) -> None:
    """Makes the missing features of all files of the list.

    `processes` is the number of worker processes, None for all cores. features_failed.txt names the
    files that cannot be used. Raises InputError at the end if there are such files.
    """
    paths = audio_paths(options)
    existing = {path for path in paths if feature_path(options, path).exists()}
    check_existing_features(options, sorted(existing))
    jobs = [path for path in paths if path not in existing]
    log.info(
        "Computing features of %s files (--feature_type %s, --n_mels %s). Files that already have "
        "features: %s.",
        f"{len(jobs):,}",
        options.feature_type,
        options.n_mels,
        f"{len(existing):,}",
    )
    seconds = 0.0
    failed = {}
    work = partial(make_feature_file, options)
    with tqdm(
        total=len(paths), initial=len(existing), unit="file", desc="features", disable=None
    ) as bar:
        for path, duration, message in in_parallel(work, jobs, processes):
            seconds += duration
            if message:
                failed[path] = message
            bar.update()
    log.info(
        "Features of %s files are in %s (%s files with %.2f hours of speech done now).",
        f"{len(paths) - len(failed):,}",
        options.output or options.path,
        f"{len(jobs) - len(failed):,}",
        seconds / 3600,
    )
    report_failures((options.output or options.path) / FAILED, jobs, failed)
