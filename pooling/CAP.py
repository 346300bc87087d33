"""CAP, cross attentive pooling of pairs of utterances (Kye et al., arXiv:2008.05983)."""

import torch
from torch import nn
from torch.nn import functional as F

from pooling import BasePooling

# Temperature of the attention, as in the paper.
TEMPERATURE = 0.05


class Pooling(BasePooling):
    """In every pair of utterances, each one attends to what the two have in common.

    A representation is [N, 2C + 1, T]: the frames, the unit vectors that are compared, and ones.
    The ones become zeros where an utterance is padded, so they are the mask.
    """

    description = "cross attentive pooling of pairs of utterances"
    pairwise = True

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.meta_learner = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.ReLU())
        self.att_bn = nn.BatchNorm1d(channels)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        # A temperature of 0.05 needs the precision of float32.
        with torch.autocast(frames.device.type, enabled=False):
            frames = frames.float()
            unit = F.normalize(self.meta_learner(frames), dim=1)
            return F.pad(torch.cat([frames, unit], 1), (0, 0, 0, 1), value=1.0)

    def pair(self, ref: torch.Tensor, qry: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(ref.device.type, enabled=False):
            refs = self._pool(ref, qry).transpose(0, 1)
            both = torch.stack([refs, self._pool(qry, ref)])  # [2, Q, R, C]
            pooled = F.relu(self.att_bn(both.flatten(0, 2))).unflatten(0, both.shape[:3])
            return pooled.unbind()

    def merge(self, reps: torch.Tensor) -> torch.Tensor:
        """Concatenates the enrolment files, as if they were one long file."""
        return torch.cat(list(reps), -1)

    def _pool(self, own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Pools each of N utterances as it meets each of M others: [N, M, C].

        `own` [N, 2C + 1, T] and `other` [M, 2C + 1, T'] are representations.

        The paper attends by the map of cosines g_i . h_j: frame i gets the logit
        sum_j (g_i . h_j) (mean_k g_k . h_j). This logit is g_i . v with
        v = sum_j h_j (h_j . mean_k g_k), so the map, T x T' for every pair, is never made.
        """
        # [N, C, T], [N, C, T], [N, 1, T]
        frames, g, mask = own.split([self.size, self.size, 1], 1)
        h = other[:, self.size : -1]  # [M, C, T']
        length = mask.sum(-1, keepdim=True)  # [N, 1, 1]
        mean = (g.sum(-1) / length.squeeze(-1)).expand(len(h), -1, -1)  # [M, N, C]
        v = (mean @ h @ h.transpose(1, 2)).transpose(0, 1)  # [N, M, C]
        logit = (v @ g / TEMPERATURE).masked_fill(mask == 0, -torch.inf)  # [N, M, T]
        return (logit.softmax(-1) + mask) @ frames.transpose(1, 2) / length
