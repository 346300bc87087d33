"""The learning rate falls by the same factor every epoch."""

import torch
from torch.optim.lr_scheduler import LambdaLR


def Scheduler(
    optimizer: torch.optim.Optimizer, steps_per_epoch: int, *, lr_decay: float = 0.9
) -> LambdaLR:
    """lr_decay: factor of the learning rate per epoch"""
    return LambdaLR(optimizer, lambda step: lr_decay ** (step // steps_per_epoch))
