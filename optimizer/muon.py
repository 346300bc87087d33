"""Muon: the updates of convolution kernels are made orthogonal (Jordan, 2024).

An update of momentum has a few large singular values. Muon gives all singular values about the same
size, so that rare directions are learned too. The updates are scaled as in Liu et al.
(arXiv:2502.16982), so that learning rates of AdamW fit. Only kernels of convolutions are updated
like this. All other weights are updated by AdamW, because an orthogonal update of a large
classifier costs much time.

    python trainSpeakerNet.py --optimizer muon --lr 0.002 --weight_decay 0.01 ...
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from optimizer._adam import adam_update
from optimizer.adamW import without_decay_of_vectors

# Coefficients of the polynomial a x + b x^3 + c x^5, which moves numbers from 0 to 1 towards 1.
QUINTIC = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
# Root mean square of an update, as large as it usually is in AdamW.
UPDATE_SIZE = 0.2
EPSILON = 1e-8


def nearly_orthogonal(matrix: Tensor) -> Tensor:
    """Returns U P V' for the singular value decomposition U S V' of a matrix [n, m].

    P has singular values near 1, from 0.7 to 1.2, unless they are very small in S.
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if is_tall else matrix
    x = x / (x.norm() + EPSILON)
    a, b, c = QUINTIC
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if is_tall else x


class Muon(torch.optim.Optimizer):
    """Muon for tensors of three and more dimensions, AdamW for the others."""

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict],
        lr: float,
        weight_decay: float,
        momentum: float,
        betas: tuple[float, float] = (0.9, 0.999),
    ):
        super().__init__(
            params,
            {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "betas": betas},
        )

    @torch.no_grad()
    def step(self) -> None:
        """Updates all parameters that have a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                is_kernel = p.dim() > 2
                update = self._of_kernel if is_kernel else self._of_others
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.sub_(update(p.grad, group, self.state[p]) * group["lr"])

    @staticmethod
    def _of_kernel(grad: Tensor, group: dict, state: dict) -> Tensor:
        """Returns the update of a kernel [outputs, inputs, ...] per unit of the learning rate."""
        if not state:
            state["momentum"] = torch.zeros_like(grad)
        momentum = state["momentum"].lerp_(grad, 1 - group["momentum"])
        ahead = grad.lerp(momentum, group["momentum"]).flatten(1)
        size = UPDATE_SIZE * max(ahead.shape) ** 0.5
        return size * nearly_orthogonal(ahead).view_as(grad)

    @staticmethod
    def _of_others(grad: Tensor, group: dict, state: dict) -> Tensor:
        """Returns the update of AdamW per unit of the learning rate."""
        update, bias = adam_update(grad, state, group["betas"], EPSILON)
        return update / bias


def Optimizer(
    params: Iterable[nn.Parameter] | Iterable[dict],
    *,
    lr: float = 1e-3,
    weight_decay: float = 0.0,
    momentum: float = 0.95,
    decay_vectors: bool = True,
) -> torch.optim.Optimizer:
    """lr: initial learning rate, as large as in AdamW
    weight_decay: decoupled weight decay
    momentum: momentum of the kernels of convolutions
    decay_vectors: apply weight decay to biases and normalisation layers too
    """
    if not decay_vectors:
        params = without_decay_of_vectors(params)
    return Muon(params, lr, weight_decay, momentum)
