"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101)."""

from collections.abc import Iterable

import torch
from torch import nn


def Optimizer(
    params: Iterable[nn.Parameter] | Iterable[dict],
    *,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    decay_vectors: bool = True,
) -> torch.optim.Optimizer:
    """lr: initial learning rate
    weight_decay: decoupled weight decay
    decay_vectors: apply weight decay to biases and normalisation layers too
    """
    if not decay_vectors:
        params = without_decay_of_vectors(params)
    return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, fused=True)


def without_decay_of_vectors(params: Iterable[nn.Parameter] | Iterable[dict]) -> list[dict]:
    """Splits every group of parameters: weight decay is applied to matrices, not to vectors."""
    params = list(params)
    groups = params if isinstance(params[0], dict) else [{"params": params}]
    split = []
    for group in groups:
        decayed = [p for p in group["params"] if p.dim() > 1]
        not_decayed = [p for p in group["params"] if p.dim() <= 1]
        # An empty group would change the state in checkpoints.
        if decayed:
            split.append(group | {"params": decayed})
        if not_decayed:
            split.append(group | {"params": not_decayed, "weight_decay": 0.0})
    return split
