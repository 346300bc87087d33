"""CAMPPlus_TSTP, the pooling of CAM++ in 3D-Speaker (Wang et al., arXiv:2303.00332)."""

from pooling import TSTP


class Pooling(TSTP.Pooling):
    """Mean and unbiased standard deviation over time. A constant channel has the deviation 0."""

    description = "mean and standard deviation, nothing added to the variances"
    eps = 0.0

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
