"""Transmission codecs for training crops: each crop is encoded and decoded again.

G.711 is computed here. libsndfile has GSM, Opus, Vorbis and MP3, and codes them in memory. AAC, AMR
and G.722 need ffmpeg, two processes for each crop, connected by pipes.
"""

import io
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import soundfile

from common.constants import SAMPLE_RATE
from common.errors import InputError
from corpus.ffmpeg import find_ffmpeg, output_of
from corpus.resampling import at_other_rate

# The largest number of an int16 sample.
FULL_SCALE = 32767
TELEPHONE_RATE = 8000
# Samples of the signal that shows whether a codec works.
TRIAL_SAMPLES = 3200


class Codec(NamedTuple):
    """A codec.

    code: encodes and decodes samples int16 [n] at a sampling rate and a bit rate in kbit/s, and
    returns int16 [about n]. rates: sampling rates in Hz, one of which is drawn. kbits: bit rates in
    kbit/s, one of which is drawn. delay: number of samples that `code` adds before the speech.
    """

    code: Callable[[np.ndarray, int, float], np.ndarray]
    rates: Sequence[int]
    kbits: Sequence[float]
    delay: int = 0


# ---------------------------------------------------------------------- G.711
@lru_cache(2)
def companded(law: str) -> np.ndarray:
    """Returns what G.711 makes of each 16-bit sample x, int16 [65536], at place x modulo 65536.

    law: "mulaw" or "alaw". Both have 8 segments, which begin at 128 times a power of 2. A segment
    has 16 steps, and each step is decoded as its middle. The first two segments of the A-law have
    the same steps. The mu-law begins 132 above zero, and is cut off at 32635.
    """
    x = np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int64)
    if law == "mulaw":
        shift = 132
        size = np.minimum(abs(x), 32635) + shift
        exponent = np.log2(size).astype(np.int64)
    else:
        shift = 0
        # Negative numbers begin at -1.
        size = np.where(x < 0, -x - 1, x)
        exponent = np.log2(np.maximum(size, 256)).astype(np.int64)
    step = 2 ** (exponent - 4)
    decoded = size // step * step + step // 2 - shift
    return np.where(x < 0, -decoded, decoded).astype(np.int16)


def g711(law: str, x: np.ndarray, rate: int, kbit: float) -> np.ndarray:
    """Encodes and decodes by G.711, see Codec and companded()."""
    return companded(law)[x.view(np.uint16)]


# ---------------------------------------------------------------------- libsndfile
def in_memory(
    file_format: str,
    subtype: str,
    level: Callable[[float], float] | None,
    x: np.ndarray,
    rate: int,
    kbit: float,
) -> np.ndarray:
    """Encodes and decodes by libsndfile, see Codec.

    level: libsndfile's level of compression for a bit rate, None for a codec with one bit rate.
    Raises ValueError if libsndfile does not have the codec.
    """
    file = io.BytesIO()
    try:
        with soundfile.SoundFile(
            file,
            "w",
            rate,
            1,
            format=file_format,
            subtype=subtype,
            compression_level=level and level(kbit),
            # The constant bit rate leaves a delay in files of low rates.
            bitrate_mode="AVERAGE" if file_format == "MP3" else None,
        ) as sound:
            sound.write(x)
        file.seek(0)
        return soundfile.read(file, dtype="int16")[0]
    except (soundfile.SoundFileError, TypeError) as error:
        # An old soundfile raises TypeError, because it does not know some parameters.
        version = soundfile.__libsndfile_version__
        raise ValueError(
            f"libsndfile {version}, soundfile {soundfile.__version__}: {error}"
        ) from None


# ---------------------------------------------------------------------- ffmpeg
def by_ffmpeg(
    encoder: str, writes: str, reads: str, x: np.ndarray, rate: int, kbit: float
) -> np.ndarray:
    """Encodes and decodes by ffmpeg, see Codec.

    writes, reads: ffmpeg's names of the format. Raises ValueError if ffmpeg does not have the
    codec, InputError if ffmpeg is not installed.
    """
    ffmpeg = find_ffmpeg()
    plain = ["-f", "s16le", "-ar", str(rate), "-ac", "1"]
    bits = ["-c:a", encoder, "-b:a", str(round(1000 * kbit)), "-threads", "1", "-f", writes]
    coded, _ = output_of(ffmpeg, [*plain, "-i", "pipe:0", *bits, "pipe:1"], x.tobytes())
    back, _ = output_of(ffmpeg, ["-f", reads, "-i", "pipe:0", *plain, "pipe:1"], coded)
    return np.frombuffer(back, np.int16)


