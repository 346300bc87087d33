"""SphereFace2 (Wen et al., arXiv:2108.01513; for speakers Han et al., arXiv:2307.08205): every class is a yes-or-no question of its own.

python trainSpeakerNet.py --trainfunc sphereface2 --margin_type A --margin 0.15 ...
"""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from loss import Loss, accuracy, rows
from loss._margin import Growth, Schedule, add_margin, subtract_margin


class LossFunction(Loss):
    """margin: typically 0.2 with margin_type C and 0.15 with A; 0.3 and 0.25 in large-margin fine-tuning
    margin_type: margin on the similarity (C, as in CosFace) or on the angle (A, as in ArcFace)
    scale: factor of the similarities
    positive_weight: weight of the true class, between 0 and 1 (lambda of the paper)
    exponent: how much the similarity is stretched towards cosines near 1 (t of the paper)
    margin_start: margin at first, see margin_until
    margin_from: update at which the margin begins to grow
    margin_until: update from which on the margin is `margin`; 0 for the full margin at once
    margin_growth: course of the margin in between
    """

    def __init__(
        self,
        dim,
        num_classes,
        *,
        margin: float = 0.2,
        margin_type: Literal["C", "A"] = "C",
        scale: float = 32.0,
        positive_weight: float = 0.7,
        exponent: float = 3.0,
        margin_start: float = 0.0,
        margin_from: int = 0,
        margin_until: int = 0,
        margin_growth: Growth = "exponential",
    ):
        super().__init__()
        self.schedule = Schedule(margin, margin_start, margin_from, margin_until, margin_growth)
        self.margin_type, self.scale, self.positive_weight, self.exponent = (
            margin_type,
            scale,
            positive_weight,
            exponent,
        )
        self.weight = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.xavier_normal_(self.weight)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, rep, batch, pair):
        x, label = rows(rep, batch)
        cos = F.linear(F.normalize(x), F.normalize(self.weight))  # [n, classes]
        true = F.one_hot(label, cos.shape[1]).bool()
        margin = self.schedule(batch["step"])
        if self.margin_type == "C":
            g = self.stretch(cos) - torch.where(true, margin, -margin)
        else:
            g = self.stretch(
                torch.where(true, add_margin(cos, margin), subtract_margin(cos, margin))
            )
        logit = self.scale * g + self.bias
        each = torch.where(
            true,
            self.positive_weight * F.softplus(-logit),
            (1.0 - self.positive_weight) * F.softplus(logit),
        )
        return {"loss": each.sum(1).mean(), "acc": accuracy(logit, label)}

    def stretch(self, cos):
        return 2.0 * ((cos.clamp(min=-1.0) + 1.0) / 2.0) ** self.exponent - 1.0
