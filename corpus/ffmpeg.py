"""Decodes compressed speech, such as M4A and WebM, by ffmpeg."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from common.constants import COMPRESSED_SUFFIXES, SAMPLE_RATE
from common.errors import InputError

PACKAGE = "imageio-ffmpeg==0.8.1"
# Decoded files that stay in memory, because a file is often opened twice in a row.
FILES_KEPT = 2


def find_ffmpeg() -> str:
    """Returns the path of ffmpeg.

    It is the program in PATH, or else the program of the package imageio-ffmpeg. Raises InputError
    if neither exists.
    """
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise InputError(
            "ffmpeg: this program converts the audio, but it is not installed. Install it with "
            f"'apt install ffmpeg' or 'pip install {PACKAGE}'."
        ) from None


def one_line(messages: str) -> str:
    """Returns messages of ffmpeg in one line, without the addresses that differ between calls."""
    return re.sub(" @ 0x[0-9a-f]+", "", messages).strip().replace("\n", "; ")


def is_compressed(path: str | os.PathLike) -> bool:
    """Whether the name of a file ends as the name of compressed audio that ffmpeg reads."""
    return os.fspath(path).lower().endswith(COMPRESSED_SUFFIXES)


def decode_file(path: str | os.PathLike) -> np.ndarray:
    """Decodes a file to 16 kHz mono audio, int16 [T], as 'dataprep.py convert' does.

    Raises InputError if ffmpeg is not installed, ValueError with ffmpeg's message if the file is
    damaged.
    """
    state = os.stat(path)
    return decode_unchanged(find_ffmpeg(), os.fspath(path), state.st_mtime_ns, state.st_size)


@lru_cache(FILES_KEPT)
def decode_unchanged(ffmpeg: str, path: str, time: int, size: int) -> np.ndarray:
    """Decodes a file, see decode_file(). A file that has changed has another time or size."""
    # A file may name addresses of other computers. Nothing is read from there.
    source = ["-protocol_whitelist", "file", "-i", f"file:{path}", "-map", "0:a:0"]
    target = ["-ac", "1", "-ar", str(SAMPLE_RATE), "-c:a", "pcm_s16le", "-f", "s16le", "pipe:1"]
    samples, messages = output_of(ffmpeg, [*source, *target])
    if messages:
        raise ValueError(messages)
    return np.frombuffer(samples, "<i2")


def output_of(ffmpeg: str, words: Sequence[str], data: bytes = b"") -> tuple[bytes, str]:
    """Runs ffmpeg with `data` as its standard input -> its standard output, its error messages.

    ffmpeg continues after some errors. Raises ValueError with the messages if it fails.
    """
    done = subprocess.run(
        [ffmpeg, "-v", "error", "-nostdin", "-threads", "1", *words],
        input=data,
        capture_output=True,
        check=False,
        # Ctrl-C reaches all processes of a terminal, but this result is needed until the end of
        # the update. So ffmpeg gets a session of its own.
        start_new_session=True,
    )
    messages = one_line(done.stderr.decode(errors="replace"))
    if done.returncode:
        raise ValueError(messages or f"ffmpeg ended with exit code {done.returncode}")
    return done.stdout, messages
