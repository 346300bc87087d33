"""Stochastic gradient descent with momentum."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def Optimizer(
    params: Iterable[nn.Parameter] | Iterable[dict],
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
    made = torch.optim.SGD(
        params, lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov, fused=True
    )
    if momentum:
        made.register_step_pre_hook(start_momentum)
    return made


def start_momentum(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Starts the momentum of parameters at 0 before their first update.

    If the loss scaler or --skip_nonfinite cancels this update, torch would leave the momentum
    uninitialised.
    """
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None and not optimizer.state[p]:
                optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p.grad)
