"""Speaker and spoofing as two tasks of one embedding.

The speaker task is additive angular margin softmax of bona fide speech. If there are several
utterances per speaker, angular prototypical loss is added. The spoofing task is a head that
separates bona fide from spoofed speech. Its loss ocsoftmax (Zhang et al., arXiv:2010.13995) keeps
bona fide speech close to one direction. The score of a trial is the cosine plus `fusion` times the
output of the head for the tested file. With --fusion_gate, loss/_gate.py makes the score of both.

    python trainSpeakerNet.py --trainfunc sasv_multitask --spoof_head ocsoftmax --num_spk 20 \
        --num_utt 2 --batch_size 80 ...
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import InputError
from loss import Batch, Loss, Pair, Terms, aamsoftmax, angleproto
from loss._adcf import trials_of_batch
from loss._gate import Gate, GateSettings, gate_loss
from loss._margin import AngularMarginSettings
from loss._one_class import cosine_to, new_direction, one_class_softmax

DEFAULTS = AngularMarginSettings(margin=0.2, scale=30.0)
WITHOUT_GATE = GateSettings()


class LossFunction(Loss):
    """AngularMarginSettings and GateSettings declare further options.

    scale: factor of the cosines in the softmax loss
    init_w: initial scale of the cosines in the prototypical loss
    init_b: initial offset of the cosines in the prototypical loss
    spoof_head: loss of the spoofing head: one-class softmax or binary cross-entropy
    spoof_scale: factor of the cosines of the spoofing head
    margin_real: cosine that bona fide speech should exceed (for --spoof_head ocsoftmax)
    margin_spoof: cosine that spoofed speech should stay below (for --spoof_head ocsoftmax)
    spoof_weight: weight of the loss of the spoofing head
    fusion: weight of the spoofing head in the score of a trial (0: speaker cosine only)
    """

    detects_spoofing = True

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        settings: AngularMarginSettings = DEFAULTS,
        init_w: float = 10.0,
        init_b: float = -5.0,
        spoof_head: Literal["ocsoftmax", "sigmoid"] = "ocsoftmax",
        spoof_scale: float = 20.0,
        margin_real: float = 0.9,
        margin_spoof: float = 0.2,
        spoof_weight: float = 1.0,
        fusion: float = 1.0,
        gate: GateSettings = WITHOUT_GATE,
    ):
        super().__init__()
        self.speakers = aamsoftmax.LossFunction(dim, num_classes, settings=settings)
        self.prototypes = angleproto.LossFunction(init_w=init_w, init_b=init_b)
        # The direction of bona fide speech.
        self.direction = new_direction(dim)
        self.offset = nn.Parameter(torch.zeros(())) if spoof_head == "sigmoid" else None
        self.spoof_scale = spoof_scale
        self.margin_real = margin_real
        self.margin_spoof = margin_spoof
        self.spoof_weight = spoof_weight
        self.gate = Gate() if gate.fusion_gate else None
        self.gate_weight = gate.gate_weight
        self.learns_fusion = gate.fusion_gate
        # The gate takes the place of the weight.
        self.fusion = 1.0 if gate.fusion_gate else fusion

    def bonafide(self, x: Tensor) -> Tensor:
        """Returns the cosine [...] between embeddings [..., D] and the bona fide direction."""
        return cosine_to(self.direction, x)

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        out = self.speaker_terms(rep, batch, pair)
        spoof = batch["spoof"].unsqueeze(1).expand(rep.shape[:2])
        bonafide = self.bonafide(rep)
        head = self.head_loss(bonafide, spoof)
        out |= {"loss": out["loss"] + self.spoof_weight * head, "loss_spoof": head.detach()}
        if self.gate is None:
            return out
        trials = trials_of_batch(rep, batch)
        speaker = self.similarity(*pair(trials.enrolment, trials.tested))  # [B * M, B]
        scores = self.gate(speaker.unflatten(0, rep.shape[:2]), bonafide[..., None])  # [B, M, B]
        gate = gate_loss(scores, trials)
        return out | {"loss": out["loss"] + self.gate_weight * gate, "loss_gate": gate.detach()}

    def fuse(self, speaker: Tensor, bonafide: Tensor) -> Tensor:
        if self.gate is None:
            return super().fuse(speaker, bonafide)
        return self.gate(speaker, bonafide)

    def speaker_terms(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        """Returns the loss of the speaker task and its terms.

        Raises InputError if there is no bona fide speech in the batch.
        """
        index = batch["real"]
        if not len(index):
            raise InputError(
                "--trainfunc sasv_multitask: expected bona fide speech in every batch, found a "
                "batch without it. Set --num_spk, the number of bona fide speakers per batch."
            )
        real_rep = rep[index]
        real_batch = batch | {
            "label": batch["label"][index],
            "spoof": batch["spoof"][index],
            "real": torch.arange(len(index), device=index.device),
        }
        speakers = self.speakers(real_rep, real_batch, pair)
        out = speakers | {"loss_speakers": speakers["loss"].detach()}
        if rep.shape[1] > 1:
            proto = self.prototypes(real_rep, real_batch, pair)
            out["loss"] = out["loss"] + proto["loss"]
            out["loss_proto"] = proto["loss"].detach()
        else:
            # Several processes wait for the gradients of all parameters.
            out["loss"] = out["loss"] + 0.0 * (self.prototypes.w + self.prototypes.b)
        return out

    def head_loss(self, cos: Tensor, spoof: Tensor) -> Tensor:
        """Returns the loss of the spoofing head, a scalar.

        cos: cosine to the bona fide direction [B, M]. spoof: [B, M] bool.
        """
        if self.offset is not None:
            logit = self.spoof_scale * cos + self.offset
            return F.binary_cross_entropy_with_logits(logit, (~spoof).float())
        margins = (self.margin_real, self.margin_spoof)
        return one_class_softmax(cos, spoof, self.spoof_scale, *margins)
