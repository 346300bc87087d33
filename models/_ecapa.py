"""The trunk of ECAPA-TDNN (Desplanques et al., arXiv:2005.07143) and its head.

The networks are as in the SASV 2022 baseline.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from models import Backbone
from models._frontend import sasv2_front_end
from models._res2net import Res2Net
from pooling import PoolingMaker

# Channels that are pooled, whatever eca_c.
POOLED = 1536


@dataclass(frozen=True)
class ECAPAOptions:
    """nOut: size of the embedding
    n_mels: mel bands of the input
    log_input: use the logarithm of the mel powers
    eca_c: number of channels in a block
    eca_s: number of channel groups in a Res2Net block
    spec_augment: set random frames and mel bands of training inputs to zero (SpecAugment)
    """

    nOut: int = 192
    n_mels: int = 80
    log_input: bool = True
    eca_c: int = 1024
    eca_s: int = 8
    spec_augment: bool = False


DEFAULTS = ECAPAOptions()


def check_scale(channels: int, scale: int) -> None:
    """Raises ValueError if the channels of a Res2Net block cannot be split into `scale` groups."""
    if scale < 2 or channels % scale:
        raise ValueError(
            f"--eca_s: expected at least 2 and a divisor of --eca_c ({channels}), found {scale}."
        )


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation of frames [N, C, T] (Hu et al., arXiv:1709.01507)."""

    def __init__(self, channels: int, width: int = 128) -> None:
        super().__init__()
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool1d(1),
            nn.Conv1d(channels, width, 1),
            nn.ReLU(inplace=True),
            nn.Conv1d(width, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.se(x)


class Block(Res2Net):
    """Res2Net with squeeze-and-excitation and a shortcut: [N, C, T] -> [N, C, T]."""

    def __init__(self, channels: int, dilation: int, scale: int) -> None:
        super().__init__(channels, channels, dilation, scale)
        self.se = SqueezeExcitation(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.se(self.branch(x)) + x


class ECAPA(Backbone):
    """ECAPA-TDNN behind front(), which a subclass may override.

    inputs: number of channels that front() returns.
    """

    default_pooling = "ASP"
    # The SASV 2022 baseline calls the pooling of ECAPA-TDNN "ASP".
    pooling_aliases = {"ASP": "ECA"}
    old_names = {
        "torchfbank.0.": "torchfbank.",
        "torchfbank.1.": "torchfbank.",
        "attention.": "pooling.attention.",
    }
    training_options = ("spec_augment",)

    def __init__(self, pooling: PoolingMaker, options: ECAPAOptions, inputs: int) -> None:
        super().__init__()
        channels = options.eca_c
        scale = options.eca_s
        check_scale(channels, scale)
        self.dim = options.nOut
        self.torchfbank = sasv2_front_end(
            options.n_mels, log=options.log_input, augment=options.spec_augment
        )
        self.conv1 = nn.Conv1d(inputs, channels, 5, padding=2)
        self.bn1 = nn.BatchNorm1d(channels)
        self.layer1 = Block(channels, 2, scale)
        self.layer2 = Block(channels, 3, scale)
        self.layer3 = Block(channels, 4, scale)
        self.layer4 = nn.Conv1d(3 * channels, POOLED, 1)
        self.pooling = pooling(POOLED)
        self.bn5 = nn.BatchNorm1d(self.pooling.size)
        self.fc6 = nn.Linear(self.pooling.size, self.dim)
        self.bn6 = nn.BatchNorm1d(self.dim)

    def front(self, features: torch.Tensor) -> torch.Tensor:
        """Maps features [N, n_mels, T] to the input of the trunk, [N, inputs, T]."""
        return features

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        x = self.front(self.torchfbank(x))  # [N, inputs, T]
        x = self.bn1(F.relu(self.conv1(x), inplace=True))  # [N, eca_c, T]
        x1 = self.layer1(x)
        x2 = self.layer2(x + x1)
        x3 = self.layer3(x + x1 + x2)
        return F.relu(self.layer4(torch.cat([x1, x2, x3], 1)), inplace=True)  # [N, 1536, T]

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.bn6(self.fc6(self.bn5(pooled)))
