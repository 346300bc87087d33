"""Training of a self-supervised front end: its own learning rates, and epochs without training.

A model with such a front end has a parameter that is typed as FineTuning, and sets update_options:

    class MainModel(SpeakerModel):
        update_options = UPDATE_OPTIONS

        def __init__(self, *, fine_tuning: FineTuning = FINE_TUNING) -> None: ...

        def parameter_groups(self) -> list[Group]:
            return self.fine_tuning.groups({"ssl input": ..., "ssl layer 0": ..., ...})

The decay of the rates from layer to layer is from Howard and Ruder, arXiv:1801.06146.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import nn

from common.parameter_groups import Group


@dataclass(frozen=True)
class FineTuning:
    """Options of the training of a self-supervised front end.

    ssl_lr: learning rate of the self-supervised front end (0: --lr)
    layer_decay: factor of the learning rate from a layer of the self-supervised front end to the
        layer below it; below 1, layers near the input have lower rates
    freeze_epochs: number of epochs at the start in which the self-supervised front end is not
        trained

    Raises ValueError for values without a meaning.
    """

    ssl_lr: float = 0.0
    layer_decay: float = 1.0
    freeze_epochs: int = 0

    def __post_init__(self) -> None:
        if self.ssl_lr < 0:
            raise ValueError(f"--ssl_lr: expected at least 0, found {self.ssl_lr:g}.")
        if self.layer_decay <= 0:
            raise ValueError(f"--layer_decay: expected more than 0, found {self.layer_decay:g}.")
        if self.freeze_epochs < 0:
            raise ValueError(f"--freeze_epochs: expected at least 0, found {self.freeze_epochs}.")

    def groups(self, parts: Mapping[str, Iterable[nn.Parameter]]) -> list[Group]:
        """Returns the groups of a front end, [] if they are trained like all other parameters.

        parts: {name: parameters} from the input to the output. The last part has the rate of
        --ssl_lr. The rate of every other part is --layer_decay times the rate of the next part. As
        in other toolkits, everything below the first layer is one part. Parameters that do not
        require a gradient are left out, and parts without parameters are skipped.
        """
        if self == FINE_TUNING:
            return []
        trained = {}
        for name, parameters in parts.items():
            found = [p for p in parameters if p.requires_grad]
            if found:
                trained[name] = found
        groups = []
        for above, (name, found) in enumerate(reversed(trained.items())):
            scale = self.layer_decay**above
            lr = self.ssl_lr or None
            groups.append(Group(name, found, lr, scale, frozen_epochs=self.freeze_epochs))
        return groups[::-1]


# The default: the front end is trained like all other parameters.
FINE_TUNING = FineTuning()
UPDATE_OPTIONS = tuple(field.name for field in dataclasses.fields(FineTuning))
