"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101)."""

from collections.abc import Iterable

import torch
from torch import nn


def Optimizer(
    params: Iterable[nn.Parameter],
    *,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    decay_vectors: bool = True,
) -> torch.optim.Optimizer:
    """lr: initial learning rate
    weight_decay: decoupled weight decay
    decay_vectors: apply weight decay to biases and normalisation layers too
    """
    decayed = []
    not_decayed = []
    for p in params:
        if p.dim() > 1 or decay_vectors:
            decayed.append(p)
        else:
            not_decayed.append(p)
    # An empty group would change the state in checkpoints.
    groups = []
    if decayed:
        groups.append({"params": decayed})
    if not_decayed:
        groups.append({"params": not_decayed, "weight_decay": 0.0})
    return torch.optim.AdamW(groups, lr=lr, weight_decay=weight_decay, fused=True)
