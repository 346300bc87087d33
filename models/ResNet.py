"""Residual networks of 18 to 293 layers, as in wespeaker (Wang et al., arXiv:2210.17016).

The variant simam is SimAM-ResNet (Qin et al., arXiv:2204.03855), with 34 or 100 layers. The network
with 34 layers has 6.6 million parameters. The published one of the variant simam has the width 64
and 25.2 million parameters.

    python trainSpeakerNet.py --model ResNet --depth 34 ...
    python trainSpeakerNet.py --model ResNet --variant simam --depth 34 --width 64 ...
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional as F

from models._kaldi import WESPEAKER, FbankOptions, of_toolkit
from models._plain_resnet import BasicBlock, PlainResNet, bands_of, published_options
from models._published import OF_WESPEAKER, Published, PublishedFile
from models._resnet import Shortcut
from pooling import PoolingMaker

# Blocks of each layer, with two convolutions in a block, and with three.
BASIC = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 100: (6, 16, 24, 3)}
BOTTLENECK = {
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    221: (6, 16, 48, 3),
    293: (10, 20, 64, 3),
}
# Output channels of a block of three convolutions divided by the channels of its layer.
EXPANSION = 4


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two of 1 x 1, and a shortcut, on maps [N, C, F, T]."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        outputs = channels * EXPANSION
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = Shortcut(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x), inplace=True)


def blocks_of(
    depth: int, variant: str
) -> tuple[Callable[[int, int, int], nn.Module], int, tuple[int, ...]]:
    """Returns the function that makes a block, its expansion, and the blocks of each layer.

    Raises ValueError if there is no such network.
    """
    if variant == "simam" and depth in BASIC:
        return functools.partial(BasicBlock, attention=True), 1, BASIC[depth]
    if variant == "plain" and depth in BASIC:
        return BasicBlock, 1, BASIC[depth]
    if variant == "plain" and depth in BOTTLENECK:
        return Bottleneck, EXPANSION, BOTTLENECK[depth]
    known = BASIC if variant == "simam" else {**BASIC, **BOTTLENECK}
    numbers = ", ".join(map(str, sorted(known)))
    raise ValueError(f"--depth: expected one of {numbers} with --variant {variant}, found {depth}.")


def depth_of(file: PublishedFile, prefix: str, blocks: Mapping[int, tuple[int, ...]]) -> int:
    """Returns the depth of published weights, or 0 if no network here has their blocks."""
    found = tuple(file.count(f"{prefix}layer{number}.") for number in range(1, 5))
    return next((depth for depth, counts in blocks.items() if counts == found), 0)


class MainModel(PlainResNet):
    """nOut: size of the embedding
    variant: attention in the blocks: none (plain) or SimAM (simam)
    depth: layers: 18, 34, 50, 100, 101, 152, 221 or 293; 18, 34 or 100 with --variant simam
    width: channels of the first layer (published: 32, with --variant simam 64)
    two_emb_layer: a second layer after the embedding, as in wespeaker's checkpoints before 2022-07
    """

    default_pooling = "TSTP"
    # SimAM-ResNet calls the pooling of ResNetSE34V2 "ASP".
    pooling_aliases = {"ASP": "ResNetSE34V2_ASP"}
    old_names = {**PlainResNet.old_names, "bottleneck.": "seg_1."}

    def __init__(
        self,
        *,
        pooling: PoolingMaker,
        front: FbankOptions = WESPEAKER,
        nOut: int = 256,
        variant: Literal["plain", "simam"] = "plain",
        depth: int = 34,
        width: int = 32,
        two_emb_layer: bool = False,
    ) -> None:
        make_block, expansion, blocks = blocks_of(depth, variant)
        super().__init__(
            front=front,
            width=width,
            makers=4 * [make_block],
            blocks=blocks,
            expansion=expansion,
            nOut=nOut,
            pooling=pooling,
        )
        if two_emb_layer:
            self.seg_bn_1 = nn.BatchNorm1d(nOut, affine=False)
            self.seg_2 = nn.Linear(nOut, nOut)
        self.two_emb_layer = two_emb_layer

    @classmethod
    def pooling_by_default(cls, options: Mapping[str, Any]) -> str:
        return "ASP" if options["variant"] == "simam" else cls.default_pooling

    @classmethod
    def aliases(cls, options: Mapping[str, Any]) -> dict[str, str]:
        """SimAM-ResNet alone has its own ASP."""
        return cls.pooling_aliases if options["variant"] == "simam" else {"ASP": "ASP"}

    @classmethod
    def recognise(cls, file: PublishedFile) -> Published | None:
        """Recognises the residual networks of wespeaker, with and without SimAM."""
        attention = "pooling.attention.3.weight"
        if file.has("front.conv1.weight", "bottleneck.weight", attention):
            width = file.size("front.conv1.weight")
            options = {
                "variant": "simam",
                "depth": depth_of(file, "front.", BASIC),
                "width": width,
                "nOut": file.size("bottleneck.weight"),
                "n_mels": bands_of(file.size(attention), width, 1),
            }
            return of_toolkit(OF_WESPEAKER, options)
        if file.has("layer3_ds.weight") or not file.has("layer4.0.conv2.weight", "seg_1.weight"):
            return None
        is_basic = not file.has("layer1.0.conv3.weight")
        options = {
            "variant": "plain",
            "depth": depth_of(file, "", BASIC if is_basic else BOTTLENECK),
            "two_emb_layer": file.has("seg_2.weight"),
            **published_options(file, 1 if is_basic else EXPANSION),
        }
        return of_toolkit(OF_WESPEAKER, options)

    def new_name(self, name: str) -> str:
        """SimAM-ResNet calls the layers before the pooling "front", and shortcuts "downsample"."""
        name = name.removeprefix("front.").replace(".downsample.", ".shortcut.")
        return super().new_name(name)

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        first = self.seg_1(pooled)
        return self.seg_2(self.seg_bn_1(F.relu(first))) if self.two_emb_layer else first
