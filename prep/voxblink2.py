"""A train list of VoxBlink2 (Lin et al., arXiv:2407.11510), which has ten million files.

The release has the names of videos. The user obtains the audio, as ID/VIDEO/UTTERANCE.wav. The list
is written while the folders are read, so that the memory holds the files of one speaker only.

python dataprep.py voxblink2 data/voxblink2 --output data/voxblink2_list.txt
"""

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from common.errors import InputError
from prep.output import write_long_list
from prep.trees import speakers_of_tree

log = logging.getLogger(__name__)
# VoxCeleb2 has other speakers with the same names, such as id00012. With this prefix a fine-tuning
# on VoxCeleb2 does not give them the rows of speakers of VoxBlink2.
PREFIX = "voxblink2-"
# Speakers of the release.
SPEAKERS = 111284


def voxblink2_lines(folder: Path, min_files: int, counts: Counter) -> Iterator[bytes]:
    """Yields the lines '<speaker> <file>', sorted by speaker and file.

    Speakers with fewer than `min_files` files are left out. counts: gets the numbers of files, and
    of speakers in the list and left out.
    """
    for speaker, files in tqdm(
        speakers_of_tree(folder), unit="speaker", desc="voxblink2", disable=None
    ):
        if len(files) < min_files:
            counts["left out"] += 1
            continue
        counts["speakers"] += 1
        counts["files"] += len(files)
        for file in files:
            yield f"{PREFIX}{speaker} {speaker}/{file}\n".encode()


def make_voxblink2_list(folder: Path, output: Path, min_files: int = 1) -> None:
    """Writes the train list of a folder ID/VIDEO/UTTERANCE.wav.

    Raises InputError if there are no files, and if `output` exists with other lines.
    """
    counts: Counter = Counter()
    lines = voxblink2_lines(folder, min_files, counts)
    write_long_list(output, checked_lines(folder, lines))
    log.info(
        "Wrote %s with %s speakers and %s files. The release has %s speakers.",
        output,
        f"{counts['speakers']:,}",
        f"{counts['files']:,}",
        f"{SPEAKERS:,}",
    )
    if counts["left out"]:
        log.info(
            "Speakers left out, because they have fewer than %d audio files (--min_files): %s.",
            min_files,
            f"{counts['left out']:,}",
        )
    log.info("Options of trainSpeakerNet.py: --train_list %s --train_path %s", output, folder)


def checked_lines(folder: Path, lines: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the lines. Raises InputError if there are none."""
    first = next(lines, None)
    if first is None:
        raise InputError(
            f"{folder}: expected audio files ID/VIDEO/UTTERANCE.wav of speakers with enough files "
            "(--min_files), found none. Choose the folder that contains the folders of the "
            "speakers. 'python dataprep.py convert' converts compressed files."
        )
    yield first
    yield from lines
