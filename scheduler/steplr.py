"""The learning rate falls by a factor every few epochs."""

import torch
from torch.optim.lr_scheduler import LambdaLR


def Scheduler(
    optimizer: torch.optim.Optimizer,
    steps_per_epoch: int,
    test_interval: int,
    *,
    lr_decay: float = 0.95,
    lr_decay_interval: int = 0,
) -> LambdaLR:
    """lr_decay: factor of each fall
    lr_decay_interval: epochs between falls; 0 for test_interval, as in voxceleb_trainer
    """
    interval = lr_decay_interval or test_interval
    return LambdaLR(optimizer, lambda step: lr_decay ** (step // steps_per_epoch // interval))
