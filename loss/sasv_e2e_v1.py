"""Spoofing-aware embeddings end to end, as in the SASV 2022 baseline (Mun et al., arXiv:2305.19051): additive angular margin softmax in which
all spoofed speech is one class, the last, plus angular prototypes of which those of spoofed groups are extra negatives.

    python trainSpeakerNet.py --trainfunc sasv_e2e_v1 --margin 0.2 --scale 30 --nPerSpeaker 2 ...
"""

import torch
from torch import nn
from torch.nn import functional as F

from loss import Loss, aamsoftmax, accuracy, prototypes, scaled, sum_of_losses
from loss._margin import Growth


class AngularPrototypes(Loss):
    """The loss of angleproto.py under the names of published checkpoints; bona fide queries against all the prototypes, not the other way round."""

    def __init__(self, init_w, init_b):
        super().__init__()
        self.w1 = nn.Parameter(torch.tensor(init_w))
        self.b1 = nn.Parameter(torch.tensor(init_b))

    def forward(self, rep, batch, pair):
        ref, qry, own = prototypes(rep, batch)
        logit = scaled(self.similarity(*pair(ref, qry)), self.w1, self.b1)  # [Q, R]
        return {"loss": F.cross_entropy(logit, own), "acc": accuracy(logit, own)}


class LossFunction(Loss):
    """margin: added to the angle to the true speaker, radians
    scale: factor of the cosines of the softmax part
    easy_margin: no margin at all for angles above 90 degrees
    margin_start: margin at first, see margin_until
    margin_from: update at which the margin begins to grow
    margin_until: update from which on the margin is `margin`; 0 for the full margin at once
    margin_growth: course of the margin in between
    init_w: initial scale of the cosines of the prototypical part
    init_b: initial offset of the prototypical part
    """

    def __init__(
        self,
        dim,
        num_classes,
        *,
        margin: float = 0.2,
        scale: float = 30.0,
        easy_margin: bool = False,
        margin_start: float = 0.0,
        margin_from: int = 0,
        margin_until: int = 0,
        margin_growth: Growth = "exponential",
        init_w: float = 10.0,
        init_b: float = -5.0,
    ):
        super().__init__()
        self.aamsoftmax = aamsoftmax.LossFunction(
            dim,
            num_classes,
            margin=margin,
            scale=scale,
            easy_margin=easy_margin,
            margin_start=margin_start,
            margin_from=margin_from,
            margin_until=margin_until,
            margin_growth=margin_growth,
        )
        self.angleproto_sasv = AngularPrototypes(init_w, init_b)

    def forward(self, rep, batch, pair):
        return sum_of_losses(
            self.aamsoftmax(rep, batch, pair), self.angleproto_sasv(rep, batch, pair)
        )
