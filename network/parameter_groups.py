"""The groups of parameters of a network, for the optimizer, and the epochs without training."""

import logging
from collections.abc import Iterator, Sequence

from torch import nn

from common.errors import InputError
from common.parameter_groups import Group
from loss import Loss
from models import SpeakerModel

log = logging.getLogger("trainSpeakerNet")
# The group of all parameters that neither the model nor the loss puts into a group.
REST = "all others"


def parameter_groups_of(
    model: SpeakerModel, loss: Loss, head_weight_decay: float | None = None
) -> list[Group]:
    """Returns groups that contain every parameter of a network once.

    The first group has all parameters without settings of their own, in the order of the network.
    It is left out if there are none. head_weight_decay: see Loss.parameter_groups(). Raises
    InputError if a parameter is in two groups, or if all parameters are frozen.
    """
    groups = [*model.parameter_groups(), *loss.parameter_groups(head_weight_decay)]
    name_of_group: dict[nn.Parameter, str] = {}
    for group in groups:
        for p in group.parameters:
            if p in name_of_group:
                raise InputError(
                    f"models, loss: expected every parameter in one group, found one in the groups "
                    f"'{name_of_group[p]}' and '{group.name}'. Correct parameter_groups()."
                )
            name_of_group[p] = group.name
    parameters = [*model.parameters(), *loss.parameters()]
    rest = [p for p in parameters if p not in name_of_group]
    trained = any(p.requires_grad for p in rest)
    if groups and not trained and all(group.frozen_epochs for group in groups):
        raise InputError(
            "--freeze_epochs: expected 0, because the network has no other parameters that could "
            "be trained in the first epochs. Leave it out."
        )
    return [Group(REST, rest), *groups] if rest else groups


def for_optimizer(groups: Sequence[Group], lr: float) -> list[nn.Parameter] | list[dict]:
    """Returns what an optimizer receives as `params`. lr: of the option --lr.

    Parameters that all have the same settings are one list, so that the state of the optimizer is
    the same as without groups.
    """
    if len(groups) == 1 and groups[0].name == REST:
        return [*groups[0].parameters]
    made = []
    for group in groups:
        rate = group.rate(lr)
        settings = {"name": group.name, "lr": rate, "initial_lr": rate}
        if group.weight_decay is not None:
            settings["weight_decay"] = group.weight_decay
        made.append({"params": [*group.parameters], **settings})
    return made


class Freezing:
    """Keeps the groups of a network unchanged that are not trained in the first epochs.

    Their parameters have no gradient, so that no time is spent on it, no optimizer updates them,
    and no weight decay shrinks them. Modules whose parameters are all frozen stay in eval mode:
    without dropout, and with the batch statistics that they have.

    frozen: the groups that are frozen in the current epoch. modules: the modules in eval mode.
    """

    def __init__(self, net: nn.Module, groups: Sequence[Group] = ()):
        self.net = net
        self.groups = [group for group in groups if group.frozen_epochs]
        self.frozen: list[Group] = []
        self.modules: list[nn.Module] = []

    def begin_epoch(self, epoch: int) -> bool:
        """Freezes the groups that are frozen in this epoch, counted from 1, and trains the others.

        Depends on the epoch alone, so that a resumed run continues exactly. Returns whether other
        parameters than before have a gradient.
        """
        frozen = [group for group in self.groups if epoch <= group.frozen_epochs]
        if frozen == self.frozen:
            return False
        for group in self.groups:
            for p in group.parameters:
                p.requires_grad_(epoch > group.frozen_epochs)
        released = [group for group in self.frozen if group not in frozen]
        if released:
            log.info("From epoch %d on, training includes %s.", epoch, names_in_short(released))
        self.frozen = frozen
        ids = {id(p) for group in frozen for p in group.parameters}
        self.modules = list(frozen_modules(self.net, ids))
        return True

    def train(self) -> None:
        """Puts the network into training mode, except for frozen modules."""
        self.net.train()
        for module in self.modules:
            module.eval()


def names_in_short(groups: Sequence[Group]) -> str:
    """Returns the names of groups, or of the first and the last of several."""
    first = groups[0].name
    return first if len(groups) == 1 else f"{first} to {groups[-1].name}"


def frozen_modules(module: nn.Module, ids: set[int]) -> Iterator[nn.Module]:
    """Yields the outermost modules whose parameters are all frozen. ids: of frozen parameters."""
    parameters = list(module.parameters())
    if not any(id(p) in ids for p in parameters):
        return
    if not any(p.requires_grad for p in parameters):
        yield module
        return
    for child in module.children():
        yield from frozen_modules(child, ids)
