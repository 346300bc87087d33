"""Residual networks without squeeze-and-excitation: what ResNet, ERes2NetV2 and CAM++ share.

The names of the weights are the names of wespeaker and 3D-Speaker.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

from models import Backbone
from models._kaldi import TRAINING_OPTIONS, FbankOptions, front_end
from models._resnet import Shortcut, Stride, stack
from models._simam import simam
from pooling import PoolingMaker

STRIDES = (1, 2, 2, 2)


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut, on maps [N, C, F, T]. attention: apply SimAM."""

    def __init__(self, inputs: int, channels: int, stride: Stride, attention: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = Shortcut(inputs, channels, stride)
        self.attention = attention

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.attention:
            y = simam(y)
        return F.relu(y + self.shortcut(x), inplace=True)


class PlainResNet(Backbone):
    """Four layers of blocks on maps of features. Each further layer has twice as many channels.

    front: options of the front end. width: channels of the first layer. makers: function for the
    blocks of each layer, see stack(). blocks: their numbers. expansion: output channels of a block
    divided by the channels of its layer.
    """

    # wespeaker calls the pooling "pool".
    old_names = {"pool.": "pooling."}
    training_options = TRAINING_OPTIONS

    def __init__(
        self,
        *,
        front: FbankOptions,
        width: int,
        makers: Sequence[Callable[[int, int, int], nn.Module]],
        blocks: Sequence[int],
        expansion: int,
        nOut: int,
        pooling: PoolingMaker,
    ) -> None:
        super().__init__()
        self.dim = nOut
        self.torchfb = front_end(front)
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for number, (make, count, stride) in enumerate(zip(makers, blocks, STRIDES, strict=True)):
            channels = width * 2**number
            layer = stack(make, inputs, channels, count, stride, expansion)
            setattr(self, f"layer{number + 1}", layer)
            inputs = channels * expansion
        self.map_channels = inputs
        self.pooling = pooling(inputs * math.ceil(front.n_mels / math.prod(STRIDES)))
        self.seg_1 = nn.Linear(self.pooling.size, nOut)

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """Maps features [N, 1, n_mels, T] to [N, width, n_mels, T]."""
        return F.relu(self.bn1(self.conv1(x)), inplace=True)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Maps features [N, 1, n_mels, T] to [N, map_channels, n_mels / 8, T / 8], rounded up."""
        return self.layer4(self.layer3(self.layer2(self.layer1(self.stem(x)))))

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        return self.maps(self.torchfb(x).unsqueeze(1)).flatten(1, 2)

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.seg_1(pooled)
