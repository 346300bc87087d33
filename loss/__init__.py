"""The contract of a loss: it turns representations into a number to minimise, and owns the similarity that it trains for.

One file per loss with a class `LossFunction(dim, num_classes, *, options)` that takes of dim and num_classes what it needs: the
signature is the list of its options, the line `name: text` of its docstring is the help of an option.
Legend of the shapes: B groups, a speaker each, of M utterances; D dim; R references, Q queries.
"""

import torch
from torch import nn
from torch.nn import functional as F


class Loss(nn.Module):
    """linear: similarity() is the inner product of project()ed embeddings, so that its mean over pairs of crops is the product of the
    means of the projections. reads: what forward() wants in the batch that not every data set adds. fusion: weight of bonafide() in a trial's score."""

    linear = True
    fusion = 0.0
    reads: tuple[str, ...] = ()

    # the signature of a loss without options, not nn.Module's
    def __init__(self):
        super().__init__()

    def forward(self, rep, batch, pair):
        """rep [B, M, ...] representations; batch: label [B] int64, spoof [B] bool, real [Q] int64, the groups that are not spoofed, step int, and where
        the data have them target [B, D], the clean embedding of the speaker, other [B, D], that of another one, session [B, M] int64, equal for
        utterances of one recording session; pair: the model's pair()
        -> {"loss": scalar, "acc": per cent, named terms ...}; gradients of the scalar reach all parameters, for which several processes wait.
        A loss that has no use for spoofed speech refuses it."""
        raise NotImplementedError

    def project(self, x):
        """x [..., D] embeddings -> [..., D] where similarities are measured."""
        return F.normalize(x, dim=-1)

    def similarity(self, ref, qry):
        """ref, qry as pair() returns them, broadcastable to [Q, R, D] -> [Q, R], higher = same speaker. Cosine by default."""
        # a matrix product where axes are broadcast
        return torch.einsum("qrd,qrd->qr", self.project(qry), self.project(ref))

    def bonafide(self, x):
        """x [..., D] embeddings -> [...], higher = rather real than spoofed speech; None where the loss learns nothing of the kind."""
        return None

    def euclidean(self, ref, qry):
        """The same with minus the Euclidean distance of the projections, voxceleb_trainer's score."""
        return -(self.project(qry) - self.project(ref)).norm(dim=-1)


def accuracy(logit, label):
    """logit [n, classes], label [n] -> per cent of the rows whose largest logit is the label's."""
    return 100.0 * (logit.argmax(-1) == label).float().mean().detach()


def rows(rep, batch):
    """rep [B, M, D] -> embeddings [B*M, D] and their labels [B*M]. ValueError for representations that are no embeddings."""
    if rep.dim() != 3:
        raise ValueError(
            f"--trainfunc: this loss classifies embeddings [B, M, D], got {list(rep.shape)} from the model: "
            "choose an --encoder_type that gives embeddings, or a loss for pairs"
        )
    return rep.flatten(0, 1), batch["label"].repeat_interleave(rep.shape[1])


def with_real(batch):
    """A batch of a data set with `real`. Made on the host, where `spoof` comes from: a GPU would have to be waited for."""
    return batch | {"real": (~batch["spoof"]).nonzero().squeeze(1)}


def require_pairs(rep, batch):
    """rep [B, M, ...] -> the groups [Q] whose utterances are queries: spoofed ones are there to be told apart. ValueError if M is 1."""
    if rep.shape[1] < 2:
        raise ValueError(
            "--nPerSpeaker: this loss compares utterances of a speaker and wants at least 2 of each, got 1: add --nPerSpeaker 2"
        )
    return batch["real"]


def prototypes(rep, batch):
    """rep [B, M, ...] -> prototypes [B, ...], queries [Q, ...] and the queries' own prototypes [Q].

    Utterance 0 is the query, the mean of the others the prototype.
    """
    own = require_pairs(rep, batch)
    if rep.dim() > 3 and rep.shape[1] > 2:
        raise ValueError(
            f"--nPerSpeaker: this loss averages utterances, which a pair-wise pooling does not give, got {rep.shape[1]} of each speaker: "
            "take --nPerSpeaker 2, or --trainfunc proto --proto_metric dot"
        )
    return rep[:, 1:].mean(1), rep[own, 0], own


def scaled(similarity, w, b):
    """Similarities -> logits with a learnt scale and offset."""
    # references compute the clamp and drop it
    return w.clamp(min=1e-6) * similarity + b


def sum_of_losses(softmax, proto):
    """What a classifier of the speakers and a comparison of utterances returned -> the sum of both losses, and each; accuracy is the classifier's."""
    return {
        "loss": softmax["loss"] + proto["loss"],
        "acc": softmax["acc"],
        "loss_softmax": softmax["loss"].detach(),
        "loss_proto": proto["loss"].detach(),
    }
