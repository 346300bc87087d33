"""Generalised end-to-end loss (Wan et al., arXiv:1710.10467), softmax variant: every utterance against the centroids of all the speakers.

python trainSpeakerNet.py --trainfunc ge2e --nPerSpeaker 5 ...
"""

import torch
from torch import nn
from torch.nn import functional as F

from loss import Loss, accuracy, require_pairs, scaled


class LossFunction(Loss):
    """init_w: initial scale of the cosines
    init_b: initial offset
    """

    def __init__(self, *, init_w: float = 10.0, init_b: float = -5.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(init_w))
        self.b = nn.Parameter(torch.tensor(init_b))

    def forward(self, rep, batch, pair):
        if rep.dim() != 3:
            raise ValueError(
                "--trainfunc: ge2e averages embeddings, which a pair-wise pooling does not give: choose another --encoder_type or loss"
            )
        own = require_pairs(rep, batch)
        size, count = rep.shape[:2]
        mine = F.one_hot(own, size).bool()  # [Q, B]
        centroid = rep.mean(1)  # [B, D]
        without = (rep.sum(1, keepdim=True) - rep) / (
            count - 1
        )  # [B, M, D], the centroid of the speaker's other utterances
        cos = [
            torch.where(
                mine,
                self.similarity(*pair(without[:, m], rep[own, m])),
                self.similarity(*pair(centroid, rep[own, m])),
            )
            for m in range(count)
        ]
        logit = scaled(
            torch.cat(cos).clamp(min=1e-6), self.w, self.b
        )  # [M*Q, B]; reference clamps the cosines; kept
        own = own.repeat(count)
        return {"loss": F.cross_entropy(logit, own), "acc": accuracy(logit, own)}
