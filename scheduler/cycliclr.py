"""Cyclical learning rates (Smith, arXiv:1506.01186).

The learning rate rises and falls in straight lines between two rates. Cycles are counted in epochs.
"""

from typing import Literal

import torch
from torch.optim.lr_scheduler import LambdaLR


def Scheduler(
    optimizer: torch.optim.Optimizer,
    steps_per_epoch: int,
    *,
    lr_cyclic_min: float = 1e-8,
    lr_cyclic_max: float = 1e-3,
    lr_up_size: int = 10,
    lr_down_size: int = 10,
    lr_mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    lr_decay: float = 1.0,
) -> LambdaLR:
    """lr_cyclic_min: lowest learning rate
    lr_cyclic_max: highest learning rate of the first cycle
    lr_up_size: epochs of the way up
    lr_down_size: epochs of the way down
    lr_mode: height of the cycles: triangular, all the same; triangular2, half of the one before;
        exp_range, times lr_decay every epoch
    lr_decay: factor of each epoch in exp_range
    """
    lr = optimizer.param_groups[0]["lr"]
    length = lr_up_size + lr_down_size
    if lr <= 0:
        raise ValueError(f"--lr: want more than 0, got {lr}")
    if min(lr_up_size, lr_down_size) < 1:
        raise ValueError(
            "--lr_up_size, --lr_down_size: want at least 1 epoch each, got "
            f"{lr_up_size} and {lr_down_size}"
        )

    def factor(step: int) -> float:
        """Returns the learning rate of a step, divided by lr."""
        epoch = step // steps_per_epoch
        cycle, epochs_in_cycle = divmod(epoch, length)
        if epochs_in_cycle <= lr_up_size:
            share = epochs_in_cycle / lr_up_size
        else:
            share = (length - epochs_in_cycle) / lr_down_size
        heights = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": lr_decay**epoch}
        height = heights[lr_mode]
        return (lr_cyclic_min + (lr_cyclic_max - lr_cyclic_min) * share * height) / lr

    return LambdaLR(optimizer, factor)
