"""SKA-TDNN (Mun et al., arXiv:2204.01005) as in the SASV 2022 baseline (arXiv:2305.19051): ECAPA-TDNN behind convolutions
that choose their kernel for each mel band, then for each channel; 30.8 million parameters.

    python trainSpeakerNet.py --model SKA_TDNN --eca_c 1024 ...
"""

import torch
from torch import nn
from torch.nn import functional as F

from models._ecapa import ECAPA
from models._pooling import Encoder

KERNELS = (3, 5)


class Branch(nn.Module):
    def __init__(self, channels, kernel):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x):
        return self.bn(F.relu(self.conv(x), inplace=True))


class SelectiveKernel(nn.Module):
    """Convolutions of several kernels, mixed with weights for each place of an axis (Li et al., arXiv:1903.06586).

    axis, size: which of [N, C, F, T], 1 for the channels or 2 for the bands, and how long it is.
    """

    def __init__(self, channels, axis, size, reduction=8, least=16):
        super().__init__()
        self.axis, self.others = axis, (3 - axis, 3)
        hidden = max(least, size // reduction)
        self.convs = nn.ModuleList(Branch(channels, kernel) for kernel in KERNELS)
        self.fc = nn.Linear(size, hidden)
        self.fcs = nn.ModuleList(nn.Linear(hidden, size) for _ in KERNELS)

    def forward(self, x):
        branches = [conv(x) for conv in self.convs]  # [N, C, F, T] each
        mean = sum(
            y.mean(self.others, keepdim=True) for y in branches
        )  # [N, C, 1, 1] or [N, 1, F, 1]
        z = F.relu(self.fc(mean.transpose(self.axis, 3)))  # [N, 1, 1, hidden]
        weights = torch.stack([fc(z) for fc in self.fcs]).softmax(0)  # [kernels, N, 1, 1, size]
        return sum(
            weight.transpose(self.axis, 3).to(y.dtype) * y
            for weight, y in zip(weights, branches, strict=True)
        )


class Block(nn.Module):
    def __init__(self, channels, bands):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.skfwse = SelectiveKernel(channels, 2, bands)
        self.skcwse = SelectiveKernel(channels, 1, channels)

    def forward(self, x):
        y = self.bn1(F.relu(self.conv1(x), inplace=True))
        return F.relu(self.skcwse(self.skfwse(y)) + x)


class MainModel(ECAPA):
    """nOut: size of the embedding
    encoder_type: pooling over time, see models/_pooling.py; ASP means ECA here, as published
    n_mels: mel bands of the input
    log_input: logarithm of the mel powers
    heads_number: heads of MHA and DoubleMHA pooling
    mask_prob: share of the heads that DoubleMHA leaves out of a training step
    frt_c: channels of the convolutions in front
    eca_c: channels of the blocks
    eca_s: groups of channels in a Res2Net block
    spec_augment: zero a random run of frames and of mel bands of every training input
    """

    def __init__(
        self,
        *,
        nOut: int = 192,
        encoder_type: Encoder = "ASP",
        n_mels: int = 80,
        log_input: bool = True,
        heads_number: int = 32,
        mask_prob: float = 0.3,
        frt_c: int = 128,
        eca_c: int = 1024,
        eca_s: int = 8,
        spec_augment: bool = False,
    ):
        # bands after each of the strided convolutions
        half, quarter = (n_mels + 1) // 2, (n_mels + 3) // 4
        super().__init__(
            inputs=frt_c * quarter,
            nOut=nOut,
            encoder_type=encoder_type,
            n_mels=n_mels,
            log_input=log_input,
            heads_number=heads_number,
            mask_prob=mask_prob,
            eca_c=eca_c,
            eca_s=eca_s,
            spec_augment=spec_augment,
        )
        self.frt_conv1 = nn.Conv2d(1, frt_c, 3, (2, 1), 1)
        self.frt_bn1 = nn.BatchNorm2d(frt_c)
        self.frt_block1 = Block(frt_c, half)
        self.frt_block2 = Block(frt_c, half)
        self.frt_conv2 = nn.Conv2d(frt_c, frt_c, 3, (2, 1), 1)
        self.frt_bn2 = nn.BatchNorm2d(frt_c)

    def front(self, features):
        x = self.frt_bn1(
            F.relu(self.frt_conv1(features.unsqueeze(1)), inplace=True)
        )  # [N, frt_c, half, T]
        x = self.frt_block2(self.frt_block1(x))
        x = self.frt_bn2(F.relu(self.frt_conv2(x), inplace=True))  # [N, frt_c, quarter, T]
        return x.flatten(1, 2)
