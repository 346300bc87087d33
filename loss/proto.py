"""Prototypical loss (Snell et al., arXiv:1703.05175).

The metric is the squared Euclidean distance, as in voxceleb_trainer, or the dot product, as in
cross attentive pooling (Kye et al., arXiv:2008.05983). Cross attentive pooling is trained together
with a classifier of all speakers.

    python trainSpeakerNet.py --trainfunc proto --global_clf --nPerSpeaker 3 --encoder_type CAP ...
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loss import Batch, Loss, Pair, Terms, accuracy, prototypes, require_pairs, require_speakers


class LossFunction(Loss):
    """global_clf: add the loss of a classifier of all speakers
    proto_metric: squared Euclidean distance or dot product (auto: dot with --global_clf)
    """

    min_utterances = 2
    min_speakers = 2
    pairwise = True
    classifier = ("global_w",)

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        global_clf: bool = False,
        proto_metric: Literal["auto", "euclidean", "dot"] = "auto",
    ):
        super().__init__()
        # True for the dot product, False for the Euclidean distance.
        self.linear = proto_metric == "dot" or (proto_metric == "auto" and global_clf)
        self.global_w = None
        if global_clf:
            # The reference does not initialise this weight.
            self.global_w = nn.Parameter(torch.empty(num_classes, dim))
            nn.init.xavier_normal_(self.global_w)

    def project(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1) if self.linear else x

    def similarity(self, ref: Tensor, qry: Tensor) -> Tensor:
        """Returns the cosines, or minus the squared Euclidean distances, [Q, R]."""
        product = super().similarity(ref, qry)  # [Q, R]
        if self.linear:
            return product
        # The reference adds 1e-6 to each difference. With torch >= 1.12 it also sums over the wrong
        # axis, because pairwise_distance changed. Here the intended squared distance is computed
        # with a matrix product.
        return 2.0 * product - qry.square().sum(-1) - ref.square().sum(-1)

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        if self.linear:
            ref, qry, own = supports_and_queries(rep, batch)
            ref, qry = pair(ref, qry)
            # As published, only the supports are normalised.
            logit = torch.einsum("qrd,qrd->qr", qry, F.normalize(ref, dim=-1))  # [Q, R]
        else:
            ref, qry, own = prototypes(rep, batch)
            ref, qry = pair(ref, qry)
            logit = self.similarity(ref, qry)  # [Q, R]
        out = {"loss": F.cross_entropy(logit, own), "acc": accuracy(logit, own)}
        if self.global_w is None:
            return out
        classification = self.classification_loss(ref, qry, own, batch["label"])
        return {
            "loss": out["loss"] + classification,
            "acc": out["acc"],
            "loss_proto": out["loss"].detach(),
            "loss_global": classification.detach(),
        }

    def classification_loss(self, ref: Tensor, qry: Tensor, own: Tensor, label: Tensor) -> Tensor:
        """Returns the cross-entropy of references and queries over all training speakers.

        ref, qry: as pair() returns them; they broadcast to [Q, R, D]. own: index of the own
        reference of every query [Q]. label: [R].
        """
        query = torch.arange(len(own), device=own.device)
        if len(ref) == 1:
            ref = ref[0]
            ref_label = label
        else:
            # A pair-wise pooling computes a reference for every query. Select the own reference.
            ref = ref[query, own]
            ref_label = label[own]
        qry = qry[:, 0] if qry.shape[1] == 1 else qry[query, own]
        # As published, the logits have neither scale nor offset.
        logit = F.linear(torch.cat([ref, qry]), F.normalize(self.global_w))
        return F.cross_entropy(logit, torch.cat([ref_label, label[own]]))


def supports_and_queries(rep: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Splits every group into a support, its first utterance, and queries, all the others.

    rep: [B, M, ...]. Returns the supports [B, ...], the queries [Q, ...], and for every query the
    index of its own support [Q]. The queries are the second utterances of all groups, then the
    third ones, and so on. Spoofed groups give supports but no queries, so that queries learn to
    differ from them. Raises ValueError if M or B is 1.
    """
    require_pairs(rep)
    require_speakers(rep)
    own = batch["real"]
    queries = rep[own, 1:].transpose(0, 1).flatten(0, 1)
    return rep[:, 0], queries, own.repeat(rep.shape[1] - 1)
