"""The contract of a loss. A loss maps representations to a scalar that training minimises.

The loss also owns the similarity that it trains, so scoring uses the same geometry.

Every file in loss/ has one class `LossFunction(dim, num_classes, *, options)`. The class may leave
out dim or num_classes. The keyword parameters are the options of the loss. The fields of a
parameter that is typed as a dataclass are options too, see _margin.py. The line `name: text` in the
docstring of the class is the help of an option. BOUNDS has the smallest and the largest value of
options by their names. A loss raises ValueError for other values that it cannot use.

Shapes: B groups of M utterances, each group from one speaker; D embedding size; R references;
Q queries; n = B*M embeddings.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from common.errors import InputError
from common.parameter_groups import Group

# The entries of a batch, see Loss.forward().
Batch = dict[str, Any]
# SpeakerModel.pair: (ref [R, ...], qry [Q, ...]) to two tensors that broadcast to [Q, R, D].
Pair = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
# What a loss returns: `loss` and its named terms, all of them scalars.
Terms = dict[str, Tensor]

# Cosines and shares have natural bounds. The others are far above and below all useful values.
BOUNDS = {
    "margin": (0, 100),
    "margin_start": (0, 100),
    "margin_from_epoch": (0, 1_000_000),
    "margin_until_epoch": (0, 1_000_000),
    "inter_margin": (0, 100),
    "margin_real": (-1, 1),
    "margin_spoof": (-1, 1),
    "scale": (0, 10_000),
    "spoof_scale": (0, 10_000),
    "init_w": (0, 10_000),
    "init_b": (-10_000, 10_000),
    "spoof_weight": (0, 10_000),
    "class_weight_spoof": (0, 10_000),
    "class_weight_bonafide": (0, 10_000),
    "focusing": (0, 100),
    "adcf_weight": (0, 10_000),
    "adcf_p_nontarget": (0, 1),
    "adcf_p_spoof": (0, 1),
    "adcf_c_miss": (0, 10_000),
    "adcf_c_fa_nontarget": (0, 10_000),
    "adcf_c_fa_spoof": (0, 10_000),
    "adcf_slope": (0, 10_000),
    "adcf_threshold": (-10_000, 10_000),
    "fusion": (0, 10_000),
    "gate_weight": (0, 10_000),
    "subcenters": (1, 1000),
    "positive_weight": (0, 1),
    "exponent": (0, 1000),
}


class Loss(nn.Module):
    """Base class of all losses.

    A subclass defines forward(). Where the defaults do not fit, it sets these class attributes:

    linear: whether similarity() is the inner product of embeddings after project(). Then the mean
        similarity of pairs of crops equals the inner product of the mean projections.
    min_utterances: least number of utterances per speaker (--nPerSpeaker) that the loss needs. A
        loss that compares utterances of one speaker sets it to 2.
    min_speakers: least number of groups per batch (--batch_size) that the loss needs. A loss that
        compares the speakers of a batch sets it to 2.
    pairwise: whether forward() accepts the representations of a pairwise pooling, which keep the
        frames.
    reads: entries of the batch that forward() needs and that only some datasets add.
    kinds_of_trials: the kinds of trials that forward() makes of the groups of a batch, and whose
        errors it weighs.
    detects_spoofing: whether the loss learns bonafide(), for which the train list needs bona fide
        and spoofed speech.
    compares_speakers: whether similarity() says if two utterances are of one speaker. If not, the
        score of a trial is bonafide() of the tested file.
    fusion: weight of bonafide() in the score of a trial.
    learns_fusion: whether fuse() has parameters that fit the scores of similarity() only.
    classifier: names of the parameters of the classifier of the speakers, for
        --head_weight_decay. A loss that contains another loss with a classifier does not repeat
        the names.
    """

    linear = True
    min_utterances = 1
    min_speakers = 1
    pairwise = False
    reads: tuple[str, ...] = ()
    kinds_of_trials: tuple[str, ...] = ()
    detects_spoofing = False
    compares_speakers = True
    fusion = 0.0
    learns_fusion = False
    classifier: tuple[str, ...] = ()

    def __init__(self):
        # Without this method a loss without options would have the signature of nn.Module.
        super().__init__()

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        """Computes the loss of one batch.

        rep: representations [B, M, ...]. pair: the method of the model.

        batch: `label` [B] int64; `spoof` [B] bool; `real` [Q] int64, the indices of the groups that
        are not spoofed; `step`, the number of updates so far; `epoch`, the same in epochs, a
        fraction within an epoch. Some datasets add `target` [B, D], the clean embedding of the
        speaker; `other` [B, D], the clean embedding of another speaker; `session` [B, M] int64,
        equal for utterances of one recording session.

        Returns {"loss": scalar, "acc": percent, ...} with further named terms. "acc" is optional.
        Only "loss" has a gradient. Its gradient reaches every parameter, because several
        processes wait for the gradients of all parameters. "loss" is positive for the embeddings
        of an untrained network, and falls as similarity() separates the speakers.

        Raises ValueError if the loss cannot use the batch. A loss that does not use spoofed speech
        rejects a batch with spoofed speech.
        """
        raise NotImplementedError

    def project(self, x: Tensor) -> Tensor:
        """Maps embeddings [..., D] to the space [..., D] in which similarities are measured."""
        return F.normalize(x, dim=-1)

    def similarity(self, ref: Tensor, qry: Tensor) -> Tensor:
        """Returns similarities [Q, R]; a higher value means the same speaker. Default: cosine.

        ref, qry: the two results of pair(); they broadcast to [Q, R, D].
        """
        # Where axes are broadcast, einsum computes a matrix product.
        return torch.einsum("qrd,qrd->qr", self.project(qry), self.project(ref))

    def bonafide(self, x: Tensor) -> Tensor | None:
        """Returns scores [...] of embeddings [..., D]; a higher value means bona fide speech.

        Returns None if the loss does not learn to detect spoofed speech.
        """
        return None

    def fuse(self, speaker: Tensor, bonafide: Tensor) -> Tensor:
        """Returns the scores [...] of trials with the two parts [...] of similarity(), bonafide().

        Default: the similarity plus `fusion` times the bona fide score.
        """
        return speaker + self.fusion * bonafide

    def classifier_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters of the classifier, [] for a loss without one."""
        found = []
        for part in self.modules():
            if isinstance(part, Loss):
                named = dict(part.named_parameters())
                # A classifier can be optional.
                found += [named[name] for name in part.classifier if name in named]
        return found

    def parameter_groups(self, head_weight_decay: float | None) -> list[Group]:
        """Returns groups of parameters that are trained with settings of their own.

        All other parameters are trained with --lr and --weight_decay. head_weight_decay: weight
        decay of the classifier, None for --weight_decay.
        """
        parameters = self.classifier_parameters()
        if head_weight_decay is None or not parameters:
            return []
        return [Group("classifier", parameters, weight_decay=head_weight_decay)]

    def euclidean(self, ref: Tensor, qry: Tensor) -> Tensor:
        """Returns minus the Euclidean distance of the projections [Q, R].

        ref, qry: as for similarity(). voxceleb_trainer scores trials with this distance.
        """
        return -(self.project(qry) - self.project(ref)).norm(dim=-1)


