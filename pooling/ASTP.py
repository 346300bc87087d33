"""ASTP, the attentive statistics of wespeaker (Desplanques et al., arXiv:2005.07143)."""

import torch
from torch import nn

from pooling import BasePooling
from pooling._channel_attention import layer_with_context
from pooling._statistics import plain_statistics, statistics

# Least variance, also of the context.
FLOOR = 1e-7


class Pooling(BasePooling):
    """Weighted mean and standard deviation, with one weight for each frame and channel.

    The network that computes the weights has no normalisation.

    bottleneck_dim: size of the hidden layer of the attention
    global_context_att: the attention also receives the mean and the deviation of the utterance
    """

    description = "attentive statistics, channel-dependent, without normalisation"

    def __init__(
        self, channels: int, *, bottleneck_dim: int = 128, global_context_att: bool = False
    ) -> None:
        super().__init__(2 * channels)
        self.context = global_context_att
        inputs = 3 * channels if global_context_att else channels
        self.linear1 = nn.Conv1d(inputs, bottleneck_dim, 1)
        self.linear2 = nn.Conv1d(bottleneck_dim, channels, 1)

    def weights(self, frames: torch.Tensor) -> torch.Tensor:
        """Returns the weights [N, C, T] of frames [N, C, T], in float32."""
        context = torch.cat(plain_statistics(frames, FLOOR), 1) if self.context else None
        hidden = layer_with_context(self.linear1, frames, context)
        return self.linear2(hidden.tanh()).float().softmax(-1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        return statistics(frames, self.weights(frames), FLOOR)
