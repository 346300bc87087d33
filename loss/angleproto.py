"""Angular prototypical loss (Chung et al., arXiv:2003.11982).

The logits are cosines between queries and prototypes, with a learned scale and offset.

    python trainSpeakerNet.py --trainfunc angleproto --nPerSpeaker 2 ...
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loss import Batch, Loss, Pair, Terms, accuracy, prototypes, scaled


class LossFunction(Loss):
    """init_w: initial scale of the cosines in the prototypical loss
    init_b: initial offset of the cosines in the prototypical loss
    """

    min_utterances = 2
    min_speakers = 2
    pairwise = True

    def __init__(self, *, init_w: float = 10.0, init_b: float = -5.0):
        super().__init__()
        self.w = nn.Parameter(torch.tensor(init_w))
        self.b = nn.Parameter(torch.tensor(init_b))

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        ref, qry, own = prototypes(rep, batch)
        logit = scaled(self.similarity(*pair(ref, qry)), self.w, self.b)  # [Q, R]
        return {"loss": F.cross_entropy(logit, own), "acc": accuracy(logit, own)}
