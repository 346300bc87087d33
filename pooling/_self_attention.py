"""Self-attentive pooling (Cai et al., arXiv:1804.05160), which SAP and ASP share."""

import torch
from torch import nn

from pooling import BasePooling


class SelfAttention(BasePooling):
    """One weight for each frame, from one hidden layer. The weights sum to 1 over time."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__(size)
        self.sap_linear = nn.Linear(channels, channels)
        self.attention = nn.Parameter(torch.empty(channels, 1))
        nn.init.xavier_normal_(self.attention)

    def weights(self, frames: torch.Tensor) -> torch.Tensor:
        """Returns the weights [N, 1, T] of frames [N, C, T], in float32."""
        h = torch.tanh(self.sap_linear(frames.transpose(1, 2)))  # [N, T, C]
        return (h @ self.attention).float().softmax(1).transpose(1, 2)
