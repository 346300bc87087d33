"""The contract of a model: it maps each utterance to a representation.

A model also defines how two representations are compared. An embedding is the usual representation.
A model with a pairwise pooling keeps frames instead.

One file per model with a class `MainModel(*, options)`. The signature is the list of the model's
options, and a line `name: text` of the docstring is the help of an option. BOUNDS has the smallest
and the largest value of options by their names; sizes are at least 1. A parameter `pooling`
without a default receives the pooling that --encoder_type selects, see pooling/__init__.py: a
function from the number of channels to the pooling.

Legend of the shapes: N utterances, T samples or frames, C channels, D = dim, R references,
Q queries.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from pooling import BasePooling

# 1000 blocks need gigabytes. A stride of 100 samples is 6 ms.
BOUNDS = {"wave_scale": (1e-6, 1e6), "num_blocks": (1, 1000), "sinc_stride": (1, 100)}


class SpeakerModel(nn.Module):
    """Base class of the models.

    takes: the input, "waves" [N, T] at 16 kHz or "embeddings" [N, D].
    bands: bands of features [N, T, bands] that the model also accepts instead of waves; 0 for none.
    Such a model has the option `normalization` for the normalisation of features, see normalise()
    in common/normalisation.py.
    dim: size of the embeddings that pair() returns.
    pairwise: whether pair() does more than add axes.
    default_pooling: default of --encoder_type, if the model receives a pooling.
    pooling_aliases: names of poolings that mean another pooling in this model, as published.
    old_names: name in published checkpoints -> name here. A name that ends with a dot means all
    names that begin with it. New names that begin with "loss." belong to the loss.
    unused: beginnings of published names that have no counterpart here.
    training_options: options that may differ from the options of the checkpoint.
    """

    takes = "waves"
    bands = 0
    dim: int
    pairwise = False
    default_pooling = "SAP"
    pooling_aliases: dict[str, str] = {}
    old_names: dict[str, str] = {}
    unused: tuple[str, ...] = ()
    training_options: tuple[str, ...] = ()

    def __init__(self) -> None:
        # Without this method, a model without options would have the signature of nn.Module.
        super().__init__()

    @classmethod
    def aliases(cls, options: Mapping[str, Any]) -> dict[str, str]:
        """Returns the pooling that each name means, for names that mean another pooling here.

        A model whose table depends on its options overrides this method. The keys of the table must
        be the keys of `pooling_aliases`.
        """
        return cls.pooling_aliases

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps inputs [N, ...] to representations [N, ...].

        In eval mode no row depends on another one.
        """
        raise NotImplementedError

    def pair(self, ref: torch.Tensor, qry: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns embeddings of references [R, ...] and queries [Q, ...].

        Both results broadcast to [Q, R, dim]. By default this method only adds axes.
        """
        return ref.unsqueeze(0), qry.unsqueeze(1)  # [1, R, D], [Q, 1, D]

    def merge(self, reps: torch.Tensor) -> torch.Tensor:
        """Makes one reference [...] from the representations [n, ...] of n enrolment files."""
        return reps.mean(0)

    def freeze(self) -> None:
        """Prepares the model for weights that will not change any more.

        The model may compute values once that depend only on the weights.
        """

    def new_name(self, name: str) -> str:
        """Returns the name here of a published weight, or "" if it has no counterpart."""
        if name.startswith(self.unused):
            return ""
        for old, new in self.old_names.items():
            if name == old or (old.endswith(".") and name.startswith(old)):
                return new + name[len(old) :]
        return name


class Backbone(SpeakerModel):
    """A model in three steps: frames, a pooling, and a head.

    A subclass has the methods frames() and head(), and sets self.pooling. A pairwise pooling pools
    two utterances together, so in this case pair() applies the head.
    """

    pooling: BasePooling

    @property
    def pairwise(self) -> bool:
        return self.pooling.pairwise

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to frames [N, C, T']."""
        raise NotImplementedError

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        """Maps pooled frames [N, pooling.size] to embeddings [N, dim]."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rep = self.pooling(self.frames(x))
        return rep if self.pairwise else self._embed(rep)

    def pair(self, ref: torch.Tensor, qry: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.pairwise:
            return super().pair(ref, qry)
        both = torch.stack(self.pooling.pair(ref, qry))  # [2, Q, R, size]
        embeddings = self._embed(both.flatten(0, 2))
        ref, qry = embeddings.unflatten(0, both.shape[:3])  # [Q, R, D] each
        return ref, qry

    def merge(self, reps: torch.Tensor) -> torch.Tensor:
        return self.pooling.merge(reps)

    def _embed(self, pooled: torch.Tensor) -> torch.Tensor:
        # bfloat16 would cost three digits of every score.
        with torch.autocast(pooled.device.type, enabled=False):
            return self.head(pooled.float())
