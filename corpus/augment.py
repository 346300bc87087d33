"""Noise, music, babble and rooms for training crops: what is drawn for each, and the mixing, of one crop by numpy or of a batch by torch."""

from typing import NamedTuple

import numpy as np
import scipy.fft
import torch

from common.errors import InputError
from corpus.files import check_files
from corpus.roots import open_root

TINY = 1e-8
# bytes of spectra of impulse responses, in each process
CACHE = 64_000_000


class Plan(NamedTuple):
    """What a crop of T samples is mixed with. noises: [T] float32 each. snr: of each, in dB. rir: file of an impulse response. Empty: it stays as it is."""

    noises: list = []
    snr: list = []
    rir: str | None = None


class Spectra:
    """Those of the files used last, as many as fit into `most` bytes. make: file, samples of a crop -> spectrum."""

    def __init__(self, make, most):
        self.make, self.most, self.bytes, self.held = make, most, 0, {}

    def __call__(self, *key):
        if key not in self.held:
            self.held[key] = self.make(*key)
            self.bytes += self.held[key].nbytes
        # the one used last stands last
        spectrum = self.held[key] = self.held.pop(key)
        while self.bytes > self.most:
            self.bytes -= self.held.pop(next(iter(self.held))).nbytes
        return spectrum


def energy(x):
    # not np.dot, whose threads would make it depend on the machine
    return np.square(x).sum()


