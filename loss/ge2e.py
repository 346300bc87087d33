"""Generalised end-to-end loss (Wan et al., arXiv:1710.10467), softmax variant.

Every utterance is compared with the centroids of all speakers of the batch.

    python trainSpeakerNet.py --trainfunc ge2e --nPerSpeaker 5 ...
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loss import (
    Batch,
    Loss,
    Pair,
    Terms,
    accuracy,
    require_embeddings,
    require_pairs,
    require_speakers,
    scaled,
)


class LossFunction(Loss):
    """init_w: initial scale of the cosines
    init_b: initial offset of the cosines
    """

    min_utterances = 2
    min_speakers = 2

    def __init__(self, *, init_w: float = 10.0, init_b: float = -5.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(init_w))
        self.b = nn.Parameter(torch.tensor(init_b))

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        require_embeddings(rep)
        require_pairs(rep)
        require_speakers(rep)
        own = batch["real"]
        speakers, utterances = rep.shape[:2]
        is_own = F.one_hot(own, speakers).bool()  # [Q, B]
        centroid = rep.mean(1)  # [B, D]
        # The centroids of the other utterances of the speaker, without the query itself.
        leave_one_out = (rep.sum(1, keepdim=True) - rep) / (utterances - 1)  # [B, M, D]
        cos = []
        for m in range(utterances):
            query = rep[own, m]
            to_own = self.similarity(*pair(leave_one_out[:, m], query))
            to_all = self.similarity(*pair(centroid, query))
            cos.append(torch.where(is_own, to_own, to_all))
        # The reference clamps the cosines; kept.
        logit = scaled(torch.cat(cos).clamp(min=1e-6), self.w, self.b)  # [M*Q, B]
        label = own.repeat(utterances)
        return {"loss": F.cross_entropy(logit, label), "acc": accuracy(logit, label)}
