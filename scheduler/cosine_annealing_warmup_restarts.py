"""Cosine annealing with warm restarts (Loshchilov and Hutter, arXiv:1608.03983), as in SASV2.

Every cycle starts with a linear warm-up. The highest rate can fall from cycle to cycle. This
command trains with a single cycle.

    python trainSpeakerNet.py --scheduler cosine_annealing_warmup_restarts --lr_wstep 5 \
        --lr_per_step ...
"""

import math
from typing import Literal

import torch
from torch.optim.lr_scheduler import LambdaLR


def Scheduler(
    optimizer: torch.optim.Optimizer,
    steps_per_epoch: int,
    max_epoch: int,
    *,
    lr_t0: int = 0,
    lr_tmul: float = 1.0,
    lr_max: float = 0.0,
    lr_min: float = 0.0,
    lr_wstep: float = 0.0,
    lr_gamma: float = 1.0,
    lr_per_step: bool = False,
    lr_tmul_of: Literal["cycle", "descent"] = "cycle",
    lr_restart: bool = True,
) -> LambdaLR:
    """lr_t0: number of epochs in the first cycle (0: --max_epoch)
    lr_tmul: factor of the cycle length from one cycle to the next
    lr_max: highest learning rate in the first cycle (0: --lr)
    lr_min: lowest learning rate
    lr_wstep: number of warm-up epochs in every cycle
    lr_gamma: factor of the highest learning rate from one cycle to the next
    lr_per_step: change the learning rate at every update instead of every epoch
    lr_tmul_of: part that --lr_tmul lengthens: the cycle (SASV2), or the descent (ska-tdnn)
    lr_restart: begin another cycle after each cycle, instead of staying at --lr_min
    """
    lr = optimizer.defaults["lr"]
    first_length = lr_t0 or max_epoch
    first_peak = lr_max or lr
    if lr <= 0:
        raise ValueError(f"--lr: expected more than 0, found {lr}.")
    if lr_tmul < 1:
        raise ValueError(f"--lr_tmul: expected at least 1, found {lr_tmul}.")
    if not 0 <= lr_wstep < first_length:
        raise ValueError(
            f"--lr_wstep: expected at least 0 and less than the {first_length} epochs of the first "
            f"cycle, found {lr_wstep}."
        )

    def cycle_at(epoch: float) -> tuple[int | float, float, float]:
        """Returns the number, the first epoch and the length of the cycle of an epoch."""
        if lr_tmul == 1:
            number = epoch // first_length
            return number, number * first_length, first_length
        if lr_tmul_of == "descent":
            return cycle_with_longer_descents(epoch, first_length, lr_wstep, lr_tmul)
        return longer_cycle(epoch, first_length, lr_tmul)

    def factor(step: int) -> float:
        """Returns the learning rate of a step, divided by lr."""
        epoch = step / steps_per_epoch if lr_per_step else step // steps_per_epoch
        number, start, length = cycle_at(epoch)
        if number and not lr_restart:
            return lr_min / lr
        epochs_in_cycle = epoch - start
        peak = first_peak * lr_gamma**number
        if epochs_in_cycle < lr_wstep:
            share = epochs_in_cycle / lr_wstep
        else:
            angle = math.pi * (epochs_in_cycle - lr_wstep) / (length - lr_wstep)
            share = (1 + math.cos(angle)) / 2
        return (lr_min + (peak - lr_min) * share) / lr

    return LambdaLR(optimizer, factor)


def longer_cycle(epoch: float, first_length: float, ratio: float) -> tuple[int, float, float]:
    """Returns the number, the first epoch and the length of the cycle of an epoch.

    Every cycle is `ratio` times as long as the cycle before. ratio: above 1.
    """
    # Rounding can make the logarithm of an integer slightly too low.
    number = math.floor(math.log(epoch / first_length * (ratio - 1) + 1, ratio) + 1e-9)
    start = math.floor(first_length * (ratio**number - 1) / (ratio - 1))
    return number, start, first_length * ratio**number


def cycle_with_longer_descents(
    epoch: float, first_length: float, warmup: float, ratio: float
) -> tuple[int, float, float]:
    """Returns the number, the first epoch and the length of the cycle of an epoch.

    In every cycle the part after the warm-up is `ratio` times as long as in the cycle before.
    """
    number = 0
    start = 0.0
    length = first_length
    while epoch >= start + length:
        number += 1
        start += length
        length = math.floor((length - warmup) * ratio) + warmup
    return number, start, length
