"""ASTP as in ReDimNet: the attention also receives the statistics of the utterance. (stand-in)"""

import torch
from torch import nn

from pooling import BasePooling
from pooling._statistics import statistics


class Pooling(BasePooling):
    """bottleneck_dim: size of the hidden layer of the attention
    global_context_att: the attention also receives the mean and the deviation of the utterance
    """

    description = "x"

    def __init__(
        self, channels: int, *, bottleneck_dim: int = 128, global_context_att: bool = True
    ) -> None:
        super().__init__(2 * channels)
        self.context = global_context_att
        inputs = 3 * channels if global_context_att else channels
        self.linear1 = nn.Conv1d(inputs, bottleneck_dim, 1)
        self.linear2 = nn.Conv1d(bottleneck_dim, channels, 1)

    def forward(self, frames):
        x = frames
        if self.context:
            v, m = torch.var_mean(frames.float(), -1, keepdim=True)
            x = torch.cat([frames, m.expand_as(frames), (v + 1e-7).sqrt().expand_as(frames)], 1)
        w = self.linear2(self.linear1(x).tanh()).float().softmax(-1)
        return statistics(frames, w, 1e-7)
