"""Hyperbolic additive margin softmax, as in wespeaker (HyperbolicAMSoftmax).

Embeddings and class vectors are points of the Poincare ball (Nickel and Kiela, arXiv:1705.08039).
The logits are minus their distances, and the margin is added to the distance of the true class.
Trials are scored with cosines, as in wespeaker.

    python trainSpeakerNet.py --trainfunc hamsoftmax --margin 0.2 --scale 30 ...
"""

import torch
from torch import Tensor, nn

from loss._margin import MarginSettings, MarginSoftmax

DEFAULTS = MarginSettings(margin=0.2, scale=30.0)
# The ball has this radius, so that distances stay finite.
RADIUS = 1.0 - 1e-5


class LossFunction(MarginSoftmax):
    """MarginSettings declares further options.

    margin: margin added to the distance of the target speaker
    scale: factor of the distances
    """

    classifier = ("weight",)

    def __init__(self, dim: int, num_classes: int, *, settings: MarginSettings = DEFAULTS):
        super().__init__(settings)
        self.weight = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.normal_(self.weight, std=1e-3)

    def cosine(self, x: Tensor) -> Tensor:
        """Returns minus the distances [n, classes] between embeddings [n, D] and the classes."""
        return -distances(into_ball(x), into_ball(self.weight))

    def penalise(self, cos: Tensor, margin: float) -> Tensor:
        return cos - margin


def into_ball(x: Tensor) -> Tensor:
    """Shortens vectors [n, D] that are longer than RADIUS to this length."""
    length = x.norm(dim=1, keepdim=True).clamp(min=RADIUS)
    return x * (RADIUS / length)


def distances(a: Tensor, b: Tensor) -> Tensor:
    """Returns the hyperbolic distances [n, m] between points a [n, D] and b [m, D] of the ball."""
    a_squared = a.square().sum(1).clamp(max=RADIUS**2)  # [n]
    b_squared = b.square().sum(1).clamp(max=RADIUS**2)  # [m]
    squared = (a_squared[:, None] + b_squared - 2.0 * a @ b.t()).clamp(min=0.0)
    # The reference has these two bounds. They keep gradients finite.
    height = ((1.0 - a_squared)[:, None] * (1.0 - b_squared)).clamp(min=1e-5)
    return torch.acosh((1.0 + 2.0 * squared / height).clamp(min=1.0 + 1e-5))
