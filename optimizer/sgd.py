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
    """lr: learning rate at the start
    weight_decay: L2 penalty, added to the gradient
    momentum: share of the last update that goes into the next
    nesterov: Nesterov's momentum
    """
    return torch.optim.SGD(
        params, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, fused=True
    )
