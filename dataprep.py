"""Makes corpora and their lists. So far: synthetic speech, for a first look and for tests.

python dataprep.py --synthetic data/synthetic                      1,000 files of 40 training and 10 test speakers, lists beside them
python dataprep.py --synthetic data/sasv --speakers 20 --spoof     with spoofed copies and ASVspoof-style protocols   (--help: all options)
The same command again finishes what was interrupted, and never overwrites.
"""
import argparse
import json
import logging
import multiprocessing
import os
import signal
import sys
from itertools import combinations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.ndimage
import scipy.signal
import soundfile
from tqdm import tqdm

from DatasetLoader import InputError
from models._frontend import SAMPLE_RATE

log = logging.getLogger("dataprep")

# ---------------------------------------------------------------------- synthetic speech: source and filter (Fant 1960; Klatt 1980)
SHIFT = 128                        # samples between frames of the vocal tract, 8 ms
FFT = 512                          # frames of 2 SHIFT samples, the rest for the ringing of the filter
HERTZ = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE).astype(np.float32)
NEUTRAL = 1000 * np.arange(7) + 500                                           # resonances of a tube of 17.5 cm, Hz


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
    "i": Phone(342, 2322, 3000, 0.09, 0.22), "I": Phone(427, 2034, 2684, 0.07, 0.16), "E": Phone(580, 1799, 2605, 0.08, 0.19),
    "ae": Phone(588, 1952, 2601, 0.10, 0.24), "a": Phone(768, 1333, 2522, 0.10, 0.24), "o": Phone(652, 997, 2538, 0.10, 0.23),
    "U": Phone(469, 1122, 2434, 0.07, 0.16), "u": Phone(378, 997, 2343, 0.09, 0.22),
    # sonorants
    "m": Phone(280, 1000, 2300, 0.05, 0.10, 0.4, damping=2.5), "n": Phone(280, 1600, 2600, 0.05, 0.10, 0.4, damping=2.5),
    "l": Phone(360, 1100, 2700, 0.05, 0.09, 0.6), "r": Phone(420, 1250, 1650, 0.05, 0.09, 0.6), "j": Phone(290, 2250, 3000, 0.05, 0.09, 0.7),
    # fricatives
    "s": Phone(320, 1700, 2600, 0.07, 0.14, 0.0, 0.02, 0.30, 6200), "S": Phone(320, 1900, 2500, 0.07, 0.14, 0.0, 0.02, 0.35, 3400),
    "f": Phone(340, 1100, 2300, 0.06, 0.12, 0.0, 0.05, 0.06, 7000), "h": Phone(500, 1500, 2500, 0.04, 0.09, 0.05, 0.30),
    "z": Phone(300, 1700, 2600, 0.05, 0.10, 0.4, 0.0, 0.15, 6000), "v": Phone(300, 1100, 2300, 0.04, 0.08, 0.5, 0.0, 0.04, 7000),
    # stops: closure, burst and, where voiceless, aspiration
    "-": Phone(250, 1500, 2500, 0.04, 0.08, 0.0), "=": Phone(200, 1500, 2500, 0.03, 0.06, 0.12, damping=4),
    "p": Phone(350, 900, 2200, 0.009, 0.016, 0.0, 0.2, 0.10, 1200), "t": Phone(350, 1800, 2700, 0.009, 0.016, 0.0, 0.1, 0.50, 4500),
    "k": Phone(350, 2000, 2300, 0.009, 0.024, 0.0, 0.2, 0.40, 2100), "~": Phone(450, 1500, 2500, 0.016, 0.048, 0.0, 0.3),
    # silence
    "_": Phone(500, 1500, 2500, 0.05, 0.22, 0.0),
}
NAMES = list(PHONES)
TARGETS = np.array(list(PHONES.values()), dtype=np.float32)                   # [phones, fields]
VOWELS = NAMES[:8]
ONSETS = ["m", "n", "l", "r", "j", "s", "S", "f", "h", "z", "v", "-p~", "-t~", "-k~", "=p", "=t", "=k", "s-t", ""]
CODAS = ["", "", "", "n", "m", "l", "s", "-t", "-k"]


