"""Fully connected networks for speaker embedding enhancement: an embedding goes in, one of the same size that shall be nearer to the
speaker's clean one comes out.
"""

import itertools
from typing import Literal

from torch import nn
from torch.nn import functional as F

from models import SpeakerModel

# the type of every model's option activation
Activation = Literal["ReLU", "ELU"]


class LinearNet(SpeakerModel):
    """widths: of the layers' outputs but the last's, in multiples of nOut. dropped: numbers of the layers, from 1, that dropout follows.
    The activation follows every layer, the last too."""

    takes = "embeddings"

    def __init__(self, widths, dropped=(), *, nOut, activation):
        super().__init__()
        self.dim, self.dropped, self.activation = nOut, dropped, getattr(F, activation.lower())
        for number, (inputs, outputs) in enumerate(itertools.pairwise((1, *widths, 1)), 1):
            self.add_module(f"l{number}", nn.Linear(inputs * nOut, outputs * nOut))

    def forward(self, x):
        if x.shape[1:] != (self.dim,):
            raise ValueError(
                f"--nOut: this model maps embeddings of {self.dim} numbers, got {list(x.shape[1:])}: give their size, or a model for speech"
            )
        for number, layer in enumerate(self.children(), 1):
            x = self.activation(layer(x))
            if number in self.dropped:
                # reference drops whole samples (Dropout1d takes rows for channels)
                x = F.dropout(x, 0.2, self.training)
        return x


class Identity(SpeakerModel):
    """Embeddings as they are, whose error rates are the baseline of an enhancement."""

    takes = "embeddings"

    def forward(self, x):
        return x
