"""The learning rate falls by the same factor every epoch."""

from torch.optim.lr_scheduler import LambdaLR


def Scheduler(optimizer, steps_per_epoch, *, lr_decay: float = 0.9):
    """lr_decay: factor of each epoch"""
    return LambdaLR(optimizer, lambda step: lr_decay ** (step // steps_per_epoch))
