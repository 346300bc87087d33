"""SimAM, attention without parameters (Yang et al., ICML 2021), on maps [N, C, F, T]."""

from typing import Any

import torch

from models._resnet import as_rows

# Lambda of the paper.
SMALL = 1e-4


def spread(y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns means of maps [N, C, F, T], and 4 (variance + SMALL), [N, C] in float32 each.

    The divisor of the variance is the number of places minus 1.
    """
    places = y.shape[2] * y.shape[3]
    mean = y.sum((2, 3), dtype=torch.float32) / places
    # torch.var_mean is fifty times slower than a sum of channels-last maps on a CPU.
    squares = (y.float() - as_rows(mean, y.float())).square().sum((2, 3))
    variance = squares / torch.sym_max(places - 1, 1)
    return mean, 4 * (variance + SMALL)


class SimAM(torch.autograd.Function):
    """y * sigmoid(d / (4 (v + SMALL)) + 0.5), where d is the squared distance to the mean of the
    map, and v is the variance of the map.

    It keeps y alone for the backward pass. Autograd would keep five further maps in float32.
    """

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor) -> torch.Tensor:
        """Returns the formula for maps [N, C, F, T] in their type, computed in float32."""
        mean, divisor = spread(y)
        ctx.save_for_backward(y, mean, divisor)
        whole = y.float()
        away = whole - as_rows(mean, whole)
        energy = away.square() / as_rows(divisor, whole)
        return (whole * (energy + 0.5).sigmoid()).to(y.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        """Returns the gradient of the maps. Variance and mean depend on each place."""
        y, mean, divisor = ctx.saved_tensors
        places = y.shape[2] * y.shape[3]
        whole = y.float()
        grad = grad.float()
        away = whole - as_rows(mean, whole)
        squares = away.square()
        weight = (squares / as_rows(divisor, whole) + 0.5).sigmoid()
        to_energy = grad * whole * weight * (1 - weight)
        to_variance = (to_energy * squares).sum((2, 3)) * -4 / divisor.square()
        to_mean = (to_energy * away).sum((2, 3)) * -2 / divisor
        slope = to_energy / as_rows(divisor, whole)
        slope = slope + as_rows(to_variance / torch.sym_max(places - 1, 1), whole)
        to_y = torch.addcmul(grad * weight, away, slope, value=2.0)
        return (to_y + as_rows(to_mean / places, whole)).to(y.dtype)


def simam(y: torch.Tensor) -> torch.Tensor:
    """Returns SimAM of maps [N, C, F, T], in their type."""
    return SimAM.apply(y)
