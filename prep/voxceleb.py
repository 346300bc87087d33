"""VoxCeleb 1 and 2 as voxceleb_trainer leaves them: voxceleb1/idXXXXX/video/00001.wav, voxceleb2/idXXXXX/video/00001.m4a (.wav when converted), lists.

python dataprep.py --save_path data --download --user U --password P, then --concatenate, --extract, --convert; --all does all of it
"""

import logging
import os

from common.errors import InputError
from common.writing import write_atomically
from corpus.files import audio_below, find_files
from corpus.lists import described, described_trials, read_train_list, read_trials
from prep.conversion import convert, find_ffmpeg
from prep.obtain import download_all, extract_all, join_all
from prep.sources import read_catalogue

log = logging.getLogger(__name__)
TRAIN_LIST, COMPRESSED = "train_list.txt", "voxceleb2"


def convert_all(catalogue, request, format, processes):
    """VoxCeleb2 to WAV or FLAC beside the .m4a files; a train list of all of it if none is downloaded."""
    tree, train_list = request.folder / COMPRESSED, request.folder / TRAIN_LIST
    convert(tree, tree, format, processes)
    if not train_list.exists() and TRAIN_LIST not in {source.name for source in catalogue.sources}:
        write_atomically(
            train_list,
            "".join(f"{path.split('/')[0]} {path}\n" for path in audio_below(tree)).encode(),
        )


def check_lists(catalogue, folder):
    """Tells what is in the lists that have a tree already. InputError if files are missing, other than those that are to be converted."""
    for source in catalogue.sources:
        path, tree = folder / source.name, folder / (source.tree or "")
        if not source.tree or not path.exists() or not tree.is_dir():
            continue
        training = source.name == TRAIN_LIST
        read = read_train_list(path) if training else read_trials(path)
        names = [u.path for u in read] if training else read.paths()
        missing = [name for name, path in find_files(str(tree), names).items() if path is None]
        waiting = sum(os.path.isfile(f"{tree}/{os.path.splitext(name)[0]}.m4a") for name in missing)
        if waiting < len(missing):
            raise InputError(
                f"{path}: {len(missing) - waiting:,} of {len(names):,} files are missing in {tree}: {', '.join(missing[:10])}"
                f"{', ...' if len(missing) > 10 else ''}; run --extract again, or correct the list"
            )
        state = f"{waiting:,} files wait for --convert" if waiting else f"all files are in {tree}"
        log.info("%s: %s; %s", path, described(read) if training else described_trials(read), state)


STEPS = ("download", "concatenate", "extract", "convert")


def prepare(steps, request, format="wav", processes=None):
    """Does those of the STEPS that are named, in their order."""
    catalogue = read_catalogue(request.file_list)
    if "convert" in steps:
        # told before 100 GB are downloaded
        find_ffmpeg()
    if "download" in steps:
        download_all(catalogue, request)
    if "concatenate" in steps:
        join_all(catalogue, request)
    if "extract" in steps:
        extract_all(catalogue, request)
    if "convert" in steps:
        convert_all(catalogue, request, format, processes)
    check_lists(catalogue, request.folder)
