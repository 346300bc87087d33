"""ResNetSE34V2, the larger residual network of voxceleb_trainer (Heo et al., arXiv:2009.14153): 7.0 million
parameters with SAP, 8.0 with ASP.

    python trainSpeakerNet.py --model ResNetSE34V2 --encoder_type ASP --n_mels 64 ...
"""

import math
from functools import partial

from torch import nn
from torch.nn import functional as F

from models._frontend import FrontEnd
from models._pooling import ECA, Encoder
from models._resnet import ResNet

CHANNELS = (32, 64, 128, 256)
STRIDES = (1, 2, 2, 2)
# a weight for each channel and band
ATTENTIVE = partial(ECA, width=128, context=False, tanh=False, floor=1e-5)


class MainModel(ResNet):
    """nOut: size of the embedding
    encoder_type: pooling over time, see models/_pooling.py; SAP and ASP attend with a network of two layers here, as published
    n_mels: mel bands of the input
    log_input: logarithm of the mel powers
    spec_augment: zero a random run of frames and of mel bands of every training input
    heads_number: heads of MHA and DoubleMHA pooling
    mask_prob: share of the heads that DoubleMHA leaves out of a training step
    """

    old_names = {
        "torchfb.0.": "torchfb.",
        "torchfb.1.": "torchfb.",
        "attention.": "pooling.attention.",
    }

    def __init__(
        self,
        *,
        nOut: int = 512,
        encoder_type: Encoder = "SAP",
        n_mels: int = 64,
        log_input: bool = True,
        spec_augment: bool = False,
        heads_number: int = 32,
        mask_prob: float = 0.3,
    ):
        super().__init__(
            front=FrontEnd(n_mels, pre_emphasis=True, log=log_input, augment=spec_augment),
            conv1=nn.Conv2d(1, CHANNELS[0], 3, padding=1),
            channels=CHANNELS,
            strides=STRIDES,
            bands=math.ceil(n_mels / math.prod(STRIDES)),
            nOut=nOut,
            encoder_type=encoder_type,
            heads_number=heads_number,
            mask_prob=mask_prob,
            published={"SAP": partial(ATTENTIVE, deviation=False), "ASP": ATTENTIVE},
        )

    def stem(self, x):
        return self.bn1(F.relu(self.conv1(x), inplace=True))  # [N, 32, n_mels, T]

    def rows(self, maps):
        return maps.flatten(1, 2)  # [N, 256 * n_mels / 8, T']
