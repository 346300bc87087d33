"""Shared parts of the margin losses: their options, angles with a margin, softmax with a margin."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from loss import Batch, Loss, Pair, Terms, accuracy, embeddings_and_labels


@dataclass(frozen=True)
class MarginSettings:
    """Options of every loss with a margin. They include the growth of the margin during training.

    margin: margin between the true speaker and the others
    scale: factor of the cosines
    margin_start: margin before it begins to grow
    margin_from: update at which the margin begins to grow
    margin_until: update at which the margin is complete (0: from the start)
    margin_from_epoch: number of epochs after which the margin begins to grow
    margin_until_epoch: number of epochs after which the margin is complete (0: from the start)
    margin_growth: curve of the growing margin

    The growth is given in updates or in epochs. wespeaker's increase_start_epoch and
    fix_start_epoch are larger by 1, because its first epoch has the number 1. 3D-Speaker's numbers
    are the same as here.

    Raises ValueError if the two ends are not in order, or for updates and epochs together.
    """

    margin: float
    scale: float
    margin_start: float = 0.0
    margin_from: int = 0
    margin_until: int = 0
    margin_growth: Literal["exponential", "linear"] = "exponential"
    margin_from_epoch: float = 0.0
    margin_until_epoch: float = 0.0

    def __post_init__(self):
        in_updates = self.margin_from or self.margin_until
        in_epochs = self.margin_from_epoch or self.margin_until_epoch
        if in_updates and in_epochs:
            raise ValueError(
                "--margin_until_epoch: expected the growth of the margin in updates or in epochs, "
                f"found both: updates {self.margin_from} to {self.margin_until} and epochs "
                f"{self.margin_from_epoch:g} to {self.margin_until_epoch:g}. Leave out "
                "--margin_from and --margin_until or set them to 0, or do the same with "
                "--margin_from_epoch and --margin_until_epoch."
            )
        unit = "_epoch" if in_epochs else ""
        first, last = self.ends()
        if not 0 <= first <= last:
            raise ValueError(
                f"--margin_from{unit}: expected 0 or more and at most --margin_until{unit} "
                f"({last:g}), found {first:g}. Give a smaller --margin_from{unit}, or a larger "
                f"--margin_until{unit}."
            )

    def ends(self) -> tuple[float, float]:
        """Returns when the margin begins to grow and when it is complete, in updates or epochs."""
        if self.margin_until_epoch or self.margin_from_epoch:
            return self.margin_from_epoch, self.margin_until_epoch
        return self.margin_from, self.margin_until

    def grows(self) -> bool:
        """Returns whether the margin changes during training."""
        return self.ends()[1] > 0

    def margin_of(self, batch: Batch) -> float:
        """Returns the margin for a batch, see Loss.forward()."""
        return self.margin_at(batch["epoch" if self.margin_until_epoch else "step"])

    def margin_at(self, time: float) -> float:
        """Returns the margin after a number of updates, or of epochs if they are the unit."""
        first, last = self.ends()
        if time >= last:
            return self.margin
        if time < first:
            return self.margin_start
        elapsed = (time - first) / (last - first)
        share = elapsed if self.margin_growth == "linear" else 1.0 - 1e-3**elapsed
        return self.margin_start + (self.margin - self.margin_start) * share

    def term(self, margin: float, x: Tensor) -> Terms:
        """Returns the term of the loss that logs a growing margin, {} if the margin never changes.

        x: any tensor on the device of the loss.
        """
        if not self.grows():
            return {}
        return {"margin": torch.full((), margin, device=x.device, dtype=torch.float64)}


@dataclass(frozen=True)
class AngularMarginSettings(MarginSettings):
    """Options of additive angular margin softmax.

    margin: margin added to the angle of the target speaker, in radians
    easy_margin: apply no margin to angles above 90 degrees
    """

    easy_margin: bool = False


# ---------------------------------------------------------------------- angles
def add_angle(cos: Tensor, angle: float) -> Tensor:
    """Maps the cosines of angles to the cosines of the angles plus `angle` (radians)."""
    # The references clamp at 0, where the gradient of the square root is not finite.
    sin = (1.0 - cos * cos).clamp(1e-12, 1.0).sqrt()
    return cos * math.cos(angle) - sin * math.sin(angle)


def add_margin(cos: Tensor, margin: float) -> Tensor:
    """Maps the cosines of angles to the cosines of the angles plus `margin` (radians).

    Beyond pi the cosine would rise again. There the result continues as a falling straight line.
    The function is continuous.
    """
    limit = math.cos(math.pi - margin)
    return torch.where(cos > limit, add_angle(cos, margin), cos - (1.0 + limit))


def subtract_margin(cos: Tensor, margin: float) -> Tensor:
    """Maps the cosines of angles to the cosines of the angles minus `margin` (radians).

    Where the angle minus the margin is negative, the result continues as a straight line.
    """
    return -add_margin(-cos, margin)


# ---------------------------------------------------------------------- softmax
class MarginSoftmax(Loss):
    """Softmax cross-entropy over scaled cosines, with a margin for the true class.

    A subclass defines cosine() and penalise(), and may change margin_of().
    """

    def __init__(self, settings: MarginSettings):
        super().__init__()
        self.settings = settings

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        x, label = embeddings_and_labels(rep, batch)
        margin = self.margin_of(batch)
        cos = self.with_margin(self.cosine(x), label.unsqueeze(1), margin)
        logit = self.settings.scale * cos
        terms = {"loss": F.cross_entropy(logit, label), "acc": accuracy(logit, label)}
        return terms | self.settings.term(margin, x)

    def cosine(self, x: Tensor) -> Tensor:
        """Returns the cosines [n, classes] between embeddings [n, D] and the classes."""
        raise NotImplementedError

    def penalise(self, cos: Tensor, margin: float) -> Tensor:
        """Applies the margin to the cosines [n, 1] of the true class."""
        raise NotImplementedError

    def margin_of(self, batch: Batch) -> float:
        """Returns the margin for a batch, see Loss.forward()."""
        return self.settings.margin_of(batch)

    def with_margin(self, cos: Tensor, index: Tensor, margin: float) -> Tensor:
        """Returns the cosines [n, classes] with the margin applied to the true class.

        cos: [n, classes]. index: the true class [n, 1].
        """
        return cos.scatter(1, index, self.penalise(cos.gather(1, index), margin))
