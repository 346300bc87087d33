"""Attention, dot-product attention over time (India et al., arXiv:2007.13199)."""

from pooling._heads import DotAttention


class Pooling(DotAttention):
    """Weighted mean over time, with one weight for each frame."""

    description = "dot-product attention"
