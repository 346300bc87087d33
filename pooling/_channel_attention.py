"""Channel- and context-dependent attention (ECAPA-TDNN, arXiv:2005.07143), and its variants."""

import torch
from torch import nn
from torch.nn import functional as F

from pooling import BasePooling
from pooling._statistics import statistics


class ChannelAttention(BasePooling):
    """A network of two layers weighs the frames, and weighted statistics are pooled.

    The defaults are the values of ECAPA-TDNN. Models with a variant of this pooling use other
    values.

    width: size of the hidden layer.
    context: whether the network receives the utterance's mean and deviation with each frame.
    tanh: whether a tanh follows the hidden layer.
    shared: whether all channels share one weight per frame.
    deviation: whether the weighted standard deviation is pooled, in addition to the weighted mean.
    floor, ceiling: limits of all variances.
    """

    def __init__(
        self,
        channels: int,
        *,
        width: int = 256,
        context: bool = True,
        tanh: bool = True,
        shared: bool = False,
        deviation: bool = True,
        floor: float = 1e-4,
        ceiling: float | None = None,
    ) -> None:
        super().__init__(2 * channels if deviation else channels)
        self.context = context
        self.deviation = deviation
        self.floor = floor
        self.ceiling = ceiling
        inputs = 3 * channels if context else channels
        layers = [nn.Conv1d(inputs, width, 1), nn.ReLU(), nn.BatchNorm1d(width)]
        if tanh:
            layers.append(nn.Tanh())
        layers.append(nn.Conv1d(width, 1 if shared else channels, 1))
        self.attention = nn.Sequential(*layers)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        context = self.utterance_statistics(frames) if self.context else None
        weights = self.weights(frames, context)
        if self.deviation:
            return statistics(frames, weights, self.floor, self.ceiling)
        return (frames * weights).sum(-1)

    def utterance_statistics(self, frames: torch.Tensor) -> torch.Tensor:
        """Returns mean and unbiased deviation of each channel, [N, 2C].

        The variance of a single frame is 0 before the limits apply.
        """
        correction = min(1, frames.shape[-1] - 1)
        variance, mean = torch.var_mean(frames.float(), -1, correction=correction)
        return torch.cat([mean, variance.clamp(self.floor, self.ceiling).sqrt()], -1)

    def weights(self, frames: torch.Tensor, context: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the weights [N, C or 1, T] of frames [N, C, T], in float32."""
        first, *others = self.attention
        x = layer_with_context(first, frames, context)  # [N, width, T]
        for layer in others:
            x = layer(x)
        return x.float().softmax(-1)


def layer_with_context(
    layer: nn.Conv1d, frames: torch.Tensor, context: torch.Tensor | None
) -> torch.Tensor:
    """Applies a layer to frames [N, C, T], each of them followed by the context [N, 2C], if any.

    The context is the same at every frame. So its part of the layer is computed once, not T times.
    """
    if context is None:
        return layer(frames)
    sizes = [frames.shape[1], context.shape[1]]
    frame_weight, context_weight = layer.weight.split(sizes, 1)
    share = F.linear(context, context_weight.squeeze(-1), layer.bias)  # [N, width]
    return F.conv1d(frames, frame_weight) + share.unsqueeze(-1)