def fast_size(least):
    """Samples of a Fourier transform that is fast: powers of two with a small factor."""
    return 1024 * scipy.fft.next_fast_len(-(-least // 1024))


class Augment:
    """One of these with equal chances, as in voxceleb_trainer: nothing, reverberation, music, babble of 3 to 7 voices, noise.

    musan_path: {noise,speech,music}/*/*/*.wav (MUSAN, Snyder et al., arXiv:1510.08484, cut into pieces). rir_path: */*/*.wav (simulated
    impulse responses, Ko et al. 2017). Either may be a pack. InputError if files of a kind are missing or cannot be used.
    """

    # files, from .. to; SNR of each in dB, from .. to
    ADDED = {"music": (1, 1, 5, 15), "speech": (3, 7, 13, 20), "noise": (1, 1, 0, 15)}

    def __init__(self, musan_path, rir_path):
        wanted = {kind: ("musan_path", musan_path, f"{kind}/*/*/*.wav") for kind in self.ADDED}
        wanted["rir"] = ("rir_path", rir_path, "*/*/*.wav")
        self.roots, self.files = {}, {}
        for kind, (option, folder, pattern) in wanted.items():
            if not folder:
                raise InputError(
                    f"--augment: want --{option} FOLDER with files {pattern}; give it or leave out --augment"
                )
            self.roots[kind] = open_root(folder)
            self.files[kind] = self.roots[kind].glob(pattern)
            if not self.files[kind]:
                raise InputError(
                    f"--{option} {folder}: want files {pattern} in it, got none; choose the folder that holds them"
                )
            check_files(folder, self.files[kind], f"--{option} {folder}")
        self.spectrum = Spectra(self.make_spectrum, CACHE)

    def plan(self, length, rng):
        """What is mixed into a crop of so many samples; rng: np.random.Generator -> Plan."""
        kind = ("none", "rir", *self.ADDED)[rng.integers(2 + len(self.ADDED))]
        if kind == "none":
            return Plan()
        return Plan(rir=self.draw("rir", rng)) if kind == "rir" else self.added(kind, length, rng)

    def added(self, kind, length, rng):
        fewest, most, low, high = self.ADDED[kind]
        noises, snr = [], []
        for _ in range(rng.integers(fewest, most + 1)):
            with self.roots[kind].open(self.draw(kind, rng)) as audio:
                noises.append(audio.crop(length, rng))
            snr.append(rng.uniform(low, high))
        return Plan(noises, snr)

    def draw(self, kind, rng):
        return self.files[kind][rng.integers(len(self.files[kind]))]

    def mix(self, x, plan):
        """Mixes into x [T] float32, in place; it may become louder than 1. The noises of the plan are used up."""
        if plan.rir:
            spectrum = self.spectrum(plan.rir, len(x))
            size = 2 * len(spectrum) - 2
            x[:] = scipy.fft.irfft(scipy.fft.rfft(x, size) * spectrum, size)[: len(x)]
        speech = energy(x)
        for noise, snr in zip(plan.noises, plan.snr, strict=True):
            # digital silence stays silence
            ratio = speech / max(energy(noise), np.float32(TINY))
            noise *= np.sqrt(ratio * np.float32(10 ** (-snr / 10)))
            x += noise

    def response(self, name):
        with self.roots["rir"].open(name) as audio:
            return audio.read(0, audio.frames)

    def make_spectrum(self, name, length):
        rir = self.response(name)
        rir = (rir / np.sqrt(max(energy(rir), np.float32(TINY))))[:length]
        return scipy.fft.rfft(rir, fast_size(length + len(rir) - 1))

    def entries(self, plans, length):
        """The plans of N crops of so many samples -> what mixed() wants in a batch: noise [n, T] float32, snr [n] float32 of each and noise_row [n] int64,
        the crop that it belongs to; rir [r, R] float32, zeros at their ends, and rir_row [r] int64."""
        noises = [
            (noise, snr, row)
            for row, plan in enumerate(plans)
            for noise, snr in zip(plan.noises, plan.snr, strict=True)
        ]
        noise, snr, noise_row = zip(*noises, strict=True) if noises else ((), (), ())
        responses = {row: self.response(plan.rir) for row, plan in enumerate(plans) if plan.rir}
        rir = np.zeros((len(responses), max(map(len, responses.values()), default=0)), np.float32)
        for padded, response in zip(rir, responses.values(), strict=True):
            padded[: len(response)] = response
        return {
            "noise": np.array(noise, np.float32).reshape(-1, length),
            "snr": np.array(snr, np.float32),
            "noise_row": np.array(noise_row, np.int64),
            "rir": rir,
            "rir_row": np.array([*responses], np.int64),
        }


ENTRIES = ("noise", "snr", "noise_row", "rir", "rir_row", "tail")


def energies(x):
    """[..., T] -> [..., 1]."""
    return x.square().sum(-1, keepdim=True)


def mixed(batch):
    """A batch of TrainDataset with augment_later -> the same with crops as Augment.mix makes them, to rounding, and without ENTRIES; any other batch: as it is.

    tail [B, M, rest of T]: the part of the crops that random slicing has cut off x, and that counts in their energies all the same.
    """
    if "noise" not in batch:
        return batch
    noise, snr, noise_row, rir, rir_row, tail = (batch[name] for name in ENTRIES)
    x = torch.cat([batch["x"], tail], -1).flatten(0, 1)  # [N, T]
    length = x.shape[1]
    if len(rir):
        rir = (rir / energies(rir).clamp(min=TINY).sqrt())[:, :length]
        size = fast_size(length + rir.shape[1] - 1)
        x[rir_row] = torch.fft.irfft(
            torch.fft.rfft(x[rir_row], size) * torch.fft.rfft(rir, size), size
        )[:, :length]
    noise = (
        noise
        * (
            energies(x)[noise_row] / energies(noise).clamp(min=TINY) * 10 ** (-snr[:, None] / 10)
        ).sqrt()
    )
    owner = (
        torch.arange(len(x), device=x.device)[:, None] == noise_row
    )  # [N, n]: the sums as a product, which unlike index_add is the same every time
    x = (x + owner.float() @ noise).unflatten(0, batch["x"].shape[:2])
    return {name: value for name, value in batch.items() if name not in ENTRIES} | {
        "x": x[..., : batch["x"].shape[-1]]
    }
