"""The trunk of ECAPA-TDNN (Desplanques et al., arXiv:2005.07143), its pooling and its head, as in the SASV 2022 baseline."""

import torch
from torch import nn
from torch.nn import functional as F

from models import Backbone
from models._frontend import sasv2_front_end
from models._pooling import ECA, make_pooling
from models._res2net import Res2Net

# channels that are pooled, whatever eca_c
POOLED = 1536


class SqueezeExcitation(nn.Module):
    def __init__(self, channels, width=128):
        super().__init__()
        self.se = nn.Sequential(
            nn.AdaptiveAvgPool1d(1),
            nn.Conv1d(channels, width, 1),
            nn.ReLU(inplace=True),
            nn.Conv1d(width, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return x * self.se(x)


class Block(Res2Net):
    def __init__(self, channels, dilation, scale):
        super().__init__(channels, channels, dilation, scale)
        self.se = SqueezeExcitation(channels)

    def forward(self, x):
        return self.se(self.branch(x)) + x


class ECAPA(Backbone):
    """inputs: channels of what a subclass makes of the mel features in front(). The other options: ECAPA_TDNN.py."""

    old_names = {
        "torchfbank.0.": "torchfbank.",
        "torchfbank.1.": "torchfbank.",
        "attention.": "pooling.attention.",
    }
    training_options = ("spec_augment",)

    def __init__(
        self,
        *,
        inputs,
        nOut,
        encoder_type,
        n_mels,
        log_input,
        heads_number,
        mask_prob,
        eca_c,
        eca_s,
        spec_augment,
    ):
        super().__init__()
        if eca_s < 2 or eca_c % eca_s:
            raise ValueError(
                f"--eca_s: want at least 2 groups that divide the {eca_c} channels of --eca_c, got {eca_s}"
            )
        self.dim = nOut
        self.torchfbank = sasv2_front_end(n_mels, log=log_input, augment=spec_augment)
        self.conv1 = nn.Conv1d(inputs, eca_c, 5, padding=2)
        self.bn1 = nn.BatchNorm1d(eca_c)
        self.layer1 = Block(eca_c, 2, eca_s)
        self.layer2 = Block(eca_c, 3, eca_s)
        self.layer3 = Block(eca_c, 4, eca_s)
        self.layer4 = nn.Conv1d(3 * eca_c, POOLED, 1)
        self.pooling = make_pooling(
            encoder_type, POOLED, {"ASP": ECA}, heads_number=heads_number, mask_prob=mask_prob
        )
        self.bn5 = nn.BatchNorm1d(self.pooling.size)
        self.fc6 = nn.Linear(self.pooling.size, nOut)
        self.bn6 = nn.BatchNorm1d(nOut)

    def front(self, features):
        """features [N, n_mels, T] -> [N, inputs, T]."""
        return features

    def frames(self, x):
        x = self.front(self.torchfbank(x))  # [N, inputs, T]
        x = self.bn1(F.relu(self.conv1(x), inplace=True))  # [N, eca_c, T]
        x1 = self.layer1(x)
        x2 = self.layer2(x + x1)
        x3 = self.layer3(x + x1 + x2)
        return F.relu(self.layer4(torch.cat([x1, x2, x3], 1)), inplace=True)  # [N, 1536, T]

    def head(self, pooled):
        return self.bn6(self.fc6(self.bn5(pooled)))
