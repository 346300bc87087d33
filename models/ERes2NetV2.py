"""ERes2NetV2 (Chen et al., arXiv:2406.02167), as in 3D-Speaker.

It has 17.9 million parameters. The larger release w24s4ep4 has 53.5 million.

    python trainSpeakerNet.py --model ERes2NetV2 ...
    python trainSpeakerNet.py --model ERes2NetV2 --base_width 24 --pieces 4 --expansion 4 ...
"""

import functools
import math

import torch
from torch import nn
from torch.nn import functional as F

from models._kaldi import SPEAKER_3D, FbankOptions, of_toolkit
from models._plain_resnet import PlainResNet, published_options
from models._published import OF_3D_SPEAKER, Published, PublishedFile
from models._resnet import Shortcut, strided
from pooling import PoolingMaker

BLOCKS = (3, 4, 6, 3)
# Channels of the hidden layer of a fusion divided by its channels.
REDUCTION = 4


def relu20(x: torch.Tensor) -> torch.Tensor:
    """Clips values to [0, 20], in place."""
    return F.hardtanh(x, 0.0, 20.0, inplace=True)


class Fusion(nn.Module):
    """Attentive feature fusion: two maps [N, C, F, T] are added with weights between 0 and 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // REDUCTION
        self.local_att = nn.Sequential(
            nn.Conv2d(2 * channels, hidden, 1),
            nn.BatchNorm2d(hidden),
            nn.SiLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
            nn.BatchNorm2d(channels),
        )

    def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        balance = self.local_att(torch.cat([a, b], 1)).tanh()  # [N, C, F, T]
        # a (1 + balance) + b (1 - balance)
        return torch.addcmul(a + b, a - b, balance)


class Block(nn.Module):
    """Res2Net block on maps [N, C, F, T]: all pieces of the channels are convolved one by one.

    Each piece is combined with the result of the piece before it: added, or fused with `fusion`.
    """

    def __init__(
        self,
        inputs: int,
        channels: int,
        stride: int,
        *,
        base_width: int,
        pieces: int,
        expansion: int,
        fusion: bool,
    ) -> None:
        super().__init__()
        width = channels * base_width // 64
        outputs = channels * expansion
        self.stride = stride
        self.conv1 = nn.Conv2d(inputs, width * pieces, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width * pieces)
        self.convs = nn.ModuleList(
            nn.Conv2d(width, width, 3, padding=1, bias=False) for _ in range(pieces)
        )
        self.bns = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(pieces))
        self.fuse_models = nn.ModuleList(Fusion(width) for _ in range(pieces - 1 if fusion else 0))
        self.conv3 = nn.Conv2d(width * pieces, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = Shortcut(inputs, outputs, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = relu20(self.bn1(self.conv1(strided(x, self.stride))))
        first, *others = y.chunk(len(self.convs), 1)
        done = [relu20(self.bns[0](self.convs[0](first)))]
        for i, piece in enumerate(others):
            before = done[-1]
            piece = self.fuse_models[i](before, piece) if self.fuse_models else before + piece
            done.append(relu20(self.bns[i + 1](self.convs[i + 1](piece))))
        return relu20(self.bn3(self.conv3(torch.cat(done, 1))) + self.shortcut(x))


class MainModel(PlainResNet):
    """nOut: size of the embedding
    width: channels of the first layer
    base_width: channels of a piece in blocks of 64 channels (published: baseWidth)
    pieces: pieces into which a block divides its channels (published: scale)
    expansion: output channels of a block divided by the channels of its layer
    """

    default_pooling = "TSTP"
    # 3D-Speaker adds less to the variances than wespeaker.
    pooling_aliases = {"TSTP": "ERes2NetV2_TSTP"}

    def __init__(
        self,
        *,
        pooling: PoolingMaker,
        front: FbankOptions = SPEAKER_3D,
        nOut: int = 192,
        width: int = 64,
        base_width: int = 26,
        pieces: int = 2,
        expansion: int = 2,
    ) -> None:
        if width * base_width < 64:
            raise ValueError(
                f"--width: expected at least {math.ceil(64 / base_width)} with --base_width "
                f"{base_width}, found {width}."
            )
        make_block = functools.partial(
            Block, base_width=base_width, pieces=pieces, expansion=expansion
        )
        added = functools.partial(make_block, fusion=False)
        fused = functools.partial(make_block, fusion=True)
        super().__init__(
            front=front,
            width=width,
            makers=[added, added, fused, fused],
            blocks=BLOCKS,
            expansion=expansion,
            nOut=nOut,
            pooling=pooling,
        )
        channels = self.map_channels
        self.layer3_ds = nn.Conv2d(channels // 2, channels, 3, 2, 1, bias=False)
        self.fuse34 = Fusion(channels)

    @classmethod
    def recognise(cls, file: PublishedFile) -> Published | None:
        """Recognises the releases of 3D-Speaker."""
        if not file.has("layer3_ds.weight", "fuse34.local_att.0.weight", "seg_1.weight"):
            return None
        width = file.size("conv1.weight")
        expansion = file.size("layer1.0.conv3.weight") // width
        options = {
            # The blocks of the last layer have 8 times as many channels as the first layer.
            "base_width": 64 * file.size("layer4.0.convs.0.weight") // (8 * width),
            "pieces": file.count("layer1.0.convs."),
            "expansion": expansion,
            **published_options(file, expansion),
        }
        return of_toolkit(OF_3D_SPEAKER, options)

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(self.stem(x))))
        return self.fuse34(self.layer4(x), self.layer3_ds(x))
