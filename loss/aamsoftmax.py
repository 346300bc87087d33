"""Additive angular margin softmax (Deng et al., "ArcFace", arXiv:1801.07698): the margin is added to the angle.

    python trainSpeakerNet.py --trainfunc aamsoftmax --margin 0.2 --scale 30 ...
"""
import math

import torch
from torch import nn
from torch.nn import functional as F

from loss._margin import MarginSoftmax


class LossFunction(MarginSoftmax):
    """margin: added to the angle to the true speaker, radians
    scale: factor of the cosines
    easy_margin: no margin at all for angles above 90 degrees
    margin_warmup: updates over which the margin grows linearly from 0; 0 for the full margin at once
    """

    def __init__(self, dim, num_classes, *, margin: float = 0.1, scale: float = 30.0, easy_margin: bool = False, margin_warmup: int = 0):
        super().__init__(margin, scale, margin_warmup)
        self.easy_margin = easy_margin
        self.weight = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.xavier_normal_(self.weight)

    def cosine(self, x):
        return F.linear(F.normalize(x), F.normalize(self.weight))

    def penalise(self, cos, margin):
        sin = (1.0 - cos * cos).clamp(1e-12, 1.0).sqrt()                         # reference clamps at 0, where the gradient is not finite
        phi = cos * math.cos(margin) - sin * math.sin(margin)                    # cos(angle + margin)
        if self.easy_margin:
            return torch.where(cos > 0, phi, cos)
        # beyond pi - margin the cosine would rise again: go on with a line
        return torch.where(cos > math.cos(math.pi - margin), phi, cos - margin * math.sin(margin))
