"""Prepares VoxCeleb 1 and 2, with the layout of voxceleb_trainer.

The files are voxceleb1/idXXXXX/video/00001.wav and voxceleb2/idXXXXX/video/00001.m4a. After the
conversion each .m4a file has a .wav file in the same folder. The lists are downloaded too.

The commands are download, concatenate, extract and convert. One command runs all four steps:

python dataprep.py voxceleb --save_path data --user U --password P
"""

import logging
import os
from collections.abc import Collection
from pathlib import Path

from common.errors import InputError
from common.writing import write_atomically
from corpus.files import audio_below, find_files
from corpus.lists import described, described_trials, read_train_list, read_trials
from corpus.missing import first_names
from prep.constants import TRAIN_LIST
from prep.conversion import convert, find_ffmpeg
from prep.obtain import Request, download_all, extract_all, join_all
from prep.sources import Catalogue, read_catalogue

log = logging.getLogger(__name__)
# Folder of the compressed files.
COMPRESSED = "voxceleb2"


def convert_all(catalogue: Catalogue, request: Request, format: str, processes: int | None) -> None:
    """Converts VoxCeleb2 to WAV or FLAC files in the folders of the .m4a files.

    Writes a train list of all VoxCeleb2 files if the catalogue has no train list.
    """
    tree = request.folder / COMPRESSED
    train_list = request.folder / TRAIN_LIST
    convert(tree, tree, format, processes)
    names = {source.name for source in catalogue.sources}
    if not train_list.exists() and TRAIN_LIST not in names:
        lines = [f"{path.split('/')[0]} {path}\n" for path in audio_below(tree)]
        write_atomically(train_list, "".join(lines).encode())


def missing_files(tree: Path, names: list[str]) -> tuple[list[str], int]:
    """Returns the listed files that do not exist, and the number of files that can be converted."""
    found = find_files(str(tree), names)
    missing = [name for name, path in found.items() if path is None]
    convertible = 0
    for name in missing:
        if os.path.isfile(f"{tree}/{os.path.splitext(name)[0]}.m4a"):
            convertible += 1
    return missing, convertible


def check_list(path: Path, tree: Path) -> None:
    """Compares a list with the files of its tree, and logs the contents of the list.

    Raises InputError if files are missing, except files that the conversion can make.
    """
    if path.name == TRAIN_LIST:
        utterances = read_train_list(path)
        names = [utterance.path for utterance in utterances]
        description = described(utterances)
    else:
        trials = read_trials(path)
        names = trials.paths()
        description = described_trials(trials)
    missing, convertible = missing_files(tree, names)
    if convertible < len(missing):
        raise InputError(
            f"{path}: {len(missing) - convertible:,} of {len(names):,} files are missing in "
            f"{tree}: {first_names(missing)}. Run 'python dataprep.py extract' again, or correct "
            "the list."
        )
    state = f"All files are in {tree}."
    if convertible:
        state = f"'python dataprep.py convert' must still convert {convertible:,} files."
    log.info("%s: %s. %s", path, description, state)


def check_downloaded_lists(catalogue: Catalogue, folder: Path) -> None:
    """Checks the lists whose files are extracted. Raises InputError if files are missing."""
    for source in catalogue.sources:
        path = folder / source.name
        tree = folder / (source.tree or "")
        if source.tree and path.exists() and tree.is_dir():
            check_list(path, tree)


def prepare(
    steps: Collection[str], request: Request, format: str = "wav", processes: int | None = None
) -> None:
    """Runs the given steps in the order of STEPS. Raises InputError if a step fails."""
    catalogue = read_catalogue(request.file_list)
    if "convert" in steps:
        # A missing ffmpeg must be reported before 100 GB are downloaded.
        find_ffmpeg()
    if "download" in steps:
        download_all(catalogue, request)
    if "concatenate" in steps:
        join_all(catalogue, request)
    if "extract" in steps:
        extract_all(catalogue, request)
    if "convert" in steps:
        convert_all(catalogue, request, format, processes)
    check_downloaded_lists(catalogue, request.folder)
