"""Synthetic speech by source and filter (Fant 1960; Klatt 1980): speakers, sessions, utterances.

The order of the random draws is part of the synthetic corpus. Another order gives other speech.
"""

from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.signal

from common.constants import SAMPLE_RATE

# Samples between frames of the vocal tract: 8 ms.
SHIFT = 128
# A frame has 2 * SHIFT samples. The other samples of the FFT contain the ringing of the filter.
FFT = 512
# Frequency of every bin in Hz.
HERTZ = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE).astype(np.float32)
# Resonances of a tube of 17.5 cm in Hz.
NEUTRAL = 1000 * np.arange(7) + 500


class Phone(NamedTuple):
    """Targets of one phone for a male vocal tract.

    `f1` to `f3` are formants in Hz. `shortest` and `longest` are durations in s. `voice`, `breath`
    (aspiration) and `friction` are amplitudes of the sources. `centre` is the centre frequency of
    the frication in Hz. `damping` is a factor of the bandwidths.
    """

    f1: int
    f2: int
    f3: int
    shortest: float
    longest: float
    voice: float = 1.0
    breath: float = 0.0
    friction: float = 0.0
    centre: int = 4000
    damping: float = 1.0


PHONES = {
    # Vowels: Hillenbrand et al. (1995), men.
    "i": Phone(342, 2322, 3000, 0.09, 0.22),
    "I": Phone(427, 2034, 2684, 0.07, 0.16),
    "E": Phone(580, 1799, 2605, 0.08, 0.19),
    "ae": Phone(588, 1952, 2601, 0.10, 0.24),
    "a": Phone(768, 1333, 2522, 0.10, 0.24),
    "o": Phone(652, 997, 2538, 0.10, 0.23),
    "U": Phone(469, 1122, 2434, 0.07, 0.16),
    "u": Phone(378, 997, 2343, 0.09, 0.22),
    # Sonorants.
    "m": Phone(280, 1000, 2300, 0.05, 0.10, 0.4, damping=2.5),
    "n": Phone(280, 1600, 2600, 0.05, 0.10, 0.4, damping=2.5),
    "l": Phone(360, 1100, 2700, 0.05, 0.09, 0.6),
    "r": Phone(420, 1250, 1650, 0.05, 0.09, 0.6),
    "j": Phone(290, 2250, 3000, 0.05, 0.09, 0.7),
    # Fricatives.
    "s": Phone(320, 1700, 2600, 0.07, 0.14, 0.0, 0.02, 0.30, 6200),
    "S": Phone(320, 1900, 2500, 0.07, 0.14, 0.0, 0.02, 0.35, 3400),
    "f": Phone(340, 1100, 2300, 0.06, 0.12, 0.0, 0.05, 0.06, 7000),
    "h": Phone(500, 1500, 2500, 0.04, 0.09, 0.05, 0.30),
    "z": Phone(300, 1700, 2600, 0.05, 0.10, 0.4, 0.0, 0.15, 6000),
    "v": Phone(300, 1100, 2300, 0.04, 0.08, 0.5, 0.0, 0.04, 7000),
    # Stops: closure, burst, and aspiration of the voiceless ones.
    "-": Phone(250, 1500, 2500, 0.04, 0.08, 0.0),
    "=": Phone(200, 1500, 2500, 0.03, 0.06, 0.12, damping=4),
    "p": Phone(350, 900, 2200, 0.009, 0.016, 0.0, 0.2, 0.10, 1200),
    "t": Phone(350, 1800, 2700, 0.009, 0.016, 0.0, 0.1, 0.50, 4500),
    "k": Phone(350, 2000, 2300, 0.009, 0.024, 0.0, 0.2, 0.40, 2100),
    "~": Phone(450, 1500, 2500, 0.016, 0.048, 0.0, 0.3),
    # Silence.
    "_": Phone(500, 1500, 2500, 0.05, 0.22, 0.0),
}
PHONE_NAMES = list(PHONES)
# The fields of all phones, and the columns of the fields.
TARGETS = np.array(list(PHONES.values()), dtype=np.float32)  # [phones, fields]
FORMANTS = slice(0, 3)
SHORTEST = 3
LONGEST = 4
SOURCES = slice(5, 8)
CENTRE = 8
DAMPING = 9
# A syllable is an onset, a vowel and a coda. Every character of an onset or coda is a phone.
VOWELS = PHONE_NAMES[:8]
ONSETS = ["m", "n", "l", "r", "j", "s", "S", "f", "h", "z", "v"]
ONSETS += ["-p~", "-t~", "-k~", "=p", "=t", "=k", "s-t", ""]
CODAS = ["", "", "", "n", "m", "l", "s", "-t", "-k"]


