"""MHA, multi-head attention over time (India et al., arXiv:2007.13199)."""

from pooling._heads import MultiHeadAttention


class Pooling(MultiHeadAttention):
    """heads_number: number of attention heads"""

    description = "multi-head attention"

    def __init__(self, channels: int, *, heads_number: int = 32) -> None:
        super().__init__(channels, heads_number)
