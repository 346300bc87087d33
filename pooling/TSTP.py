"""TSTP, temporal statistics pooling (Snyder et al., ICASSP 2018), as in wespeaker."""

import torch

from pooling import BasePooling
from pooling._statistics import plain_statistics


class Pooling(BasePooling):
    """Mean and unbiased standard deviation over time.

    A subclass may have another eps, which is added to the variances.
    """

    description = "mean and standard deviation, 1e-7 added to the variances"
    eps = 1e-7

    def __init__(self, channels: int) -> None:
        super().__init__(2 * channels)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return torch.cat(plain_statistics(frames, self.eps), 1)
