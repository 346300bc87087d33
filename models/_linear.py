"""Fully connected networks for speaker embedding enhancement.

The networks map an embedding to an embedding of the same size, which should be nearer to the
speaker's clean embedding.
"""

import itertools
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from models import SpeakerModel

# Type of the option activation in every model.
Activation = Literal["ReLU", "ELU"]


class LinearNet(SpeakerModel):
    """Linear layers, each followed by the activation, the last one too.

    widths: widths of the layers except for the last one, in multiples of nOut.
    dropped: numbers of the layers, from 1, that dropout follows.
    """

    takes = "embeddings"

    def __init__(
        self,
        widths: tuple[int, ...],
        dropped: tuple[int, ...] = (),
        *,
        nOut: int,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.dim = nOut
        self.dropped = dropped
        self.activation = getattr(F, activation.lower())
        for number, (inputs, outputs) in enumerate(itertools.pairwise((1, *widths, 1)), 1):
            self.add_module(f"l{number}", nn.Linear(inputs * nOut, outputs * nOut))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Enhances embeddings [N, nOut]. Raises ValueError for embeddings of another size."""
        if x.shape[1:] != (self.dim,):
            raise ValueError(
                f"--nOut: expected embeddings of {self.dim} numbers, found embeddings of shape "
                f"{list(x.shape[1:])}. Set --nOut to their size."
            )
        for number, layer in enumerate(self.children(), 1):
            x = self.activation(layer(x))
            if number in self.dropped:
                # The reference drops complete rows, because Dropout1d treats rows as channels.
                x = F.dropout(x, 0.2, self.training)
        return x


class Identity(SpeakerModel):
    """Returns embeddings unchanged. Their error rates are the baseline of an enhancement."""

    takes = "embeddings"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x
