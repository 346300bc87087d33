"""MQMHA, multi-query multi-head attentive statistics (Zhao et al., arXiv:2110.05042)."""

import torch
from torch import nn

from pooling import BasePooling
from pooling._heads import check_heads
from pooling._statistics import statistics

# Least variance, so that the square root has a gradient.
FLOOR = 1e-5


class Pooling(BasePooling):
    """Every head (a group of channels) has several queries, each with an attention over time.

    A query weighs the frames by the softmax of a linear function of the head's channels. Weighted
    means and standard deviations of the head's channels are pooled for each query.

    heads_number: number of attention heads
    queries: number of queries per head
    """

    description = "multi-query multi-head attentive statistics"

    def __init__(self, channels: int, *, heads_number: int = 16, queries: int = 4) -> None:
        check_heads(channels, heads_number)
        if queries < 1:
            raise ValueError(f"--queries: expected at least 1, found {queries}.")
        super().__init__(2 * channels * queries)
        self.query = nn.Parameter(torch.empty(queries, heads_number, channels // heads_number))
        nn.init.xavier_normal_(self.query)

    def weights(self, frames: torch.Tensor) -> torch.Tensor:
        """Returns the weights [N, queries, heads, T] of frames [N, C, T], in float32."""
        heads = frames.unflatten(1, self.query.shape[1:])  # [N, heads, C / heads, T]
        with torch.autocast(frames.device.type, enabled=False):
            return torch.einsum("nhct,qhc->nqht", heads.float(), self.query).softmax(-1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Returns [N, 2 * C * queries]: the means and deviations of the queries, in order."""
        pooled = []
        for weights in self.weights(frames).unbind(1):
            of_channels = weights.repeat_interleave(self.query.shape[2], 1)  # [N, C, T]
            pooled.append(statistics(frames, of_channels, FLOOR))
        return torch.cat(pooled, 1)
