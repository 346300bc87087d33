"""Stochastic gradient descent with momentum."""

from collections.abc import Iterable

import torch
from torch import nn


def Optimizer(
    params: Iterable[nn.Parameter],
    *,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    momentum: float = 0.9,
    nesterov: bool = False,
) -> torch.optim.Optimizer:
    """lr: initial learning rate
    weight_decay: weight of the L2 penalty
    momentum: momentum factor
    nesterov: use Nesterov momentum
    """
    return torch.optim.SGD(
        params, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, fused=True
    )
