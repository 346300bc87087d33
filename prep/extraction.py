"""Makes files of log-mel features, once, so that no epoch has to: the first step of double multi-head attention (India et al., arXiv:2007.13199).

What such files hold: corpus/features.py.
"""

import io
import logging
import os
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from common.constants import HOP, N_FFT, SAMPLE_RATE
from common.errors import InputError
from common.writing import write_atomically
from corpus.audio import Audio
from corpus.features import NPY, load_array
from corpus.file_lists import read_file_list
from corpus.files import check_present
from corpus.roots import refuse_pack
from prep.constants import FEATURE_TYPES
from prep.output import in_parallel, report_failures

log = logging.getLogger(__name__)
FAILED = "features_failed.txt"


class FeatureOptions(NamedTuple):
    """list_file: a file a line, or a train list. path: the folder of these files. output: the folder of the features, None for that of each file."""

    list_file: Path
    path: Path
    output: Path | None
    feature_type: str
    n_mels: int


@cache
def front_end(feature_type: str, n_mels: int):
    """Returns the front end of a feature type, a module in eval mode."""
    # Imported here, because it loads torch, which takes seconds.
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


def features_of(options, path):
    """A file -> its features, float32 [T, n_mels]."""
    import torch

    with Audio(options.path / path) as audio:
        if audio.frames < N_FFT:
            raise InputError(
                f"{options.path / path}: want {N_FFT} samples or more, got {audio.frames}; take it off the list"
            )
        x = torch.from_numpy(audio.read(0, audio.frames).copy())[None]
    # the other cores have files of their own
    torch.set_num_threads(1)
    x = front_end(options.feature_type, options.n_mels)(x)[0]
    return (x.T if FEATURE_TYPES[options.feature_type].transposed else x).contiguous().numpy()


def target(options, path):
    """Where the features of a file belong."""
    name = Path(path).with_suffix(NPY)
    return options.path / name if options.output is None else options.output / str(name).lstrip("/")


def make_file(options, path):
    """-> (path, seconds of audio, what is wrong with the file or None)."""
    try:
        x = features_of(options, path)
    except InputError as error:
        return path, 0.0, str(error)
    data = io.BytesIO()
    np.save(data, x)
    write_atomically(target(options, path), data.getbuffer(), flush=False)
    return path, len(x) * HOP / SAMPLE_RATE, None


def check_made_before(options, paths):
    """One of the features that are there already is made again: InputError if it is another."""
    if not paths:
        return
    made = target(options, paths[0])
    old, new = load_array(made), features_of(options, paths[0])
    if old.shape != new.shape or not np.allclose(old, new, rtol=1e-3, atol=1e-3):
        raise InputError(
            f"{made}: holds other features than --feature_type {options.feature_type} --n_mels {options.n_mels} of "
            f"{options.path / paths[0]}; choose another --output, or remove what is there"
        )


def make_features(options, processes=None):
    """Makes the features that are not there yet. Files that cannot be used are named in features_failed.txt; InputError at the end if there are any."""
    refuse_pack(options.path)
    paths = list(
        dict.fromkeys(
            check_present(
                options.path, read_file_list(options.list_file), options.list_file
            ).values()
        )
    )
    for path in paths:
        if options.output is not None and os.path.normpath(path).startswith(".."):
            raise InputError(
                f"{options.list_file}: want files below --path {options.path}, got {path}; their features would not lie below --output "
                f"{options.output}: correct the list, or leave out --output"
            )
    there = {path for path in paths if target(options, path).exists()}
    check_made_before(options, sorted(there))
    jobs, seconds, failed = [path for path in paths if path not in there], 0.0, {}
    with tqdm(
        total=len(paths), initial=len(there), unit="file", desc="features", disable=None
    ) as bar:
        for path, length, complaint in in_parallel(partial(make_file, options), jobs, processes):
            seconds += length
            if complaint:
                failed[path] = complaint
            bar.update()
    log.info(
        "%s: features of %s files (%s made now, of %.2f hours at %d Hz), %s bands of %s",
        options.output or options.path,
        f"{len(paths) - len(failed):,}",
        f"{len(jobs) - len(failed):,}",
        seconds / 3600,
        SAMPLE_RATE,
        options.n_mels,
        options.feature_type,
    )
    report_failures((options.output or options.path) / FAILED, jobs, failed)
