"""ASP, attentive statistics pooling (Okabe et al., arXiv:1803.10963)."""

import torch

from pooling._self_attention import SelfAttention
from pooling._statistics import statistics


class Pooling(SelfAttention):
    """Weighted mean and standard deviation over time, with one weight for each frame."""

    description = "plain attentive statistics"

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 * channels)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return statistics(frames, self.weights(frames), 1e-5)
