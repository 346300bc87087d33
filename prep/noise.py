"""MUSAN and RIRS_NOISES for --augment of the trainer: downloaded, extracted, MUSAN cut into musan_split/KIND/SOURCE/FILE/00000.wav, as voxceleb_trainer's.

python dataprep.py --augment --save_path data
"""

import io
import logging
from functools import partial
from pathlib import Path

import soundfile
from tqdm import tqdm

from common.constants import SAMPLE_RATE
from common.errors import InputError
from common.writing import write_atomically
from corpus.audio import Audio
from prep.obtain import obtain
from prep.output import report_failures
from prep.workers import in_parallel

log = logging.getLogger(__name__)
# seconds
PIECE, STEP = 5, 3


def cut_file(musan, output, path):
    """Writes the pieces of a file that are not there yet -> (path, pieces, complaint or None). The reference takes none of a file of PIECE s or less; kept."""
    try:
        with Audio(musan / path) as audio:
            frames = audio.frames
        starts = range(0, frames - PIECE * SAMPLE_RATE, STEP * SAMPLE_RATE)
        pieces = {
            output / Path(path).with_suffix("") / f"{start // SAMPLE_RATE:05d}.wav": start
            for start in starts
        }
        missing = [piece for piece in pieces if not piece.exists()]
        samples = (
            soundfile.read(musan / path, dtype="int16")[0] if missing else None
        )  # [T], to be written as they are
    except (InputError, soundfile.LibsndfileError) as error:
        return path, 0, f"{musan / path}: {error}"
    for piece in missing:
        data, start = io.BytesIO(), pieces[piece]
        soundfile.write(
            data,
            samples[start : start + PIECE * SAMPLE_RATE],
            SAMPLE_RATE,
            subtype="PCM_16",
            format="WAV",
        )
        write_atomically(piece, data.getbuffer(), flush=False)
    return path, len(pieces), None


def split_musan(folder, processes=None):
    musan, output = folder / "musan", folder / "musan_split"
    paths = sorted(str(path.relative_to(musan)) for path in musan.glob("*/*/*.wav"))
    count, short, failed = 0, 0, {}
    with tqdm(total=len(paths), unit="file", desc="split", disable=None) as bar:
        for path, pieces, complaint in in_parallel(
            partial(cut_file, musan, output), paths, processes
        ):
            count, short = count + pieces, short + (not pieces and not complaint)
            if complaint:
                failed[path] = complaint
            bar.update()
    log.info(
        "%s: %s pieces of %s files, %s files of %d s or less left out; train with --augment --musan_path %s --rir_path %s",
        output,
        f"{count:,}",
        f"{len(paths):,}",
        f"{short:,}",
        PIECE,
        output,
        folder / "RIRS_NOISES" / "simulated_rirs",
    )
    report_failures(folder / "musan_failed.txt", paths, failed)


def make_noise(request, processes=None):
    obtain(request)
    split_musan(request.folder, processes)