class Speaker(NamedTuple):
    """What stays the same from one recording to the next."""
    female: bool
    pitch: float                   # Hz, centre of the log of it
    liveliness: float              # standard deviation of log pitch between syllables
    tract: np.ndarray              # [7] factor of each formant
    accent: np.ndarray             # [phones, 3] factor of the formant targets of each phone
    damping: float                 # factor of the bandwidths
    hiss: float                    # factor of the centres of frication
    open_quotient: float           # share of a period in which the glottis is open
    skew: float                    # share of the open phase in which it is opening
    breathiness: float
    tilt: float                    # Hz, corner of the source's low pass
    jitter: float
    shimmer: float
    rate: float


class Session(NamedTuple):
    """What stays the same within a recording: mood of the speaker, microphone, room, noise."""
    pitch: float
    rate: float
    tilt: float
    channel: np.ndarray            # [FFT / 2 + 1] gain at each frequency
    room: np.ndarray               # impulse response
    snr: float                     # dB
    colour: float                  # pole of the noise
    level: float                   # dB re full scale


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
        rate=rng.uniform(0.8, 1.2))


def draw_session(rng):
    """Random recording conditions: equaliser of some dB, room of 0.1 to 0.4 s, noise at 20 to 40 dB."""
    octave = np.log2(np.maximum(HERTZ, 60) / 1000)
    decibel = rng.normal(0, 0.5) * octave
    for centre, gain in zip(rng.uniform(-2.5, 3, 4), rng.normal(0, 1.5, 4), strict=True):
        decibel += gain * np.exp(-0.5 * ((octave - centre) / 0.6) ** 2)
    time = np.arange(int(0.2 * SAMPLE_RATE)) / SAMPLE_RATE
    room = rng.standard_normal(len(time)) * np.exp(-6.9 * time / rng.uniform(0.1, 0.4))
    room *= np.sqrt(rng.uniform(0.01, 0.1) / np.sum(room**2))                  # energy of the reverberation re the direct sound
    room[0] = 1
    return Session(
        pitch=np.exp(rng.normal(0, 0.03)),
        rate=np.exp(rng.normal(0, 0.08)),
        tilt=np.exp(rng.normal(0, 0.12)),
        channel=(10 ** (decibel / 20)).astype(np.float32),
        room=room,
        snr=rng.uniform(20, 40),
        colour=rng.uniform(0.6, 0.98),
        level=rng.uniform(-32, -20))


def draw_phones(rng, seconds, rate):
    """Random syllables and pauses -> phone of each frame [n], syllable of each frame [n]; at least `seconds` long."""
    phones, syllables, length, count = ["_"], [0], 0, 0
    while length < 1.3 * seconds * rate:                                      # durations are drawn below; too many are cut
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
    frames = np.maximum(1, np.rint(rng.uniform(least, most) / rate * SAMPLE_RATE / SHIFT).astype(int))
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
    opening, closing = speaker.open_quotient * speaker.skew, speaker.open_quotient * (1 - speaker.skew)
    flow = np.where(phase < opening, 0.5 - 0.5 * np.cos(np.pi / opening * phase),
                    np.cos(np.pi / 2 / closing * np.clip(phase - opening, 0, closing)))
    noise = speaker.breathiness * rng.standard_normal(len(flow), dtype=np.float32) * flow              # air flows while the glottis is open
    strength = voice * (1 + rng.normal(0, speaker.shimmer, count + 1))[period]
    return strength * (np.diff(flow, prepend=flow[0]) * (SAMPLE_RATE / 1000) / np.sqrt(pitch / 100) + noise)


