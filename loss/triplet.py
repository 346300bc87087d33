"""Triplet loss with hard or semi-hard mining (Schroff et al., arXiv:1503.03832).

The mining follows voxceleb_trainer (arXiv:2003.11982).

    python trainSpeakerNet.py --trainfunc triplet --nPerSpeaker 2 --hard_rank 10 --hard_prob 0.5 \
        --margin 0.1 ...
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from loss import Batch, Loss, Pair, Terms, prototypes


class LossFunction(Loss):
    """The distance is the squared Euclidean distance of unit vectors.

    hard_rank: hard negatives are the --hard_rank + 1 nearest ones (below 0: semi-hard mining)
    hard_prob: share of the anchors with a hard negative (the others: a random one)
    margin: margin between the squared distances to the negative and to the positive
    """

    min_utterances = 2
    min_speakers = 2
    pairwise = True

    def __init__(self, *, hard_rank: int = 10, hard_prob: float = 0.5, margin: float = 0.1):
        super().__init__()
        if not 0 <= hard_prob <= 1:
            raise ValueError(f"--hard_prob: expected a share from 0 to 1, found {hard_prob}.")
        self.hard_rank = hard_rank
        self.hard_prob = hard_prob
        self.margin = margin

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        # Every query is an anchor. Its own prototype is the positive, the others are negatives.
        ref, qry, own = prototypes(rep, batch)
        # The reference adds 1e-6 to every component of the differences. This code does not.
        distance = 2.0 - 2.0 * self.similarity(*pair(ref, qry))  # [Q, R]
        positive = distance.gather(1, own.unsqueeze(1))  # [Q, 1]
        negative_index = self.negative_index(distance.detach(), own)
        negative = distance.gather(1, negative_index.unsqueeze(1))  # [Q, 1]
        return {
            "loss": F.relu(positive - negative + self.margin).mean(),
            "acc": 100.0 * (positive < negative).float().mean(),
        }

    def negative_index(self, distance: Tensor, own: Tensor) -> Tensor:
        """Draws one negative per query, from torch's global generator. Returns indices [Q].

        distance: [Q, R]. own: index of the positive of every query [Q].
        """
        return self.sampling_weights(distance, own).multinomial(1).squeeze(1)

    def sampling_weights(self, distance: Tensor, own: Tensor) -> Tensor:
        """Returns the weights [Q, R] with which the references are drawn as negatives.

        The probabilities of a query are its weights divided by their sum.
        """
        is_own = F.one_hot(own, distance.shape[1]).bool()
        others = (~is_own).float()
        if self.hard_rank < 0:
            positive = distance.gather(1, own.unsqueeze(1))
            semihard = ((distance > positive) & (distance < positive + self.margin)).float()
            # Without a semi-hard negative, draw any negative. The reference may draw the positive.
            return torch.where(semihard.any(1, keepdim=True), semihard, others)
        # Rank 0 is the nearest reference.
        rank = distance.masked_fill(is_own, torch.inf).argsort(1).argsort(1)
        hard = (rank <= self.hard_rank) * others
        hard_part = self.hard_prob * F.normalize(hard, p=1)
        return hard_part + (1.0 - self.hard_prob) * F.normalize(others, p=1)
