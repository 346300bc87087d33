"""The contract of a pooling: it turns the frames of an utterance into one vector.

One file per pooling with a class `Pooling(channels, *, options)`. The file name is the value of
--encoder_type. The signature is the list of the pooling's options, and a line `name: text` of the
docstring is the help of an option. Files that start with `_` contain parts that several poolings
use.

A pooling with `takes_layers` combines the layers of a network itself. Its class is
`Pooling(channels, layers, *, options)`.

Legend of the shapes: N utterances, L layers, C channels, T frames, R references, Q queries.
"""

from typing import Protocol

import torch
from torch import nn


class BasePooling(nn.Module):
    """Base class of the poolings.

    description: a short description of the pooling. The program prints the description if a model
    uses the name of a pooling for another pooling.
    pairwise: whether the pooling needs both utterances of a trial. Then `forward` returns the input
    of `pair`, [N, ..., T]. Zeros at the end of the last axis must not change the result of `pair`,
    so that utterances of different lengths can be padded to one length.
    takes_layers: whether `forward` takes the frames of all layers, [N, L, C, T], if the pooling was
    made for L > 1 layers. Other poolings get one sum of the layers from the model.
    size: number of output values per utterance.

    Weights and statistics are computed in float32 under autocast too. A variance is a difference
    of two large numbers, which half precision would lose.
    """

    description = ""
    pairwise = False
    takes_layers = False

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Pools frames [N, C, T] to [N, size] in float32. Each row depends on its own frames."""
        raise NotImplementedError

    def pair(self, ref: torch.Tensor, qry: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pools every pair of utterances. Only a pairwise pooling has this method.

        `ref` [R, ...] and `qry` [Q, ...] are results of `forward`. Returns two tensors
        [Q, R, size]: the pooled references and the pooled queries.
        """
        raise NotImplementedError

    def merge(self, reps: torch.Tensor) -> torch.Tensor:
        """Makes one reference [...] from the results of n enrolment files, [n, ...]."""
        return reps.mean(0)


class PoolingMaker(Protocol):
    """Makes the pooling that the user chose, for frames that only the model knows.

    A model whose layers are all pooled gives their number.
    """

    def __call__(self, channels: int, layers: int = 1) -> BasePooling: ...