# ---------------------------------------------------------------------- all codecs
BOTH_RATES = (TELEPHONE_RATE, SAMPLE_RATE)
CODECS = {
    "mulaw": Codec(partial(g711, "mulaw"), BOTH_RATES, [64]),
    "alaw": Codec(partial(g711, "alaw"), BOTH_RATES, [64]),
    "gsm": Codec(partial(in_memory, "WAV", "GSM610", None), [TELEPHONE_RATE], [13]),
    "amr": Codec(
        partial(by_ffmpeg, "libopencore_amrnb", "amr", "amr"),
        [TELEPHONE_RATE],
        [4.75, 5.15, 5.9, 6.7, 7.4, 7.95, 10.2, 12.2],
        delay=40,
    ),
    "g722": Codec(partial(by_ffmpeg, "g722", "g722", "g722"), [SAMPLE_RATE], [64], delay=22),
    "opus": Codec(
        partial(in_memory, "OGG", "OPUS", lambda kbit: (256 - kbit) / 250),
        [SAMPLE_RATE],
        range(6, 65),
    ),
    "vorbis": Codec(
        partial(in_memory, "OGG", "VORBIS", lambda kbit: (89 - kbit) / 51),
        [SAMPLE_RATE],
        range(38, 90),
    ),
    "mp3": Codec(
        partial(in_memory, "MP3", "MPEG_LAYER_III", lambda kbit: (160 - kbit) / 152),
        [SAMPLE_RATE],
        range(16, 97),
    ),
    "aac": Codec(
        partial(by_ffmpeg, "aac", "adts", "aac"), [SAMPLE_RATE], range(16, 97), delay=1024
    ),
}
# Word of --codec_augment for all codecs.
ALL = "all"


def transmitted(x: np.ndarray, codec: Codec, rate: int, kbit: float) -> np.ndarray:
    """Encodes and decodes a crop x [T] float32 -> float32 [T], aligned with x.

    rate, kbit: a sampling rate in Hz and a bit rate of the codec. A crop that is louder than full
    scale is coded at full scale. Raises ValueError or InputError if the codec does not work here.
    """
    loudness = max(1, float(abs(x).max(initial=0)))
    speech = at_other_rate(x / loudness, rate, SAMPLE_RATE) if rate != SAMPLE_RATE else x / loudness
    pcm = np.clip(np.rint(speech * FULL_SCALE), -FULL_SCALE, FULL_SCALE).astype(np.int16)
    # Zeros at the end bring out the samples that the codec still holds back.
    back = codec.code(np.append(pcm, np.zeros(codec.delay, np.int16)), rate, kbit)[codec.delay :]
    y: np.ndarray = np.zeros(len(pcm), np.float32)
    y[: len(back)] = back[: len(pcm)]
    if rate != SAMPLE_RATE:
        y = at_other_rate(y, SAMPLE_RATE, rate)[: len(x)]
    return y * np.float32(loudness / FULL_SCALE)


def problem_of(name: str) -> str | None:
    """Returns why a codec does not work on this machine, or None."""
    codec = CODECS[name]
    tone = 0.5 * np.sin(np.arange(TRIAL_SAMPLES) / 5).astype(np.float32)
    try:
        transmitted(tone, codec, codec.rates[0], codec.kbits[0])
    except (ValueError, InputError) as problem:
        return str(problem).removesuffix(".")
    return None


class CodecAugment:
    """Sends training crops through codecs.

    names: codecs, one of which is drawn for each crop, or ALL. probability: the share of crops that
    are coded. Raises InputError if a codec does not work on this machine.
    """

    def __init__(self, names: Sequence[str], probability: float = 0.5):
        self.names = [*CODECS] if ALL in names else list(names)
        self.probability = probability
        for name in self.names:
            problem = problem_of(name)
            if problem:
                found = [other for other in CODECS if not problem_of(other)]
                raise InputError(
                    f"--codec_augment: expected codecs that work on this machine, found {name}, "
                    f"which does not work ({problem}). Available codecs: {' '.join(found)}. "
                    f"Install what is missing, or leave out {name}."
                )

    def __call__(self, x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Returns a crop x [T] float32 after a drawn codec, float32 [T].

        Raises InputError if the codec does not work any more.
        """
        if rng.random() >= self.probability:
            return x
        name = self.names[int(rng.integers(len(self.names)))]
        codec = CODECS[name]
        rate = codec.rates[int(rng.integers(len(codec.rates)))]
        kbit = codec.kbits[int(rng.integers(len(codec.kbits)))]
        try:
            return transmitted(x, codec, rate, kbit)
        except ValueError as problem:
            raise InputError(
                f"--codec_augment {name}: the codec failed during the training ({problem}). "
                f"Leave out {name}, or run the same command again."
            ) from None
