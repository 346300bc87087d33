"""Spoofing-aware embeddings, trained end to end, as in the SASV 2022 baseline.

Source: Mun et al., arXiv:2305.19051. The loss is additive angular margin softmax plus angular
prototypical loss. For the softmax all spoofed speech is one class, the last one. For the
prototypical loss the prototypes of spoofed groups are extra negatives. With --adcf_weight above 0
the a-DCF of the trials in a batch is added, see loss/_adcf.py.

    python trainSpeakerNet.py --trainfunc sasv_e2e_v1 --margin 0.2 --scale 30 --nPerSpeaker 2 ...
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loss import (
    Batch,
    Loss,
    Pair,
    Terms,
    aamsoftmax,
    accuracy,
    prototypes,
    scaled,
    sum_of_losses,
)
from loss._adcf import AdcfSettings, TrialCost
from loss._margin import AngularMarginSettings

DEFAULTS = AngularMarginSettings(margin=0.2, scale=30.0)
WITHOUT_ADCF = AdcfSettings(adcf_weight=0.0)


class AngularPrototypes(Loss):
    """The loss of angleproto.py with the names of weights that published checkpoints have.

    Bona fide queries are compared with all prototypes.
    """

    min_utterances = 2
    min_speakers = 2

    def __init__(self, init_w: float, init_b: float):
        super().__init__()
        self.w1 = nn.Parameter(torch.tensor(init_w))
        self.b1 = nn.Parameter(torch.tensor(init_b))

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        ref, qry, own = prototypes(rep, batch)
        logit = scaled(self.similarity(*pair(ref, qry)), self.w1, self.b1)  # [Q, R]
        return {"loss": F.cross_entropy(logit, own), "acc": accuracy(logit, own)}


class LossFunction(Loss):
    """AngularMarginSettings and AdcfSettings declare further options.

    scale: factor of the cosines in the softmax loss
    init_w: initial scale of the cosines in the prototypical loss
    init_b: initial offset of the cosines in the prototypical loss
    """

    min_utterances = 2
    min_speakers = 2

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        settings: AngularMarginSettings = DEFAULTS,
        adcf: AdcfSettings = WITHOUT_ADCF,
        init_w: float = 10.0,
        init_b: float = -5.0,
    ):
        super().__init__()
        self.aamsoftmax = aamsoftmax.LossFunction(dim, num_classes, settings=settings)
        self.angleproto_sasv = AngularPrototypes(init_w, init_b)
        self.adcf = TrialCost(adcf) if adcf.adcf_weight else None
        self.kinds_of_trials = self.adcf.kinds_of_trials if self.adcf else ()

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        out = sum_of_losses(
            self.aamsoftmax(rep, batch, pair), self.angleproto_sasv(rep, batch, pair)
        )
        if self.adcf is None:
            return out
        cost = self.adcf(rep, batch, pair)
        total = out["loss"] + cost["loss"]
        return out | cost | {"loss": total, "loss_adcf": cost["loss"].detach()}
