"""Weighted statistics over time."""

import torch


def statistics(
    x: torch.Tensor, weights: torch.Tensor, floor: float, ceiling: float | None = None
) -> torch.Tensor:
    """Returns the weighted means and standard deviations of frames, [N, 2C] in float32.

    `x` are frames [N, C, T], in half precision under autocast. `weights` [N, 1 or C, T] are in
    float32 and sum to 1 over T. `floor` and `ceiling` limit the variances.
    """
    # The product is in float32 even if x is not.
    weighted = x * weights
    mean = weighted.sum(-1)
    variance = (weighted * x).sum(-1) - mean * mean
    return torch.cat([mean, variance.clamp(floor, ceiling).sqrt()], -1)
