"""TAP, temporal average pooling: the mean over time."""

import torch

from pooling import BasePooling


class Pooling(BasePooling):
    """Mean over time."""

    description = "the mean over time"

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.mean(-1, dtype=torch.float32)
