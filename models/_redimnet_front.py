"""The front ends of ReDimNet: log-mel features of a normalised wave."""

import dataclasses

import torch
from torch import nn
from torch.nn import functional as F

from common.constants import HOP, N_FFT, SAMPLE_RATE, WINDOW
from models._frontend import (
    NORMS,
    flipped_filter,
    powers,
    pre_emphasise,
    sasv2_front_end,
    spec_augment,
)
from models._kaldi import WESPEAKER, KaldiFilterBanks

BINS = N_FFT // 2
LOWEST = 20.0
HIGHEST = 7600.0
# Limits of powers and of bands.
FLOOR = 1e-8
CEILING = 1e8
# Zeros before and after the wave.
MARGIN = 80


class MelOfBins(nn.Module):
    """The front end "tf": triangles that are linear in mel, and one bin less than usual.

    The frames are WINDOW samples and not centred, so T samples give 1 + (T - 240) // hop frames.
    """

    def __init__(self, n_mels: int, hop: int = HOP, augment: bool = False) -> None:
        super().__init__()
        self.hop = hop
        self.augment = augment
        # The window is at the beginning of the frame.
        window = F.pad(torch.hamming_window(WINDOW, periodic=False), (0, N_FFT - WINDOW))
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("filters", bands_of_bins(n_mels), persistent=False)
        self.register_buffer("flipped_filter", flipped_filter(), persistent=False)

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to features [N, n_mels, T']."""
        with torch.autocast(x.device.type, enabled=False):
            x = pre_emphasise(x.float(), self.flipped_filter)
            # The zeros behind the last frame let its transform be as long as all others.
            x = F.pad(x, (MARGIN, MARGIN + N_FFT - WINDOW))
            x = powers(x, self.window, center=False, hop=self.hop)[:, :BINS]  # [N, 256, T']
            x = (self.filters @ x.clamp(FLOOR, CEILING)).clamp(FLOOR, CEILING) + FLOOR
            x = NORMS["mean"](x.log())
            return spec_augment(x) if self.augment and self.training else x


def bands_of_bins(n_mels: int) -> torch.Tensor:
    """Returns the weights of the bins 0 to 255 in each band, [n_mels, 256].

    The published program takes bin 255 for half of the sampling rate, and bin 0 has no weight.
    """
    frequency = torch.linspace(0.0, SAMPLE_RATE / 2, BINS, dtype=torch.float64)
    limits = torch.tensor([LOWEST, HIGHEST], dtype=torch.float64)
    low, high = mels(limits).tolist()
    edges = torch.linspace(low, high, n_mels + 2, dtype=torch.float64)
    of_bin = mels(frequency)
    centre = edges[1:-1, None]
    rising = (of_bin - edges[:-2, None]) / (centre - edges[:-2, None])
    falling = (edges[2:, None] - of_bin) / (edges[2:, None] - centre)
    weights = torch.minimum(rising, falling).clamp(min=0.0)  # [n_mels, 256]
    weights[:, 0] = 0.0
    return weights.float()


def mels(frequency: torch.Tensor) -> torch.Tensor:
    """Returns frequencies in Hz on the mel scale of HTK."""
    return 2595.0 * torch.log10(1.0 + frequency / 700.0)


# Added to the deviation of the wave, by front end.
EPS = {"pt": 1e-6, "tf": 1e-8, "kaldi": 1e-6}


@torch.no_grad()
def normalised_wave(x: torch.Tensor, eps: float) -> torch.Tensor:
    """Returns waves [N, T] with mean 0 and deviation 1, in float32. eps: added to the deviation."""
    variance, mean = torch.var_mean(x.float(), -1, correction=0, keepdim=True)
    return (x - mean) / (variance.sqrt() + eps)


def front_end(kind: str, n_mels: int, hop: int, augment: bool) -> nn.Module:
    """Returns the module from waves [N, T] to features [N, n_mels, T'].

    kind: "pt", "tf" or "kaldi". hop: samples between two frames. augment: apply SpecAugment during
    training.
    """
    if kind == "kaldi":
        options = dataclasses.replace(WESPEAKER, n_mels=n_mels, spec_augment=augment)
        return KaldiFilterBanks(options)
    if kind == "tf":
        return MelOfBins(n_mels, hop, augment)
    return sasv2_front_end(n_mels, hop=hop, augment=augment)
