"""Reads audio files: any part of a file as float32, and random crops for training."""

import io
import os
import struct

import numpy as np
import soundfile

from common.constants import SAMPLE_RATE
from common.errors import InputError
from common.shell import shell_command
from corpus.audio_headers import (
    NO_MARK,
    UNKNOWN_FRAMES,
    cut_off,
    guesses_length,
    is_cut_off_ogg,
    missing_end,
    repaired,
    states_no_length,
)
from corpus.ffmpeg import decode_file, is_compressed

# The fmt chunk of a plain WAV: PCM, channels, Hz, bytes per second, bytes per sample, bits.
PLAIN_WAV = struct.pack("<HHIIHH", 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
# Bytes at the beginning of a file in which the chunks of a WAV are searched.
HEAD_BYTES = 4096
# Samples that are read without a look at their end: 17 minutes, 64 MiB as float32.
LONG = 1 << 24
# Extensions of audio that python dataprep.py convert leaves out.
NOT_CONVERTED = (".wav", ".flac", ".ogg")


class AudioError(InputError):
    """An audio file cannot be used.

    kind: what is wrong with the file, one of PROBLEM_KINDS in prep/check.py.
    """

    def __init__(self, message: str, kind: str = "unreadable"):
        super().__init__(message)
        self.kind = kind


def truncated(path: str | os.PathLike, missing: str) -> AudioError:
    """Returns the error about a file without its end. missing: what it lacks."""
    return AudioError(
        f"{path}: the file is truncated: {missing}. Copy the file again.", "truncated"
    )


def find_pcm16(head: bytes, size: int) -> tuple[int, int] | None:
    """Finds the samples of a complete 16 kHz mono 16-bit WAV.

    head: the beginning of the file. size: size of the file in bytes. Returns the position of the
    first sample in bytes and the number of samples, or None for any other file.
    """
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    position = 12
    wave_format = b""
    while position + 8 <= len(head):
        chunk = head[position : position + 4]
        length = int.from_bytes(head[position + 4 : position + 8], "little")
        position += 8
        if chunk == b"data":
            complete = length > 1 and position + length <= size
            return (position, length // 2) if wave_format == PLAIN_WAV and complete else None
        if chunk == b"fmt ":
            wave_format = head[position : position + 16]
        # Chunks of odd length are padded with one byte.
        position += length + length % 2
    return None


def decode(raw: bytes, bits: int) -> np.ndarray:
    """Decodes little-endian samples to float32 [n].

    bits: 16 for integers, which are divided by 32768; 32 for float32.
    """
    if bits == 16:
        return np.frombuffer(raw, "<i2", len(raw) // 2) * np.float32(1 / 32768)
    return np.frombuffer(raw, "<f4").astype(np.float32)


def how_to_convert(path: str | os.PathLike) -> str:
    """Returns the sentence that says how to convert a file to 16 kHz mono audio."""
    path = os.fspath(path)
    one = shell_command("ffmpeg", "-i", path, "-ar", str(SAMPLE_RATE), "-ac", "1", "OUT.wav")
    if path.lower().endswith(NOT_CONVERTED):
        return f"Convert it with {one}."
    folder = shell_command("python", "dataprep.py", "convert", os.path.dirname(path) or ".")
    return f"Convert its folder with {folder}, or the file with {one}."


def read_sound(sound: soundfile.SoundFile, start: int, count: int) -> np.ndarray:
    """Returns `count` samples from number `start` on, or fewer if the file is damaged.

    A damaged header may claim any length. Memory for a long array is needed only if its end exists.
    """
    if count > LONG:
        sound.seek(start + count - 1)
        if not len(sound.read(1)):
            return np.empty(0, np.float32)
    sound.seek(start)
    return sound.read(count, dtype="float32")


def open_sound(path: str | os.PathLike) -> tuple[soundfile.SoundFile, bool]:
    """Opens a file by libsndfile -> (the file, whether its header states the length 0).

    Such a file is read to its end. Raises the errors of soundfile.
    """
    sound = soundfile.SoundFile(path)
    if not sound.frames and (file := repaired(path)):
        return soundfile.SoundFile(file), True
    return sound, states_no_length(sound)


class Recording:
    """The contents of a file along time: samples of audio, or frames of features.

    A subclass sets `frames`, the number of samples or frames, and defines read(). unfinished:
    whether the header states the length 0, so that the file is read to its end. decoded: the
    samples, int16, if ffmpeg decoded the file. A recording is a context manager. The default keeps
    nothing open.
    """

    frames: int
    unfinished = False
    decoded: np.ndarray | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        return None

    def read(self, start: int, count: int) -> np.ndarray:
        """Returns `count` samples or frames from number `start` on, float32 [count, ...]."""
        raise NotImplementedError

    def crop(self, length: int, rng: np.random.Generator, fill: str = "repeat") -> np.ndarray:
        """Returns a part at a random place, float32 [length, ...].

        fill: a name of FILLS, which lengthens a recording that is shorter than `length`.
        """
        start = int(rng.random() * (max(self.frames - length, 0) + 1))
        x = self.read(start, min(length, self.frames))
        if len(x) == length:
            return x
        return FILLS[fill](x, length + 1)[:length]


class Audio(Recording):
    """An open file of 16 kHz mono audio. Any part is read without the rest of the file.

    A plain 16-bit WAV is read directly. This is several times faster than libsndfile and gives the
    same bits. libsndfile reads everything else. If libsndfile refuses compressed audio, ffmpeg
    decodes the whole file, where it is installed. Raises AudioError if the file cannot be used.
    """

    def __init__(self, path: str | os.PathLike):
        self.path = path
        # Set if libsndfile reads the file.
        self.sound: soundfile.SoundFile | None = None
        # Whether the file contains floating-point samples, which may be NaN or infinite.
        self.floating = False
        try:
            self.file = io.FileIO(path)
        except OSError as error:
            raise AudioError(f"{path}: the file cannot be opened ({error.strerror}).") from None
        found = find_pcm16(self.file.read(HEAD_BYTES), os.fstat(self.file.fileno()).st_size)
        if found:
            self.first_byte, self.frames = found
            return
        self.file.close()
        try:
            self._open_with_libsndfile()
        except AudioError as error:
            if error.kind not in ("unreadable", "format") or not is_compressed(path):
                raise
            self._decode_with_ffmpeg(error)

    def _open_with_libsndfile(self) -> None:
        """Opens the file and checks what its header says."""
        try:
            sound, self.unfinished = open_sound(self.path)
        except (soundfile.SoundFileError, TypeError, ValueError) as error:
            if is_cut_off_ogg(self.path):
                raise truncated(self.path, NO_MARK) from None
            # soundfile raises TypeError for a name that ends in .raw.
            raise AudioError(
                f"{self.path}: libsndfile cannot read this file as audio ({error}). "
                f"{how_to_convert(self.path)}"
            ) from None
        self.sound = sound
        self.frames = sound.frames
        self.floating = sound.subtype in ("FLOAT", "DOUBLE")
        # A converted copy of such a file would hide that its end is missing.
        if cut := cut_off(sound, self.path):
            raise truncated(self.path, cut)
        if self.frames >= UNKNOWN_FRAMES or guesses_length(sound):
            raise AudioError(
                f"{self.path}: the header does not state the length of the file. "
                f"{how_to_convert(self.path)}"
            )
        if (sound.samplerate, sound.channels) != (SAMPLE_RATE, 1):
            channels = "channel" if sound.channels <= 1 else "channels"
            raise AudioError(
                f"{self.path}: expected {SAMPLE_RATE} Hz and 1 channel, found {sound.samplerate} "
                f"Hz and {sound.channels} {channels}. {how_to_convert(self.path)}",
                "format",
            )
        if not self.frames:
            raise AudioError(
                f"{self.path}: the file contains no samples. Remove it from the list.", "empty"
            )

    def _decode_with_ffmpeg(self, error: AudioError) -> None:
        """Decodes a file that libsndfile refused with `error`."""
        if missing := missing_end(self.path):
            raise truncated(self.path, missing)
        try:
            self.decoded = decode_file(self.path)
        except InputError:
            # ffmpeg is not installed.
            raise error from None
        except ValueError as message:
            raise AudioError(
                f"{self.path}: neither libsndfile nor ffmpeg reads this file as audio ({message}). "
                "Copy the file again."
            ) from None
        self.sound = None
        self.frames = len(self.decoded)
        if not self.frames:
            raise AudioError(
                f"{self.path}: the file contains no samples. Remove it from the list.", "empty"
            )

    def __exit__(self, *_) -> None:
        (self.sound or self.file).close()

    def read(self, start: int, count: int) -> np.ndarray:
        """Returns `count` samples from number `start` on, float32 [count].

        16-bit values are divided by 32768. Raises AudioError if a sample is missing or not finite.
        """
        try:
            if self.sound:
                x = read_sound(self.sound, start, count)
            elif self.decoded is not None:
                x = self.decoded[start : start + count] * np.float32(1 / 32768)
            else:
                x = decode(os.pread(self.file.fileno(), 2 * count, self.first_byte + 2 * start), 16)
        except (OSError, ValueError, soundfile.SoundFileError):
            # soundfile raises ValueError if a damaged file ends before the place that it seeks.
            x = np.empty(0, np.float32)
        if len(x) != count:
            raise AudioError(
                f"{self.path}: the file is truncated or damaged: samples {start} to "
                f"{start + count} of {self.frames} cannot be read. Copy the file again.",
                "truncated",
            )
        if self.floating and not np.isfinite(x).all():
            raise AudioError(
                f"{self.path}: expected finite samples, found NaN or infinity as sample "
                f"{start + int(np.isfinite(x).argmin())}. Create the file again.",
                "not finite",
            )
        return x


def read_int16(audio: Audio) -> np.ndarray:
    """Returns all samples, int16 [T]. The samples of a 16-bit file are unchanged."""
    x = audio.read(0, audio.frames)
    return np.clip(np.rint(x * 32768), -32768, 32767).astype(np.int16)


def whole_length(path: str | os.PathLike) -> int | None:
    """Returns the number of samples of a file, or None if it cannot be read to its end."""
    try:
        with Audio(path) as audio:
            # Only reading the end shows that the end of a FLAC file is missing.
            audio.read(audio.frames - 1, 1)
            return audio.frames
    except InputError:
        return None


def repeat(x: np.ndarray, length: int) -> np.ndarray:
    """Repeats x [n, ...] until it has the given length -> [length, ...]."""
    return x if len(x) == length else np.resize(x, (length, *x.shape[1:]))


def surround(x: np.ndarray, length: int) -> np.ndarray:
    """Adds the same number of zeros before and after x [n, ...] -> [length or length - 1, ...]."""
    zeros = max(0, length - len(x)) // 2
    return np.pad(x, [(zeros, zeros)] + [(0, 0)] * (x.ndim - 1))


# How a file that is shorter than a crop is lengthened.
FILLS = {"repeat": repeat, "zeros": surround}
