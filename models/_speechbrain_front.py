"""The front end of SpeechBrain's ECAPA-TDNN: mel powers in decibels."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from common.constants import HOP, SAMPLE_RATE, WINDOW
from models._compilation import not_compiled
from models._frontend import NORMS, spec_augment

# Least power, and the distance between the loudest and the softest value of an utterance in dB.
FLOOR = 1e-10
RANGE = 80.0


class DecibelFilterBanks(nn.Module):
    """Mel powers in decibels, 25 ms windows every 10 ms, minus their mean over time.

    The module has no state, because published checkpoints do not store any.
    """

    def __init__(self, n_mels: int, *, augment: bool = False) -> None:
        super().__init__()
        self.augment = augment
        self.register_buffer("window", torch.hamming_window(WINDOW), persistent=False)
        self.register_buffer("filters", symmetric_triangles(n_mels), persistent=False)

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to features [N, n_mels, 1 + T // HOP]."""
        with torch.autocast(x.device.type, enabled=False):
            x = self.filters @ zero_padded_powers(x.float(), self.window)  # [N, n_mels, T']
            x = 10 * x.clamp(min=FLOOR).log10()
            x = torch.maximum(x, x.amax((1, 2), keepdim=True) - RANGE)
            x = NORMS["mean"](x)
            return spec_augment(x) if self.augment and self.training else x


# torch.compile does not support complex numbers.
@not_compiled
def zero_padded_powers(x: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Returns squared magnitudes of the spectrum of waves [N, T], [N, 201, 1 + T // HOP].

    Each window is centred on its sample. The wave is padded with zeros.
    """
    x = F.pad(x, (WINDOW // 2, WINDOW // 2))
    x = torch.stft(x, WINDOW, HOP, WINDOW, window, False, return_complex=True)
    return x.real.square() + x.imag.square()


def symmetric_triangles(n_mels: int) -> torch.Tensor:
    """Returns the weights of the bins in each band, [n_mels, 201].

    The centres are equally spaced in mel, from 0 Hz to half the sample rate. Each triangle is
    symmetric in Hz. Its half width is the distance to the centre below (kept from SpeechBrain).
    """
    highest = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    mels = torch.linspace(0, highest, n_mels + 2, dtype=torch.float64)
    hertz = 700 * (10 ** (mels / 2595) - 1)
    bins = torch.linspace(0, SAMPLE_RATE / 2, WINDOW // 2 + 1, dtype=torch.float64)  # [201]
    centres = hertz[1:-1].unsqueeze(1)
    widths = (hertz[1:-1] - hertz[:-2]).unsqueeze(1)
    return (1 - (bins - centres).abs() / widths).clamp(min=0).float()
