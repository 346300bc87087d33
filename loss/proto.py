"""Prototypical loss (Snell et al., arXiv:1703.05175) with squared Euclidean distances, as in voxceleb_trainer.

    python trainSpeakerNet.py --trainfunc proto --nPerSpeaker 2 ...
"""
from torch.nn import functional as F

from loss import Loss, accuracy, prototypes


class LossFunction(Loss):
    """Each query against the prototypes of all the speakers of the batch; it has no options."""

    linear = False

    def project(self, x):
        return x

    def similarity(self, ref, qry):
        # reference: over the wrong axis with torch >= 1.12 (pairwise_distance changed), and with 1e-6 added to each difference;
        # here the squared distance that is meant, as a matrix product
        product = super().similarity(ref, qry)                                   # [Q, R]
        return 2.0 * product - qry.square().sum(-1) - ref.square().sum(-1)

    def forward(self, rep, batch, pair):
        ref, qry, own = prototypes(rep, batch)
        logit = self.similarity(*pair(ref, qry))                                 # [Q, R]
        return {"loss": F.cross_entropy(logit, own), "acc": accuracy(logit, own)}
