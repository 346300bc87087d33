"""The learning rate falls when a result has not improved for some epochs.

Cross attentive pooling was trained with this schedule.
"""

from typing import Any, Literal

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau


class Plateau(ReduceLROnPlateau):
    """Torch's scheduler, stepped by results instead of updates.

    follows: name of the result that has to improve. settings: as for ReduceLROnPlateau.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, follows: str, **settings: Any):
        super().__init__(optimizer, **settings)
        self.follows = follows

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the progress. The settings stay as the options have chosen them."""
        kept = {}
        for name in ("follows", "patience", "factor", "threshold"):
            kept[name] = getattr(self, name)
        if self.follows != state["follows"]:
            # Loss and EER cannot be compared.
            kept |= {"best": self.best, "num_bad_epochs": 0}
        super().load_state_dict(state | kept)

    def step(self) -> None:
        """Does nothing: the learning rate does not depend on the number of updates."""

    def watch(self, results: dict[str, float]) -> None:
        """Lowers the learning rate if the result has not improved for long enough."""
        # Epochs that are not evaluated have no EER.
        if self.follows in results:
            super().step(results[self.follows])


def Scheduler(
    optimizer: torch.optim.Optimizer,
    *,
    lr_follows: Literal["loss", "EER"] = "loss",
    lr_patience: int = 6,
    lr_decay: float = 0.1,
    lr_threshold: float = 1e-4,
) -> Plateau:
    """lr_follows: result that has to improve: training loss, or EER of the evaluated epochs
    lr_patience: number of results without improvement that are tolerated
    lr_decay: factor of the learning rate after a plateau
    lr_threshold: smallest relative improvement that counts
    """
    if lr_decay >= 1:
        raise ValueError(f"--lr_decay: expected less than 1, found {lr_decay}.")
    # By default torch keeps rates that would fall by less than 1e-8. Groups of parameters with low
    # rates would not keep their ratio to the others.
    eps = 1e-8 if len(optimizer.param_groups) == 1 else 0.0
    return Plateau(
        optimizer,
        lr_follows,
        patience=lr_patience,
        factor=lr_decay,
        threshold=lr_threshold,
        eps=eps,
    )
