"""One-class softmax (Zhang et al., arXiv:2010.13995): a direction close to bona fide speech.

A loss that uses it has a parameter `direction` [1, D].
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def new_direction(dim: int) -> nn.Parameter:
    """Returns a random direction [1, dim]."""
    direction = nn.Parameter(torch.empty(1, dim))
    nn.init.kaiming_uniform_(direction, 0.25)
    return direction


def cosine_to(direction: Tensor, x: Tensor) -> Tensor:
    """Returns the cosines [...] between embeddings [..., D] and a direction [1, D]."""
    return F.linear(F.normalize(x, dim=-1), F.normalize(direction)).squeeze(-1)


def one_class_softmax(
    cos: Tensor, spoof: Tensor, scale: float, margin_real: float, margin_spoof: float
) -> Tensor:
    """Returns the one-class softmax loss, a scalar.

    cos: cosine to the direction of bona fide speech [B, M]. spoof: [B, M] bool. scale: factor of
    the cosines. margin_real: cosine that bona fide speech should exceed. margin_spoof: cosine that
    spoofed speech should stay below.
    """
    violation = torch.where(spoof, cos - margin_spoof, margin_real - cos)
    return F.softplus(scale * violation).mean()
