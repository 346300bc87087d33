"""ResNetSE34V2, the larger residual network of voxceleb_trainer (Heo et al., arXiv:2009.14153).

It has 7.0 million parameters with SAP, 8.0 with ASP.

    python trainSpeakerNet.py --model ResNetSE34V2 --encoder_type ASP --n_mels 64 ...
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from models._frontend import FrontEnd
from models._resnet import ResNet
from pooling import PoolingMaker

CHANNELS = (32, 64, 128, 256)
STRIDES = (1, 2, 2, 2)


class MainModel(ResNet):
    """nOut: size of the embedding
    n_mels: mel bands of the input
    log_input: use the logarithm of the mel powers
    spec_augment: set random frames and mel bands of training inputs to zero (SpecAugment)
    """

    # As published in voxceleb_trainer.
    pooling_aliases = {"SAP": "ResNetSE34V2_SAP", "ASP": "ResNetSE34V2_ASP"}
    old_names = {
        "torchfb.0.": "torchfb.",
        "torchfb.1.": "torchfb.",
        "attention.": "pooling.attention.",
    }

    def __init__(
        self,
        *,
        pooling: PoolingMaker,
        nOut: int = 512,
        n_mels: int = 64,
        log_input: bool = True,
        spec_augment: bool = False,
    ) -> None:
        super().__init__(
            front=FrontEnd(n_mels, pre_emphasis=True, log=log_input, augment=spec_augment),
            conv1=nn.Conv2d(1, CHANNELS[0], 3, padding=1),
            channels=CHANNELS,
            strides=STRIDES,
            bands=math.ceil(n_mels / math.prod(STRIDES)),
            nOut=nOut,
            pooling=pooling,
        )

    def stem(self, x: torch.Tensor) -> torch.Tensor:
        """Maps features [N, 1, n_mels, T] to [N, 32, n_mels, T]."""
        return self.bn1(F.relu(self.conv1(x), inplace=True))

    def rows(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps [N, 256, n_mels / 8, T'] to frames [N, 256 * n_mels / 8, T']."""
        return maps.flatten(1, 2)
