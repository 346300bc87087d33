"""Noise, music, babble and rooms for training crops.

Augment draws a plan for each crop: the noises or the room. NumPy applies the plan to a single crop
(Augment.mix), or torch applies the plans to all crops of a batch on the network's device (mixed).
"""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.fft
import torch

from common.errors import InputError
from corpus.files import check_files
from corpus.roots import Folder, Pack, open_root

# Least energy that the program divides by.
TINY = 1e-8
# Share of crops that voxceleb_trainer changes.
USUAL_SHARE = 0.8
# Bytes of spectra of impulse responses that each process keeps.
CACHE_BYTES = 64_000_000


class NoiseKind(NamedTuple):
    """Ranges of the number of files that are mixed, and of their signal-to-noise ratios in dB."""

    fewest: int
    most: int
    lowest_snr: float
    highest_snr: float


class Plan(NamedTuple):
    """What is added to a crop of T samples. An empty plan leaves the crop unchanged.

    noises: float32 [T] each. snr: signal-to-noise ratio of each noise in dB. rir: file of an
    impulse response.
    """

    noises: Sequence[np.ndarray] = ()
    snr: Sequence[float] = ()
    rir: str | None = None


class SpectrumCache:
    """The spectra that were used last.

    make: a function of the key, which computes a spectrum. max_bytes: size of all spectra that are
    kept.
    """

    def __init__(self, make: Callable[..., np.ndarray], max_bytes: int):
        self.make = make
        self.max_bytes = max_bytes
        self.bytes = 0
        # The spectrum that was used last is the last item.
        self.spectra: dict[tuple, np.ndarray] = {}

    def __call__(self, *key) -> np.ndarray:
        if key not in self.spectra:
            self.spectra[key] = self.make(*key)
            self.bytes += self.spectra[key].nbytes
        spectrum = self.spectra.pop(key)
        self.spectra[key] = spectrum
        while self.bytes > self.max_bytes:
            oldest = next(iter(self.spectra))
            self.bytes -= self.spectra.pop(oldest).nbytes
        return spectrum


def energy(x: np.ndarray) -> np.floating:
    """Returns the sum of the squares of x [T]."""
    # np.dot uses several threads, so its result depends on the machine.
    return np.square(x).sum()


