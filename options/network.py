"""The network and its loss. Their own options are in their signatures, see plugins.py."""

from typing import Literal

from options.option import Option
from options.plugins import components

COMPONENTS = [
    Option(
        "model",
        Literal[tuple(components("model"))],
        "ResNetSE34L",
        "network, a file of models/",
        daily=True,
    ),
    Option(
        "trainfunc",
        Literal[tuple(components("trainfunc"))],
        "softmaxproto",
        "loss, a file of loss/",
        daily=True,
    ),
    Option(
        "nClasses",
        int,
        None,
        "number of classes of the loss (default: the number of speakers in train_list)",
        1,
    ),
]
