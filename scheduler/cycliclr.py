"""Cyclical learning rates (Smith, arXiv:1506.01186): up and down in straight lines between two rates, counted in epochs."""

from typing import Literal

from torch.optim.lr_scheduler import LambdaLR


def Scheduler(
    optimizer,
    steps_per_epoch,
    *,
    lr_cyclic_min: float = 1e-8,
    lr_cyclic_max: float = 1e-3,
    lr_up_size: int = 10,
    lr_down_size: int = 10,
    lr_mode: Literal["triangular", "triangular2", "exp_range"] = "triangular",
    lr_decay: float = 1.0,
):
    """lr_cyclic_min: lowest learning rate
    lr_cyclic_max: highest learning rate of the first cycle
    lr_up_size: epochs of the way up
    lr_down_size: epochs of the way down
    lr_mode: height of the cycles: triangular, all the same; triangular2, half of the one before; exp_range, times lr_decay every epoch
    lr_decay: factor of each epoch in exp_range
    """
    lr, length = optimizer.param_groups[0]["lr"], lr_up_size + lr_down_size
    if lr <= 0:
        raise ValueError(f"--lr: want more than 0, got {lr}")
    if min(lr_up_size, lr_down_size) < 1:
        raise ValueError(
            f"--lr_up_size, --lr_down_size: want at least 1 epoch each, got {lr_up_size} and {lr_down_size}"
        )

    def factor(step):
        epoch = step // steps_per_epoch
        cycle, place = divmod(epoch, length)
        share = place / lr_up_size if place <= lr_up_size else (length - place) / lr_down_size
        height = {"triangular": 1.0, "triangular2": 0.5**cycle, "exp_range": lr_decay**epoch}[
            lr_mode
        ]
        return (lr_cyclic_min + (lr_cyclic_max - lr_cyclic_min) * share * height) / lr

    return LambdaLR(optimizer, factor)