class Speaker(NamedTuple):
    """Properties of a speaker that stay the same in all recordings."""

    female: bool
    # Centre of the log pitch, in Hz.
    pitch: float
    # Standard deviation of log pitch between syllables.
    liveliness: float
    # Factor of each formant.
    tract: np.ndarray  # [7]
    # Factor of the formant targets of each phone.
    accent: np.ndarray  # [phones, 3]
    # Factor of the bandwidths.
    damping: float
    # Factor of the centre frequencies of frication.
    hiss: float
    # Share of a period in which the glottis is open.
    open_quotient: float
    # Share of the open phase in which the glottis is opening.
    skew: float
    breathiness: float
    # Corner of the low pass of the source, in Hz.
    tilt: float
    jitter: float
    shimmer: float
    rate: float


class Session(NamedTuple):
    """Properties of a recording: mood of the speaker, microphone, room and noise."""

    pitch: float
    rate: float
    tilt: float
    # Gain at each frequency.
    channel: np.ndarray  # [FFT / 2 + 1]
    # Impulse response of the room.
    room: np.ndarray  # [T]
    # Signal-to-noise ratio in dB.
    snr: float
    # Pole of the filter that colours the noise.
    colour: float
    # Level in dB relative to full scale.
    level: float


# ---------------------------------------------------------------------- random draws
def draw_speaker(rng: np.random.Generator, female: bool) -> Speaker:
    """Draws a random speaker.

    The means of pitch and vocal tract are the means of real women or men. Their variance is larger
    than in real speakers, because real voices also differ in properties that a Speaker lacks.
    """
    return Speaker(
        female=female,
        pitch=np.exp(rng.normal(np.log(205 if female else 118), 0.2)),
        liveliness=rng.uniform(0.03, 0.1),
        tract=np.exp(rng.normal(0.14 * female, 0.08) + rng.normal(0, 0.07, 7)),
        accent=np.exp(rng.normal(0, 0.08, (len(PHONE_NAMES), 3))),
        damping=rng.uniform(0.7, 1.5),
        hiss=np.exp(rng.normal(0.05 * female, 0.15)),
        open_quotient=rng.uniform(0.4, 0.85),
        skew=rng.uniform(0.6, 0.85),
        breathiness=np.exp(rng.uniform(np.log(0.01), np.log(0.2))),
        tilt=np.exp(rng.uniform(np.log(800), np.log(8000))),
        jitter=rng.uniform(0.003, 0.02),
        shimmer=rng.uniform(0.02, 0.12),
        rate=rng.uniform(0.8, 1.2),
    )


def draw_session(rng: np.random.Generator) -> Session:
    """Draws random recording conditions.

    They are an equaliser of some dB, a room with 0.1 to 0.4 s of reverberation, and noise. The
    signal-to-noise ratio is 20 to 40 dB.
    """
    octave = np.log2(np.maximum(HERTZ, 60) / 1000)
    decibel = rng.normal(0, 0.5) * octave
    for centre, gain in zip(rng.uniform(-2.5, 3, 4), rng.normal(0, 1.5, 4), strict=True):
        decibel += gain * np.exp(-0.5 * ((octave - centre) / 0.6) ** 2)
    time = np.arange(int(0.2 * SAMPLE_RATE)) / SAMPLE_RATE
    room = rng.standard_normal(len(time)) * np.exp(-6.9 * time / rng.uniform(0.1, 0.4))
    # Energy of the reverberation relative to the direct sound.
    room *= np.sqrt(rng.uniform(0.01, 0.1) / np.sum(room**2))
    room[0] = 1
    return Session(
        pitch=np.exp(rng.normal(0, 0.03)),
        rate=np.exp(rng.normal(0, 0.08)),
        tilt=np.exp(rng.normal(0, 0.12)),
        channel=(10 ** (decibel / 20)).astype(np.float32),
        room=room,
        snr=rng.uniform(20, 40),
        colour=rng.uniform(0.6, 0.98),
        level=rng.uniform(-32, -20),
    )


