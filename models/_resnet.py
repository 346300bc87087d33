"""Parts of residual networks, and 34-layer ones with squeeze-and-excitation blocks.

Thin ones (16 to 128 channels) were published with voxceleb_trainer ("Fast ResNet-34", Chung et al.,
arXiv:2003.11982) and with cross attentive pooling (Kye et al., arXiv:2008.05983).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from models import Backbone
from models._frontend import FrontEnd
from pooling import PoolingMaker

# Blocks of each layer.
BLOCKS = (3, 4, 6, 3)
# Channels of each layer of a thin network.
THIN = (16, 32, 64, 128)
# One number, or one for the bands and one for the frames.
Stride = int | tuple[int, int]


def as_rows(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Repeats x [N, C] to rows [N, C, 1, T] in the format of y [N, C, F, T].

    Channels-last maps of few channels are combined with rows five times faster than with
    single values.
    """
    repeated = x.to(y.dtype)[:, :, None, None].expand(-1, -1, 1, y.shape[3])
    return repeated.contiguous(memory_format=torch.channels_last)


class ExciteAdd(torch.autograd.Function):
    """Squeeze, excitation and shortcut in the fewest passes over the maps.

    The formula is y * sigmoid(B relu(A mean(y) + a) + b) + shortcut. Autograd would read and write
    each map twice as often for this formula, which is a tenth of a training step on a CPU. No
    operation is in place: torch.compile loses the gradient of an output that is changed in place
    (torch 2.11).
    """

    @staticmethod
    def forward(
        ctx: Any,
        y: torch.Tensor,
        shortcut: torch.Tensor,
        weight1: torch.Tensor,
        bias1: torch.Tensor,
        weight2: torch.Tensor,
        bias2: torch.Tensor,
    ) -> torch.Tensor:
        """Returns the formula for maps y and shortcut, [N, C, F, T] each."""
        # mean() is twenty times slower in bfloat16.
        mean = y.sum((2, 3)).float() / y[0, 0].numel()  # [N, C]
        hidden = torch.addmm(bias1, mean, weight1.t()).relu()
        scale = torch.addmm(bias2, hidden, weight2.t()).sigmoid()
        ctx.save_for_backward(y, mean, hidden, scale, weight1, weight2)
        return torch.addcmul(shortcut, y, as_rows(scale, y))

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Returns the gradients of all arguments of forward()."""
        y, mean, hidden, scale, weight1, weight2 = ctx.saved_tensors
        to_scale = (grad * y).sum((2, 3)).float() * scale * (1 - scale)
        to_hidden = (to_scale @ weight2) * (hidden > 0)
        to_mean = to_hidden @ weight1 / y[0, 0].numel()
        to_y = torch.addcmul(as_rows(to_mean, y), grad, as_rows(scale, y))
        return (
            to_y,
            grad,
            to_hidden.t() @ mean,
            to_hidden.sum(0),
            to_scale.t() @ hidden,
            to_scale.sum(0),
        )


class SqueezeExcitation(nn.Module):
    """Squeeze-and-excitation (Hu et al., arXiv:1709.01507) of maps [N, C, F, T].

    It also adds the shortcut of the block and applies the last ReLU.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction),
            nn.ReLU(),
            nn.Linear(channels // reduction, channels),
            nn.Sigmoid(),
        )

    def forward(self, y: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
        first, _, second, _ = self.fc
        with torch.autocast(y.device.type, enabled=False):
            out = ExciteAdd.apply(
                y, shortcut.to(y.dtype), first.weight, first.bias, second.weight, second.bias
            )
        return F.relu(out, inplace=True)


class Shortcut(nn.Sequential):
    """The shortcut of a block: a 1 x 1 convolution with a stride, and batch normalisation.

    It is the identity if neither the size of the maps nor the number of channels changes.
    """

    def __init__(self, inputs: int, outputs: int, stride: Stride) -> None:
        if stride == 1 and inputs == outputs:
            super().__init__()
        else:
            super().__init__(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps [N, inputs, F, T] to [N, outputs, F / stride, T / stride], rounded up."""
        return super().forward(strided(x, self.stride))


def strided(x: torch.Tensor, stride: Stride) -> torch.Tensor:
    """Returns every stride-th row and column of maps [N, C, F, T].

    A 1 x 1 convolution of the result is a convolution with this stride, whose own gradient is slow
    on a CPU.
    """
    rows, columns = (stride, stride) if isinstance(stride, int) else stride
    return x if stride == 1 else x[:, :, ::rows, ::columns]


def stack(
    make_block: Callable[[int, int, Stride], nn.Module],
    inputs: int,
    channels: int,
    blocks: int,
    stride: Stride,
    expansion: int = 1,
) -> nn.Sequential:
    """Returns a layer of blocks, of which the first one has the stride.

    `make_block` makes a block from its input channels, `channels` and its stride. The block has
    channels * expansion output channels.
    """
    layer = [make_block(inputs, channels, stride)]
    for _ in range(blocks - 1):
        layer.append(make_block(channels * expansion, channels, 1))
    return nn.Sequential(*layer)


class Block(nn.Module):
    """Two convolutions, squeeze-and-excitation and a shortcut, on maps [N, C, F, T]."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.se = SqueezeExcitation(outputs)
        self.downsample = Shortcut(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # ReLU before the normalisation, as published.
        y = self.bn1(F.relu(self.conv1(x), inplace=True))
        return self.se(self.bn2(self.conv2(y)), self.downsample(x))


class ResNet(Backbone):
    """A residual network. A subclass has the methods stem() and rows().

    front: mel front end. conv1: the first convolution. channels, strides: values of the layers.
    bands: number of bands of the last maps that become channels of the pooling.
    """

    old_names = {
        "sap_linear.": "pooling.sap_linear.",
        "attention": "pooling.attention",
        "meta_learner.": "pooling.meta_learner.",
        "att_bn.": "pooling.att_bn.",
        "fc": "fc.weight",
        "global_w": "loss.global_w",
    }
    training_options = ("spec_augment",)

    def __init__(
        self,
        *,
        front: nn.Module,
        conv1: nn.Conv2d,
        channels: tuple[int, ...],
        strides: tuple[int, ...],
        bands: int,
        nOut: int,
        pooling: PoolingMaker,
    ) -> None:
        super().__init__()
        self.dim = nOut
        self.torchfb = front
        self.conv1 = conv1
        self.bn1 = nn.BatchNorm2d(channels[0])
        inputs = channels[0]
        layers = zip(channels, BLOCKS, strides, strict=True)
        for number, (outputs, blocks, stride) in enumerate(layers, 1):
            setattr(self, f"layer{number}", stack(Block, inputs, outputs, blocks, stride))
            inputs = outputs
        self.pooling = pooling(inputs * bands)
        self.fc = nn.Linear(self.pooling.size, nOut, bias=not self.pairwise)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """Maps features [N, 1, n_mels, T] to [N, channels[0], F, T]."""
        raise NotImplementedError

    def rows(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps [N, C, F, T'] to frames [N, C * bands, T']."""
        raise NotImplementedError

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(self.torchfb(x).unsqueeze(1))
        return self.rows(self.layer4(self.layer3(self.layer2(self.layer1(x)))))

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.fc(pooled)


@dataclass(frozen=True)
class ThinOptions:
    """nOut: size of the embedding
    n_mels: mel bands of the input
    log_input: use the logarithm of the mel powers
    window: analysis window (cross attentive pooling: hann)
    norm: normalisation of each band over time: mean and deviation (instance), or mean only
    wave_scale: factor of the samples (published checkpoints of cross attentive pooling: 32768)
    spec_augment: set random frames and mel bands of training inputs to zero (SpecAugment)

    The defaults are as in voxceleb_trainer. The published checkpoints of cross attentive pooling
    were trained on 16-bit integers, without scaling.
    """

    nOut: int = 512
    n_mels: int = 40
    log_input: bool = True
    window: Literal["hamming", "hann"] = "hamming"
    norm: Literal["instance", "mean"] = "instance"
    wave_scale: float = 1.0
    spec_augment: bool = False


class ThinResNet(ResNet):
    """A residual network of 16 to 128 channels.

    strides: stride of the first block of each layer. stem_pool: whether max pooling follows the
    first convolution.
    """

    def __init__(
        self,
        pooling: PoolingMaker,
        options: ThinOptions,
        *,
        strides: tuple[int, int, int, int],
        stem_pool: bool,
    ) -> None:
        front = FrontEnd(
            options.n_mels,
            window=options.window,
            log=options.log_input,
            norm=options.norm,
            scale=options.wave_scale,
            augment=options.spec_augment,
        )
        super().__init__(
            front=front,
            conv1=nn.Conv2d(1, THIN[0], 7, (2, 1), 3, bias=False),
            channels=THIN,
            strides=strides,
            bands=1,
            nOut=options.nOut,
            pooling=pooling,
        )
        self.stem_pool = nn.MaxPool2d(3, (2, 1), 1) if stem_pool else nn.Identity()

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """Maps features [N, 1, n_mels, T] to [N, 16, n_mels / 2 or n_mels / 4, T]."""
        return self.stem_pool(F.relu(self.bn1(self.conv1(x)), inplace=True))

    def rows(self, maps: torch.Tensor) -> torch.Tensor:
        """Computes the mean over the bands: [N, 128, F, T'] -> [N, 128, T'], in float32."""
        return maps.permute(0, 2, 3, 1).mean(1, dtype=torch.float32).transpose(1, 2)
