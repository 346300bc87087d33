"""Blocks of ReDimNet and ReDimNet2: convolutions on maps, and the context over time.

Maps are [N, T, F', C'] tensors: the channels are the last axis, the bands are the axis before. So
the frames [N, T, F' * C'] of the same data, whose index is band * C' + channel as published, are a
view and not a copy. The kernels of the weights have the axes (band, time) as published.
"""

import math
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

EPS = 1e-6
# Kernels of the depthwise convolutions over time.
CONTEXT_KERNELS = (7, 19, 31, 59)
HEADS = 4


class MapConv(nn.Conv2d):
    """A convolution of maps [N, T, F', C'], with zeros at the borders."""

    def __init__(self, inputs: int, outputs: int, kernel: tuple[int, int], **options: Any) -> None:
        padding = tuple(size // 2 for size in kernel)
        super().__init__(inputs, outputs, kernel, padding=padding, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        padding = (self.padding[1], self.padding[0])
        weight = self.weight.transpose(2, 3)
        y = F.conv2d(x.permute(0, 3, 1, 2), weight, self.bias, 1, padding, 1, self.groups)
        return y.permute(0, 2, 3, 1)


class TimeConv(nn.Conv1d):
    """A depthwise convolution of frames [N, T, C] over time, with zeros at the borders."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(channels, channels, kernel, padding=kernel // 2, groups=channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = x.transpose(1, 2).unsqueeze(-1)  # [N, C, T, 1]
        padding = (self.padding[0], 0)
        y = F.conv2d(maps, self.weight.unsqueeze(-1), self.bias, 1, padding, 1, self.groups)
        return y.squeeze(-1).transpose(1, 2)


class PointConv(nn.Conv2d):
    """A 1 x 1 convolution of maps [N, T, F', C']."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight.flatten(1), self.bias)


class FrameConv(nn.Conv1d):
    """A 1 x 1 convolution of frames [N, T, C]."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight.flatten(1), self.bias)


class MapNorm(nn.BatchNorm2d):
    """Batch normalisation of maps [N, T, F', C'] or frames [N, T, C]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = x if x.dim() == 4 else x.unsqueeze(2)
        y = super().forward(maps.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return y if x.dim() == 4 else y.squeeze(2)


class ChannelNorm(nn.LayerNorm):
    """Normalisation over the channels of maps [N, T, F', C'], in half precision under autocast."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Autocast returns float32, which all later sums of outputs would inherit.
        return super().forward(x).to(x.dtype)


class GroupNorm(nn.GroupNorm):
    """Group normalisation of frames [N, T, C]: statistics over time and a group of rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = x.transpose(1, 2).unsqueeze(-1)  # [N, C, T, 1]
        return super().forward(maps).squeeze(-1).transpose(1, 2).to(x.dtype)


class Gather(nn.Conv2d):
    """The convolution at the start of a stage, whose kernel is its stride.

    It maps [N, T, F', C'] to [N, T / stride, F' / stride, outputs].
    """

    def __init__(
        self, inputs: int, outputs: int, stride: tuple[int, int], separate: bool = True
    ) -> None:
        groups = math.gcd(inputs, outputs) if separate else 1
        super().__init__(inputs, outputs, stride, stride, groups=groups)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bands, frames = self.stride
        if self.groups == 1 and frames == 1:
            # Neighbouring bands follow each other in the memory, so this is a product of matrices.
            x = x.unflatten(2, (-1, bands)).flatten(3)
            return F.linear(x, self.weight.transpose(1, 2).flatten(1), self.bias)
        if self.stride == (1, 1):
            # Without strides, grouped convolutions are slower than a sparse matrix as a full one.
            rows = self.weight.flatten(1).split(self.out_channels // self.groups)
            return F.linear(x, torch.block_diag(*rows), self.bias)
        maps = x.permute(0, 3, 1, 2)
        weight = self.weight.transpose(2, 3)
        y = F.conv2d(maps, weight, self.bias, (frames, bands), 0, 1, self.groups)
        return y.permute(0, 2, 3, 1)


# ---------------------------------------------------------------------- blocks on maps
class BandExcitation(nn.Module):
    """Squeeze-and-excitation of the bands of maps [N, T, F', C']."""

    def __init__(self, bands: int, channels: int) -> None:
        super().__init__()
        width = min(64, max(channels, 32))
        self.squeeze = nn.Linear(bands, width)
        # The name is misspelt in the published weights.
        self.exitation = nn.Linear(width, bands)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean((1, 3), dtype=torch.float32)  # [N, F']
        scale = torch.sigmoid(self.exitation(F.relu(self.squeeze(mean))))
        return x * scale.to(x.dtype)[:, None, :, None]


class ResidualBlock(nn.Module):
    """Two separable 3 x 3 convolutions and a shortcut. The ReLU precedes the normalisation.

    groups: groups of the 3 x 3 convolutions. bands: bands of the maps for an excitation
    of the bands, or 0 for none.
    """

    def __init__(self, channels: int, groups: int, bands: int) -> None:
        super().__init__()
        parts: dict[str, nn.Module] = {}
        for k in (1, 2):
            parts[f"conv{k}"] = MapConv(channels, channels, (3, 3), groups=groups, bias=False)
            parts[f"conv{k}pw"] = PointConv(channels, channels)
            parts[f"bn{k}"] = MapNorm(channels)
        if bands:
            parts["se"] = BandExcitation(bands, channels)
        self.conv_block = nn.ModuleDict(parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        part = self.conv_block
        # A ReLU in place would cost two copies in the backward pass, because its input is a view.
        y = part["bn1"](F.relu(part["conv1pw"](part["conv1"](x))))
        y = part["bn2"](part["conv2pw"](part["conv2"](y)))
        if "se" in part:
            y = part["se"](y)
        return F.relu(y + x)


class ConvNeXt(nn.Module):
    """A separable convolution and a shortcut: convolution, normalisation, GELU, 1 x 1.

    conv: the first convolution. point: the last one.
    """

    def __init__(self, conv: nn.Module, point: nn.Module, channels: int) -> None:
        super().__init__()
        self.dwconvs = nn.ModuleList([conv])
        self.norm = MapNorm(channels)
        self.pwconv1 = point

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.pwconv1(F.gelu(self.norm(self.dwconvs[0](x))))


class ConvNeXtMaps(nn.Module):
    """A ConvNeXt block on maps."""

    def __init__(self, channels: int, groups: int, kernel: tuple[int, int]) -> None:
        super().__init__()
        conv = MapConv(channels, channels, kernel, groups=groups)
        self.conv_block = ConvNeXt(conv, PointConv(channels, channels), channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv_block(x)


# ---------------------------------------------------------------------- context over time
class TimeContext(nn.Module):
    """A bottleneck that sees the whole utterance: frames [N, T, C] -> [N, T, C].

    kind: "conv+att" for convolutions over time before the attention, or "att" for a single one.
    """

    def __init__(self, channels: int, reduction: int, kind: str) -> None:
        super().__init__()
        width = channels // reduction
        self.red_dim_conv = nn.Sequential(FrameConv(channels, width), nn.LayerNorm(width, eps=EPS))
        if kind == "att":
            layers = [Positions(width), Attention(width, 2 * width)]
        else:
            layers = []
            for size in CONTEXT_KERNELS:
                layers.append(ConvNeXt(TimeConv(width, size), FrameConv(width, width), width))
            layers.append(Attention(width, width))
        self.tcm = nn.Sequential(*layers)
        self.exp_dim_conv = FrameConv(width, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.exp_dim_conv(self.tcm(self.red_dim_conv(x)))


class Positions(nn.Module):
    """The convolution over time before an attention that has no other positions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = TimeConv(channels, CONTEXT_KERNELS[-1])
        self.norm = nn.LayerNorm(channels, eps=EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.norm(self.conv(x))


class Attention(nn.Module):
    """A transformer layer without positions: frames [N, T, C] -> [N, T, C].

    hidden: width of the layers after the attention.
    """

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        names = ("k_proj", "v_proj", "q_proj", "out_proj")
        self.attention = nn.ModuleDict({name: nn.Linear(channels, channels) for name in names})
        self.layer_norm = nn.LayerNorm(channels, eps=EPS)
        self.feed_forward = nn.ModuleDict(
            {
                "intermediate_dense": nn.Linear(channels, hidden),
                "output_dense": nn.Linear(hidden, channels),
            }
        )
        self.final_layer_norm = nn.LayerNorm(channels, eps=EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        heads = []
        for name in ("q_proj", "k_proj", "v_proj"):
            y = self.attention[name](x).unflatten(2, (HEADS, -1))
            heads.append(y.transpose(1, 2))  # [N, heads, T, C / heads]
        y = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        x = self.layer_norm(x + self.attention["out_proj"](y))
        y = F.gelu(self.feed_forward["intermediate_dense"](x), approximate="tanh")
        return self.final_layer_norm(x + self.feed_forward["output_dense"](y))
