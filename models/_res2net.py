"""Res2Net (Gao et al., arXiv:1904.01169) over time, which ECAPA-TDNN and RawNet3 share."""

import torch
from torch import nn
from torch.nn import functional as F


class Res2Net(nn.Module):
    """Splits the channels into `scale` groups.

    Each group is added to the result of the group before it, and convolved. Subclasses add their
    own shortcut to branch().
    """

    def __init__(self, inputs: int, channels: int, dilation: int, scale: int) -> None:
        super().__init__()
        width = channels // scale
        self.conv1 = nn.Conv1d(inputs, channels, 1)
        self.bn1 = nn.BatchNorm1d(channels)
        self.convs = nn.ModuleList(
            nn.Conv1d(width, width, 3, dilation=dilation, padding=dilation)
            for _ in range(scale - 1)
        )
        self.bns = nn.ModuleList(nn.BatchNorm1d(width) for _ in range(scale - 1))
        self.conv3 = nn.Conv1d(channels, channels, 1)
        self.bn3 = nn.BatchNorm1d(channels)

    def branch(self, x: torch.Tensor) -> torch.Tensor:
        """Maps frames [N, inputs, T] to [N, channels, T]."""
        y = self.bn1(F.relu(self.conv1(x), inplace=True))
        *groups, last = y.chunk(len(self.convs) + 1, 1)
        done = []
        y = 0.0
        for group, conv, bn in zip(groups, self.convs, self.bns, strict=True):
            y = bn(F.relu(conv(group + y), inplace=True))
            done.append(y)
        return self.bn3(F.relu(self.conv3(torch.cat([*done, last], 1)), inplace=True))
