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
    margin_start: margin before update --margin_from
    margin_from: update at which the margin begins to grow
    margin_until: update at which the margin is complete (0: from the start)
    margin_growth: curve of the margin between --margin_from and --margin_until

    Raises ValueError if margin_from and margin_until are not in order.
    """

    margin: float
    scale: float
    margin_start: float = 0.0
    margin_from: int = 0
    margin_until: int = 0
    margin_growth: Literal["exponential", "linear"] = "exponential"

    def __post_init__(self):
        if not 0 <= self.margin_from <= self.margin_until:
            raise ValueError(
                "--margin_from: expected 0 or more and at most --margin_until "
                f"({self.margin_until}), found {self.margin_from}."
            )

    def margin_at(self, step: int) -> float:
        """Returns the margin after `step` updates."""
        if step >= self.margin_until:
            return self.margin
        if step < self.margin_from:
            return self.margin_start
        elapsed = (step - self.margin_from) / (self.margin_until - self.margin_from)
        share = elapsed if self.margin_growth == "linear" else 1.0 - 1e-3**elapsed
        return self.margin_start + (self.margin - self.margin_start) * share


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

    A subclass defines cosine() and penalise(), and may change margin_at().
    """

    def __init__(self, settings: MarginSettings):
        super().__init__()
        self.settings = settings

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        x, label = embeddings_and_labels(rep, batch)
        margin = self.margin_at(batch["step"])
        cos = self.with_margin(self.cosine(x), label.unsqueeze(1), margin)
        logit = self.settings.scale * cos
        return {"loss": F.cross_entropy(logit, label), "acc": accuracy(logit, label)}

    def cosine(self, x: Tensor) -> Tensor:
        """Returns the cosines [n, classes] between embeddings [n, D] and the classes."""
        raise NotImplementedError

    def penalise(self, cos: Tensor, margin: float) -> Tensor:
        """Applies the margin to the cosines [n, 1] of the true class."""
        raise NotImplementedError

    def margin_at(self, step: int) -> float:
        """Returns the margin after `step` updates."""
        return self.settings.margin_at(step)

    def with_margin(self, cos: Tensor, index: Tensor, margin: float) -> Tensor:
        """Returns the cosines [n, classes] with the margin applied to the true class.

        cos: [n, classes]. index: the true class [n, 1].
        """
        return cos.scatter(1, index, self.penalise(cos.gather(1, index), margin))
