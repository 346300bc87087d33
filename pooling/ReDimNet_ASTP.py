"""ReDimNet_ASTP, the pooling of ReDimNet (Yakovlev et al., arXiv:2407.18223)."""

from pooling import ASTP


class Pooling(ASTP.Pooling):
    """Attentive statistics, whose attention also receives the statistics of the utterance.

    bottleneck_dim: size of the hidden layer of the attention
    global_context_att: the attention also receives the mean and the deviation of the utterance
    """

    description = "attentive statistics with the context of the utterance, without normalisation"

    def __init__(
        self, channels: int, *, bottleneck_dim: int = 128, global_context_att: bool = True
    ) -> None:
        super().__init__(
            channels, bottleneck_dim=bottleneck_dim, global_context_att=global_context_att
        )
