"""The learning rate falls by the same factor at every update, as in wespeaker.

wespeaker calls it ExponentialDecrease (Wang et al., "Wespeaker", arXiv:2210.17016). There the rate
is multiplied by scale_ratio, the number of crops of an update divided by 64. Here --lr is the rate
after this multiplication. wespeaker's initial_lr 0.1 and final_lr 0.00005 with 2 GPUs and 128 crops
on each, so that scale_ratio is 4, are this command:

    python trainSpeakerNet.py --scheduler exponential_decrease --lr 0.4 --lr_final 0.0002 \
        --lr_wstep 2 ...

wespeaker's warm_from_zero: False is --lr_start with the value of initial_lr.
"""

import torch
from torch.optim.lr_scheduler import LambdaLR


def Scheduler(
    optimizer: torch.optim.Optimizer,
    steps_per_epoch: int,
    max_epoch: int,
    *,
    lr_final: float = 0.0,
    lr_wstep: float = 0.0,
    lr_start: float = 0.0,
) -> LambdaLR:
    """lr_final: learning rate at the end of epoch --max_epoch (0: a thousandth of --lr)
    lr_wstep: number of warm-up epochs, in which the rate falls and its factor rises to 1
    lr_start: learning rate of the first update, if there are warm-up epochs
    """
    lr = optimizer.defaults["lr"]
    if lr <= 0:
        raise ValueError(f"--lr: expected more than 0, found {lr}. Give a learning rate above 0.")
    for name, value in (("lr_final", lr_final), ("lr_start", lr_start)):
        if value > lr:
            raise ValueError(
                f"--{name}: expected at most the learning rate --lr {lr}, found {value}. Give a "
                f"smaller --{name}, or a larger --lr."
            )
    if not 0 <= lr_wstep < max_epoch:
        raise ValueError(
            f"--lr_wstep: expected at least 0 and less than the {max_epoch} epochs of --max_epoch, "
            f"found {lr_wstep}. Give fewer warm-up epochs."
        )
    ratio = (lr_final or lr / 1000) / lr
    first_share = lr_start / lr

    def factor(step: int) -> float:
        """Returns the learning rate of a step, divided by lr."""
        epoch = step / steps_per_epoch
        share = 1.0
        if epoch < lr_wstep:
            share = first_share + (1.0 - first_share) * epoch / lr_wstep
        return share * ratio ** (epoch / max_epoch)

    return LambdaLR(optimizer, factor)
