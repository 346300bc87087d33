"""SAP, self-attentive pooling (Cai et al., arXiv:1804.05160)."""

import torch

from pooling._self_attention import SelfAttention


class Pooling(SelfAttention):
    """Weighted mean over time, with one weight for each frame."""

    description = "plain self-attentive pooling"

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return (frames * self.weights(frames)).sum(-1)
