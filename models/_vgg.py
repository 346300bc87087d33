"""VGG convolutions on spectral coefficients, a pooling and two linear layers.

The networks were published with double multi-head attention (India et al., arXiv:2007.13199).
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from models import Backbone
from models._frontend import MFSC
from pooling import PoolingMaker

BANDS = 80


def convolutions(kernel_size: int, blocks: int) -> nn.Sequential:
    """Returns convolutions that map [N, 1, T, F] to [N, kernel_size, T', F'].

    Every block halves both axes and rounds up.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = 1
    for i in range(1, blocks + 1):
        outputs = kernel_size // 2 ** (blocks - i)
        for j in (1, 2):
            layers[f"conv{i}{j}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            layers[f"relu{i}{j}"] = nn.ReLU(inplace=True)
            inputs = outputs
        layers[f"pool{i}"] = nn.MaxPool2d(2, ceil_mode=True)
    return nn.Sequential(layers)


@dataclass(frozen=True)
class VGGOptions:
    """nOut: size of the embedding
    kernel_size: number of channels in the last block (half of it in the block before, and so on)
    normalization: normalisation of each band over time: mean (cmn), or mean and deviation (cmvn)
    """

    nOut: int = 400
    kernel_size: int = 1024
    normalization: Literal["cmn", "cmvn"] = "cmn"


DEFAULTS = VGGOptions()


class VGG(Backbone):
    """A VGG network of several blocks.

    blocks: number of blocks. Each block has two convolutions.
    """

    default_pooling = "DoubleMHA"

    bands = BANDS
    # The published model ends with the classifier. Here it belongs to the loss: amsoftmax with
    # --pre_layer.
    old_names = {
        "poolingLayer.": "pooling.",
        "preLayer.": "loss.preLayer.",
        "predictionLayer.": "loss.",
    }
    unused = ("b1.", "b3.")

    def __init__(self, pooling: PoolingMaker, options: VGGOptions, blocks: int) -> None:
        super().__init__()
        kernel_size = options.kernel_size
        if kernel_size < 1 or kernel_size % 2 ** (blocks - 1):
            raise ValueError(
                f"--kernel_size: expected a multiple of {2 ** (blocks - 1)}, found {kernel_size}."
            )
        self.dim = options.nOut
        self.mfsc = MFSC(BANDS, normalization=options.normalization)
        self.front_end = convolutions(kernel_size, blocks)
        self.pooling = pooling(kernel_size * BANDS // 2**blocks)
        self.fc1 = nn.Linear(self.pooling.size, self.dim)
        self.fc2 = nn.Linear(self.dim, self.dim)
        self.b2 = nn.BatchNorm1d(self.dim)

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T], or features [N, T, 80], to frames [N, C, T'].

        Features are normalised already.
        """
        if x.dim() == 2:
            x = self.mfsc(x)
        x = self.front_end(x.unsqueeze(1))  # [N, kernel_size, T', F']
        return x.transpose(2, 3).flatten(1, 2)

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.b2(F.relu(self.fc2(F.relu(self.fc1(pooled)))))
