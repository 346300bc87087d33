"""From lists and audio files to batches: list readers, audio, augmentation, data sets, the sampler of speakers, loaders.

Crops and noises are drawn from (seed, epoch, row of the list), so that batches depend neither on the number of workers nor on where a
run resumes. Crop lengths and evaluation crops are those of voxceleb_trainer (Chung et al. 2020, arXiv:2003.11982).
"""
import glob
import io
import itertools
import logging
import math
import os
import re
import signal
import struct
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import scipy.fft
import scipy.signal
import soundfile
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from models._frontend import HOP, SAMPLE_RATE, WINDOW

log = logging.getLogger(__name__)
HEADERS_CHECKED = 20_000
GRACE = 10                                                               # seconds that a worker lives on after SIGTERM
TINY = np.float32(1e-8)
EVAL_SAMPLES = 4_000_000                                                 # most samples in a batch of evaluation: 250 s


class InputError(ValueError):
    """What the user gave cannot be used: the message says where, what is wanted, what was got and what to do."""


# ---------------------------------------------------------------------- lists
class Utterance(NamedTuple):
    """speed: the factor by which tempo and pitch are raised, see speed_copies."""
    speaker: str
    path: str
    speed: float = 1.0


class Trials(NamedTuple):
    """Trial i compares reference models[enrol[i]], a tuple of enrolment files, with the file files[test[i]].

    lines: the trials as they stand in the list; enrol, test: int64 [n]; label: bool [n], True = target, or None if there are none.
    """
    lines: list
    models: list
    files: list
    enrol: np.ndarray
    test: np.ndarray
    label: np.ndarray | None = None

    def paths(self):
        """Every file of the trials, once."""
        return list(dict.fromkeys(itertools.chain(*self.models, self.files)))

    @classmethod
    def of_pairs(cls, pairs, lines=None, label=None):
        """(enrolment file, test file) of every trial -> Trials."""
        models, files = {}, {}
        enrol = np.array([models.setdefault(a, len(models)) for a, _ in pairs])
        test = np.array([files.setdefault(b, len(files)) for _, b in pairs])
        return cls(lines or [f"{a} {b}" for a, b in pairs], [(a,) for a in models], list(files), enrol, test, label)


