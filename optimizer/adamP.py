"""AdamP (Heo et al., arXiv:2006.08217).

The length of a weight before a normalisation layer has no effect. For such scale-invariant weights,
AdamP removes the part of Adam's update that only lengthens the weight.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from optimizer._adam import adam_update

# A weight is scale-invariant if |cosine| of weight and gradient is below this number / sqrt(n).
INVARIANCE_THRESHOLD = 0.1
# Share of the weight decay for scale-invariant weights.
INVARIANT_DECAY_SHARE = 0.1


class AdamP(torch.optim.Optimizer):
    """AdamP. It never waits for the GPU, because all decisions are made with tensors."""

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict],
        lr: float,
        weight_decay: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ):
        super().__init__(
            params, {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": eps}
        )

    @torch.no_grad()
    def step(self) -> None:
        """Updates all parameters that have a gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group, self.state[p])

    @staticmethod
    def _update(p: nn.Parameter, group: dict, state: dict) -> None:
        """Updates one parameter."""
        update, bias = adam_update(p.grad, state, group["betas"], group["eps"])
        decay = group["weight_decay"]
        if p.dim() > 1:
            update, invariant = without_lengthening(p, update, group["eps"])
            decay = torch.where(invariant, decay * INVARIANT_DECAY_SHARE, decay)
        p.mul_(1 - group["lr"] * decay)
        p.sub_(update * (group["lr"] / bias))


def without_lengthening(p: nn.Parameter, update: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Removes from an update the part along a scale-invariant weight.

    A weight can be scale-invariant for every output channel, or as one vector. Returns the update
    and whether the weight is scale-invariant, a bool tensor on the device.
    """
    invariant = torch.zeros((), dtype=torch.bool, device=p.device)
    for rows in (p.shape[0], 1):
        weight = p.reshape(rows, -1)
        gradient = p.grad.reshape(rows, -1)
        cosine = F.cosine_similarity(gradient, weight, eps=eps).abs().max()
        invariant_here = cosine < INVARIANCE_THRESHOLD / math.sqrt(weight.shape[1])
        unit = weight / (weight.norm(dim=1, keepdim=True) + eps)
        length = (unit * update.reshape(rows, -1)).sum(1, keepdim=True)
        projected = update - (unit * length).view(p.shape)
        update = torch.where(invariant_here & ~invariant, projected, update)
        invariant = invariant_here | invariant
    return update, invariant


def Optimizer(
    params: Iterable[nn.Parameter] | Iterable[dict], *, lr: float = 1e-3, weight_decay: float = 0.0
) -> torch.optim.Optimizer:
    """lr: initial learning rate
    weight_decay: decoupled weight decay (a tenth of it for scale-invariant weights)
    """
    return AdamP(params, lr, weight_decay)
