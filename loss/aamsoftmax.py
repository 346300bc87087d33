"""Additive angular margin softmax (Deng et al., "ArcFace", arXiv:1801.07698): the margin is added to the angle.

python trainSpeakerNet.py --trainfunc aamsoftmax --margin 0.2 --scale 30 ...
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from loss._margin import Growth, MarginSoftmax, Schedule, add_angle


class LossFunction(MarginSoftmax):
    """margin: added to the angle to the true speaker, radians
    scale: factor of the cosines
    easy_margin: no margin at all for angles above 90 degrees
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
        margin: float = 0.1,
        scale: float = 30.0,
        easy_margin: bool = False,
        margin_start: float = 0.0,
        margin_from: int = 0,
        margin_until: int = 0,
        margin_growth: Growth = "exponential",
    ):
        super().__init__(
            Schedule(margin, margin_start, margin_from, margin_until, margin_growth), scale
        )
        self.easy_margin = easy_margin
        self.weight = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.xavier_normal_(self.weight)

    def cosine(self, x):
        return F.linear(F.normalize(x), F.normalize(self.weight))

    def penalise(self, cos, margin):
        phi = add_angle(cos, margin)
        if self.easy_margin:
            return torch.where(cos > 0, phi, cos)
        # beyond pi - margin the cosine would rise again: go on with a line
        return torch.where(cos > math.cos(math.pi - margin), phi, cos - margin * math.sin(margin))
