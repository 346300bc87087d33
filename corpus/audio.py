"""Audio files: any stretch of one as float32, and crops for training."""

import io
import os
import re
import struct

import numpy as np
import soundfile

from common.constants import SAMPLE_RATE
from common.errors import InputError

# PCM, channels, rate, bytes/s, bytes a sample, bits
FORMAT = struct.pack("<HHIIHH", 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)


def find_pcm16(head, size):
    """Beginning of a file of `size` bytes -> (first byte, number of its samples) if it is a complete 16 kHz mono 16-bit WAV, else None."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    at, form = 12, b""
    while at + 8 <= len(head):
        name, length = head[at : at + 4], int.from_bytes(head[at + 4 : at + 8], "little")
        at += 8
        if name == b"data":
            return (
                (at, length // 2) if form == FORMAT and length > 1 and at + length <= size else None
            )
        if name == b"fmt ":
            form = head[at : at + 16]
        at += length + length % 2
    return None


class AudioError(InputError):
    """kind: what is wrong with the file, one of the first words in KINDS of corpus/check.py."""

    def __init__(self, message, kind="unreadable"):
        super().__init__(message)
        self.kind = kind


def decode(raw, bits):
    """bytes of samples, 16-bit integers or float32 (bits = 32) -> [n] float32, integers divided by 32768."""
    return (
        np.frombuffer(raw, "<i2", len(raw) // 2) * np.float32(1 / 32768)
        if bits == 16
        else np.frombuffer(raw, "<f4").astype(np.float32)
    )


class Recording:
    """What a file holds along time; a subclass gives `frames`, their number, and read(start, count) -> [count, ...] float32."""

    def crop(self, length, rng, fill="repeat"):
        """A stretch drawn at random -> [length, ...] float32; fill: of FILLS, for a short file."""
        start = int(rng.random() * (max(self.frames - length, 0) + 1))
        x = self.read(start, min(length, self.frames))
        return x if len(x) == length else FILLS[fill](x, length + 1)[:length]


class Audio(Recording):
    """An open file of 16 kHz mono audio, `frames` samples long; any stretch of it is read without the rest.

    Plain 16-bit WAV is read directly, several times faster than by libsndfile and to the same bits; everything else goes to libsndfile.
    InputError if the file cannot be used.
    """

    def __init__(self, path):
        self.path, self.sound, self.floating = path, None, False
        try:
            self.file = io.FileIO(path)
        except OSError as error:
            raise AudioError(f"{path}: cannot be opened: {error.strerror}") from None
        if found := find_pcm16(self.file.read(4096), os.fstat(self.file.fileno()).st_size):
            self.first_byte, self.frames = found
        else:
            self.file.close()
            self.open_by_libsndfile()

    def open_by_libsndfile(self):
        convert = f"convert it: ffmpeg -i {self.path} -ar {SAMPLE_RATE} -ac 1 OUT.wav"
        try:
            self.sound = sound = soundfile.SoundFile(self.path)
        except (soundfile.LibsndfileError, TypeError) as error:
            # TypeError: a name that ends in .raw
            raise AudioError(f"{self.path}: cannot be read as audio ({error}); {convert}") from None
        self.frames, self.floating = sound.frames, sound.subtype in ("FLOAT", "DOUBLE")
        if (sound.samplerate, sound.channels) != (SAMPLE_RATE, 1):
            got = f"{sound.samplerate} Hz, {sound.channels} channel{'s' * (sound.channels > 1)}"
            raise AudioError(
                f"{self.path}: want {SAMPLE_RATE} Hz, 1 channel, got {got}; {convert}", "format"
            )
        # libsndfile shortens a truncated WAV without a word; a length from 0x7ffff000 on comes from writing to a pipe and tells nothing
        cut = re.search(r"^data : (\d+) \(should be (\d+)\)", sound.extra_info, re.M)
        if cut and int(cut[2]) < int(cut[1]) < 0x7FFFF000:
            raise AudioError(
                f"{self.path}: truncated: its header promises {cut[1]} bytes of samples, got {cut[2]}; copy it again",
                "truncated",
            )
        if not self.frames:
            raise AudioError(
                f"{self.path}: is empty, without samples; take it off the list", "empty"
            )
        if self.frames >= 1 << 48:
            raise AudioError(f"{self.path}: its header does not tell its length; {convert}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        (self.sound or self.file).close()

    def read(self, start, count):
        """`count` samples of the file from number `start` on -> [count] float32, 16-bit values divided by 32768."""
        try:
            if self.sound:
                self.sound.seek(start)
                x = self.sound.read(count, dtype="float32")
            else:
                x = decode(os.pread(self.file.fileno(), 2 * count, self.first_byte + 2 * start), 16)
        except (OSError, soundfile.LibsndfileError):
            x = ()
        if len(x) != count:
            raise AudioError(
                f"{self.path}: truncated or damaged: samples {start} to {start + count} of {self.frames} cannot be read; "
                "copy it again",
                "truncated",
            )
        if self.floating and not np.isfinite(x).all():
            raise AudioError(
                f"{self.path}: sample {start + int(np.isfinite(x).argmin())} is not finite (NaN or infinity); make it again",
                "not finite",
            )
        return x


def whole_length(path):
    """-> samples in a file, None if it cannot be used to its end."""
    try:
        with Audio(path) as audio:
            # only this tells that the end of a FLAC file is missing
            audio.read(audio.frames - 1, 1)
            return audio.frames
    except InputError:
        return None


def repeat(x, length):
    """[n, ...] -> [length, ...], repeated as often as needed."""
    return x if len(x) == length else np.resize(x, (length, *x.shape[1:]))


def surround(x, length):
    """[n, ...] -> [length, ...], or one less, by equally many zeros on both sides."""
    return np.pad(x, [(max(0, length - len(x)) // 2,) * 2] + [(0, 0)] * (x.ndim - 1))


# how a file that is shorter than a crop is made one
FILLS = {"repeat": repeat, "zeros": surround}
