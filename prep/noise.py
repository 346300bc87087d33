"""Obtains MUSAN and RIRS_NOISES for --augment of the trainer.

Both corpora are downloaded and extracted. MUSAN is cut into pieces, as in voxceleb_trainer. The
pieces are musan_split/KIND/SOURCE/FILE/00000.wav.

python dataprep.py augment --save_path data
"""

import logging
from functools import partial
from pathlib import Path

from tqdm import tqdm

from common.constants import SAMPLE_RATE
from common.errors import InputError
from common.writing import remove_parts, write_atomically
from corpus.audio import Audio, read_int16
from corpus.roots import matching
from prep.obtain import Request, obtain
from prep.output import audio_bytes, report_failures
from prep.workers import in_parallel

log = logging.getLogger(__name__)
# Length of a piece, and distance between the starts of two pieces, in seconds.
PIECE = 5
STEP = 3


def cut_file(musan: Path, output: Path, path: str) -> tuple[str, int, str | None]:
    """Writes the pieces of a file that do not exist yet.

    A file of PIECE seconds or less has no pieces, as in voxceleb_trainer. Returns the path, the
    number of pieces, and an error message or None.
    """
    try:
        with Audio(musan / path) as audio:
            folder = output / Path(path).with_suffix("")
            missing = {}
            starts = range(0, audio.frames - PIECE * SAMPLE_RATE, STEP * SAMPLE_RATE)
            for start in starts:
                piece = folder / f"{start // SAMPLE_RATE:05d}.wav"
                if not piece.exists():
                    missing[piece] = start
            if missing:
                # 16-bit integers, so that the pieces have exactly the samples of the file.
                samples = read_int16(audio)  # [T]
    except InputError as error:
        return path, 0, str(error)
    for piece, start in missing.items():
        crop = samples[start : start + PIECE * SAMPLE_RATE]
        write_atomically(piece, audio_bytes(crop, "WAV"), flush=False)
    return path, len(starts), None


def split_musan(folder: Path, processes: int | None = None) -> None:
    """Cuts all files of folder/musan into pieces in folder/musan_split.

    Raises InputError at the end if files cannot be read.
    """
    musan = folder / "musan"
    output = folder / "musan_split"
    paths = matching(musan, "*/*/*.wav")
    log.info("Cutting %s files of %s into pieces of %d s.", f"{len(paths):,}", musan, PIECE)
    remove_parts(output.rglob("*.part"))
    count = 0
    short = 0
    failed = {}
    work = partial(cut_file, musan, output)
    with tqdm(total=len(paths), unit="file", desc="split", disable=None) as bar:
        for path, pieces, message in in_parallel(work, paths, processes):
            count += pieces
            if message:
                failed[path] = message
            elif not pieces:
                short += 1
            bar.update()
    log.info(
        "Cut %s files into %s pieces of %d s in %s. Files without a piece, because they are not "
        "longer than %d s: %s.",
        f"{len(paths):,}",
        f"{count:,}",
        PIECE,
        output,
        PIECE,
        f"{short:,}",
    )
    log.info(
        "Options of trainSpeakerNet.py: --augment --musan_path %s --rir_path %s",
        output,
        folder / "RIRS_NOISES" / "simulated_rirs",
    )
    report_failures(folder / "musan_failed.txt", paths, failed)


def make_noise(request: Request, processes: int | None = None) -> None:
    """Downloads and extracts both corpora, and cuts MUSAN into pieces."""
    obtain(request)
    split_musan(request.folder, processes)
