"""The learning rate falls by a factor every few epochs.

By default it falls every test_interval epochs, as in voxceleb_trainer.
"""

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
    """lr_decay: factor of the learning rate after every --lr_decay_interval epochs
    lr_decay_interval: number of epochs between changes (0: --test_interval)
    """
    interval = lr_decay_interval or test_interval
    return LambdaLR(optimizer, lambda step: lr_decay ** (step // steps_per_epoch // interval))
