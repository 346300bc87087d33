"""Speakers and spoofing as two tasks of one embedding: a margin softmax of the speakers of real speech, with angular prototypes where there are several
utterances of each, and a head that tells real from spoofed speech. A trial's score is the cosine plus `fusion` times what the head says of the tested file.

    python trainSpeakerNet.py --trainfunc sasv_multitask --spoof_head ocsoftmax --num_spk 20 --num_utt 2 --batch_size 80 ...
"""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from loss import Loss, aamsoftmax, angleproto
from loss._margin import Growth


class LossFunction(Loss):
    """margin: added to the angle to the true speaker, radians
    scale: factor of the cosines of the speakers
    easy_margin: no margin at all for angles above 90 degrees
    margin_start: margin at first, see margin_until
    margin_from: update at which the margin begins to grow
    margin_until: update from which on the margin is `margin`; 0 for the full margin at once
    margin_growth: course of the margin in between
    init_w: initial scale of the cosines of the prototypical part
    init_b: initial offset of the prototypical part
    spoof_head: ocsoftmax, one-class softmax (Zhang et al., arXiv:2010.13995), real speech close to one direction; sigmoid, binary cross-entropy
    spoof_scale: factor of the head's cosines
    margin_real: cosine that real speech is to exceed (ocsoftmax)
    margin_spoof: cosine that spoofed speech is to stay below (ocsoftmax)
    spoof_weight: weight of the head's loss
    fusion: weight of the head in the score of a trial; 0 for the cosine of the speakers alone
    """

    def __init__(
        self,
        dim,
        num_classes,
        *,
        margin: float = 0.2,
        scale: float = 30.0,
        easy_margin: bool = False,
        margin_start: float = 0.0,
        margin_from: int = 0,
        margin_until: int = 0,
        margin_growth: Growth = "exponential",
        init_w: float = 10.0,
        init_b: float = -5.0,
        spoof_head: Literal["ocsoftmax", "sigmoid"] = "ocsoftmax",
        spoof_scale: float = 20.0,
        margin_real: float = 0.9,
        margin_spoof: float = 0.2,
        spoof_weight: float = 1.0,
        fusion: float = 1.0,
    ):
        super().__init__()
        self.speakers = aamsoftmax.LossFunction(
            dim,
            num_classes,
            margin=margin,
            scale=scale,
            easy_margin=easy_margin,
            margin_start=margin_start,
            margin_from=margin_from,
            margin_until=margin_until,
            margin_growth=margin_growth,
        )
        self.prototypes = angleproto.LossFunction(init_w=init_w, init_b=init_b)
        # of real speech
        self.direction = nn.Parameter(torch.empty(1, dim))
        nn.init.kaiming_uniform_(self.direction, 0.25)
        self.offset = nn.Parameter(torch.zeros(())) if spoof_head == "sigmoid" else None
        self.spoof_scale, self.margins, self.spoof_weight, self.fusion = (
            spoof_scale,
            (margin_real, margin_spoof),
            spoof_weight,
            fusion,
        )

    def bonafide(self, x):
        return F.linear(F.normalize(x, dim=-1), F.normalize(self.direction)).squeeze(-1)

    def forward(self, rep, batch, pair):
        spoof, which = batch["spoof"], batch["real"]
        if not len(which):
            raise ValueError(
                "--trainfunc: this loss classifies the speakers of real speech and wants some in every batch: set --num_spk"
            )
        real = rep[which]
        of_real = batch | {
            "label": batch["label"][which],
            "spoof": spoof[which],
            "real": torch.arange(len(which), device=which.device),
        }
        speakers = self.speakers(real, of_real, pair)
        out = {
            "loss": speakers["loss"],
            "acc": speakers["acc"],
            "loss_speakers": speakers["loss"].detach(),
        }
        if rep.shape[1] > 1:
            protos = self.prototypes(real, of_real, pair)
            out |= {"loss": out["loss"] + protos["loss"], "loss_proto": protos["loss"].detach()}
        else:
            # several processes wait for the gradients of all parameters
            out["loss"] = out["loss"] + 0.0 * (self.prototypes.w + self.prototypes.b)
        head = self.head_loss(self.bonafide(rep), spoof.unsqueeze(1).expand(rep.shape[:2]))
        return out | {"loss": out["loss"] + self.spoof_weight * head, "loss_spoof": head.detach()}

    def head_loss(self, cos, spoof):
        """cos [B, M] to the direction of real speech, spoof [B, M] bool -> scalar."""
        if self.offset is not None:
            return F.binary_cross_entropy_with_logits(
                self.spoof_scale * cos + self.offset, (~spoof).float()
            )
        real, spoofed = self.margins
        return F.softplus(self.spoof_scale * torch.where(spoof, cos - spoofed, real - cos)).mean()
