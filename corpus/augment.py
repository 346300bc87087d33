"""Noise, music, babble and rooms for training crops."""
import numpy as np
import scipy.fft

from corpus import InputError
from corpus.files import check_files
from corpus.roots import open_root

TINY = np.float32(1e-8)


def energy(x):
    return np.square(x).sum()                                            # not np.dot, whose threads would make it depend on the machine


class Augment:
    """One of these with equal chances, as in voxceleb_trainer: nothing, reverberation, music, babble of 3 to 7 voices, noise.

    musan_path: {noise,speech,music}/*/*/*.wav (MUSAN, Snyder et al., arXiv:1510.08484, cut into pieces). rir_path: */*/*.wav (simulated
    impulse responses, Ko et al. 2017). Either may be a pack. InputError if files of a kind are missing or cannot be used.
    """
    ADDED = {"music": (1, 1, 5, 15), "speech": (3, 7, 13, 20), "noise": (1, 1, 0, 15)}   # files, from .. to; SNR of each in dB, from .. to

    def __init__(self, musan_path, rir_path):
        wanted = {kind: ("musan_path", musan_path, f"{kind}/*/*/*.wav") for kind in self.ADDED}
        wanted["rir"] = ("rir_path", rir_path, "*/*/*.wav")
        self.roots, self.files = {}, {}
        for kind, (option, folder, pattern) in wanted.items():
            if not folder:
                raise InputError(f"--augment: want --{option} FOLDER with files {pattern}; give it or leave out --augment")
            self.roots[kind] = open_root(folder)
            self.files[kind] = self.roots[kind].glob(pattern)
            if not self.files[kind]:
                raise InputError(f"--{option} {folder}: want files {pattern} in it, got none; choose the folder that holds them")
            check_files(folder, self.files[kind], f"--{option} {folder}")

    def __call__(self, x, rng):
        """x [T] float32, rng: np.random.Generator -> [T] float32, louder than 1 at times."""
        kind = ("none", "rir", *self.ADDED)[rng.integers(2 + len(self.ADDED))]
        if kind == "none":
            return x
        return self.reverberate(x, rng) if kind == "rir" else self.add(x, kind, rng)

    def reverberate(self, x, rng):
        with self.roots["rir"].open(self.draw("rir", rng)) as audio:
            rir = audio.read(0, audio.frames)
        rir = (rir / np.sqrt(max(energy(rir), TINY)))[:len(x)]
        size = scipy.fft.next_fast_len(len(x) + len(rir) - 1, real=True)
        return scipy.fft.irfft(scipy.fft.rfft(x, size) * scipy.fft.rfft(rir, size), size)[:len(x)]

    def add(self, x, kind, rng):
        fewest, most, low, high = self.ADDED[kind]
        out = x.copy()
        for _ in range(rng.integers(fewest, most + 1)):
            with self.roots[kind].open(self.draw(kind, rng)) as audio:
                noise = audio.crop(len(x), rng)
            ratio = energy(x) / max(energy(noise), TINY)                 # digital silence stays silence
            out += np.sqrt(ratio * np.float32(10 ** (-rng.uniform(low, high) / 10))) * noise
        return out

    def draw(self, kind, rng):
        return self.files[kind][rng.integers(len(self.files[kind]))]
