"""ResNetSE34V2_SAP, the pooling that ResNetSE34V2 calls SAP (Heo et al., arXiv:2009.14153)."""

from pooling._channel_attention import ChannelAttention


class Pooling(ChannelAttention):
    """Weighted mean with a weight for each channel from a network of two layers."""

    description = "a weighted mean, channel-dependent, from a network of two layers"

    def __init__(self, channels: int) -> None:
        super().__init__(channels, width=128, context=False, tanh=False, deviation=False)
