"""The learned weighted sum of the frames of several layers."""

import torch
from torch import nn


def layer_weights(layers: int) -> nn.Parameter:
    """Returns the weights of sum_of_layers() before training: equal shares."""
    return nn.Parameter(torch.ones(layers))


def sum_of_layers(frames: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Adds up the frames of the layers with the softmax of their weights, in float32.

    frames: [N, L, C, T]. weights: [L], see layer_weights(). Returns [N, C, T].
    """
    with torch.autocast(frames.device.type, enabled=False):
        return torch.einsum("l,nlct->nct", weights.softmax(0), frames.float())
