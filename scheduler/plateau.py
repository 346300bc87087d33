"""The learning rate falls when a result has not improved for some epochs, as cross attentive pooling was trained."""

from typing import Literal

from torch.optim.lr_scheduler import ReduceLROnPlateau


class Plateau(ReduceLROnPlateau):
    def __init__(self, optimizer, follows, **settings):
        super().__init__(optimizer, **settings)
        self.follows = follows

    def step(self):
        """An update by itself changes nothing."""

    def watch(self, results):
        # not every epoch is evaluated
        if self.follows in results:
            super().step(results[self.follows])


def Scheduler(
    optimizer,
    *,
    lr_follows: Literal["loss", "EER"] = "loss",
    lr_patience: int = 6,
    lr_decay: float = 0.1,
    lr_threshold: float = 1e-4,
):
    """lr_follows: what is to improve: the mean training loss of the epoch, or the EER of the epochs that are evaluated
    lr_patience: results without improvement that are tolerated
    lr_decay: factor of each fall
    lr_threshold: least improvement that counts, relative
    """
    return Plateau(
        optimizer, lr_follows, patience=lr_patience, factor=lr_decay, threshold=lr_threshold
    )
