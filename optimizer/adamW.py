"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101)."""

import torch


def Optimizer(params, *, lr: float = 1e-3, weight_decay: float = 0.0, decay_vectors: bool = True):
    """lr: learning rate at the start
    weight_decay: share of the weights taken off at every update, times lr
    decay_vectors: of biases and normalisations too
    """
    params = list(params)
    groups = [
        {"params": [p for p in params if p.dim() > 1 or decay_vectors]},
        {"params": [p for p in params if not (p.dim() > 1 or decay_vectors)], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=lr, weight_decay=weight_decay, fused=True
    )