class Countermeasure(Loss):
    """Base class of losses that learn bonafide() and nothing about speakers.

    A subclass defines bonafide() and forward().
    """

    detects_spoofing = True
    compares_speakers = False


# ---------------------------------------------------------------------- parts of losses
def accuracy(logit: Tensor, label: Tensor) -> Tensor:
    """Returns the percentage of rows whose largest logit belongs to the label.

    logit: [n, classes]. label: [n].
    """
    return 100.0 * (logit.argmax(-1) == label).float().mean().detach()


def require_embeddings(rep: Tensor) -> None:
    """Raises ValueError unless the representations are embeddings [B, M, D]."""
    if rep.dim() != 3:
        raise ValueError(
            "--trainfunc: this loss needs one embedding per utterance, but the model keeps the "
            "frames. Choose another --encoder_type, or another --trainfunc."
        )


def embeddings_and_labels(rep: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Flattens the groups of rep [B, M, D] to embeddings [n, D] and their labels [n].

    Raises ValueError if the representations are not embeddings.
    """
    require_embeddings(rep)
    return rep.flatten(0, 1), batch["label"].repeat_interleave(rep.shape[1])


def with_real(batch: Batch) -> Batch:
    """Returns the batch of a dataset with the entry `real`, see Loss.forward().

    The indices are computed on the CPU, where `spoof` is. On a GPU nonzero() would wait.
    """
    return batch | {"real": (~batch["spoof"]).nonzero().squeeze(1)}


def too_few_utterances(least: int, number: int) -> str:
    """Returns the error message of a loss that needs `least` utterances per speaker."""
    return (
        f"--nPerSpeaker: expected at least {least}, because the loss compares utterances of one "
        f"speaker, found {number}. Add --nPerSpeaker {least}."
    )


def require_pairs(rep: Tensor) -> None:
    """Raises ValueError if rep [B, M, ...] has one utterance per speaker.

    A loss that calls this function has the class attribute min_utterances = 2.
    """
    if rep.shape[1] < 2:
        raise ValueError(too_few_utterances(2, rep.shape[1]))


def require_speakers(rep: Tensor) -> None:
    """Raises InputError if rep [B, M, ...] has one group.

    The cross-entropy over a single reference is always 0. A loss that calls this function has the
    class attribute min_speakers = 2.
    """
    if len(rep) < 2:
        raise InputError(
            "--batch_size: expected at least 2 speakers per batch, because the loss compares the "
            f"speakers of a batch, found {len(rep)}. Give --batch_size 2 or more, or with "
            "--num_spk, --num_spk 2 or more."
        )


def prototypes(rep: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Splits every group: the first utterance is a query, the mean of the others its prototype.

    rep: [B, M, ...]. Returns the prototypes [B, ...], the queries [Q, ...], and for every query the
    index of its own prototype [Q]. Spoofed groups give prototypes but no queries, so that queries
    learn to differ from them. Raises ValueError if M or B is 1, or if M is above 2 and the
    representations are not embeddings.
    """
    require_pairs(rep)
    require_speakers(rep)
    if rep.dim() > 3 and rep.shape[1] > 2:
        raise ValueError(
            f"--nPerSpeaker: expected 2, found {rep.shape[1]}. With more utterances this loss "
            "averages embeddings, but the pooling keeps the frames. Choose --nPerSpeaker 2, or "
            "--trainfunc proto --proto_metric dot."
        )
    own = batch["real"]
    return rep[:, 1:].mean(1), rep[own, 0], own


def scaled(similarity: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """Maps similarities to logits with a learned scale w and offset b. The scale stays positive."""
    # The references compute this clamp but do not use its result.
    return w.clamp(min=1e-6) * similarity + b


def sum_of_losses(softmax: Terms, proto: Terms) -> Terms:
    """Adds the losses of a classifier and of a prototypical loss.

    softmax, proto: what the two losses returned. Returns the sum, both terms, and the other terms
    of the classifier, such as its accuracy.
    """
    return softmax | {
        "loss": softmax["loss"] + proto["loss"],
        "loss_softmax": softmax["loss"].detach(),
        "loss_proto": proto["loss"].detach(),
    }
