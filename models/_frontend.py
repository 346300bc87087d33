"""Mel front ends of all the models, and SpecAugment (Park et al., arXiv:1904.08779).

    self.torchfb = FrontEnd(n_mels=40, norm="instance")
    features = self.torchfb(x)

The attribute has the name that published checkpoints use. The features of waves [N, T] are
[N, n_mels, 1 + T // HOP], in float32 and without gradient.
"""

from typing import Any

import torch
import torchaudio
from torch import nn
from torch.nn import functional as F

from common.constants import HOP, N_FFT, SAMPLE_RATE, WINDOW
from common.normalisation import normalise
from models._compilation import not_compiled

PRE_EMPHASIS = 0.97
# Longest masks of SASV2, in frames and in bands.
LONGEST_TIME_MASK = 9
LONGEST_MEL_MASK = 7


def povey_window(size: int, periodic: bool = True, **options: Any) -> torch.Tensor:
    """Returns the window of Kaldi: the Hann window to the power 0.85, [size]."""
    return torch.hann_window(size, periodic, **options).pow(0.85)


WINDOWS = {
    "hamming": torch.hamming_window,
    "hann": torch.hann_window,
    "povey": povey_window,
}
# Normalisation over time: mean 0 and deviation 1, mean 0, or none.
NORMS = {
    "instance": F.instance_norm,
    "mean": lambda x: x - x.mean(-1, keepdim=True),
    "none": lambda x: x,
}


