"""The parts of CAM++: densely connected time-delay layers with context-aware masks.

The names of the weights are the names of 3D-Speaker and wespeaker.
"""

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

from models._plain_resnet import BasicBlock
from models._resnet import stack

# Channels of the two-dimensional convolutions.
STEM = 32
# Layers, and the dilation of their convolutions, of each dense block.
LAYERS = (12, 24, 16)
DILATIONS = (1, 2, 2)
# Frames of a segment, 2 s at the frame rate of the masks.
SEGMENT = 100


class Stem(nn.Module):
    """Residual blocks that reduce the bands of maps to an eighth, and keep the frame rate."""

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, STEM, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.layer1 = stack(BasicBlock, STEM, STEM, 2, (2, 1))
        self.layer2 = stack(BasicBlock, STEM, STEM, 2, (2, 1))
        self.conv2 = nn.Conv2d(STEM, STEM, 3, (2, 1), 1, bias=False)
        self.bn2 = nn.BatchNorm2d(STEM)
        self.size = STEM * -(-n_mels // 8)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Maps features [N, n_mels, T] to frames [N, 32 * n_mels / 8, T]."""
        x = F.relu(self.bn1(self.conv1(features.unsqueeze(1))), inplace=True)
        x = self.layer2(self.layer1(x))
        return F.relu(self.bn2(self.conv2(x)), inplace=True).flatten(1, 2)


def named(**modules: nn.Module) -> nn.Sequential:
    """Returns modules in order, under their names."""
    return nn.Sequential(OrderedDict(modules))


def normalised(channels: int) -> nn.Sequential:
    """Returns batch normalisation and a ReLU of frames."""
    return named(batchnorm=nn.BatchNorm1d(channels), relu=nn.ReLU(inplace=True))


class MaskedConvolution(nn.Module):
    """A convolution of frames, whose output a mask from the context multiplies."""

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(
            inputs, outputs, 3, padding=dilation, dilation=dilation, bias=False
        )
        self.linear1 = nn.Conv1d(inputs, inputs // 2, 1)
        self.linear2 = nn.Conv1d(inputs // 2, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps frames [N, inputs, T] to [N, outputs, T]."""
        hidden = F.relu(self.linear1(context(x)), inplace=True)
        mask = self.linear2(hidden).sigmoid().unsqueeze(-1)  # [N, outputs, S, 1]
        mask = mask.expand(-1, -1, -1, SEGMENT).flatten(2)
        return self.linear_local(x) * mask[..., : x.shape[-1]]


def context(x: torch.Tensor) -> torch.Tensor:
    """Returns the mean of the utterance plus the mean of each segment, [N, C, S] in float32.

    `x` are frames [N, C, T]. The context is the same in all frames of a segment, so it has one
    column for each of the S segments. The last segment may be shorter.
    """
    frames = x.shape[-1]
    padded = F.pad(x, (0, -frames % SEGMENT))
    sums = padded.unflatten(-1, (-1, SEGMENT)).sum(-1, dtype=torch.float32)  # [N, C, S]
    starts = SEGMENT * torch.arange(sums.shape[-1], device=x.device)
    lengths = (frames - starts).clamp(max=SEGMENT)
    return sums.sum(-1, keepdim=True) / frames + sums / lengths


class DenseLayer(nn.Module):
    """One layer of a dense block: [N, inputs, T] -> [N, outputs, T]."""

    def __init__(self, inputs: int, hidden: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = normalised(inputs)
        self.linear1 = nn.Conv1d(inputs, hidden, 1, bias=False)
        self.nonlinear2 = normalised(hidden)
        self.cam_layer = MaskedConvolution(hidden, outputs, dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))))


class DenseBlock(nn.ModuleDict):
    """Layers that see the input of the block and the outputs of all layers before them."""

    def __init__(self, inputs: int, layers: int, growth: int, hidden: int, dilation: int) -> None:
        super().__init__()
        for number in range(layers):
            layer = DenseLayer(inputs + number * growth, hidden, growth, dilation)
            self[f"tdnnd{number + 1}"] = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps frames [N, C, T] to [N, C + layers * growth, T]."""
        for layer in self.values():
            x = torch.cat([x, layer(x)], 1)
        return x


class Trunk(nn.Module):
    """The layers between the stem and the pooling, at half the frame rate.

    inputs: channels of the frames. width: channels of the first layer. growth: channels that a
    dense layer adds. hidden: channels of its hidden layer.
    """

    def __init__(self, inputs: int, *, width: int, growth: int, hidden: int) -> None:
        super().__init__()
        self.tdnn = named(
            linear=nn.Conv1d(inputs, width, 5, stride=2, padding=2, bias=False),
            nonlinear=normalised(width),
        )
        for number, (layers, dilation) in enumerate(zip(LAYERS, DILATIONS, strict=True), 1):
            block = DenseBlock(width, layers, growth, hidden, dilation)
            width += layers * growth
            transition = named(
                nonlinear=normalised(width),
                linear=nn.Conv1d(width, width // 2, 1, bias=False),
            )
            width //= 2
            setattr(self, f"block{number}", block)
            setattr(self, f"transit{number}", transition)
        self.out_nonlinear = normalised(width)
        self.size = width

    def add_head(self, inputs: int, outputs: int) -> None:
        """Adds the layer after the pooling, which published checkpoints store in this module."""
        self.dense = named(
            linear=nn.Conv1d(inputs, outputs, 1, bias=False),
            nonlinear=named(batchnorm=nn.BatchNorm1d(outputs, affine=False)),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps frames [N, inputs, T] to [N, size, T / 2], rounded up."""
        x = self.transit1(self.block1(self.tdnn(x)))
        x = self.transit3(self.block3(self.transit2(self.block2(x))))
        return self.out_nonlinear(x)
