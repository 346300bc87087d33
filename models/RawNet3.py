"""RawNet3 (Jung et al., arXiv:2203.08488) on waveforms, as in voxceleb_trainer.

It has 16.3 million parameters.

    python trainSpeakerNet.py --model RawNet3 --sinc_stride 10 ...
"""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from common.constants import SAMPLE_RATE
from models import Backbone
from models._frontend import flipped_filter, pre_emphasise
from models._res2net import Res2Net
from pooling import PoolingMaker

FILTERS = 256
TAPS = 251
# Edges of the bands at the beginning of training, in Hz.
LOWEST = 30.0
HIGHEST = 7900.0
# Least lower edge and least width of a band, in Hz.
NARROWEST = 50.0
# Channels that are pooled, whatever eca_c.
POOLED = 1536
# Groups of channels in a Res2Net block.
SCALE = 8


class PreEmphasis(nn.Module):
    """Pre-emphasis of waves: [N, T] -> [N, 1, T]."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("flipped_filter", flipped_filter())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return pre_emphasise(x, self.flipped_filter).unsqueeze(1)  # [N, 1, T]


class SincBank(nn.Module):
    """Analytic filters between learned frequencies (Pariente et al., arXiv:1910.10400).

    There are 128 band passes, then the same bands a quarter of a period later. The bank maps waves
    [N, 1, T] to [N, 256, (T - 251) // stride + 1].
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        mel = np.linspace(_mel(LOWEST), _mel(HIGHEST), FILTERS // 2 + 1, dtype=np.float32)
        # numpy, because torch rounds in another way, and the logarithms amplify the difference.
        hz = torch.from_numpy(700 * (10 ** (mel / 2595) - 1))
        self.low_hz_ = nn.Parameter(hz[:-1, None].clone())  # [128, 1]
        self.band_hz_ = nn.Parameter(hz.diff()[:, None])  # [128, 1]
        # Number of taps before the one in the middle.
        half = TAPS // 2
        window = torch.hamming_window(TAPS, periodic=False, dtype=torch.float64)
        self.register_buffer("window_", window[:half].float())
        # 2 pi t, [1, 125].
        self.register_buffer("n_", 2 * math.pi * (torch.arange(-half, 0.0)[None] / SAMPLE_RATE))

    def filters(self) -> torch.Tensor:
        """Returns the filters, [256, 1, 251]."""
        low = NARROWEST + self.low_hz_.abs()  # [128, 1]
        high = (low + NARROWEST + self.band_hz_.abs()).clamp(max=SAMPLE_RATE / 2)
        low_phase = low * self.n_  # [128, 125]
        high_phase = high * self.n_  # [128, 125]
        cosine = (high_phase.sin() - low_phase.sin()) / (self.n_ / 2) * self.window_
        sine = (low_phase.cos() - high_phase.cos()) / (self.n_ / 2) * self.window_
        peak = 2 * (high - low)
        cosine = torch.cat([cosine, peak, cosine.flip(1)], 1)  # [128, 251]
        sine = torch.cat([sine, torch.zeros_like(peak), -sine.flip(1)], 1)
        return torch.cat([cosine / peak, sine / peak]).unsqueeze(1)

    def freeze(self) -> None:
        """Computes the filters once, for weights that will not change any more."""
        filters = self.filters().detach()
        self.filters = lambda: filters

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv1d(x, self.filters(), stride=self.stride)


def _mel(hz: float) -> float:
    """Converts a frequency to the mel scale."""
    return 2595 * math.log10(1 + hz / 700)


class FeatureScaling(nn.Module):
    """AFMS, alpha feature map scaling: frames [N, C, T] -> [N, C, T].

    The shift is learned. The factor depends on the mean over time.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(channels, 1))
        self.fc = nn.Linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.alpha) * self.fc(x.mean(-1)).sigmoid().unsqueeze(-1)


class MaxPool(nn.MaxPool2d):
    """Maximum pooling of frames [N, C, T] over time.

    MaxPool1d would fix the number of frames in an exported network.
    """

    def __init__(self, size: int) -> None:
        super().__init__((1, size))


class Block(Res2Net):
    """Res2Net with a shortcut, maximum pooling and AFMS.

    It maps frames [N, inputs, T] to [N, channels, T / pool].
    """

    def __init__(self, inputs: int, channels: int, dilation: int, pool: int = 1) -> None:
        super().__init__(inputs, channels, dilation, SCALE)
        if inputs == channels:
            self.residual = nn.Identity()
        else:
            self.residual = nn.Sequential(nn.Conv1d(inputs, channels, 1, bias=False))
        self.pool = MaxPool(pool)
        self.afms = FeatureScaling(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.afms(self.pool(self.branch(x) + self.residual(x)))


class MainModel(Backbone):
    """nOut: size of the embedding
    sinc_stride: samples from one frame to the next
    eca_c: number of channels in a block
    """

    default_pooling = "ECA"
    # As published in voxceleb_trainer.
    pooling_aliases = {"ECA": "RawNet3_ECA", "ASP": "RawNet3_ASP"}
    old_names = {"conv1.filterbank.": "conv1.", "attention.": "pooling.attention."}
    unused = ("bn1.", "bn6.")

    def __init__(
        self,
        *,
        pooling: PoolingMaker,
        nOut: int = 256,
        sinc_stride: int = 10,
        eca_c: int = 1024,
    ) -> None:
        super().__init__()
        if eca_c % SCALE:
            raise ValueError(f"--eca_c: expected a multiple of {SCALE}, found {eca_c}.")
        self.dim = nOut
        self.preprocess = nn.Sequential(PreEmphasis(), nn.InstanceNorm1d(1, eps=1e-4, affine=True))
        self.conv1 = SincBank(sinc_stride)
        self.layer1 = Block(FILTERS, eca_c, dilation=2, pool=5)
        self.layer2 = Block(eca_c, eca_c, dilation=3, pool=3)
        self.layer3 = Block(eca_c, eca_c, dilation=4)
        # Pools the result of layer1 to the length of the result of layer2.
        self.shrink = MaxPool(3)
        self.layer4 = nn.Conv1d(3 * eca_c, POOLED, 1)
        self.pooling = pooling(POOLED)
        self.bn5 = nn.BatchNorm1d(self.pooling.size)
        self.fc6 = nn.Linear(self.pooling.size, nOut)

    def freeze(self) -> None:
        self.conv1.freeze()

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to logarithms of filtered waves, [N, 256, T'], with mean 0 over T'."""
        # Nearly empty bands have large logarithms.
        with torch.autocast(x.device.type, enabled=False):
            x = self.conv1(self.preprocess(x.float())).abs()
            x = (x + 1e-6).log()
            return x - x.mean(-1, keepdim=True)

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        x1 = self.layer1(self.features(x))  # [N, eca_c, T / 5]
        # The remaining layers have T / 15 frames.
        x2 = self.layer2(x1)  # [N, eca_c, T / 15]
        x1 = self.shrink(x1)
        x3 = self.layer3(x1 + x2)
        return F.relu(self.layer4(torch.cat([x1, x2, x3], 1)), inplace=True)  # [N, 1536, T / 15]

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.fc6(self.bn5(pooled))
