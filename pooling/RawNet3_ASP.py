"""RawNet3_ASP, the pooling that RawNet3 calls ASP (Jung et al., arXiv:2203.08488)."""

from pooling._channel_attention import ChannelAttention


class Pooling(ChannelAttention):
    """RawNet3_ECA with one weight for each frame, which all channels share."""

    description = "one weight for each frame from the network of ECA"

    def __init__(self, channels: int) -> None:
        super().__init__(channels, width=128, tanh=False, shared=True, ceiling=1e4)