def fast_size(least: int) -> int:
    """Returns a size of at least `least` samples at which the Fourier transform is fast.

    The size is a multiple of 1024 with small prime factors.
    """
    return 1024 * scipy.fft.next_fast_len(-(-least // 1024))


class Augment:
    """Augments a crop in one of five ways, with equal chances by default, as voxceleb_trainer does.

    The ways are: nothing, reverberation, music, babble of 3 to 7 voices, noise. share: the share of
    crops that are changed.

    musan_path: a folder with {noise,speech,music}/*/*/*.wav (MUSAN, Snyder et al.,
    arXiv:1510.08484, cut into pieces). rir_path: a folder with */*/*.wav (simulated impulse
    responses, Ko et al. 2017). Each of them may also be a pack.

    Raises InputError if files of a kind are missing or cannot be used.
    """

    # The ranges of voxceleb_trainer.
    NOISE_KINDS = {
        "music": NoiseKind(fewest=1, most=1, lowest_snr=5, highest_snr=15),
        "speech": NoiseKind(fewest=3, most=7, lowest_snr=13, highest_snr=20),
        "noise": NoiseKind(fewest=1, most=1, lowest_snr=0, highest_snr=15),
    }

    def __init__(self, musan_path: str | None, rir_path: str | None, share: float = USUAL_SHARE):
        self.share = share
        self.roots: dict[str, Folder | Pack] = {}
        self.files: dict[str, list[str]] = {}
        for kind in self.NOISE_KINDS:
            self._find_files(kind, "musan_path", musan_path, f"{kind}/*/*/*.wav")
        self._find_files("rir", "rir_path", rir_path, "*/*/*.wav")
        self.spectrum = SpectrumCache(self.make_spectrum, CACHE_BYTES)

    def _find_files(self, kind: str, option: str, folder: str | None, pattern: str) -> None:
        """Finds and checks the files of one kind below the folder of an option."""
        if not folder:
            raise InputError(
                f"--augment: expected --{option} DIR with files {pattern}. Add --{option} DIR, or "
                "remove --augment."
            )
        if not os.path.isdir(folder):
            raise InputError(
                f"--{option} {folder}: this folder does not exist. Expected a folder with files "
                f"{pattern}. Correct --{option}, or remove --augment."
            )
        self.roots[kind] = open_root(folder)
        self.files[kind] = self.roots[kind].glob(pattern)
        if not self.files[kind]:
            raise InputError(
                f"--{option} {folder}: expected files {pattern} in this folder, found none. "
                f"Correct --{option}."
            )
        check_files(folder, self.files[kind], f"--{option} {folder}", root_option=f"--{option}")

    def plan(self, length: int, rng: np.random.Generator) -> Plan:
        """Draws what is added to a crop of `length` samples."""
        ways = ("none", "rir", *self.NOISE_KINDS)
        way = ways[rng.integers(len(ways))]
        # Only another share needs more draws, so that the usual share keeps its draws.
        if self.share != USUAL_SHARE:
            changing = ways[1:]
            changes = rng.random() < self.share
            way = changing[rng.integers(len(changing))] if changes else "none"
        if way == "none":
            return Plan()
        if way == "rir":
            return Plan(rir=self.draw_file("rir", rng))
        return self.draw_noises(way, length, rng)

    def draw_noises(self, kind: str, length: int, rng: np.random.Generator) -> Plan:
        """Draws noises of one kind, and a signal-to-noise ratio for each."""
        fewest, most, lowest_snr, highest_snr = self.NOISE_KINDS[kind]
        noises = []
        snr = []
        for _ in range(rng.integers(fewest, most + 1)):
            with self.roots[kind].open(self.draw_file(kind, rng)) as audio:
                noises.append(audio.crop(length, rng))
            snr.append(rng.uniform(lowest_snr, highest_snr))
        return Plan(noises, snr)

    def draw_file(self, kind: str, rng: np.random.Generator) -> str:
        """Draws the name of a file of one kind."""
        return self.files[kind][rng.integers(len(self.files[kind]))]

    def mix(self, x: np.ndarray, plan: Plan) -> None:
        """Mixes a plan into x [T] float32, in place. The result may be louder than 1.

        The noises of the plan are changed, so a plan can be used only once.
        """
        if plan.rir:
            spectrum = self.spectrum(plan.rir, len(x))
            size = 2 * len(spectrum) - 2
            x[:] = scipy.fft.irfft(scipy.fft.rfft(x, size) * spectrum, size)[: len(x)]
        speech = energy(x)
        for noise, snr in zip(plan.noises, plan.snr, strict=True):
            # Digital silence as noise has no energy and stays silence.
            ratio = speech / max(energy(noise), np.float32(TINY))
            noise *= np.sqrt(ratio * np.float32(10 ** (-snr / 10)))
            x += noise

    def response(self, name: str) -> np.ndarray:
        """Reads an impulse response -> float32 [R]."""
        with self.roots["rir"].open(name) as audio:
            return audio.read(0, audio.frames)

    def make_spectrum(self, name: str, length: int) -> np.ndarray:
        """Returns the spectrum of an impulse response of energy 1, for crops of `length`."""
        rir = self.response(name)
        rir = (rir / np.sqrt(max(energy(rir), np.float32(TINY))))[:length]
        return scipy.fft.rfft(rir, fast_size(length + len(rir) - 1))

    def entries(self, plans: Sequence[Plan], length: int) -> dict[str, np.ndarray]:
        """Returns the plans of N crops of `length` samples as entries of a batch, for mixed().

        noise [n, T] float32, snr [n] float32 and noise_row [n] int64: the noises, the ratio of
        each, and the crop that each is added to. rir [r, R] float32, padded with zeros, and rir_row
        [r] int64: the impulse responses, and the crop that each is applied to.
        """
        noises: list[np.ndarray] = []
        snr: list[float] = []
        noise_row: list[int] = []
        responses: dict[int, np.ndarray] = {}
        for row, plan in enumerate(plans):
            noises += plan.noises
            snr += plan.snr
            noise_row += [row] * len(plan.noises)
            if plan.rir:
                responses[row] = self.response(plan.rir)
        longest = max((len(response) for response in responses.values()), default=0)
        rir = np.zeros((len(responses), longest), np.float32)
        for padded_response, response in zip(rir, responses.values(), strict=True):
            padded_response[: len(response)] = response
        return {
            "noise": np.array(noises, np.float32).reshape(-1, length),
            "snr": np.array(snr, np.float32),
            "noise_row": np.array(noise_row, np.int64),
            "rir": rir,
            "rir_row": np.array([*responses], np.int64),
        }


# Entries of a batch that mixed() uses up: the results of Augment.entries(), and the tail.
ENTRIES = ("noise", "snr", "noise_row", "rir", "rir_row", "tail")


def energies(x: torch.Tensor) -> torch.Tensor:
    """Returns the sums of the squares over time: [..., T] -> [..., 1]."""
    return x.square().sum(-1, keepdim=True)


def mixed(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Mixes the entries of a batch that TrainDataset made with augment_later into its crops.

    Returns a batch without ENTRIES. The crops equal the results of Augment.mix up to rounding. A
    batch without noise entries is returned unchanged.

    tail [B, M, rest of T]: the part of the crops that random slicing has cut off x. The energies of
    the crops include it.
    """
    if "noise" not in batch:
        return batch
    noise, snr, noise_row, rir, rir_row, tail = (batch[name] for name in ENTRIES)
    x = torch.cat([batch["x"], tail], -1).flatten(0, 1)  # [N, T]
    if len(rir):
        x[rir_row] = reverberated(x[rir_row], rir)
    ratio = energies(x)[noise_row] / energies(noise).clamp(min=TINY)
    noise = noise * (ratio * 10 ** (-snr[:, None] / 10)).sqrt()
    # The noises of each crop are summed by a matrix product. Its result is always the same, which
    # the result of index_add is not.
    crops = torch.arange(len(x), device=x.device)
    is_noise_of_crop = crops[:, None] == noise_row  # [N, n]
    x = (x + is_noise_of_crop.float() @ noise).unflatten(0, batch["x"].shape[:2])
    result = {name: value for name, value in batch.items() if name not in ENTRIES}
    result["x"] = x[..., : batch["x"].shape[-1]]
    return result


def reverberated(x: torch.Tensor, rir: torch.Tensor) -> torch.Tensor:
    """Convolves crops x [r, T] with impulse responses rir [r, R] of energy 1 -> [r, T]."""
    length = x.shape[1]
    rir = (rir / energies(rir).clamp(min=TINY).sqrt())[:, :length]
    size = fast_size(length + rir.shape[1] - 1)
    spectrum = torch.fft.rfft(x, size) * torch.fft.rfft(rir, size)
    return torch.fft.irfft(spectrum, size)[:, :length]
