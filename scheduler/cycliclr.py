"""Cyclical learning rates (Smith, arXiv:1506.01186).

The learning rate rises and falls in straight lines between two rates. Cycles are counted in epochs.
wespeaker's TriAngular2 with cycle_step 4 is this schedule at every update:

    python trainSpeakerNet.py --scheduler cycliclr --lr_mode triangular2 --lr_up_size 2 \
        --lr_down_size 2 --lr_per_step ...
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
    lr_per_step: bool = False,
) -> LambdaLR:
    """lr_cyclic_min: lowest learning rate
    lr_cyclic_max: highest learning rate in the first cycle
    lr_up_size: number of epochs with a rising learning rate in a cycle
    lr_down_size: number of epochs with a falling learning rate in a cycle
    lr_mode: height of the cycles: constant, halved each cycle, or times --lr_decay each epoch
    lr_decay: factor of the learning rate per epoch, for --lr_mode exp_range
    lr_per_step: change the learning rate at every update instead of every epoch
    """
    lr = optimizer.defaults["lr"]
    length = lr_up_size + lr_down_size
    if lr <= 0:
        raise ValueError(f"--lr: expected more than 0, found {lr}.")
    if min(lr_up_size, lr_down_size) < 1:
        raise ValueError(
            "--lr_up_size, --lr_down_size: expected at least 1 epoch each, found "
            f"{lr_up_size} and {lr_down_size}."
        )

    def factor(step: int) -> float:
        """Returns the learning rate of a step, divided by lr."""
        epoch = step / steps_per_epoch if lr_per_step else step // steps_per_epoch
        cycle, epochs_in_cycle = divmod(epoch, length)
        if epochs_in_cycle <= lr_up_size:
            share = epochs_in_cycle / lr_up_size
        else:
            share = (length - epochs_in_cycle) / lr_down_size
        heights = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": lr_decay**epoch}
        height = heights[lr_mode]
        return (lr_cyclic_min + (lr_cyclic_max - lr_cyclic_min) * share * height) / lr

    return LambdaLR(optimizer, factor)
