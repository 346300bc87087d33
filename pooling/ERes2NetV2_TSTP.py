"""ERes2NetV2_TSTP, the pooling that ERes2NetV2 calls TSTP (Chen et al., arXiv:2406.02167)."""

from pooling import TSTP


class Pooling(TSTP.Pooling):
    """Mean and unbiased standard deviation over time, with 1e-8 added to the variances."""

    description = "mean and standard deviation, 1e-8 added to the variances"
    eps = 1e-8

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
