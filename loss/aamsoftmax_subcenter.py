"""Additive angular margin softmax with sub-centres (Deng et al., "Sub-center ArcFace", ECCV 2020) and the inter-top-k penalty
(Zhao et al., arXiv:2110.05042): a speaker has several vectors, and the classes most taken for the true one are made nearer.

    python trainSpeakerNet.py --trainfunc aamsoftmax_subcenter --margin 0.2 --margin_from 20000 --margin_until 40000 ...
"""

import torch
from torch import nn
from torch.nn import functional as F

from loss._margin import Growth, MarginSoftmax, Schedule, add_margin, subtract_margin


class LossFunction(MarginSoftmax):
    """margin: added to the angle to the true speaker, radians
    scale: factor of the cosines
    subcenters: vectors of a speaker; the one nearest to an embedding counts
    k_top: nearest wrong speakers that get a margin too; 0 for none, as in large-margin fine-tuning
    inter_margin: taken off their angles when the margin is 0.2, in proportion otherwise
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
        scale: float = 32.0,
        subcenters: int = 3,
        k_top: int = 5,
        inter_margin: float = 0.06,
        margin_start: float = 0.0,
        margin_from: int = 0,
        margin_until: int = 0,
        margin_growth: Growth = "exponential",
    ):
        super().__init__(
            Schedule(margin, margin_start, margin_from, margin_until, margin_growth), scale
        )
        if subcenters < 1 or k_top < 0:
            raise ValueError(
                f"want at least 1 for --subcenters and 0 for --k_top, got {subcenters} and {k_top}"
            )
        self.subcenters, self.k_top, self.inter_margin = (
            subcenters,
            min(k_top, num_classes - 1),
            inter_margin,
        )
        self.weight = nn.Parameter(torch.empty(num_classes * subcenters, dim))
        nn.init.xavier_normal_(self.weight)

    def cosine(self, x):
        return (
            F.linear(F.normalize(x), F.normalize(self.weight))
            .unflatten(1, (-1, self.subcenters))
            .amax(2)
        )

    def penalise(self, cos, margin):
        return add_margin(cos, margin)

    def with_margin(self, cos, index, margin):
        top = cos.scatter(1, index, -torch.inf).topk(self.k_top).indices  # [n, k_top]
        nearer = subtract_margin(cos.gather(1, top), self.inter_margin * margin / 0.2)
        return super().with_margin(cos, index, margin).scatter(1, top, nearer)