def read_rows(list_file, kinds):
    """A list -> (kind, lines, words of each line). kinds: what a line looks like, for users -> do these words look like it?

    The first line chooses the kind, every other line must be of it. Blank lines may only end the file.
    """
    with open(list_file, "rb") as file:
        data = file.read()
    try:
        lines = [line.strip() for line in data.decode("utf-8-sig").rstrip().split("\n")]
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{list_file}:{number}: want text in UTF-8, got the byte {data[error.start]:#04x}; save it as UTF-8") from None
    if lines == [""]:
        raise InputError(f"{list_file}: is empty; want lines {' or '.join(map(repr, kinds))}")
    rows = [line.split() for line in lines]
    kinds = {kind: fits for kind, fits in kinds.items() if fits(rows[0])} or kinds
    fits = next(iter(kinds.values()))
    for number, words in enumerate(rows, 1):
        if not fits(words):
            raise InputError(f"{list_file}:{number}: want {' or '.join(map(repr, kinds))}, got {lines[number - 1]!r}")
    return next(iter(kinds)), lines, rows


TRAIN_KINDS = {"<speaker> <file>": lambda words: len(words) == 2}
TRIAL_KINDS = {"1|0 <file> <file>": lambda words: len(words) == 3 and words[0] in ("0", "1"),
               "<file> <file>": lambda words: len(words) == 2}
FILE_KINDS = {"<file>": lambda words: len(words) == 1} | TRAIN_KINDS


def read_train_list(list_file):
    """Lines '<speaker> <file>' -> list of Utterance; a file that is on the list twice is an InputError."""
    _, _, rows = read_rows(list_file, TRAIN_KINDS)
    names, first = {}, {}
    utterances = [Utterance(names.setdefault(speaker, speaker), path) for speaker, path in rows]     # one string per speaker
    for number, (speaker, path, _) in enumerate(utterances, 1):
        before = first.setdefault(path, number)
        if before != number:
            raise InputError(f"{list_file}:{number}: {path} of speaker {speaker} is in line {before} already, of speaker "
                             f"{utterances[before - 1].speaker}; remove one of them")
    return utterances


def read_trials(list_file):
    """Lines '1|0 <file> <file>', 1 = same speaker, or '<file> <file>' without labels -> Trials."""
    kind, lines, rows = read_rows(list_file, TRIAL_KINDS)
    if kind == "<file> <file>":
        return Trials.of_pairs(rows, lines)
    label = np.array([words[0] == "1" for words in rows])
    if label.all() or not label.any():
        raise InputError(f"{list_file}: want target (1) and non-target (0) trials, got {len(label)} with {rows[0][0]} alone; add the "
                         "others, or leave out the labels to get scores without metrics")
    return Trials.of_pairs([words[1:] for words in rows], lines, label)


def read_file_list(list_file):
    """Lines '<file>', or a train list -> its files, each once."""
    _, _, rows = read_rows(list_file, FILE_KINDS)
    return list(dict.fromkeys(words[-1] for words in rows))


def classes_of(utterances):
    """Utterances -> {speaker: class}, classes counted from 0 in the sorted order of the names."""
    return {name: i for i, name in enumerate(sorted({u.speaker for u in utterances}))}


def speed_copies(utterances, factors):
    """Adds a copy of all utterances at every speed: another pitch and tempo make another speaker, named 'id@0.9' (Yamamoto et al. 2019)."""
    if len({1.0, *factors}) <= len(factors):
        raise InputError(f"--speed_factors: want different speeds other than 1, got {' '.join(f'{f:g}' for f in factors)}")
    return [*utterances, *(u._replace(speaker=f"{u.speaker}@{f:g}", speed=f) for f in factors for u in utterances)]


def check_files(root, paths, list_file):
    """InputError unless all files are there and the headers of all, or of 20,000 spread over the list, tell of audio that can be used."""
    paths = list(dict.fromkeys(paths))
    missing = [path for path in paths if not os.path.isfile(os.path.join(root, path))]
    if missing:
        raise InputError(f"{list_file}: {len(missing)} of {len(paths)} files are missing in {root or 'the current folder'}; correct the "
                         f"folder or the list: {', '.join(missing[:10])}{', ...' if len(missing) > 10 else ''}")
    bad = []
    for i in np.linspace(0, len(paths) - 1, min(len(paths), HEADERS_CHECKED)).astype(int):
        try:
            with Audio(os.path.join(root, paths[i])) as audio:
                audio.read(audio.frames - 1, 1)                          # only this tells that the end of a FLAC file is missing
        except InputError as error:
            bad.append(error)
    if bad:
        raise InputError(f"{bad[0]}{f' (the first of {len(bad)} such files of {list_file})' if len(bad) > 1 else ''}")


# ---------------------------------------------------------------------- audio
FORMAT = struct.pack("<HHIIHH", 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)      # PCM, channels, rate, bytes/s, bytes a sample, bits


def find_pcm16(head, size):
    """Beginning of a file of `size` bytes -> (first byte, number of its samples) if it is a complete 16 kHz mono 16-bit WAV, else None."""
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return None
    at, form = 12, b""
    while at + 8 <= len(head):
        name, length = head[at:at + 4], int.from_bytes(head[at + 4:at + 8], "little")
        at += 8
        if name == b"data":
            return (at, length // 2) if form == FORMAT and length > 1 and at + length <= size else None
        if name == b"fmt ":
            form = head[at:at + 16]
        at += length + length % 2
    return None


class Audio:
    """An open file of 16 kHz mono audio, `frames` samples long; any stretch of it is read without the rest.

    Plain 16-bit WAV is read directly, several times faster than by libsndfile and to the same bits; everything else goes to libsndfile.
    InputError if the file cannot be used.
    """

    def __init__(self, path):
        self.path, self.sound, self.floating = path, None, False
        try:
            self.file = io.FileIO(path)
        except OSError as error:
            raise InputError(f"{path}: cannot be opened: {error.strerror}") from None
        if found := find_pcm16(self.file.read(4096), os.fstat(self.file.fileno()).st_size):
            self.first_byte, self.frames = found
        else:
            self.file.close()
            self.open_by_libsndfile()

    def open_by_libsndfile(self):
        convert = f"convert it: ffmpeg -i {self.path} -ar {SAMPLE_RATE} -ac 1 OUT.wav"
        try:
            self.sound = sound = soundfile.SoundFile(self.path)
        except (soundfile.LibsndfileError, TypeError) as error:          # TypeError: a name that ends in .raw
            raise InputError(f"{self.path}: cannot be read as audio ({error}); {convert}") from None
        self.frames, self.floating = sound.frames, sound.subtype in ("FLOAT", "DOUBLE")
        if (sound.samplerate, sound.channels) != (SAMPLE_RATE, 1):
            got = f"{sound.samplerate} Hz, {sound.channels} channel{'s' * (sound.channels > 1)}"
            raise InputError(f"{self.path}: want {SAMPLE_RATE} Hz, 1 channel, got {got}; {convert}")
        # libsndfile shortens a truncated WAV without a word; a length from 0x7ffff000 on comes from writing to a pipe and tells nothing
        cut = re.search(r"^data : (\d+) \(should be (\d+)\)", sound.extra_info, re.M)
        if cut and int(cut[2]) < int(cut[1]) < 0x7FFFF000:
            raise InputError(f"{self.path}: truncated: its header promises {cut[1]} bytes of samples, got {cut[2]}; copy it again")
        if not self.frames:
            raise InputError(f"{self.path}: is empty, without samples; take it off the list")
        if self.frames >= 1 << 48:
            raise InputError(f"{self.path}: its header does not tell its length; {convert}")

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
                raw = os.pread(self.file.fileno(), 2 * count, self.first_byte + 2 * start)
                x = np.frombuffer(raw, "<i2", len(raw) // 2) * np.float32(1 / 32768)
        except (OSError, soundfile.LibsndfileError):
            x = ()
        if len(x) != count:
            raise InputError(f"{self.path}: truncated or damaged: samples {start} to {start + count} of {self.frames} cannot be read; "
                             "copy it again")
        if self.floating and not np.isfinite(x).all():
            raise InputError(f"{self.path}: sample {start + int(np.isfinite(x).argmin())} is not finite (NaN or infinity); make it again")
        return x

    def crop(self, length, rng, fill="repeat"):
        """A stretch drawn at random -> [length] float32; fill: of FILLS, for a short file."""
        start = int(rng.random() * (max(self.frames - length, 0) + 1))
        return FILLS[fill](self.read(start, min(length, self.frames)), length + 1)[:length]


def repeat(x, length):
    """[n] -> [length], repeated as often as needed."""
    return x if len(x) == length else np.resize(x, length)


def surround(x, length):
    """[n] -> [length], or one less, by equally many zeros on both sides."""
    return np.pad(x, max(0, length - len(x)) // 2)


FILLS = {"repeat": repeat, "zeros": surround}                            # how a file that is shorter than a crop is made one
CROP_MARGIN = WINDOW - HOP                                               # samples beyond frames * HOP that complete the last window


# ---------------------------------------------------------------------- augmentation
def energy(x):
    return np.square(x).sum()                                            # not np.dot, whose threads would make it depend on the machine


class Augment:
    """One of these with equal chances, as in voxceleb_trainer: nothing, reverberation, music, babble of 3 to 7 voices, noise.

    musan_path: {noise,speech,music}/*/*/*.wav (MUSAN, Snyder et al., arXiv:1510.08484, cut into pieces). rir_path: */*/*.wav (simulated
    impulse responses, Ko et al. 2017). InputError if files of a kind are missing or cannot be used.
    """
    ADDED = {"music": (1, 1, 5, 15), "speech": (3, 7, 13, 20), "noise": (1, 1, 0, 15)}   # files, from .. to; SNR of each in dB, from .. to

    def __init__(self, musan_path, rir_path):
        wanted = {kind: ("musan_path", musan_path, f"{kind}/*/*/*.wav") for kind in self.ADDED}
        wanted["rir"] = ("rir_path", rir_path, "*/*/*.wav")
        self.files = {}
        for kind, (option, folder, pattern) in wanted.items():
            if not folder:
                raise InputError(f"--augment: want --{option} FOLDER with files {pattern}; give it or leave out --augment")
            self.files[kind] = sorted(glob.glob(os.path.join(glob.escape(folder), pattern)))
            if not self.files[kind]:
                raise InputError(f"--{option} {folder}: want files {pattern} in it, got none; choose the folder that holds them")
            check_files("", self.files[kind], f"--{option} {folder}")

    def __call__(self, x, rng):
        """x [T] float32, rng: np.random.Generator -> [T] float32, louder than 1 at times."""
        kind = ("none", "rir", *self.ADDED)[rng.integers(2 + len(self.ADDED))]
        if kind == "none":
            return x
        return self.reverberate(x, rng) if kind == "rir" else self.add(x, kind, rng)

    def reverberate(self, x, rng):
        with Audio(self.draw("rir", rng)) as audio:
            rir = audio.read(0, audio.frames)
        rir = (rir / np.sqrt(max(energy(rir), TINY)))[:len(x)]
        size = scipy.fft.next_fast_len(len(x) + len(rir) - 1, real=True)
        return scipy.fft.irfft(scipy.fft.rfft(x, size) * scipy.fft.rfft(rir, size), size)[:len(x)]

    def add(self, x, kind, rng):
        fewest, most, low, high = self.ADDED[kind]
        out = x.copy()
        for _ in range(rng.integers(fewest, most + 1)):
            with Audio(self.draw(kind, rng)) as audio:
                noise = audio.crop(len(x), rng)
            ratio = energy(x) / max(energy(noise), TINY)                 # digital silence stays silence
            out += np.sqrt(ratio * np.float32(10 ** (-rng.uniform(low, high) / 10))) * noise
        return out

    def draw(self, kind, rng):
        return self.files[kind][rng.integers(len(self.files[kind]))]


# ---------------------------------------------------------------------- training batches
class TrainDataset(Dataset):
    """Item (epoch, groups), groups B lists of M rows of the list -> a whole batch:
    x [B, M, T] float32, label [B] int64, spoof [B] bool, index [B, M] int64 (the rows)."""

    def __init__(self, utterances, root, *, max_frames, seed, augment=None, crop_margin=CROP_MARGIN, short_files="repeat"):
        classes = classes_of(utterances)
        self.utterances, self.root, self.seed, self.augment, self.fill = utterances, root, seed, augment, short_files
        self.length = max_frames * HOP + crop_margin
        self.label = np.array([classes[u.speaker] for u in utterances])

    def __len__(self):
        return len(self.utterances)

    def __getitem__(self, item):
        epoch, groups = item
        index = np.array(groups)                                                                     # [B, M]
        x = np.empty((*index.shape, self.length), np.float32)                                        # [B, M, T]
        try:
            for row, i in zip(x.reshape(-1, self.length), index.flat, strict=True):
                row[:] = self.example(self.utterances[i], np.random.default_rng((self.seed, epoch, i)))
        except InputError as error:                                      # for batches() to raise: a worker would wrap it in a traceback
            return error
        return {"x": torch.from_numpy(x), "label": torch.from_numpy(self.label[index[:, 0]]),
                "spoof": torch.zeros(len(index), dtype=torch.bool), "index": torch.from_numpy(index)}

    def example(self, utterance, rng):
        """One crop, at its speed, perhaps with noise -> [T] float32."""
        ratio = 1 if utterance.speed == 1 else Fraction(utterance.speed).limit_denominator(100)
        with Audio(os.path.join(self.root, utterance.path)) as audio:
            x = audio.crop(math.ceil(self.length * ratio), rng, self.fill)
        if ratio != 1:
            x = scipy.signal.resample_poly(x, ratio.denominator, ratio.numerator)[:self.length]
        return self.augment(x, rng) if self.augment else x


class GroupSampler(Sampler):
    """Batches of batch_size groups, each of nPerSpeaker utterances of one speaker, no speaker twice in a batch; item: (epoch, rows [B][M]).

    An epoch has no utterance twice, at most max_seg_per_spk of a speaker, and as many full batches as these rules allow: the same number
    every epoch. InputError if that is none.
    """

    def __init__(self, utterances, *, batch_size, nPerSpeaker, max_seg_per_spk, seed):
        classes = classes_of(utterances)
        self.speaker = np.array([classes[u.speaker] for u in utterances])
        self.count = np.bincount(self.speaker)                                                       # [speakers]
        self.groups = np.minimum(self.count, max_seg_per_spk) // nPerSpeaker                         # [speakers]
        self.batch_size, self.nPerSpeaker, self.seed = batch_size, nPerSpeaker, seed
        usable = np.count_nonzero(self.groups)
        if not usable:
            most = min(self.count.max(), max_seg_per_spk)
            raise InputError(f"--nPerSpeaker {nPerSpeaker}: want speakers with so many utterances, got at most {most} "
                             f"(--max_seg_per_spk {max_seg_per_spk}); lower --nPerSpeaker")
        if usable < batch_size:
            raise InputError(f"--batch_size {batch_size}: want so many speakers with {nPerSpeaker} utterances (--nPerSpeaker) or more, got "
                             f"{usable} of {len(classes)} speakers; lower --batch_size to {usable} or less")
        if usable < len(classes):
            log.warning("warning: left out: %d of %d speakers, who have fewer than %d utterances (--nPerSpeaker)", len(classes) - usable,
                        len(classes), nPerSpeaker)
        # K batches can be filled if and only if the speakers, with at most K groups each, have K * batch_size groups
        low, high = 1, self.groups.sum() // batch_size
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if np.minimum(self.groups, middle).sum() >= middle * batch_size else (low, middle - 1)
        self.batches = int(low)
        self.set_epoch(1)

    def set_epoch(self, epoch, skip=0):
        """Chooses the epoch that the next iteration goes through, and how many of its batches are done already."""
        self.epoch, self.skip = epoch, skip

    def __len__(self):
        return self.batches

    def __iter__(self):
        rng = np.random.default_rng((self.seed, self.epoch, len(self.speaker)))     # other than any row's, see TrainDataset
        for batch in self.table(rng)[self.skip:]:
            yield self.epoch, batch.tolist()

    def table(self, rng):
        """All rows of the epoch, [K, B, M]."""
        k, b, m = self.batches, self.batch_size, self.nPerSpeaker
        files = np.lexsort((rng.random(len(self.speaker)), self.speaker))                            # by speaker, each one's shuffled
        begin = np.cumsum(self.count) - self.count                                                   # first of each speaker in `files`
        offered = np.repeat(np.arange(len(self.count)), np.minimum(self.groups, k))                  # speaker of each group
        taken = np.bincount(rng.choice(offered, k * b, replace=False), minlength=len(self.count))    # groups of each speaker
        order = rng.permutation(len(self.count))
        speaker = np.repeat(order, taken[order])                                                     # [K * B], each one's side by side
        nth = np.arange(k * b) - np.repeat(np.cumsum(taken[order]) - taken[order], taken[order])     # 0, 1, ... within the speaker
        rows = files[(begin[speaker] + m * nth)[:, None] + np.arange(m)]                             # [K * B, M]
        # Column by column, K groups in a row go to the K batches. A speaker has at most K of them, which lie in one column or in two
        # neighbours: those in the second go to batches that the speaker is not yet in.
        batch = np.empty(k * b, np.int64)                                                            # of each group
        for first in range(0, k * b, k):
            begun = batch[first - nth[first]:first]                                                  # where who goes on here is already
            going_on = taken[speaker[first]] - nth[first] if nth[first] else 0
            own = rng.permutation(np.setdiff1d(np.arange(k), begun))[:going_on]
            batch[first:first + k] = np.concatenate([own, rng.permutation(np.setdiff1d(np.arange(k), own))])
        table = np.empty((k, b), np.int64)
        table[batch, np.arange(k * b) // k] = np.arange(k * b)
        return rows[rng.permuted(table, axis=1)]                                                     # [K, B, M]


# ---------------------------------------------------------------------- evaluation batches
class EvalDataset(Dataset):
    """Item -> (numbers of n files, x [n, K, T] float32), the files of equally long input, EVAL_SAMPLES at most; each file is in one item.

    eval_frames > 0: num_eval crops of so many frames, evenly spaced, as voxceleb_trainer makes them; 0: the whole file, K = 1.
    """

    def __init__(self, paths, root, *, eval_frames, num_eval, crop_margin=CROP_MARGIN, short_files="repeat"):
        self.paths, self.root, self.fill = paths, root, short_files
        self.crops = num_eval if eval_frames else 1
        self.length = eval_frames * HOP + crop_margin if eval_frames else None
        lengths = np.full(len(paths), self.length) if eval_frames else np.array([self.whole_length(i) for i in range(len(paths))])
        self.items = []
        for length in np.unique(lengths):
            files = np.flatnonzero(lengths == length)
            size = max(EVAL_SAMPLES // (length * self.crops), 1)
            self.items += [files[i:i + size].tolist() for i in range(0, len(files), size)]

    def __len__(self):
        return len(self.items)

    def __getitem__(self, item):
        try:
            return self.items[item], torch.from_numpy(np.stack([self.read(i) for i in self.items[item]]))
        except InputError as error:                                      # see TrainDataset
            return error

    def open(self, i):
        return Audio(os.path.join(self.root, self.paths[i]))

    def whole_length(self, i):
        with self.open(i) as audio:
            return max(audio.frames, WINDOW)                             # the front end wants a window at least

    def read(self, i):
        """File number i -> [K, T] float32."""
        with self.open(i) as audio:
            x = audio.read(0, audio.frames)
        if self.length is None:
            return repeat(x, max(len(x), WINDOW))[None]
        if len(x) <= self.length:
            x = FILLS[self.fill](x, self.length + 1)                     # references have one more than the crop; kept
        return np.stack([x[s:s + self.length] for s in np.linspace(0, len(x) - self.length, self.crops).astype(int)])


# ---------------------------------------------------------------------- loaders
def in_worker(_):
    """A signal is often sent to all processes: it is for the main one, which wants workers to the end of its step. They leave a while later
    but they do leave: a Python that ends while workers run sends them SIGTERM and waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    torch.set_num_threads(1)


def train_loader(dataset, sampler, *, workers, pin_memory=False):
    """Loader of training batches, to be gone through by batches(). Workers outlive an epoch: its number is in the sampler's items."""
    return DataLoader(dataset, batch_size=None, sampler=sampler, num_workers=workers, persistent_workers=workers > 0, pin_memory=pin_memory,
                      worker_init_fn=in_worker, generator=torch.Generator())


def eval_loader(dataset, *, workers):
    """Loader of evaluation batches, to be gone through by batches()."""
    return DataLoader(dataset, batch_size=None, num_workers=min(workers, len(dataset)), worker_init_fn=in_worker,
                      generator=torch.Generator())


def batches(loader):
    """The batches of a loader; an InputError met while making one is raised here, in the main process."""
    for batch in loader:
        if isinstance(batch, InputError):
            raise batch
        yield batch
