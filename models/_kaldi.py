"""Filter banks of Kaldi, and the choice between the two kinds of front end (--fbank).

    self.torchfb = front_end(FbankOptions())
    features = self.torchfb(x)

torchaudio.compliance.kaldi.fbank has the same filter banks for one wave (Kaldi: Povey et al.,
ASRU 2011).
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from common.constants import HOP, N_FFT, SAMPLE_RATE, WINDOW
from models._compilation import not_compiled
from models._frontend import NORMS, PRE_EMPHASIS, WINDOWS, FrontEnd, spec_augment
from models._published import OF_3D_SPEAKER, OF_WESPEAKER, WHOLE_FILES, Published

LOWEST = 20.0
# Least power of a band: the resolution of float32 at 1.
FLOOR = 2.0**-23
# Pre-emphasis leaves this part of a constant.
KEPT = 1 - PRE_EMPHASIS


@dataclass(frozen=True)
class FbankOptions:
    """n_mels: mel bands of the input
    fbank: front end: filter banks as in Kaldi, or a mel spectrogram as in voxceleb_trainer
    window: analysis window (3D-Speaker: povey, wespeaker: hamming)
    wave_scale: factor of the samples (3D-Speaker: 1, wespeaker: 32768)
    dither: deviation of the noise that is added to the scaled samples during training (wespeaker: 1
        with --wave_scale 32768)
    spec_augment: set random frames and mel bands of training inputs to zero (SpecAugment)

    The defaults are the values of 3D-Speaker. A model may have other defaults.
    """

    n_mels: int = 80
    fbank: Literal["kaldi", "mel"] = "kaldi"
    window: Literal["hamming", "hann", "povey"] = "povey"
    wave_scale: float = 1.0
    dither: float = 0.0
    spec_augment: bool = False


# The options that may differ from the options of the checkpoint.
TRAINING_OPTIONS = ("dither", "spec_augment")
SPEAKER_3D = FbankOptions()
WESPEAKER = FbankOptions(window="hamming", wave_scale=32768.0)
# The front ends of the projects whose published weights do not contain one.
FRONT_ENDS = {OF_WESPEAKER: WESPEAKER, OF_3D_SPEAKER: SPEAKER_3D}


def of_toolkit(project: str, options: dict[str, Any]) -> Published:
    """Returns the description of published weights with the front end of their project.

    project: one of FRONT_ENDS. options: options of the model that the weights decide.
    """
    front = FRONT_ENDS[project]
    assumed = {"window": front.window, "wave_scale": front.wave_scale, **WHOLE_FILES}
    return Published(project, options, assumed)


def front_end(options: FbankOptions) -> nn.Module:
    """Returns the front end of a model: a map from waves [N, T] to features [N, n_mels, T'].

    Raises ValueError for a dither that is negative, or that a mel spectrogram would ignore.
    """
    if options.fbank == "kaldi":
        return KaldiFilterBanks(options)
    if options.dither:
        raise ValueError(
            f"--dither: expected 0 with --fbank mel, found {options.dither:g}. Use --fbank kaldi."
        )
    return FrontEnd(
        options.n_mels,
        window=options.window,
        norm="mean",
        scale=options.wave_scale,
        augment=options.spec_augment,
    )


class KaldiFilterBanks(nn.Module):
    """Logarithms of mel powers, 25 ms windows every 10 ms.

    norm: normalisation of each band over time, one of NORMS.

    The first window starts at the first sample, and the last one ends within the wave. A wave that
    is shorter than a window is padded with zeros to one window. In each window the mean is
    subtracted before the pre-emphasis, which starts anew. The module has no state, because
    published checkpoints do not store any.
    """

    def __init__(self, options: FbankOptions, *, norm: str = "mean") -> None:
        super().__init__()
        if options.dither < 0:
            raise ValueError(f"--dither: expected at least 0, found {options.dither:g}.")
        self.norm = norm
        self.scale = options.wave_scale
        self.dither = options.dither
        self.augment = options.spec_augment
        window = WINDOWS[options.window](WINDOW, periodic=False, dtype=torch.float64)
        # The transform sees N_FFT samples, and the window is 0 behind the first WINDOW ones.
        window = F.pad(window, (0, N_FFT - WINDOW))
        constant = KEPT * torch.fft.rfft(window)
        buffers = {
            "window": window,
            # Spectrum of a constant wave of ones after pre-emphasis, [2, 257, 1].
            "constant": torch.view_as_real(constant).t().unsqueeze(-1),
            "filters": kaldi_filters(options.n_mels),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.float().contiguous(), persistent=False)
        # The other windows begin with 0.
        self.sees_first = options.window == "hamming"

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to features [N, n_mels, 1 + (T - 400) // 160]."""
        with torch.autocast(x.device.type, enabled=False):
            x = x.float() * self.scale
            if self.dither and self.training:
                x = x + self.dither * draw_like(x)
            x = F.pad(x, (0, max(0, WINDOW - x.shape[1])))
            x = (self.filters @ self.powers(x)).clamp(min=FLOOR).log()  # [N, n_mels, T']
            x = NORMS[self.norm](x)
            return spec_augment(x) if self.augment and self.training else x

    # torch.compile does not support complex numbers.
    @not_compiled
    def powers(self, x: torch.Tensor) -> torch.Tensor:
        """Returns squared magnitudes of the spectrum of waves [N, T], [N, 257, T'].

        A window of x minus its mean m, with pre-emphasis y, is the same window of the emphasised
        wave in which m is subtracted from the spectrum. Only the first sample differs: y[0] is
        x[0] - 0.97 x[0], the emphasised wave has x[0] - 0.97 x[-1]. So one transform of the whole
        wave is enough, and the windows are never copied.
        """
        mean = F.avg_pool1d(x.unsqueeze(1), WINDOW, HOP)  # [N, 1, T']
        before = torch.cat([x[:, :1], x[:, :-1]], 1)
        emphasised = F.pad(x - PRE_EMPHASIS * before, (0, N_FFT - WINDOW))
        y = torch.stft(emphasised, N_FFT, HOP, N_FFT, self.window, False, return_complex=True)
        real = y.real - mean * self.constant[0]
        imaginary = y.imag - mean * self.constant[1]
        if self.sees_first:
            # The transform of a first sample alone is the same real number in every bin.
            jump = (before - x)[:, ::HOP][:, : mean.shape[-1]]
            real = real + PRE_EMPHASIS * self.window[0] * jump.unsqueeze(1)
        return real.square() + imaginary.square()


# The CPU draws, so that a seed gives the same numbers everywhere.
@not_compiled
def draw_like(x: torch.Tensor) -> torch.Tensor:
    """Returns normally distributed random numbers in the shape of x, on its device."""
    return torch.randn(x.shape).to(x.device, non_blocking=True)


def kaldi_filters(n_mels: int) -> torch.Tensor:
    """Returns the weights of the bins in each band, [n_mels, 257] in float64.

    The bands are triangles on the mel scale, from LOWEST to half the sample rate. The last bin
    belongs to none of them.
    """
    bins = torch.arange(N_FFT // 2, dtype=torch.float64) * SAMPLE_RATE / N_FFT
    mels = 1127 * (1 + bins / 700).log()  # [256]
    ends = [1127 * math.log(1 + hertz / 700) for hertz in (LOWEST, SAMPLE_RATE / 2)]
    points = torch.linspace(*ends, n_mels + 2, dtype=torch.float64).unsqueeze(1)
    up = (mels - points[:-2]) / (points[1:-1] - points[:-2])
    down = (points[2:] - mels) / (points[2:] - points[1:-1])
    return F.pad(torch.minimum(up, down).clamp(min=0), (0, 1))
