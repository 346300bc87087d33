"""Additive margin softmax (Wang et al., "CosFace", arXiv:1801.05599 and 1801.09414): the margin is taken off the cosine.

    python trainSpeakerNet.py --trainfunc amsoftmax --margin 0.2 --scale 30 ...
"""
import torch
from torch import nn
from torch.nn import functional as F

from loss._margin import MarginSoftmax


class LossFunction(MarginSoftmax):
    """margin: taken off the cosine of the true speaker
    scale: factor of the cosines
    margin_warmup: updates over which the margin grows linearly from 0; 0 for the full margin at once
    """

    def __init__(self, dim, num_classes, *, margin: float = 0.1, scale: float = 30.0, margin_warmup: int = 0):
        super().__init__(margin, scale, margin_warmup)
        self.W = nn.Parameter(torch.empty(dim, num_classes))
        nn.init.xavier_normal_(self.W)

    def cosine(self, x):
        return F.normalize(x) @ F.normalize(self.W, dim=0)

    def penalise(self, cos, margin):
        return cos - margin
