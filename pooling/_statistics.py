"""Statistics over time, weighted and plain."""

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


def plain_statistics(x: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns means and unbiased standard deviations of frames [N, C, T], [N, C] each in float32.

    `eps` is added to the variances. A single frame has the variance 0.
    """
    x = x.float()
    correction = min(1, x.shape[-1] - 1)
    if not eps:
        # The gradient of a deviation of 0 is 0 here, and infinite for the square root.
        deviation, mean = torch.std_mean(x, -1, correction=correction)
        return mean, deviation
    variance, mean = torch.var_mean(x, -1, correction=correction)
    return mean, (variance + eps).sqrt()
