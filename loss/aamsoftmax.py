"""Additive angular margin softmax (Deng et al., "ArcFace", arXiv:1801.07698).

The margin is added to the angle.

    python trainSpeakerNet.py --trainfunc aamsoftmax --margin 0.2 --scale 30 ...
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loss._margin import AngularMarginSettings, MarginSoftmax, add_angle

DEFAULTS = AngularMarginSettings(margin=0.1, scale=30.0)


class LossFunction(MarginSoftmax):
    """AngularMarginSettings declares the options."""

    classifier = ("weight",)

    def __init__(self, dim: int, num_classes: int, *, settings: AngularMarginSettings = DEFAULTS):
        super().__init__(settings)
        self.weight = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.xavier_normal_(self.weight)

    def cosine(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(x), F.normalize(self.weight))

    def penalise(self, cos: Tensor, margin: float) -> Tensor:
        with_margin = add_angle(cos, margin)
        if self.settings.easy_margin:
            return torch.where(cos > 0, with_margin, cos)
        # If the sum of angle and margin exceeds pi, the cosine would rise again. In this case the
        # margin is subtracted from the cosine. This line differs from add_margin(): the published
        # loss has a jump at that angle.
        line = cos - margin * math.sin(margin)
        return torch.where(cos > math.cos(math.pi - margin), with_margin, line)
