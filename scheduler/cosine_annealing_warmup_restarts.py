"""Cosine annealing with warm restarts (Loshchilov and Hutter, arXiv:1608.03983), a linear warm-up at the start of every cycle,
and peaks that fall from cycle to cycle, as in SASV2.

    python trainSpeakerNet.py --scheduler cosine_annealing_warmup_restarts --lr_wstep 5 --lr_per_step ...      # one cycle
"""

import math
from typing import Literal

from torch.optim.lr_scheduler import LambdaLR


def Scheduler(
    optimizer,
    steps_per_epoch,
    max_epoch,
    *,
    lr_t0: int = 0,
    lr_tmul: float = 1.0,
    lr_max: float = 0.0,
    lr_min: float = 0.0,
    lr_wstep: float = 0.0,
    lr_gamma: float = 1.0,
    lr_per_step: bool = False,
    lr_tmul_of: Literal["cycle", "descent"] = "cycle",
):
    """lr_t0: epochs of the first cycle; 0 for max_epoch, a single cycle
    lr_tmul: length of a cycle over that of the cycle before
    lr_max: highest learning rate of the first cycle; 0 for lr
    lr_min: lowest learning rate
    lr_wstep: epochs of linear warm-up in every cycle
    lr_gamma: highest learning rate of a cycle over that of the cycle before
    lr_per_step: the rate changes at every update; otherwise it is constant over an epoch
    lr_tmul_of: what lr_tmul lengthens: cycle, the whole (SASV2); descent, its part after the warm-up (ska-tdnn)
    """
    lr = optimizer.param_groups[0]["lr"]
    t0, peak = lr_t0 or max_epoch, lr_max or lr
    if lr <= 0:
        raise ValueError(f"--lr: want more than 0, got {lr}")
    if lr_tmul < 1:
        raise ValueError(f"--lr_tmul: want 1 or more, got {lr_tmul}")
    if not 0 <= lr_wstep < t0:
        raise ValueError(
            f"--lr_wstep: want a warm-up of fewer epochs than the cycle has ({t0}), got {lr_wstep}"
        )

    def factor(step):
        epoch = step / steps_per_epoch if lr_per_step else step // steps_per_epoch
        if lr_tmul == 1:
            cycle, start, length = epoch // t0, epoch // t0 * t0, t0
        elif lr_tmul_of == "descent":
            cycle, start, length = 0, 0, t0
            while epoch >= start + length:
                cycle, start, length = (
                    cycle + 1,
                    start + length,
                    math.floor((length - lr_wstep) * lr_tmul) + lr_wstep,
                )
        else:
            # the logarithm may miss a whole number from below by rounding
            cycle = math.floor(math.log(epoch / t0 * (lr_tmul - 1) + 1, lr_tmul) + 1e-9)
            start, length = (
                math.floor(t0 * (lr_tmul**cycle - 1) / (lr_tmul - 1)),
                t0 * lr_tmul**cycle,
            )
        # epochs since the start of the cycle, its highest rate
        place, top = epoch - start, peak * lr_gamma**cycle
        share = (
            place / lr_wstep
            if place < lr_wstep
            else (1 + math.cos(math.pi * (place - lr_wstep) / (length - lr_wstep))) / 2
        )
        return (lr_min + (top - lr_min) * share) / lr

    return LambdaLR(optimizer, factor)
