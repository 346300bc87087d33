"""Normalisation of spectral coefficients over time.

Front ends apply it to the features that they compute, and data sets to the features that they read.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# A band whose standard deviation is lower than this is silent.
LEAST_DEVIATION = 0.01


def normalise(x: "torch.Tensor", normalization: str) -> "torch.Tensor":
    """Normalises spectral coefficients x [..., T, n_mels] over time, in each band.

    normalization: "cmn" makes the mean 0. "cmvn" makes the standard deviation 1 as well. "none"
    returns x unchanged.
    """
    if normalization == "none":
        return x
    x = x - x.mean(-2, keepdim=True)
    if normalization == "cmvn":
        deviation = x.std(-2, correction=0, keepdim=True)
        # A silent band is not amplified, so that it stays at 0.
        x = x / deviation.masked_fill(deviation <= LEAST_DEVIATION, 1.0)
    return x