def draw_phones(
    rng: np.random.Generator, seconds: float, rate: float
) -> tuple[np.ndarray, np.ndarray]:
    """Draws random syllables and pauses of about `seconds`.

    `rate` is the speaking rate, 1 on average. The function returns the phone of each frame [n] and
    the number of the syllable of each frame [n].
    """
    phones = ["_"]
    syllables = [0]
    length = 0.0
    count = 0
    # The durations are drawn below. Therefore 30 % more phones are drawn here, and the surplus is
    # cut off at the end.
    while length < 1.3 * seconds * rate:
        for _ in range(rng.integers(3, 8)):
            count += 1
            syllable = [*rng.choice(ONSETS), rng.choice(VOWELS), *rng.choice(CODAS)]
            phones += syllable
            syllables += [count] * len(syllable)
            length += sum(PHONES[p].shortest + PHONES[p].longest for p in syllable) / 2
        phones.append("_")
        syllables.append(count)
    index = np.array([PHONE_NAMES.index(phone) for phone in phones])
    duration = rng.uniform(TARGETS[index, SHORTEST], TARGETS[index, LONGEST]) / rate
    frames = np.maximum(1, np.rint(duration * SAMPLE_RATE / SHIFT).astype(int))
    total = round(seconds * SAMPLE_RATE / SHIFT)
    return np.repeat(index, frames)[:total], np.repeat(syllables, frames)[:total]


# ---------------------------------------------------------------------- signal processing
def smooth(x: np.ndarray, frames: int) -> np.ndarray:
    """Returns the moving average of x [n, ...] over `frames` frames.

    The weights are a raised cosine. The first and the last value continue beyond the edges.
    """
    kernel = np.hanning(frames + 2)[1:-1]
    return scipy.ndimage.correlate1d(x, kernel / kernel.sum(), axis=0, mode="nearest")


def glottal_source(
    rng: np.random.Generator, speaker: Speaker, pitch: np.ndarray, voice: np.ndarray
) -> np.ndarray:
    """Returns the derivative of the glottal flow (Rosenberg 1971) [T].

    `pitch` [T] is in Hz, and `voice` [T] is the amplitude. The speaker adds jitter, shimmer and
    breath.
    """
    cycles = np.cumsum(pitch) / SAMPLE_RATE
    count = int(cycles[-1]) + 3
    cycles += np.interp(cycles, np.arange(count), rng.normal(0, speaker.jitter, count))
    period = np.maximum(cycles, 0).astype(int)
    phase = (np.maximum(cycles, 0) - period).astype(np.float32)
    opening = speaker.open_quotient * speaker.skew
    closing = speaker.open_quotient * (1 - speaker.skew)
    flow = np.where(
        phase < opening,
        0.5 - 0.5 * np.cos(np.pi / opening * phase),
        np.cos(np.pi / 2 / closing * np.clip(phase - opening, 0, closing)),
    )
    # Breath noise exists only while the glottis is open.
    noise = speaker.breathiness * rng.standard_normal(len(flow), dtype=np.float32) * flow
    strength = voice * (1 + rng.normal(0, speaker.shimmer, count + 1))[period]
    return strength * (
        np.diff(flow, prepend=flow[0]) * (SAMPLE_RATE / 1000) / np.sqrt(pitch / 100) + noise
    )


def short_time_spectra(x: np.ndarray) -> np.ndarray:
    """Returns the spectra [n + 1, FFT / 2 + 1] of windowed frames of x [n * SHIFT].

    The windows of neighbouring frames add up to one.
    """
    x = np.pad(x, (SHIFT, SHIFT)).astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(x, 2 * SHIFT)[::SHIFT]
    window = scipy.signal.windows.hann(2 * SHIFT, sym=False).astype(np.float32)
    return scipy.fft.rfft(frames * window, FFT)


def overlap_add(spectra: np.ndarray) -> np.ndarray:
    """Returns the samples [n * SHIFT] of spectra [n + 1, FFT / 2 + 1].

    This is the inverse of short_time_spectra. It adds the ringing of filters to the next frames.
    """
    blocks = scipy.fft.irfft(spectra, FFT).reshape(len(spectra), -1, SHIFT)  # [n + 1, 4, SHIFT]
    out = np.zeros((len(spectra) + blocks.shape[1] - 1, SHIFT), np.float32)
    for i in range(blocks.shape[1]):
        out[i : i + len(spectra)] += blocks[:, i]
    return out[1 : len(spectra)].ravel()


def tract_response(formants: np.ndarray, bandwidths: np.ndarray) -> np.ndarray:
    """Returns the complex gain [n, FFT / 2 + 1] of a cascade of resonators.

    `formants` and `bandwidths` are [n, k] in Hz. The gain at 0 Hz is 1.
    """
    denominator = np.ones((len(formants), len(HERTZ)), np.complex64)
    factor = np.empty_like(denominator)
    for f, b in zip(formants.T[..., None], bandwidths.T[..., None], strict=True):
        size = f**2 + b**2 / 4
        factor.real = 1 - HERTZ**2 / size
        factor.imag = HERTZ * (b / size)
        denominator *= factor
    return 1 / denominator