def frames_of(x):
    """Spectra of windowed frames of x [n * SHIFT] -> [n + 1, FFT / 2 + 1]. The windows add up to one."""
    x = np.pad(x, (SHIFT, SHIFT)).astype(np.float32)
    view = np.lib.stride_tricks.sliding_window_view(x, 2 * SHIFT)[::SHIFT]
    return scipy.fft.rfft(view * scipy.signal.windows.hann(2 * SHIFT, sym=False).astype(np.float32), FFT)


def overlap_add(spectra):
    """Inverse of frames_of with the ringing of filters added in: [n + 1, FFT / 2 + 1] -> [n * SHIFT]."""
    blocks = scipy.fft.irfft(spectra, FFT).reshape(len(spectra), -1, SHIFT)   # [n + 1, 4, SHIFT]
    out = np.zeros((len(spectra) + blocks.shape[1] - 1, SHIFT), np.float32)
    for i in range(blocks.shape[1]):
        out[i:i + len(spectra)] += blocks[:, i]
    return out[1:len(spectra)].ravel()


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
    target = TARGETS[phone]                                                   # [n, fields]
    low = smooth(target[:, :3] * speaker.accent[phone], 7)                    # gestures of about 50 ms
    low, high = low * speaker.tract[:3], (NEUTRAL[3:] * speaker.tract[3:])[None]            # [n, 3], [1, 4]
    damping = smooth(target[:, 9], 3)[:, None]                                # nasals and voiced closures swallow sound
    voice, breath, friction = smooth(target[:, 5:8], 3).T

    # pitch: accents of the syllables on a line that falls through each phrase
    accent = rng.normal(0, speaker.liveliness, syllable[-1] + 1)[syllable]
    pause = phone == NAMES.index("_")
    begins = np.flatnonzero(~pause & np.append(True, pause[:-1]))
    since = np.arange(n) - begins[np.maximum(np.searchsorted(begins, np.arange(n), "right") - 1, 0)]
    contour = smooth(accent + 0.12 - 0.16 * since * SHIFT / SAMPLE_RATE, 13)
    time, at = np.arange(n * SHIFT), np.arange(n) * SHIFT + SHIFT / 2
    pitch = speaker.pitch * session.pitch * np.exp(np.interp(time, at, contour))

    source = frames_of(glottis(rng, speaker, pitch, np.interp(time, at, voice)))            # [n + 1, bins]
    noise = frames_of(rng.standard_normal(n * SHIFT, dtype=np.float32))
    both = np.append(np.arange(n), n - 1)                                     # frame i lies between blocks i - 1 and i
    source *= (1 / (1 + 1j * HERTZ / (speaker.tilt * session.tilt))).astype(np.complex64)
    source += (0.12 * breath[both, None]).astype(np.float32) * noise
    source *= tract_response(low[both], (60 + 0.035 * low[both]) * speaker.damping * damping[both])
    source *= tract_response(high, (60 + 0.035 * high) * speaker.damping)
    centre = np.minimum(target[both, 8, None] * speaker.hiss, 7400)
    hiss = 0.5 * friction[both, None] / np.sqrt(1 + 4 * (HERTZ / centre - centre / np.maximum(HERTZ, 30)) ** 2)
    return overlap_add(source + hiss.astype(np.float32) * noise)


def record(rng, session, speech):
    """Speech [T] through channel and room, with noise, at the session's level -> float32 [T], below full scale."""
    heard = overlap_add(frames_of(speech) * session.channel)
    heard = scipy.signal.oaconvolve(heard, session.room.astype(np.float32))[:len(speech)]
    noise = scipy.signal.lfilter([1], [1, -session.colour], rng.standard_normal(len(speech)))
    heard = heard / heard.std() + noise / noise.std() * 10 ** (-session.snr / 20)
    heard *= 10 ** (session.level / 20) / np.sqrt(np.mean(heard**2))
    return (heard * min(1, 0.95 / np.abs(heard).max())).astype(np.float32)


