"""Groups of parameters that are trained with settings of their own.

Models and losses return groups. Every parameter that is in no group is trained with --lr and
--weight_decay.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn


# Groups are compared by identity, because tensors have no single truth value.
@dataclass(frozen=True, eq=False)
class Group:
    """Parameters with settings of their own. The schedule changes all rates by the same factor.

    name: for messages, for instance "classifier".
    parameters: no parameter is in two groups.
    lr: learning rate at the factor 1 of the schedule. None means --lr.
    lr_scale: factor of this learning rate.
    weight_decay: None means --weight_decay.
    frozen_epochs: number of epochs at the start of a run in which the parameters do not change.
    math.inf means that they never change. A module whose parameters are all frozen is in eval mode.
    """

    name: str
    parameters: Sequence[nn.Parameter]
    lr: float | None = None
    lr_scale: float = 1.0
    weight_decay: float | None = None
    frozen_epochs: float = 0

    def rate(self, lr: float) -> float:
        """Returns the learning rate at the factor 1 of the schedule. lr: of the option --lr."""
        return (lr if self.lr is None else self.lr) * self.lr_scale