# ---------------------------------------------------------------------- utterances
def pitch_contour(
    rng: np.random.Generator,
    speaker: Speaker,
    session: Session,
    phone: np.ndarray,
    syllable: np.ndarray,
) -> np.ndarray:
    """Draws the pitch [T] in Hz from the phone [n] and the syllable [n] of each frame.

    Every syllable has an accent. The accents are added to a line that falls during each phrase.
    """
    n = len(phone)
    accent = rng.normal(0, speaker.liveliness, syllable[-1] + 1)[syllable]
    pause = phone == PHONE_NAMES.index("_")
    begins = np.flatnonzero(~pause & np.append(True, pause[:-1]))
    phrase = np.maximum(np.searchsorted(begins, np.arange(n), "right") - 1, 0)
    # Frames since the start of the phrase.
    since = np.arange(n) - begins[phrase]
    contour = smooth(accent + 0.12 - 0.16 * since * SHIFT / SAMPLE_RATE, 13)
    return speaker.pitch * session.pitch * np.exp(interpolate_frames(contour))


def interpolate_frames(x: np.ndarray) -> np.ndarray:
    """Returns samples [n * SHIFT] from one value per frame [n], by linear interpolation."""
    return np.interp(np.arange(len(x) * SHIFT), np.arange(len(x)) * SHIFT + SHIFT / 2, x)


def synthesize(
    rng: np.random.Generator, speaker: Speaker, session: Session, seconds: float
) -> np.ndarray:
    """Draws one utterance of the speaker, before the recording, float32 [T]."""
    phone, syllable = draw_phones(rng, seconds, speaker.rate * session.rate)
    n = len(phone)
    target = TARGETS[phone]  # [n, fields]
    # A gesture of the articulators lasts about 50 ms.
    low = smooth(target[:, FORMANTS] * speaker.accent[phone], 7)  # [n, 3]
    low = low * speaker.tract[:3]
    high = (NEUTRAL[3:] * speaker.tract[3:])[None]  # [1, 4]
    # Nasals and voiced closures absorb sound.
    damping = smooth(target[:, DAMPING], 3)[:, None]
    voice, breath, friction = smooth(target[:, SOURCES], 3).T
    pitch = pitch_contour(rng, speaker, session, phone, syllable)

    glottal = glottal_source(rng, speaker, pitch, interpolate_frames(voice))
    source = short_time_spectra(glottal)  # [n + 1, bins]
    noise = short_time_spectra(rng.standard_normal(n * SHIFT, dtype=np.float32))
    # Spectrum i is between frames i - 1 and i of the vocal tract, so the last frame counts twice.
    frame = np.append(np.arange(n), n - 1)
    source *= (1 / (1 + 1j * HERTZ / (speaker.tilt * session.tilt))).astype(np.complex64)
    source += (0.12 * breath[frame, None]).astype(np.float32) * noise
    source *= tract_response(
        low[frame], (60 + 0.035 * low[frame]) * speaker.damping * damping[frame]
    )
    source *= tract_response(high, (60 + 0.035 * high) * speaker.damping)
    hiss = frication_gain(speaker, target[frame, CENTRE, None], friction[frame, None])
    return overlap_add(source + hiss.astype(np.float32) * noise)


def frication_gain(speaker: Speaker, centre: np.ndarray, friction: np.ndarray) -> np.ndarray:
    """Returns the gain [n, bins] of the frication noise.

    `centre` [n, 1] is the centre frequency in Hz, and `friction` [n, 1] is the amplitude.
    """
    centre = np.minimum(centre * speaker.hiss, 7400)
    detuning = HERTZ / centre - centre / np.maximum(HERTZ, 30)
    return 0.5 * friction / np.sqrt(1 + 4 * detuning**2)


def record(rng: np.random.Generator, session: Session, speech: np.ndarray) -> np.ndarray:
    """Returns the recording of speech [T], float32 [T] below full scale.

    The speech is filtered by the channel and the room. Then noise is added, and the sum is scaled
    to the level of the session.
    """
    recorded = overlap_add(short_time_spectra(speech) * session.channel)
    recorded = scipy.signal.oaconvolve(recorded, session.room.astype(np.float32))[: len(speech)]
    noise = scipy.signal.lfilter([1], [1, -session.colour], rng.standard_normal(len(speech)))
    recorded = recorded / recorded.std() + noise / noise.std() * 10 ** (-session.snr / 20)
    recorded *= 10 ** (session.level / 20) / np.sqrt(np.mean(recorded**2))
    return (recorded * min(1, 0.95 / np.abs(recorded).max())).astype(np.float32)
