"""Prototypical loss (Snell et al., arXiv:1703.05175): with squared Euclidean distances as in voxceleb_trainer, or with the dot products
of cross attentive pooling (Kye et al., arXiv:2008.05983), which goes with a classifier of all the speakers.

    python trainSpeakerNet.py --trainfunc proto --global_clf --nPerSpeaker 3 --encoder_type CAP ...
"""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from loss import Loss, accuracy, prototypes, require_pairs


class LossFunction(Loss):
    """global_clf: add the loss of a classifier of all the speakers
    proto_metric: euclidean, minus the squared distance to the mean of the other utterances; dot, the product with the normalised first
        utterance; auto, dot with global_clf and euclidean without
    """

    def __init__(
        self,
        dim,
        num_classes,
        *,
        global_clf: bool = False,
        proto_metric: Literal["auto", "euclidean", "dot"] = "auto",
    ):
        super().__init__()
        self.linear = proto_metric == "dot" or (proto_metric == "auto" and global_clf)
        self.global_w = None
        if global_clf:
            # reference leaves it uninitialised
            self.global_w = nn.Parameter(torch.empty(num_classes, dim))
            nn.init.xavier_normal_(self.global_w)

    def project(self, x):
        return F.normalize(x, dim=-1) if self.linear else x

    def similarity(self, ref, qry):
        # reference: over the wrong axis with torch >= 1.12 (pairwise_distance changed), and with 1e-6 added to each difference;
        # here the squared distance that is meant, as a matrix product
        product = super().similarity(ref, qry)  # [Q, R]
        return (
            product if self.linear else 2.0 * product - qry.square().sum(-1) - ref.square().sum(-1)
        )

    def forward(self, rep, batch, pair):
        if self.linear:
            ref, qry, own = episode(rep, batch)
            ref, qry = pair(ref, qry)
            # only the side of the prototypes is normalised
            logit = torch.einsum("qrd,qrd->qr", qry, F.normalize(ref, dim=-1))
        else:
            ref, qry, own = prototypes(rep, batch)
            ref, qry = pair(ref, qry)
            logit = self.similarity(ref, qry)  # [Q, R]
        out = {"loss": F.cross_entropy(logit, own), "acc": accuracy(logit, own)}
        if self.global_w is None:
            return out
        place = torch.arange(len(own), device=own.device)
        # seen with their own queries
        ref, of_ref = (
            (ref[0], batch["label"]) if len(ref) == 1 else (ref[place, own], batch["label"][own])
        )
        qry = qry[:, 0] if qry.shape[1] == 1 else qry[place, own]
        # neither scale nor offset, as published
        everyone = F.linear(torch.cat([ref, qry]), F.normalize(self.global_w))
        clf = F.cross_entropy(everyone, torch.cat([of_ref, batch["label"][own]]))
        return {
            "loss": out["loss"] + clf,
            "acc": out["acc"],
            "loss_proto": out["loss"].detach(),
            "loss_global": clf.detach(),
        }


def episode(rep, batch):
    """rep [B, M, ...] -> supports [B, ...], the first utterances; queries [Q, ...], all the others, set after set; their supports [Q].
    Spoofed groups are supports to be told apart, never queries."""
    own = require_pairs(rep, batch)
    return rep[:, 0], rep[own, 1:].transpose(0, 1).flatten(0, 1), own.repeat(rep.shape[1] - 1)
