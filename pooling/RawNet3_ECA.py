"""RawNet3_ECA, the pooling that RawNet3 calls ECA (Jung et al., arXiv:2203.08488)."""

from pooling._channel_attention import ChannelAttention


class Pooling(ChannelAttention):
    """ECA with 128 hidden units, without tanh, and with an upper limit of the variances."""

    description = "ECA with 128 hidden units and without tanh"

    def __init__(self, channels: int) -> None:
        super().__init__(channels, width=128, tanh=False, ceiling=1e4)
