"""ResNetSE34V2_ASP, the pooling that ResNetSE34V2 calls ASP (Heo et al., arXiv:2009.14153)."""

from pooling._channel_attention import ChannelAttention


class Pooling(ChannelAttention):
    """Attentive statistics with a weight for each channel from a network of two layers."""

    description = "attentive statistics, channel-dependent, from a network of two layers"

    def __init__(self, channels: int) -> None:
        super().__init__(channels, width=128, context=False, tanh=False, floor=1e-5)
