"""Triplet loss with hard or semi-hard mining (Schroff et al., arXiv:1503.03832), as in voxceleb_trainer (arXiv:2003.11982).

python trainSpeakerNet.py --trainfunc triplet --nPerSpeaker 2 --hard_rank 10 --hard_prob 0.5 --margin 0.1 ...
"""

import torch
from torch.nn import functional as F

from loss import Loss, prototypes


class LossFunction(Loss):
    """hard_rank: a hard negative is one of the hard_rank + 1 that are nearest to the anchor; below 0: semi-hard mining instead
    hard_prob: share of the anchors that get a hard negative, the others get any
    margin: by which the squared distance to the negative shall exceed that to the positive
    """

    def __init__(self, *, hard_rank: int = 10, hard_prob: float = 0.5, margin: float = 0.1):
        super().__init__()
        if not 0 <= hard_prob <= 1:
            raise ValueError(f"--hard_prob: want a share between 0 and 1, got {hard_prob}")
        self.hard_rank, self.hard_prob, self.margin = hard_rank, hard_prob, margin

    def forward(self, rep, batch, pair):
        # positives (negatives of the others), anchors
        ref, qry, own = prototypes(rep, batch)
        if len(ref) < 2:
            raise ValueError(
                "--batch_size: the triplet loss wants at least 2 speakers a batch, for negatives"
            )
        distance = 2.0 - 2.0 * self.similarity(
            *pair(ref, qry)
        )  # [Q, R]; reference adds 1e-6 to every component of the differences
        positive = distance.gather(1, own.unsqueeze(1))  # [Q, 1]
        negative = distance.gather(1, self.negative_index(distance.detach(), own).unsqueeze(1))
        return {
            "loss": F.relu(positive - negative + self.margin).mean(),
            "acc": 100.0 * (positive < negative).float().mean(),
        }

    def negative_index(self, distance, own):
        """distance [Q, R], own [Q] -> which reference is the negative [Q], drawn from torch's global generator."""
        return self.chances(distance, own).multinomial(1).squeeze(1)

    def chances(self, distance, own):
        """-> chances [Q, R] of the references to be drawn, up to a factor in each row."""
        mine = F.one_hot(own, distance.shape[1]).bool()
        others = (~mine).float()
        if self.hard_rank < 0:
            positive = distance.gather(1, own.unsqueeze(1))
            semihard = ((distance > positive) & (distance < positive + self.margin)).float()
            # reference draws the positive too where there are none
            return torch.where(semihard.any(1, keepdim=True), semihard, others)
        # 0 = nearest
        rank = distance.masked_fill(mine, torch.inf).argsort(1).argsort(1)
        hard = (rank <= self.hard_rank) * others
        return self.hard_prob * F.normalize(hard, p=1) + (1.0 - self.hard_prob) * F.normalize(
            others, p=1
        )
