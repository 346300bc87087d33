"""TSDP, temporal standard deviation pooling, as in wespeaker (Wang et al., arXiv:2104.02571)."""

import torch

from pooling import BasePooling
from pooling._statistics import plain_statistics


class Pooling(BasePooling):
    """Unbiased standard deviation over time."""

    description = "the standard deviation over time"

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return plain_statistics(frames, 1e-7)[1]
