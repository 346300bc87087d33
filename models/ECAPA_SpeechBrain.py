"""ECAPA-TDNN (Desplanques et al., arXiv:2005.07143) as in SpeechBrain.

It differs from ECAPA_TDNN in its front end, in the order of the pieces of a Res2Net block, in the
padding, and in normalisations. It has 20.8 million parameters with 1024 channels.

    python trainSpeakerNet.py --model ECAPA_SpeechBrain ...
"""

import re
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from models import Backbone
from models._ecapa import SqueezeExcitation, check_scale
from models._kaldi import FbankOptions
from models._kaldi import front_end as kaldi
from models._published import WHOLE_FILES, Published, PublishedFile
from models._speechbrain_front import DecibelFilterBanks
from pooling import PoolingMaker

# Reflection needs more frames than the padding on one side, which is 4 in the last block.
LEAST_FRAMES = 5
# SpeechBrain wraps each layer, so that its name occurs twice.
WRAPPED = re.compile(r"\b(conv|norm)\.\1\.")


class FrameLayer(nn.Module):
    """A convolution with reflected ends, ReLU and normalisation, on frames [N, C, T]."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.conv = nn.Conv1d(
            inputs, outputs, kernel, padding=padding, dilation=dilation, padding_mode="reflect"
        )
        self.norm = nn.BatchNorm1d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(F.relu(self.conv(x), inplace=True))


class Pieces(nn.Module):
    """Res2Net whose first piece of channels stays as it is, [N, C, T] -> [N, C, T]."""

    def __init__(self, channels: int, dilation: int, scale: int) -> None:
        super().__init__()
        width = channels // scale
        self.blocks = nn.ModuleList(FrameLayer(width, width, 3, dilation) for _ in range(scale - 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second, *others = x.chunk(len(self.blocks) + 1, 1)
        done = [first, self.blocks[0](second)]
        for block, piece in zip(self.blocks[1:], others, strict=True):
            done.append(block(piece + done[-1]))
        return torch.cat(done, 1)


class Block(nn.Module):
    """Res2Net, squeeze-and-excitation and a shortcut, [N, C, T] -> [N, C, T]."""

    def __init__(self, channels: int, dilation: int, scale: int) -> None:
        super().__init__()
        self.tdnn1 = FrameLayer(channels, channels, 1)
        self.res2net_block = Pieces(channels, dilation, scale)
        self.tdnn2 = FrameLayer(channels, channels, 1)
        self.se_block = SqueezeExcitation(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.se_block(self.tdnn2(self.res2net_block(self.tdnn1(x))))


class MainModel(Backbone):
    """nOut: size of the embedding
    n_mels: mel bands of the input
    fbank: front end: of SpeechBrain, or filter banks as in Kaldi
    eca_c: number of channels in a block
    eca_s: number of channel groups in a Res2Net block
    spec_augment: set random frames and mel bands of training inputs to zero (SpecAugment)
    """

    default_pooling = "CentredECA"
    old_names = {
        "asp.tdnn.conv.": "pooling.attention.0.",
        "asp.tdnn.norm.": "pooling.attention.2.",
        "asp.conv.": "pooling.attention.4.",
        "asp_bn.norm.": "asp_bn.",
        "fc.conv.": "fc.",
    }
    training_options = ("spec_augment",)

    def __init__(
        self,
        *,
        pooling: PoolingMaker,
        nOut: int = 192,
        n_mels: int = 80,
        fbank: Literal["speechbrain", "kaldi"] = "speechbrain",
        eca_c: int = 1024,
        eca_s: int = 8,
        spec_augment: bool = False,
    ) -> None:
        super().__init__()
        check_scale(eca_c, eca_s)
        self.dim = nOut
        if fbank == "kaldi":
            self.torchfb = kaldi(FbankOptions(n_mels=n_mels, spec_augment=spec_augment))
        else:
            self.torchfb = DecibelFilterBanks(n_mels, augment=spec_augment)
        blocks = [FrameLayer(n_mels, eca_c, 5)]
        blocks += [Block(eca_c, dilation, eca_s) for dilation in (2, 3, 4)]
        self.blocks = nn.ModuleList(blocks)
        self.mfa = FrameLayer(3 * eca_c, 3 * eca_c, 1)
        self.pooling = pooling(3 * eca_c)
        self.asp_bn = nn.BatchNorm1d(self.pooling.size)
        self.fc = nn.Linear(self.pooling.size, nOut)

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        x = self.torchfb(x)  # [N, n_mels, T]
        x = F.pad(x, (0, max(0, LEAST_FRAMES - x.shape[2])), "replicate")
        outputs = []
        for block in self.blocks:
            x = block(x)
            outputs.append(x)
        return self.mfa(torch.cat(outputs[1:], 1))

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.fc(self.asp_bn(pooled))

    @classmethod
    def recognise(cls, file: PublishedFile) -> Published | None:
        """Recognises the embedding_model.ckpt of SpeechBrain."""
        first = "blocks.0.conv.conv.weight"
        if not file.has(first, "mfa.conv.conv.weight", "asp.conv.conv.weight", "fc.conv.weight"):
            return None
        options = {
            "eca_c": file.size(first),
            "eca_s": file.count("blocks.1.res2net_block.blocks.") + 1,
            "n_mels": file.size(first, 1),
            "nOut": file.size("fc.conv.weight"),
        }
        return Published("SpeechBrain", options, {"fbank": "speechbrain", **WHOLE_FILES})

    def new_name(self, name: str) -> str:
        name = WRAPPED.sub(r"\1.", name)
        # The convolutions of squeeze-and-excitation.
        name = name.replace("se_block.conv1.conv.", "se_block.se.1.")
        name = name.replace("se_block.conv2.conv.", "se_block.se.3.")
        return super().new_name(name)

    def new_weights(self, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The last layer of SpeechBrain is a convolution of one frame."""
        named = super().new_weights(weights)
        if named.get("fc.weight", torch.empty(0)).dim() == 3:
            named["fc.weight"] = named["fc.weight"].squeeze(-1)
        return named
