"""The update of Adam (Kingma and Ba, arXiv:1412.6980), for optimizers that change it."""

from torch import Tensor, zeros, zeros_like


def adam_update(
    grad: Tensor, state: dict, betas: tuple[float, float], eps: float
) -> tuple[Tensor, Tensor]:
    """Returns the update per unit of the learning rate, and the bias by which to divide it.

    The update has the shape of the gradient, and the bias [] is float64. `state` of the parameter
    is filled at the first update. Nothing waits for the GPU.
    """
    if not state:
        state["updates"] = zeros((), device=grad.device)
        state["exp_avg"] = zeros_like(grad)
        state["exp_avg_sq"] = zeros_like(grad)
    updates = state["updates"].add_(1.0).double()
    beta1, beta2 = betas
    mean = state["exp_avg"].lerp_(grad, 1 - beta1)
    square = state["exp_avg_sq"].mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    scale = (square / (1 - beta2**updates)).sqrt_().add_(eps)
    return mean / scale, 1 - beta1**updates
