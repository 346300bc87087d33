"""AdamW: Adam with decoupled weight decay (Loshchilov and Hutter, arXiv:1711.05101)."""
import torch


def Optimizer(params, *, lr: float = 1e-3, weight_decay: float = 0.0):
    """lr: learning rate at the start
    weight_decay: share of the weights taken off at every update, times lr
    """
    return torch.optim.AdamW(params, lr=lr, weight_decay=weight_decay, fused=True)
