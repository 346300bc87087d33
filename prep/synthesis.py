"""Synthetic speech by source and filter (Fant 1960; Klatt 1980): speakers, recording sessions, utterances."""

from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.signal

from common.constants import SAMPLE_RATE

# samples between frames of the vocal tract, 8 ms
SHIFT = 128
# frames of 2 SHIFT samples, the rest for the ringing of the filter
FFT = 512
HERTZ = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE).astype(np.float32)
# resonances of a tube of 17.5 cm, Hz
NEUTRAL = 1000 * np.arange(7) + 500


class Phone(NamedTuple):
    """Targets for a male vocal tract: formants in Hz, duration in s, amplitudes of voice, aspiration and frication, centre of the frication in Hz."""

    f1: int
    f2: int
    f3: int
    least: float
    most: float
    voice: float = 1.0
    breath: float = 0.0
    friction: float = 0.0
    centre: int = 4000
    damping: float = 1.0


PHONES = {
    # vowels: Hillenbrand et al. (1995), men
    "i": Phone(342, 2322, 3000, 0.09, 0.22),
    "I": Phone(427, 2034, 2684, 0.07, 0.16),
    "E": Phone(580, 1799, 2605, 0.08, 0.19),
    "ae": Phone(588, 1952, 2601, 0.10, 0.24),
    "a": Phone(768, 1333, 2522, 0.10, 0.24),
    "o": Phone(652, 997, 2538, 0.10, 0.23),
    "U": Phone(469, 1122, 2434, 0.07, 0.16),
    "u": Phone(378, 997, 2343, 0.09, 0.22),
    # sonorants
    "m": Phone(280, 1000, 2300, 0.05, 0.10, 0.4, damping=2.5),
    "n": Phone(280, 1600, 2600, 0.05, 0.10, 0.4, damping=2.5),
    "l": Phone(360, 1100, 2700, 0.05, 0.09, 0.6),
    "r": Phone(420, 1250, 1650, 0.05, 0.09, 0.6),
    "j": Phone(290, 2250, 3000, 0.05, 0.09, 0.7),
    # fricatives
    "s": Phone(320, 1700, 2600, 0.07, 0.14, 0.0, 0.02, 0.30, 6200),
    "S": Phone(320, 1900, 2500, 0.07, 0.14, 0.0, 0.02, 0.35, 3400),
    "f": Phone(340, 1100, 2300, 0.06, 0.12, 0.0, 0.05, 0.06, 7000),
    "h": Phone(500, 1500, 2500, 0.04, 0.09, 0.05, 0.30),
    "z": Phone(300, 1700, 2600, 0.05, 0.10, 0.4, 0.0, 0.15, 6000),
    "v": Phone(300, 1100, 2300, 0.04, 0.08, 0.5, 0.0, 0.04, 7000),
    # stops: closure, burst and, where voiceless, aspiration
    "-": Phone(250, 1500, 2500, 0.04, 0.08, 0.0),
    "=": Phone(200, 1500, 2500, 0.03, 0.06, 0.12, damping=4),
    "p": Phone(350, 900, 2200, 0.009, 0.016, 0.0, 0.2, 0.10, 1200),
    "t": Phone(350, 1800, 2700, 0.009, 0.016, 0.0, 0.1, 0.50, 4500),
    "k": Phone(350, 2000, 2300, 0.009, 0.024, 0.0, 0.2, 0.40, 2100),
    "~": Phone(450, 1500, 2500, 0.016, 0.048, 0.0, 0.3),
    # silence
    "_": Phone(500, 1500, 2500, 0.05, 0.22, 0.0),
}
NAMES = list(PHONES)
TARGETS = np.array(list(PHONES.values()), dtype=np.float32)  # [phones, fields]
VOWELS = NAMES[:8]
ONSETS = [
    "m",
    "n",
    "l",
    "r",
    "j",
    "s",
    "S",
    "f",
    "h",
    "z",
    "v",
    "-p~",
    "-t~",
    "-k~",
    "=p",
    "=t",
    "=k",
    "s-t",
    "",
]
CODAS = ["", "", "", "n", "m", "l", "s", "-t", "-k"]


class Speaker(NamedTuple):
    """What stays the same from one recording to the next."""

    female: bool
    # Hz, centre of the log of it
    pitch: float
    # standard deviation of log pitch between syllables
    liveliness: float
    tract: np.ndarray  # [7] factor of each formant
    accent: np.ndarray  # [phones, 3] factor of the formant targets of each phone
    # factor of the bandwidths
    damping: float
    # factor of the centres of frication
    hiss: float
    # share of a period in which the glottis is open
    open_quotient: float
    # share of the open phase in which it is opening
    skew: float
    breathiness: float
    # Hz, corner of the source's low pass
    tilt: float
    jitter: float
    shimmer: float
    rate: float


