"""RMSprop (Tieleman and Hinton, 2012)."""

from collections.abc import Iterable

import torch
from torch import nn


def Optimizer(
    params: Iterable[nn.Parameter] | Iterable[dict], *, lr: float = 1e-3, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """lr: initial learning rate
    weight_decay: weight of the L2 penalty
    """
    return torch.optim.RMSprop(params, lr=lr, weight_decay=weight_decay)
