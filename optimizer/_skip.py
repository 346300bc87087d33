"""Updates that a flag on the device can cancel, without waiting for the device."""

import itertools
from collections.abc import Iterable

import torch
from torch import nn


class NonFiniteLoss(ArithmeticError):
    """The loss or its gradient is NaN or infinite.

    index: rows of the train list that are in the batches of this update.
    """

    def __init__(self, step: int, index: list[int]):
        super().__init__(f"The loss or its gradient is not finite at step {step}")
        self.step = step
        self.index = index


def step_unless(
    bad: torch.Tensor,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    parameters: Iterable[nn.Parameter],
) -> None:
    """Updates the parameters unless `bad`, a bool on their device, is true.

    Fused optimizers and the loss scaler check for bad gradients. For the other optimizers, this
    function restores the old values.
    """
    if scaler.is_enabled():
        scaler.step(optimizer)
    elif optimizer.defaults.get("fused"):
        optimizer.grad_scale = None
        optimizer.found_inf = bad.float()
        optimizer.step()
    elif has_state_of_all(optimizer):
        changed = changed_tensors(optimizer, parameters, bad.device)
        before = [x.clone() for x in changed]
        optimizer.step()
        for x, old in zip(changed, before, strict=True):
            x.copy_(torch.where(bad, old, x))
    elif not bad:
        # The first update of a run, or of parameters that were frozen, waits for the device here.
        optimizer.step()


def has_state_of_all(optimizer: torch.optim.Optimizer) -> bool:
    """Returns whether the next update makes no new state."""
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None and p not in optimizer.state:
                return False
    return True


def changed_tensors(
    optimizer: torch.optim.Optimizer, parameters: Iterable[nn.Parameter], device: torch.device
) -> list[torch.Tensor]:
    """Returns all tensors on the device that an update changes: parameters and optimizer state."""
    states = [state.values() for state in optimizer.state.values()]
    tensors = []
    for x in itertools.chain(parameters, *states):
        if isinstance(x, torch.Tensor) and x.device == device:
            tensors.append(x.detach())
    return tensors


@torch.no_grad()
def average_unless(bad: torch.Tensor, average: nn.Module, net: nn.Module, decay: float) -> None:
    """Moves the weights of `average` towards the weights of `net` unless `bad` is true.

    Batch statistics are averaged like weights, because the weights were trained with them.
    Integer counters are copied.
    """
    share = torch.where(bad, 0.0, 1 - decay)
    averages = average.state_dict().values()
    for old, new in zip(averages, net.state_dict().values(), strict=True):
        if old.is_floating_point():
            old.lerp_(new, share)
        else:
            old.copy_(new)
