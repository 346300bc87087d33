"""Dot-product attention over time, and over groups (heads) of channels (arXiv:2007.13199)."""

import math

import torch
from torch import nn

from pooling import BasePooling


def check_heads(channels: int, heads_number: int) -> None:
    """Raises ValueError if the channels cannot be split into that number of heads."""
    if heads_number < 1 or channels % heads_number:
        raise ValueError(
            f"--heads_number: expected a divisor of {channels}, the channels of the pooling, found "
            f"{heads_number}."
        )


class DotAttention(BasePooling):
    """One weight for each frame: the softmax over time of a learned linear function."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.att = nn.Parameter(torch.empty(channels, 1))
        nn.init.xavier_normal_(self.att)

    def logits(self, frames: torch.Tensor) -> torch.Tensor:
        """Returns the logits [N, 1, T] of frames [N, C, T], in float32 even if frames are not."""
        return (frames * self.att).sum(1, keepdim=True)

    def weights(self, frames: torch.Tensor) -> torch.Tensor:
        """Returns the weights [N, 1, T] of frames [N, C, T], in float32."""
        return self.logits(frames).softmax(-1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return (frames * self.weights(frames)).sum(-1)


class MultiHeadAttention(BasePooling):
    """One weight for each frame and head. A head is a group of channels."""

    def __init__(self, channels: int, heads_number: int) -> None:
        check_heads(channels, heads_number)
        super().__init__(channels)
        self.query = nn.Parameter(torch.empty(channels // heads_number, heads_number))
        nn.init.xavier_normal_(self.query)

    def heads(self, frames: torch.Tensor) -> torch.Tensor:
        """Splits the channels of frames [N, C, T]: [N, heads, C / heads, T]."""
        return frames.unflatten(1, self.query.t().shape)

    def weights(self, frames: torch.Tensor) -> torch.Tensor:
        """Returns the weights [N, heads, T] of frames [N, C, T], in float32."""
        logits = (self.heads(frames) * self.query.t().unsqueeze(-1)).sum(2)
        # The reference divides by the root of the number of heads, not of their size; kept.
        return (logits / math.sqrt(self.query.shape[1])).softmax(-1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return (self.heads(frames) * self.weights(frames).unsqueeze(2)).sum(-1).flatten(1)