# ---------------------------------------------------------------------- spoofed copies
def vocode(x, pitch, order=18):
    """Attack A01: a monotone vocoder. Envelopes by linear prediction from x [T], driven by pulses of constant pitch (Hz) -> [T]."""
    x = x[:len(x) // SHIFT * SHIFT]
    power = np.abs(frames_of(x)) ** 2
    r = scipy.fft.irfft(power, FFT)[:, :order + 1].astype(float)              # [n, order + 1] autocorrelation
    r[:, 0] = r[:, 0] * 1.0001 + 1e-9
    a, error = np.ones((len(r), 1)), r[:, 0]
    for i in range(1, order + 1):                                             # Levinson-Durbin, all frames at once
        k = -np.sum(a * r[:, i:0:-1], 1) / error
        a = np.pad(a, [(0, 0), (0, 1)])
        a = a + k[:, None] * a[:, ::-1]
        error = error * (1 - k**2)
    pulses = np.diff(np.floor(np.arange(len(x) + 1) * (pitch / SAMPLE_RATE)))
    excitation = frames_of(pulses)
    excitation[:, :2] = 0                                                     # no sound below 45 Hz
    energy = np.maximum(np.mean(np.abs(excitation) ** 2, 1), 1e-6)
    return overlap_add(excitation * np.sqrt(error / energy)[:, None] / scipy.fft.rfft(a, FFT))


def griffin_lim(rng, x, iterations=8):
    """Attack A02: x [T] rebuilt from its magnitude spectrogram alone, from random phases (Griffin & Lim 1984) -> [T]."""
    window = {"nperseg": FFT, "noverlap": FFT - SHIFT}
    magnitude = np.abs(scipy.signal.stft(x, **window)[2])
    phase = np.exp(2j * np.pi * rng.random(magnitude.shape))
    for _ in range(iterations):
        spectrum = scipy.signal.stft(scipy.signal.istft(magnitude * phase, **window)[1], **window)[2][:, :magnitude.shape[1]]
        phase = spectrum / np.maximum(np.abs(spectrum), 1e-12)
    return scipy.signal.istft(magnitude * phase, **window)[1][:len(x)]


# ---------------------------------------------------------------------- synthetic corpus: files, lists
class Options(NamedTuple):
    """What the corpus depends on. version: raise it when the same options would give other samples."""
    speakers: int
    files: int
    test_speakers: int
    trials: int
    seed: int
    spoof: bool
    version: int = 1


class File(NamedTuple):
    """One file of the corpus. speaker and recording count from 0, take from 0 within the recording."""
    speaker: int
    recording: int
    take: int
    attack: str = "-"

    @property
    def name(self):
        return f"id{10001 + self.speaker}"

    @property
    def path(self):
        prefix = "" if self.attack == "-" else f"{self.attack}_"
        return f"{self.name}/{prefix}rec{self.recording + 1:02d}/{self.take + 1:05d}.wav"

    def spoofed(self):
        """The spoofed copy of this file; both attacks in every recording of two takes or more."""
        return self._replace(attack="A01" if (self.recording + self.take) % 2 else "A02")


def is_female(speaker):
    return speaker % 2 == 1


def takes(files):
    """(recording, take) of a speaker's files: recordings of about four files, at least two recordings."""
    recordings = max(2, round(files / 4))
    return [(r, t) for r, indices in enumerate(np.array_split(np.arange(files), recordings)) for t in range(len(indices))]


def write_once(path, write):
    """write(temporary path), then rename: no file is ever there in part, none is overwritten. Does nothing where the file exists."""
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    write(part)
    part.replace(path)


def write_wav(path, x):
    samples = np.rint(x * 32767).astype(np.int16)
    write_once(path, lambda part: soundfile.write(part, samples, SAMPLE_RATE, subtype="PCM_16", format="WAV"))


def make_recording(job):
    """Writes the files of one recording (and their spoofed copies) that are not there yet -> number of files."""
    wav, options, files = job
    seed, who, recording = options.seed, files[0].speaker, files[0].recording
    speaker = draw_speaker(np.random.default_rng([seed, 0, who]), is_female(who))
    session = draw_session(np.random.default_rng([seed, 1, who, recording]))
    for file in files:
        rng = np.random.default_rng([seed, 2, *file[:3]])
        path = wav / file.path
        if not path.exists():
            write_wav(path, record(rng, session, synthesize(rng, speaker, session, rng.uniform(2, 4))))
        copy = file.spoofed()
        if options.spoof and not (wav / copy.path).exists():
            rng = np.random.default_rng([seed, 3, *file[:3]])
            x = soundfile.read(path, dtype="float32")[0]
            y = vocode(x, speaker.pitch) if copy.attack == "A01" else griffin_lim(rng, x)
            y *= x.std() / y.std()
            write_wav(wav / copy.path, y * min(1, 0.95 / np.abs(y).max()))
    return len(files)


def draw_pairs(rng, speakers, files, count):
    """At most `count` different combinations of a pair of speakers and a pair of (recording, take) -> list of (File, File)."""
    chosen = rng.choice(len(speakers) * len(files), min(count, len(speakers) * len(files)), replace=False)
    pairs = [(speakers[i // len(files)], files[i % len(files)]) for i in chosen]
    return [(File(s, *a), File(t, *b)) for (s, t), (a, b) in pairs]


def corpus_lists(options):
    """The lists of the corpus: {file name: lines}."""
    each = takes(options.files)
    train = range(options.speakers)
    test = range(options.speakers, options.speakers + options.test_speakers)
    rng = np.random.default_rng([options.seed, 4])
    across = [(a, b) for a, b in combinations(each, 2) if a[0] != b[0]]       # the same speaker, heard in another room
    alike = [(s, t) for s, t in combinations(test, 2) if is_female(s) == is_female(t)]
    pairs = [(1, *pair) for pair in draw_pairs(rng, [(s, s) for s in test], across, options.trials // 2)]
    pairs += [(0, *pair) for pair in draw_pairs(rng, alike, list(product(each, each)), options.trials - options.trials // 2)]
    lists = {
        "train_list.txt": [f"{file.name} {file.path}" for s in train for file in (File(s, *e) for e in each)],
        "trials.txt": [f"{label} {a.path} {b.path}" for label, a, b in (pairs[i] for i in rng.permutation(len(pairs)))],
    }
    if options.spoof:
        bonafide = {s: [File(s, *e) for e in each] for s in (*train, *test)}
        probes = {s: [file for file in bonafide[s] if file.recording] for s in test}        # the first recording is for enrolment
        lists["cm.train.trn.txt"] = [f"{f.name} {f.path} - {f.attack} {kind}" for s in train for kind, files in
                                     (("bonafide", bonafide[s]), ("spoof", [f.spoofed() for f in bonafide[s]])) for f in files]
        lists["asv.eval.trn.txt"] = [f"{File(s, 0, 0).name} {','.join(f.path for f in bonafide[s] if not f.recording)}" for s in test]
        lists["asv.eval.trl.txt"] = [f"{File(s, 0, 0).name} {f.path} {f.attack if f.attack != '-' else 'bonafide'} {kind}" for s in test for kind, files in (
            ("target", probes[s]), ("nontarget", [f for t in test if t != s and is_female(t) == is_female(s) for f in probes[t]]),
            ("spoof", [f.spoofed() for f in probes[s]])) for f in files]
    return lists


def claim(folder, options):
    """Says whether the corpus of these options is there already; otherwise marks the folder as being filled with it. InputError if it holds anything else."""
    done, begun = folder / "synthetic.json", folder / "synthetic.json.part"
    for path in (done, begun):
        if path.exists():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                raise InputError(f"{path}: want the options of a synthetic corpus in JSON; choose another folder, or remove this one") from None
            if found != options._asdict():
                differ = ", ".join(f"{k} {found.get(k) if isinstance(found, dict) else found} (now {v})" for k, v in options._asdict().items()
                                   if not isinstance(found, dict) or found.get(k) != v)
                raise InputError(f"{folder}: holds a synthetic corpus with other options: {differ}; choose another folder, or remove this one")
            return path == done
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: want a new or empty folder, got one with other files in it; choose another")
    write_once(begun, lambda part: part.write_text(json.dumps(options._asdict(), indent=1), encoding="utf-8"))
    return False


def make_synthetic(folder, options, processes=None):
    """Makes the corpus, or what is missing of it: folder/wav, lists, synthetic.json. The number of processes does not change it."""
    if claim(folder, options):
        log.info("%s: the corpus is there already", folder)
        return
    people, each = options.speakers + options.test_speakers, takes(options.files)
    jobs = [(folder / "wav", options, [File(s, *e) for e in each if e[0] == r]) for s in range(people) for r in range(each[-1][0] + 1)]
    total = people * options.files
    processes = processes or (os.cpu_count() if total >= 200 else 1)
    with tqdm(total=total, unit="file", desc="synthesise", disable=None) as bar:
        if processes == 1:
            for job in jobs:
                bar.update(make_recording(job))
        else:
            with multiprocessing.Pool(processes, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool:
                for count in pool.imap_unordered(make_recording, jobs, chunksize=4):
                    bar.update(count)
    lists = corpus_lists(options)
    for name, lines in lists.items():
        text = "".join(f"{line}\n" for line in lines)
        write_once(folder / name, lambda part, text=text: part.write_text(text, encoding="utf-8"))
    (folder / "synthetic.json.part").replace(folder / "synthetic.json")
    targets = sum(line.startswith("1") for line in lists["trials.txt"])
    log.info("%s: %d training and %d test speakers, %s files in wav/, %s target and %s non-target trials; lists: %s", folder, options.speakers,
             options.test_speakers, f"{total * (1 + options.spoof):,}", f"{targets:,}", f"{len(lists['trials.txt']) - targets:,}", ", ".join(lists))


# ---------------------------------------------------------------------- command
def integer(least):
    """An argparse type: whole numbers from `least` on."""
    def convert(text):
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"want a whole number of at least {least}, got '{text}'")
        return int(text)
    return convert


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    mode = parser.add_argument_group("what to make").add_mutually_exclusive_group(required=True)
    mode.add_argument("--synthetic", metavar="DIR", type=Path, help="synthetic speech in DIR/wav, lists in DIR")
    group = parser.add_argument_group("--synthetic")
    group.add_argument("--speakers", type=integer(1), default=40, metavar="N", help="training speakers (%(default)s)")
    group.add_argument("--files", type=integer(2), default=20, metavar="N", help="files of each speaker, 2 to 4 s, about four a recording (%(default)s)")
    group.add_argument("--test_speakers", type=integer(3), default=10, metavar="N", help="speakers of the trials, other than the training ones (%(default)s)")
    group.add_argument("--trials", type=integer(2), default=2000, metavar="N",
                       help="trials, half target, across recordings, half non-target, same sex; fewer where there are not as many (%(default)s)")
    group.add_argument("--seed", type=integer(0), default=0, metavar="N", help="another seed, other speech (%(default)s)")
    group.add_argument("--spoof", action="store_true", help="adds a spoofed copy of each file (A01 monotone vocoder, A02 Griffin-Lim) and ASVspoof protocols")
    parser.add_argument("--processes", type=integer(1), metavar="N", help="worker processes (all cores)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    options = Options(args.speakers, args.files, args.test_speakers, args.trials, args.seed, args.spoof)
    try:
        make_synthetic(args.synthetic, options, args.processes)
    except (InputError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        log.info("stopped; the same command goes on from here")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
