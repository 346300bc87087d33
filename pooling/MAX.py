"""MAX, the maximum over time."""

import torch

from pooling import BasePooling


class Pooling(BasePooling):
    """Maximum over time."""

    description = "the maximum over time"

    def __init__(self, channels: int) -> None:
        super().__init__(channels)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return frames.amax(-1).float()