class Session(NamedTuple):
    """What stays the same within a recording: mood of the speaker, microphone, room, noise."""

    pitch: float
    rate: float
    tilt: float
    channel: np.ndarray  # [FFT / 2 + 1] gain at each frequency
    # impulse response
    room: np.ndarray
    # dB
    snr: float
    # pole of the noise
    colour: float
    # dB re full scale
    level: float


def draw_speaker(rng, female):
    """Random speaker. Pitch and vocal tract have the means of women and men; they spread more, as voices differ in more ways than these."""
    return Speaker(
        female=female,
        pitch=np.exp(rng.normal(np.log(205 if female else 118), 0.2)),
        liveliness=rng.uniform(0.03, 0.1),
        tract=np.exp(rng.normal(0.14 * female, 0.08) + rng.normal(0, 0.07, 7)),
        accent=np.exp(rng.normal(0, 0.08, (len(NAMES), 3))),
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


def draw_session(rng):
    """Random recording conditions: equaliser of some dB, room of 0.1 to 0.4 s, noise at 20 to 40 dB."""
    octave = np.log2(np.maximum(HERTZ, 60) / 1000)
    decibel = rng.normal(0, 0.5) * octave
    for centre, gain in zip(rng.uniform(-2.5, 3, 4), rng.normal(0, 1.5, 4), strict=True):
        decibel += gain * np.exp(-0.5 * ((octave - centre) / 0.6) ** 2)
    time = np.arange(int(0.2 * SAMPLE_RATE)) / SAMPLE_RATE
    room = rng.standard_normal(len(time)) * np.exp(-6.9 * time / rng.uniform(0.1, 0.4))
    # energy of the reverberation re the direct sound
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


def draw_phones(rng, seconds, rate):
    """Random syllables and pauses -> phone of each frame [n], syllable of each frame [n]; at least `seconds` long."""
    phones, syllables, length, count = ["_"], [0], 0, 0
    # durations are drawn below; too many are cut
    while length < 1.3 * seconds * rate:
        for _ in range(rng.integers(3, 8)):
            count += 1
            word = [*rng.choice(ONSETS), rng.choice(VOWELS), *rng.choice(CODAS)]
            phones += word
            syllables += [count] * len(word)
            length += sum(PHONES[p].least + PHONES[p].most for p in word) / 2
        phones.append("_")
        syllables.append(count)
    index = np.array([NAMES.index(p) for p in phones])
    least, most = TARGETS[index, 3], TARGETS[index, 4]
    frames = np.maximum(
        1, np.rint(rng.uniform(least, most) / rate * SAMPLE_RATE / SHIFT).astype(int)
    )
    wanted = round(seconds * SAMPLE_RATE / SHIFT)
    return np.repeat(index, frames)[:wanted], np.repeat(syllables, frames)[:wanted]


def smooth(x, frames):
    """Moving average over `frames` frames of x [n, ...], a raised cosine, edges held."""
    kernel = np.hanning(frames + 2)[1:-1]
    return scipy.ndimage.correlate1d(x, kernel / kernel.sum(), axis=0, mode="nearest")


def glottis(rng, speaker, pitch, voice):
    """Derivative of the glottal flow (Rosenberg 1971) with jitter, shimmer and breath. pitch in Hz, voice = amplitude, both [T] -> [T]."""
    cycles = np.cumsum(pitch) / SAMPLE_RATE
    count = int(cycles[-1]) + 3
    cycles += np.interp(cycles, np.arange(count), rng.normal(0, speaker.jitter, count))
    period = np.maximum(cycles, 0).astype(int)
    phase = (np.maximum(cycles, 0) - period).astype(np.float32)
    opening, closing = (
        speaker.open_quotient * speaker.skew,
        speaker.open_quotient * (1 - speaker.skew),
    )
    flow = np.where(
        phase < opening,
        0.5 - 0.5 * np.cos(np.pi / opening * phase),
        np.cos(np.pi / 2 / closing * np.clip(phase - opening, 0, closing)),
    )
    # air flows while the glottis is open
    noise = speaker.breathiness * rng.standard_normal(len(flow), dtype=np.float32) * flow
    strength = voice * (1 + rng.normal(0, speaker.shimmer, count + 1))[period]
    return strength * (
        np.diff(flow, prepend=flow[0]) * (SAMPLE_RATE / 1000) / np.sqrt(pitch / 100) + noise
    )


def frames_of(x):
    """Spectra of windowed frames of x [n * SHIFT] -> [n + 1, FFT / 2 + 1]. The windows add up to one."""
    x = np.pad(x, (SHIFT, SHIFT)).astype(np.float32)
    view = np.lib.stride_tricks.sliding_window_view(x, 2 * SHIFT)[::SHIFT]
    return scipy.fft.rfft(
        view * scipy.signal.windows.hann(2 * SHIFT, sym=False).astype(np.float32), FFT
    )


def overlap_add(spectra):
    """Inverse of frames_of with the ringing of filters added in: [n + 1, FFT / 2 + 1] -> [n * SHIFT]."""
    blocks = scipy.fft.irfft(spectra, FFT).reshape(len(spectra), -1, SHIFT)  # [n + 1, 4, SHIFT]
    out = np.zeros((len(spectra) + blocks.shape[1] - 1, SHIFT), np.float32)
    for i in range(blocks.shape[1]):
        out[i : i + len(spectra)] += blocks[:, i]
    return out[1 : len(spectra)].ravel()


def tract_response(formants, bandwidths):
    """Cascade of resonators with formants and bandwidths [n, k] in Hz -> complex gain [n, FFT / 2 + 1], 1 at 0 Hz."""
    denominator = np.ones((len(formants), len(HERTZ)), np.complex64)
    factor = np.empty_like(denominator)
    for f, b in zip(formants.T[..., None], bandwidths.T[..., None], strict=True):
        size = f**2 + b**2 / 4
        factor.real = 1 - HERTZ**2 / size
        factor.imag = HERTZ * (b / size)
        denominator *= factor
    return 1 / denominator


def synthesize(rng, speaker, session, seconds):
    """One utterance as it was spoken -> float32 [T]."""
    phone, syllable = draw_phones(rng, seconds, speaker.rate * session.rate)
    n = len(phone)
    target = TARGETS[phone]  # [n, fields]
    # gestures of about 50 ms
    low = smooth(target[:, :3] * speaker.accent[phone], 7)
    low, high = low * speaker.tract[:3], (NEUTRAL[3:] * speaker.tract[3:])[None]  # [n, 3], [1, 4]
    # nasals and voiced closures swallow sound
    damping = smooth(target[:, 9], 3)[:, None]
    voice, breath, friction = smooth(target[:, 5:8], 3).T

    # pitch: accents of the syllables on a line that falls through each phrase
    accent = rng.normal(0, speaker.liveliness, syllable[-1] + 1)[syllable]
    pause = phone == NAMES.index("_")
    begins = np.flatnonzero(~pause & np.append(True, pause[:-1]))
    since = np.arange(n) - begins[np.maximum(np.searchsorted(begins, np.arange(n), "right") - 1, 0)]
    contour = smooth(accent + 0.12 - 0.16 * since * SHIFT / SAMPLE_RATE, 13)
    time, at = np.arange(n * SHIFT), np.arange(n) * SHIFT + SHIFT / 2
    pitch = speaker.pitch * session.pitch * np.exp(np.interp(time, at, contour))

    source = frames_of(glottis(rng, speaker, pitch, np.interp(time, at, voice)))  # [n + 1, bins]
    noise = frames_of(rng.standard_normal(n * SHIFT, dtype=np.float32))
    # frame i lies between blocks i - 1 and i
    both = np.append(np.arange(n), n - 1)
    source *= (1 / (1 + 1j * HERTZ / (speaker.tilt * session.tilt))).astype(np.complex64)
    source += (0.12 * breath[both, None]).astype(np.float32) * noise
    source *= tract_response(low[both], (60 + 0.035 * low[both]) * speaker.damping * damping[both])
    source *= tract_response(high, (60 + 0.035 * high) * speaker.damping)
    centre = np.minimum(target[both, 8, None] * speaker.hiss, 7400)
    hiss = (
        0.5
        * friction[both, None]
        / np.sqrt(1 + 4 * (HERTZ / centre - centre / np.maximum(HERTZ, 30)) ** 2)
    )
    return overlap_add(source + hiss.astype(np.float32) * noise)


def record(rng, session, speech):
    """Speech [T] through channel and room, with noise, at the session's level -> float32 [T], below full scale."""
    heard = overlap_add(frames_of(speech) * session.channel)
    heard = scipy.signal.oaconvolve(heard, session.room.astype(np.float32))[: len(speech)]
    noise = scipy.signal.lfilter([1], [1, -session.colour], rng.standard_normal(len(speech)))
    heard = heard / heard.std() + noise / noise.std() * 10 ** (-session.snr / 20)
    heard *= 10 ** (session.level / 20) / np.sqrt(np.mean(heard**2))
    return (heard * min(1, 0.95 / np.abs(heard).max())).astype(np.float32)
