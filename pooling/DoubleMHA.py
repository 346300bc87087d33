"""DoubleMHA, double multi-head attention (India et al., arXiv:2007.13199).

The first attention pools every head over time. The second attention pools the heads.
"""

import torch

from pooling import BasePooling
from pooling._heads import DotAttention, MultiHeadAttention


class HeadsAttention(DotAttention):
    """Attention over heads [N, size, heads].

    Every training step leaves out some heads, each with the probability `left_out`.
    """

    def __init__(self, size: int, mask_prob: float) -> None:
        if not 0.0 <= mask_prob <= 0.5:
            raise ValueError(f"--mask_prob: expected a share from 0 to 0.5, found {mask_prob}.")
        super().__init__(size)
        # Rounded as in the reference: 0.3 means one third.
        self.left_out = 1 / int(1 / mask_prob) if mask_prob else 0.0

    def logits(self, heads: torch.Tensor) -> torch.Tensor:
        """Returns the logits [N, 1, heads]; minus infinity for a head that is left out."""
        logits = super().logits(heads)
        if not self.training:
            return logits
        # The CPU draws on every device, so that a seed gives the same draws everywhere.
        draw = torch.rand(logits.shape).to(logits.device, non_blocking=True)
        # The reference may leave out all heads, and then the softmax is NaN. This code always keeps
        # the head with the largest draw.
        masked = (draw < self.left_out) & (draw < draw.amax(-1, keepdim=True))
        return logits.masked_fill(masked, -torch.inf)


class Pooling(BasePooling):
    """heads_number: number of attention heads
    mask_prob: share of the heads that a training step leaves out
    """

    description = "double multi-head attention"

    def __init__(self, channels: int, *, heads_number: int = 32, mask_prob: float = 0.3) -> None:
        utterance = MultiHeadAttention(channels, heads_number)
        super().__init__(channels // heads_number)
        self.utteranceAttention = utterance
        self.headsAttention = HeadsAttention(self.size, mask_prob)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        pooled = self.utteranceAttention(frames)  # [N, C]
        return self.headsAttention(pooled.unflatten(1, (-1, self.size)).transpose(1, 2))
