"""Additive margin softmax (Wang et al., "CosFace", arXiv:1801.05599 and 1801.09414): the margin is taken off the cosine.

    python trainSpeakerNet.py --trainfunc amsoftmax --margin 0.2 --scale 30 ...
    python trainSpeakerNet.py --trainfunc amsoftmax --margin 0.4 --pre_layer --annealing ...      # as with DoubleMHA, arXiv:2007.13199
"""
import torch
from torch import nn
from torch.nn import functional as F

from loss._margin import MarginSoftmax


class LossFunction(MarginSoftmax):
    """margin: taken off the cosine of the true speaker
    scale: factor of the cosines
    margin_warmup: updates over which the margin grows linearly from 0; 0 for the full margin at once
    annealing: the margin grows by a curve without end: 1/1001 of it at first, half of it after 306 000 updates
    pre_layer: a linear layer between the embeddings and the cosines
    """

    def __init__(self, dim, num_classes, *, margin: float = 0.1, scale: float = 30.0, margin_warmup: int = 0, annealing: bool = False,
                 pre_layer: bool = False):
        super().__init__(margin, scale, margin_warmup)
        self.annealing = annealing
        self.preLayer = nn.Linear(dim, dim) if pre_layer else nn.Identity()
        self.W = nn.Parameter(torch.empty(dim, num_classes))
        nn.init.xavier_normal_(self.W)

    def cosine(self, x):
        return F.normalize(self.preLayer(x)) @ F.normalize(self.W, dim=0)

    def penalise(self, cos, margin):
        return cos - margin

    def margin_share(self, step):
        share = super().margin_share(step)
        # published as the mean of the logits with the margin (weight 1) and without (weight alpha), which is a smaller margin
        alpha = 1000.0 / (1.0 + 0.0001 * step) ** 2
        return share / (1.0 + alpha) if self.annealing else share
