"""SimAM, attention without parameters (Yang et al., ICML 2021), on maps [N, C, F, T]."""

from typing import Any

import torch

from models._resnet import as_rows

# Lambda of the paper.
SMALL = 1e-4


class SimAM(torch.autograd.Function):
    """y * sigmoid(d / (4 (v + SMALL)) + 0.5), where d is the squared distance to the mean of the
    map, and v is the variance of the map.

    It keeps y alone for the backward pass. Autograd would keep five further maps in float32.
    """

    @staticmethod
    def forward(ctx: Any, y: torch.Tensor) -> torch.Tensor:
        """Returns the formula for maps [N, C, F, T] in their type, computed in float32."""
        places = y.shape[2] * y.shape[3]
        whole = y.float()
        # torch.var_mean is fifty times slower than a sum of channels-last maps on a CPU.
        mean = whole.sum((2, 3)) / places  # [N, C]
        squares = (whole - as_rows(mean, whole)).square()
        variance = squares.sum((2, 3)) / torch.sym_max(places - 1, 1)
        divisor = 4 * (variance + SMALL)
        ctx.save_for_backward(y, mean, divisor)
        return (whole * sigmoids(squares, divisor)).to(y.dtype)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        """Returns the gradient of the maps. Variance and mean depend on each place."""
        y, mean, divisor = ctx.saved_tensors
        places = y.shape[2] * y.shape[3]
        whole = y.float()
        grad = grad.float()
        away = whole - as_rows(mean, whole)
        weight = sigmoids(away.square(), divisor)
        # Gradient of the sigmoid's argument, times the distance to the mean.
        moved = torch.ops.aten.sigmoid_backward(grad * whole, weight) * away
        to_mean = -2 * moved.sum((2, 3)) / divisor / places
        to_variance = -4 * (moved * away).sum((2, 3)) / divisor.square()
        to_square = 2 * to_variance / torch.sym_max(places - 1, 1)
        to_y = torch.addcmul(grad * weight, moved, as_rows(2 / divisor, whole))
        to_y = torch.addcmul(to_y, away, as_rows(to_square, whole))
        return (to_y + as_rows(to_mean, whole)).to(y.dtype)


def sigmoids(squares: torch.Tensor, divisor: torch.Tensor) -> torch.Tensor:
    """Returns sigmoid(squares / divisor + 0.5) for maps [N, C, F, T] and divisors [N, C]."""
    return (squares / as_rows(divisor, squares) + 0.5).sigmoid()


def simam(y: torch.Tensor) -> torch.Tensor:
    """Returns SimAM of maps [N, C, F, T], in their type."""
    return SimAM.apply(y)
