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

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from common.parameter_groups import Group
from models._compilation import leave_out
from models._published import Published, PublishedFile
from pooling import BasePooling

# 1000 blocks need gigabytes. A stride of 100 samples is 6 ms.
BOUNDS = {"wave_scale": (1e-6, 1e6), "num_blocks": (1, 1000), "sinc_stride": (1, 100)}


class PretrainedPart(NamedTuple):
    """A part of a network that starts from weights of another training. The program loads them.

    option: option of the model that names a file. name: attribute of the model that is the part.
    renamed: maps the weights of a file to the weights under their names in the part. decides:
    option of the model -> function that finds its value in such weights, or None. downloads: word
    that the option accepts in place of a file -> function that downloads the weights, or raises
    OSError or RuntimeError.
    """

    option: str
    name: str
    renamed: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]
    decides: Mapping[str, Callable[[dict[str, torch.Tensor]], Any]]
    downloads: Mapping[str, Callable[[], dict[str, torch.Tensor]]]


class SpeakerModel(nn.Module):
    """Base class of the models.

    A parameter that never learns has requires_grad = False. Every other parameter has a gradient
    after each update.

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
    pretrained: the part that starts from weights of another training, or None. Only a new run
    without --initial_model reads the file, because checkpoints contain all weights.
    training_options: options that may differ from the options of the checkpoint.
    update_options: options that only change how the parameters are trained, like --lr. They may
    differ from the options of the checkpoint too, and a new run from a checkpoint has the defaults.
    """

    takes = "waves"
    bands = 0
    dim: int
    pairwise = False
    default_pooling = "SAP"
    pooling_aliases: dict[str, str] = {}
    old_names: dict[str, str] = {}
    unused: tuple[str, ...] = ()
    pretrained: PretrainedPart | None = None
    training_options: tuple[str, ...] = ()
    update_options: tuple[str, ...] = ()

    def __init__(self) -> None:
        # Without this method, a model without options would have the signature of nn.Module.
        super().__init__()

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compiles the model, except for functions that torch.compile does not support."""
        leave_out()
        super().compile(*args, **kwargs)

    @classmethod
    def pooling_by_default(cls, options: Mapping[str, Any]) -> str:
        """Returns the default of --encoder_type. A model may choose by its options."""
        return cls.default_pooling

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

    def parameter_groups(self) -> list[Group]:
        """Returns groups of parameters that are trained with settings of their own.

        All other parameters are trained with --lr and --weight_decay, by default all of them. The
        groups depend on the options alone. A model with a self-supervised front end gets them from
        FineTuning.groups(), see _fine_tuning.py.
        """
        return []

    def freeze(self) -> None:
        """Prepares the model for weights that will not change any more.

        The model may compute values once that depend only on the weights.
        """

    @classmethod
    def recognise(cls, file: PublishedFile) -> Published | None:
        """Returns what published weights say about the network, or None if it is another model.

        A model overrides this method if other projects publish its weights. `--model` and the
        options that the weights decide need not be given then.
        """
        return None

    def new_name(self, name: str) -> str:
        """Returns the name here of a published weight, or "" if it has no counterpart."""
        if name.startswith(self.unused):
            return ""
        for old, new in self.old_names.items():
            if name == old or (old.endswith(".") and name.startswith(old)):
                return new + name[len(old) :]
        return name

    def new_weights(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Returns published weights under their names here, without those that have none.

        A model that stores tensors in another form overrides this method.
        """
        named = {self.new_name(name): value for name, value in weights.items()}
        named.pop("", None)
        return named


class Backbone(SpeakerModel):
    """A model in three steps: frames, a pooling, and a head.

    A subclass has the methods frames() and head(), and sets self.pooling. A pairwise pooling pools
    two utterances together, so in this case pair() applies the head. A model that offers the frames
    of L > 1 layers makes its pooling with pooling(channels, L). If pooling.takes_layers is false,
    the model adds the layers up, see pooling/_layers.py.
    """

    pooling: BasePooling

    @property
    def pairwise(self) -> bool:
        return self.pooling.pairwise

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to frames [N, C, T'].

        A pooling that takes layers gets [N, L, C, T'] from a model that offers L > 1 of them.
        """
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
