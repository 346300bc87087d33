"""A learned gate that makes one score of the similarity of speakers and the bona fide score.

A trial is accepted if the speaker is the same and the speech is genuine. The gate has a probability
of each, the sigmoid of a scaled score, and takes both to be independent. The score of a trial is
the logit of their product. So no similarity can make up for speech that looks synthetic, as it can
in a weighted sum.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loss import scaled
from loss._adcf import BatchTrials, mean_where


@dataclass(frozen=True)
class GateSettings:
    """Options of the gate.

    fusion_gate: learn how the score of a trial depends on the cosine of the speakers and on the
        output of the spoofing head, in the place of --fusion
    gate_weight: weight of the loss of the gate on the trials in a batch

    Raises ValueError if the gate would not learn.
    """

    fusion_gate: bool = False
    gate_weight: float = 1.0

    def __post_init__(self):
        if self.fusion_gate and self.gate_weight <= 0:
            raise ValueError(
                f"--gate_weight: expected a number above 0, found {self.gate_weight:g}. Without a "
                "weight the gate of --fusion_gate does not learn."
            )


class Gate(nn.Module):
    """The gate. Its scales stay positive, so a higher score of either part is never worse."""

    def __init__(self):
        super().__init__()
        # Speaker and spoofing head. Both are cosines, which separate somewhere above 0.
        self.scale = nn.Parameter(torch.tensor([10.0, 10.0]))
        self.offset = nn.Parameter(torch.tensor([-5.0, -5.0]))

    def forward(self, speaker: Tensor, bonafide: Tensor) -> Tensor:
        """Returns the scores [...] of trials with similarities and bona fide scores [...]."""
        same = scaled(speaker, self.scale[0], self.offset[0])
        genuine = scaled(bonafide, self.scale[1], self.offset[1])
        same, genuine = torch.broadcast_tensors(same, genuine)
        # With p and q for the sigmoids of both: ln pq / (1 - pq), without overflow.
        return -torch.stack([-same, -genuine, -same - genuine]).logsumexp(0)


def gate_loss(scores: Tensor, trials: BatchTrials) -> Tensor:
    """Returns the binary cross-entropy of the scores [B, M, B] of the trials in a batch.

    Targets have the class 1 and half of the weight. Non-targets and spoofed trials have the class 0
    and a quarter each.
    """
    target = mean_where(trials.target, F.softplus(-scores))
    others = F.softplus(scores)
    nontarget = mean_where(trials.nontarget, others)
    spoof = mean_where(trials.spoof, others)
    return 0.5 * target + 0.25 * (nontarget + spoof)
