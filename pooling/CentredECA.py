"""CentredECA, ECA as in speechbrain, which the authors of MFA-Conformer use (arXiv:2203.15249)."""

import torch

from pooling._channel_attention import ChannelAttention


class Pooling(ChannelAttention):
    """ECA with biased standard deviations, which are computed from centred frames."""

    description = "channel- and context-dependent statistics of centred frames"

    def __init__(self, channels: int) -> None:
        super().__init__(channels, width=128)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        frames = frames.float()
        context = torch.cat(moments(frames, 1 / frames.shape[-1]), -1)  # [N, 2C]
        return torch.cat(moments(frames, self.weights(frames, context)), -1)


def moments(
    frames: torch.Tensor, weights: torch.Tensor | float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns weighted means and standard deviations of frames [N, C, T], [N, C] each."""
    mean = (frames * weights).sum(-1)
    variance = ((frames - mean.unsqueeze(-1)).square() * weights).sum(-1)
    return mean, variance.clamp(min=1e-12).sqrt()