class FrontEnd(torchaudio.transforms.MelSpectrogram):
    """Power mel spectrogram, 25 ms windows every 10 ms, normalised over time.

    window: one of WINDOWS. log: use the natural logarithm of the powers. norm: normalisation
    of each band over time, one of NORMS. scale: factor of the samples. augment: apply SpecAugment
    during training. hop: samples between two frames.
    """

    def __init__(
        self,
        n_mels: int = 40,
        *,
        f_min: float = 0.0,
        f_max: float = SAMPLE_RATE / 2,
        window: str = "hamming",
        pre_emphasis: bool = False,
        log: bool = True,
        norm: str = "instance",
        scale: float = 1.0,
        augment: bool = False,
        hop: int = HOP,
    ) -> None:
        super().__init__(
            SAMPLE_RATE,
            n_fft=N_FFT,
            win_length=WINDOW,
            hop_length=hop,
            f_min=f_min,
            f_max=f_max,
            n_mels=n_mels,
            window_fn=WINDOWS[window],
            power=None,
        )
        self.log = log
        self.norm = norm
        self.scale = scale
        self.augment = augment
        # A buffer, because published checkpoints store it.
        self.register_buffer("flipped_filter", flipped_filter() if pre_emphasis else None)

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to features [N, n_mels, 1 + T // hop]."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float() * self.scale
            if self.flipped_filter is not None:
                x = pre_emphasise(x, self.flipped_filter)
            x = powers(x, self.spectrogram.window, hop=self.hop_length)
            x = self.mel_scale(x) + 1e-6  # [N, n_mels, T']
            if self.log:
                x = x.log()
            x = NORMS[self.norm](x)
            return spec_augment(x) if self.augment and self.training else x


def sasv2_front_end(n_mels: int, *, norm: str = "mean", **options: Any) -> FrontEnd:
    """Returns the front end of all the models of the SASV 2022 baseline."""
    return FrontEnd(n_mels, f_min=20.0, f_max=7600.0, pre_emphasis=True, norm=norm, **options)


class LogBeforeMel(nn.Module):
    """The front end of the authors of MFA-Conformer.

    Slaney's mel bands are weighted means of log magnitudes, not logarithms of weighted means.
    """

    def __init__(self, n_mels: int = 80, *, norm: str = "instance", augment: bool = False) -> None:
        super().__init__()
        self.norm = norm
        self.augment = augment
        mel = torchaudio.functional.melscale_fbanks(
            N_FFT // 2 + 1,
            0.0,
            SAMPLE_RATE / 2,
            n_mels,
            SAMPLE_RATE,
            norm="slaney",
            mel_scale="slaney",
        )
        # Buffers, because published checkpoints store them.
        self.register_buffer("flipped_filter", flipped_filter())
        self.register_buffer("window", torch.hamming_window(WINDOW))
        self.register_buffer("mel_basis", mel.t().contiguous())  # [n_mels, 257]

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to features [N, n_mels, 1 + T // HOP]."""
        with torch.autocast(x.device.type, enabled=False):
            x = pre_emphasise(x.float(), self.flipped_filter)
            x = powers(x, self.window).sqrt()  # [N, 257, T']
            x = NORMS[self.norm](self.mel_basis @ (x + 1e-9).log())  # [N, n_mels, T']
            return spec_augment(x) if self.augment and self.training else x


class MFSC(nn.Module):
    """Spectral coefficients of double multi-head attention.

    It maps waves [N, T] to [N, 1 + (T - N_FFT) // HOP, n_mels], in float32 and without gradient.
    normalization: normalisation of each band over time, see normalise().
    """

    def __init__(self, n_mels: int, *, normalization: str) -> None:
        super().__init__()
        self.normalization = normalization
        # The buffers are not in the state dict, because published checkpoints do not store them.
        self.register_buffer("window", torch.hamming_window(WINDOW), persistent=False)
        filters = torchaudio.functional.melscale_fbanks(
            N_FFT // 2 + 1, 0.0, SAMPLE_RATE / 2, n_mels, SAMPLE_RATE, norm=None, mel_scale="slaney"
        )
        self.register_buffer("filters", filters, persistent=False)  # [257, n_mels]

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            # Magnitudes below 1 are cut off, so the scale of 16 bits matters.
            x = F.pad(x.float() * 32768.0, (1, 0), "replicate")
            x = x[:, 1:] - PRE_EMPHASIS * x[:, :-1]
            # At least one frame.
            x = F.pad(x, (0, max(0, N_FFT - x.shape[1])))
            x = powers(x, self.window, center=False).sqrt().transpose(1, 2)  # [N, T', 257]
            x = (x @ self.filters).clamp(min=1.0).log()  # [N, T', n_mels]
            return normalise(x, self.normalization)


# torch.compile does not support complex numbers.
@not_compiled
def powers(
    x: torch.Tensor, window: torch.Tensor, center: bool = True, hop: int = HOP
) -> torch.Tensor:
    """Returns squared magnitudes of the spectrum of waves [N, T], [N, 257, T'].

    There is a window every `hop` samples. With `center` the window is centred on its sample,
    otherwise it starts there.
    """
    x = torch.stft(x, N_FFT, hop, len(window), window, center, return_complex=True)
    # abs() is five times slower.
    return x.real.square() + x.imag.square()


def flipped_filter() -> torch.Tensor:
    """Returns the filter of the pre-emphasis as the weight of a convolution, [1, 1, 2]."""
    return torch.tensor([[[-PRE_EMPHASIS, 1.0]]])


def pre_emphasise(x: torch.Tensor, flipped_filter: torch.Tensor) -> torch.Tensor:
    """Returns x[t] - 0.97 x[t - 1] of waves [N, T]. The sample before the first is the second."""
    return F.conv1d(F.pad(x.unsqueeze(1), (1, 0), "reflect"), flipped_filter).squeeze(1)


# The CPU draws the random numbers, which torch.compile does not support.
@not_compiled
def spec_augment(
    x: torch.Tensor,
    longest_time: int = LONGEST_TIME_MASK,
    longest_mel: int = LONGEST_MEL_MASK,
) -> torch.Tensor:
    """Sets a run of frames and a run of bands of every row of features [N, n_mels, T] to 0.

    The lengths are uniform from 0. The CPU draws on every device, so that a seed gives the same
    draws everywhere.
    """
    for axis, longest in ((2, longest_time), (1, longest_mel)):
        size = x.shape[axis]
        length = torch.randint(longest + 1, (len(x), 1))  # [N, 1]
        start = torch.randint(max(1, size - int(length.max())), (len(x), 1))
        place = torch.arange(size)
        mask = (place >= start) & (place < start + length)  # [N, size]
        x = x.masked_fill(mask.to(x.device, non_blocking=True).unsqueeze(3 - axis), 0.0)
    return x
