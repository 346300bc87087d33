"""SKA-TDNN (Mun et al., arXiv:2204.01005) as in the SASV 2022 baseline (arXiv:2305.19051).

ECAPA-TDNN follows convolutions that choose their kernel for each mel band, then for each channel.
The model has 30.8 million parameters.

    python trainSpeakerNet.py --model SKA_TDNN --eca_c 1024 ...
"""

import torch
from torch import nn
from torch.nn import functional as F

from models._ecapa import DEFAULTS, ECAPA, ECAPAOptions
from pooling import PoolingMaker

KERNELS = (3, 5)


class Branch(nn.Module):
    """Convolution, ReLU and normalisation: [N, C, F, T] -> [N, C, F, T]."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.bn(F.relu(self.conv(x), inplace=True))


class SelectiveKernel(nn.Module):
    """Mixes convolutions of several kernels (Li et al., arXiv:1903.06586).

    Each place of one axis of [N, C, F, T] has its own weights. axis: 1 for the channels, 2 for the
    bands. size: length of the axis.
    """

    def __init__(
        self, channels: int, axis: int, size: int, reduction: int = 8, least: int = 16
    ) -> None:
        super().__init__()
        self.axis = axis
        self.other_axes = (3 - axis, 3)
        hidden = max(least, size // reduction)
        self.convs = nn.ModuleList(Branch(channels, kernel) for kernel in KERNELS)
        self.fc = nn.Linear(size, hidden)
        self.fcs = nn.ModuleList(nn.Linear(hidden, size) for _ in KERNELS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branches = [conv(x) for conv in self.convs]  # [N, C, F, T] each
        means = [y.mean(self.other_axes, keepdim=True) for y in branches]
        mean = sum(means)  # [N, C, 1, 1] or [N, 1, F, 1]
        z = F.relu(self.fc(mean.transpose(self.axis, 3)))  # [N, 1, 1, hidden]
        weights = torch.stack([fc(z) for fc in self.fcs]).softmax(0)  # [kernels, N, 1, 1, size]
        mixed = 0
        for weight, y in zip(weights, branches, strict=True):
            mixed = mixed + weight.transpose(self.axis, 3).to(y.dtype) * y
        return mixed


class Block(nn.Module):
    """Two selective kernels and a shortcut: [N, C, F, T] -> [N, C, F, T]."""

    def __init__(self, channels: int, bands: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.skfwse = SelectiveKernel(channels, 2, bands)
        self.skcwse = SelectiveKernel(channels, 1, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn1(F.relu(self.conv1(x), inplace=True))
        return F.relu(self.skcwse(self.skfwse(y)) + x)


class MainModel(ECAPA):
    """ECAPA-TDNN with the options of ECAPAOptions, and one more.

    frt_c: number of channels in the first convolutions
    """

    def __init__(
        self, *, pooling: PoolingMaker, options: ECAPAOptions = DEFAULTS, frt_c: int = 128
    ) -> None:
        # Bands after each of the strided convolutions.
        half = (options.n_mels + 1) // 2
        quarter = (options.n_mels + 3) // 4
        super().__init__(pooling, options, inputs=frt_c * quarter)
        self.frt_conv1 = nn.Conv2d(1, frt_c, 3, (2, 1), 1)
        self.frt_bn1 = nn.BatchNorm2d(frt_c)
        self.frt_block1 = Block(frt_c, half)
        self.frt_block2 = Block(frt_c, half)
        self.frt_conv2 = nn.Conv2d(frt_c, frt_c, 3, (2, 1), 1)
        self.frt_bn2 = nn.BatchNorm2d(frt_c)

    def front(self, features: torch.Tensor) -> torch.Tensor:
        x = self.frt_conv1(features.unsqueeze(1))
        x = self.frt_bn1(F.relu(x, inplace=True))  # [N, frt_c, half, T]
        x = self.frt_block2(self.frt_block1(x))
        x = self.frt_bn2(F.relu(self.frt_conv2(x), inplace=True))  # [N, frt_c, quarter, T]
        return x.flatten(1, 2)
