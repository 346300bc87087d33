"""MHFA, multi-head factorised attentive pooling (Peng et al., SLT 2022, arXiv:2210.01273)."""

import torch
from torch import nn

from pooling import BasePooling
from pooling._layers import layer_weights, sum_of_layers


class Pooling(BasePooling):
    """Keys decide when to listen and values what to keep: two learned weighted sums of the layers.

    Both are compressed. A head weighs the frames by the softmax over time of a linear function of
    the keys, and all heads share the values. With one layer, keys and values have the same frames.
    The linear layer that the authors count as the last part of MHFA is the head of the model.

    heads_number: number of attention heads
    compression_dim: number of channels of the compressed keys and values
    """

    description = "multi-head factorised attentive pooling"
    takes_layers = True

    def __init__(
        self, channels: int, layers: int, *, heads_number: int = 32, compression_dim: int = 128
    ) -> None:
        super().__init__(heads_number * compression_dim)
        # Shares of a single layer would learn nothing.
        self.weights_k = layer_weights(layers) if layers > 1 else None
        self.weights_v = layer_weights(layers) if layers > 1 else None
        self.cmp_linear_k = nn.Linear(channels, compression_dim)
        self.cmp_linear_v = nn.Linear(channels, compression_dim)
        self.att_head = nn.Linear(compression_dim, heads_number)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Pools frames [N, L, C, T], or [N, C, T] of one layer, to [N, heads * compression]."""
        with torch.autocast(frames.device.type, enabled=False):
            keys = values = frames.float()
            if self.weights_k is not None:
                keys = sum_of_layers(frames, self.weights_k)
                values = sum_of_layers(frames, self.weights_v)
            keys = self.cmp_linear_k(keys.transpose(1, 2))  # [N, T, compression]
            values = self.cmp_linear_v(values.transpose(1, 2))
            weights = self.att_head(keys).softmax(1)  # [N, T, heads]
            return (weights.transpose(1, 2) @ values).flatten(1)
