"""AdamP (Heo et al., arXiv:2006.08217): Adam that takes out of an update what only lengthens weights whose length has no effect."""

import math

import torch
from torch.nn import functional as F

# |cosine| of weight and gradient, times sqrt(n), of such weights
CLOSE = 0.1
# share of the weight decay that they get
KEPT_DECAY = 0.1


class AdamP(torch.optim.Optimizer):
    def __init__(self, params, lr, weight_decay, betas=(0.9, 0.999), eps=1e-8):
        super().__init__(
            params, {"lr": lr, "weight_decay": weight_decay, "betas": betas, "eps": eps}
        )

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self._update(p, group, self.state[p])

    @staticmethod
    def _update(p, group, state):
        if not state:
            state |= {
                "updates": torch.zeros((), device=p.device),
                "exp_avg": torch.zeros_like(p),
                "exp_avg_sq": torch.zeros_like(p),
            }
        updates = state["updates"].add_(1.0).double()
        beta1, beta2 = group["betas"]
        mean = state["exp_avg"].lerp_(p.grad, 1 - beta1)
        square = state["exp_avg_sq"].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
        scale = (square / (1 - beta2**updates)).sqrt_().add_(group["eps"])
        update, decay = mean / scale, group["weight_decay"]
        if p.dim() > 1:
            # a GPU is not asked which way it went
            free = torch.zeros((), dtype=torch.bool, device=p.device)
            # scale-free by output channel, or else as a whole
            for rows in (p.shape[0], 1):
                weight, gradient = p.reshape(rows, -1), p.grad.reshape(rows, -1)
                now = F.cosine_similarity(
                    gradient, weight, eps=group["eps"]
                ).abs().max() < CLOSE / math.sqrt(weight.shape[1])
                unit = weight / (weight.norm(dim=1, keepdim=True) + group["eps"])
                along = (unit * update.reshape(rows, -1)).sum(1, keepdim=True)
                update, free = (
                    torch.where(now & ~free, update - (unit * along).view(p.shape), update),
                    now | free,
                )
            decay = torch.where(free, decay * KEPT_DECAY, decay)
        p.mul_(1 - group["lr"] * decay)
        p.sub_(update * (group["lr"] / (1 - beta1**updates)))


def Optimizer(params, *, lr: float = 1e-3, weight_decay: float = 0.0):
    """lr: learning rate at the start
    weight_decay: share of the weights taken off at every update, times lr; a tenth of it where the length of weights has no effect
    """
    return AdamP(params, lr, weight_decay)
