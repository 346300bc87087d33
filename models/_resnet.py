"""34-layer ResNets with squeeze-and-excitation blocks on mel features. Thin ones (16 to 128 channels) were published with voxceleb_trainer
("Fast ResNet-34", Chung et al., arXiv:2003.11982) and with cross attentive pooling (Kye et al., arXiv:2008.05983).
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from models import Backbone
from models._frontend import FrontEnd
from pooling import PoolingMaker

BLOCKS = (3, 4, 6, 3)
THIN = (16, 32, 64, 128)


def as_rows(x, y):
    """x [N, C] -> [N, C, 1, T] as y: channels-last maps of few channels meet whole rows five times faster than single values."""
    return (
        x.to(y.dtype)[:, :, None, None]
        .expand(-1, -1, 1, y.shape[3])
        .contiguous(memory_format=torch.channels_last)
    )


class ExciteAdd(torch.autograd.Function):
    """y * sigmoid(B relu(A mean(y) + a) + b) + shortcut: squeeze, excitation and shortcut in the fewest passes over the maps.

    What autograd makes of the formula reads and writes each map twice as often, a tenth of a training step on a CPU.
    Nothing is in place: torch.compile takes each step for an output of its own, and the gradient of one changed in place gets lost (torch 2.11).
    """

    @staticmethod
    # y, shortcut [N, C, F, T]
    def forward(ctx, y, shortcut, weight1, bias1, weight2, bias2):
        mean = (
            y.sum((2, 3)).float() / y[0, 0].numel()
        )  # [N, C]; mean() is twenty times slower in bfloat16
        hidden = torch.addmm(bias1, mean, weight1.t()).relu()
        scale = torch.addmm(bias2, hidden, weight2.t()).sigmoid()
        ctx.save_for_backward(y, mean, hidden, scale, weight1, weight2)
        return torch.addcmul(shortcut, y, as_rows(scale, y))

    @staticmethod
    def backward(ctx, grad):
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
    """Squeeze-and-excitation (Hu et al., arXiv:1709.01507), then the shortcut and the last ReLU of the block."""

    def __init__(self, channels, reduction=8):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // reduction),
            nn.ReLU(),
            nn.Linear(channels // reduction, channels),
            nn.Sigmoid(),
        )

    def forward(self, y, shortcut):
        first, _, second, _ = self.fc
        with torch.autocast(y.device.type, enabled=False):
            out = ExciteAdd.apply(
                y, shortcut.to(y.dtype), first.weight, first.bias, second.weight, second.bias
            )
        return F.relu(out, inplace=True)


class Block(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.se = SqueezeExcitation(outputs)
        self.stride, self.downsample = stride, None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x):
        # ReLU before the normalisation, as published
        y = self.bn1(F.relu(self.conv1(x), inplace=True))
        # a strided 1 x 1 convolution, whose own gradient is slow on a CPU
        if self.downsample is not None:
            x = self.downsample(x[:, :, :: self.stride, :: self.stride])
        return self.se(self.bn2(self.conv2(y)), x)


class ResNet(Backbone):
    """front: mel front end. conv1: the first convolution. channels, strides: of the layers. bands: of the last maps that are channels for the
    pooling. A subclass gives stem() and rows()."""

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
        front,
        conv1,
        channels,
        strides,
        bands,
        nOut: int,
        pooling: PoolingMaker,
    ) -> None:
        super().__init__()
        self.dim = nOut
        self.torchfb = front
        self.conv1 = conv1
        self.bn1 = nn.BatchNorm2d(channels[0])
        inputs = channels[0]
        for i, (outputs, blocks, stride) in enumerate(
            zip(channels, BLOCKS, strides, strict=True), 1
        ):
            layer = [
                Block(inputs, outputs, stride),
                *(Block(outputs, outputs) for _ in range(blocks - 1)),
            ]
            setattr(self, f"layer{i}", nn.Sequential(*layer))
            inputs = outputs
        self.pooling = pooling(inputs * bands)
        self.fc = nn.Linear(self.pooling.size, nOut, bias=not self.pairwise)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def stem(self, x):
        """x [N, 1, n_mels, T] -> [N, channels[0], F, T]."""
        raise NotImplementedError

    def rows(self, maps):
        """maps [N, C, F, T'] -> frames [N, C * bands, T']."""
        raise NotImplementedError

    def frames(self, x):
        x = self.stem(self.torchfb(x).unsqueeze(1))
        return self.rows(self.layer4(self.layer3(self.layer2(self.layer1(x)))))

    def head(self, pooled):
        return self.fc(pooled)


@dataclass(frozen=True)
class ThinOptions:
    """nOut: size of the embedding
    n_mels: mel bands of the input
    log_input: logarithm of the mel powers
    window: analysis window (hamming in voxceleb_trainer's checkpoints, hann in those of cross attentive pooling)
    norm: of each band over time: instance (mean 0, deviation 1, as published) or mean (mean 0)
    wave_scale: factor of the samples; 32768 in checkpoints of cross attentive pooling, which takes 16-bit integers as they are
    spec_augment: zero a random run of frames and of mel bands of every training input
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

    strides: of the first block of each layer. stem_pool: max pooling after the first convolution.
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

    def stem(self, x):
        return self.stem_pool(
            F.relu(self.bn1(self.conv1(x)), inplace=True)
        )  # [N, 16, n_mels / 2 or 4, T]

    def rows(self, maps):
        return maps.permute(0, 2, 3, 1).mean(1, dtype=torch.float32).transpose(1, 2)  # [N, 128, T']
