"""The contract of a model: it maps each utterance to a representation, and says how two representations meet.

One file per model with a class `MainModel(*, options)`: the signature is the list of its options, the line `name: text` of its
docstring is the help of an option. An embedding is the usual representation; a pairwise pooling keeps frames instead.
Legend of the shapes: N utterances, T samples or frames, C channels, D = dim, R references, Q queries.
"""

import torch
from torch import nn


class SpeakerModel(nn.Module):
    """takes: what goes in, "waves" [N, T] at 16 kHz or "embeddings" [N, D]. bands: of features [N, T, bands] that may go in instead of waves, 0 for none;
    where there are any, the option `normalization` tells how files of them are to be normalised, see normalise() in _frontend.py.
    dim: size of the embeddings that pair() returns. pairwise: whether pair() does more than add axes.
    old_names: name in published checkpoints -> name here, or with a dot at their ends the beginnings of names; those beginning with "loss." are
    the loss's. unused: beginnings of published names that stand for nothing. training_options: options that may differ from the checkpoint's."""

    takes = "waves"
    bands = 0
    dim: int
    pairwise = False
    old_names: dict[str, str] = {}
    unused: tuple[str, ...] = ()
    training_options: tuple[str, ...] = ()

    def forward(self, x):
        """x [N, ...], what the model takes -> representations [N, ...]; in eval mode no row depends on another."""
        raise NotImplementedError

    def pair(self, ref, qry):
        """ref [R, ...], qry [Q, ...] -> embeddings of both, broadcastable to [Q, R, dim]; meeting changes nothing by default."""
        return ref.unsqueeze(0), qry.unsqueeze(1)  # [1, R, D], [Q, 1, D]

    def merge(self, reps):
        """reps [n, ...] of n enrolment files -> one reference [...]."""
        return reps.mean(0)

    def freeze(self):
        """From now on the weights stay as they are: what is computed from them alone may be computed once."""

    def new_name(self, name):
        """Published name of a weight -> its name here, "" where it stands for nothing."""
        if name.startswith(self.unused):
            return ""
        for old, new in self.old_names.items():
            if name == old or (old.endswith(".") and name.startswith(old)):
                return new + name[len(old) :]
        return name


class Backbone(SpeakerModel):
    """Frames, a pooling from models/_pooling.py, a head: pooled [N, pooling.size] -> embeddings [N, dim].

    A subclass gives frames() and head() and sets self.pooling. What a pairwise pooling makes of frames is pooled only when two
    utterances meet, so there the head comes after the meeting.
    """

    @property
    def pairwise(self):
        return self.pooling.pairwise

    def frames(self, x):
        """x [N, T] waves -> frames [N, C, T']."""
        raise NotImplementedError

    def head(self, pooled):
        raise NotImplementedError

    def forward(self, x):
        rep = self.pooling(self.frames(x))
        return rep if self.pairwise else self._embed(rep)

    def pair(self, ref, qry):
        if not self.pairwise:
            return super().pair(ref, qry)
        both = torch.stack(self.pooling.pair(ref, qry))  # [2, Q, R, size]
        ref, qry = self._embed(both.flatten(0, 2)).unflatten(0, both.shape[:3])  # [Q, R, D] each
        return ref, qry

    def merge(self, reps):
        return self.pooling.merge(reps)

    def _embed(self, pooled):
        # bfloat16 would cost three digits of every score
        with torch.autocast(pooled.device.type, enabled=False):
            return self.head(pooled.float())
