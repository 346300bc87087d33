"""Additive margin softmax (Wang et al., "CosFace", arXiv:1801.05599 and 1801.09414): the margin is taken off the cosine.

python trainSpeakerNet.py --trainfunc amsoftmax --margin 0.2 --scale 30 ...
python trainSpeakerNet.py --trainfunc amsoftmax --margin 0.4 --pre_layer --annealing ...      # as with DoubleMHA, arXiv:2007.13199
"""

import torch
from torch import nn
from torch.nn import functional as F

from loss._margin import Growth, MarginSoftmax, Schedule


class LossFunction(MarginSoftmax):
    """margin: taken off the cosine of the true speaker
    scale: factor of the cosines
    annealing: the margin grows by a curve without end: 1/1001 of it at first, half of it after 306 000 updates
    pre_layer: a linear layer between the embeddings and the cosines
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
        annealing: bool = False,
        pre_layer: bool = False,
        margin_start: float = 0.0,
        margin_from: int = 0,
        margin_until: int = 0,
        margin_growth: Growth = "exponential",
    ):
        super().__init__(
            Schedule(margin, margin_start, margin_from, margin_until, margin_growth), scale
        )
        self.annealing = annealing
        self.preLayer = nn.Linear(dim, dim) if pre_layer else nn.Identity()
        self.W = nn.Parameter(torch.empty(dim, num_classes))
        nn.init.xavier_normal_(self.W)

    def cosine(self, x):
        return F.normalize(self.preLayer(x)) @ F.normalize(self.W, dim=0)

    def penalise(self, cos, margin):
        return cos - margin

    def margin_at(self, step):
        margin = super().margin_at(step)
        # published as the mean of the logits with the margin (weight 1) and without (weight alpha), which is a smaller margin
        alpha = 1000.0 / (1.0 + 0.0001 * step) ** 2
        return margin / (1.0 + alpha) if self.annealing else margin
