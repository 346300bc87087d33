"""ECA, the attentive statistics of ECAPA-TDNN (Desplanques et al., arXiv:2005.07143)."""

from pooling._channel_attention import ChannelAttention


class Pooling(ChannelAttention):
    """Attentive statistics with a weight for each channel.

    The network that computes the weights receives the utterance's statistics as context.
    """

    description = "channel- and context-dependent attentive statistics"

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
