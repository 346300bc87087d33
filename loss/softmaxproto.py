"""Softmax plus angular prototypical loss.

This is the recipe of the best models of voxceleb_trainer (Heo et al., arXiv:2009.14153).

    python trainSpeakerNet.py --trainfunc softmaxproto --nPerSpeaker 2 ...
"""

from torch import Tensor

from loss import Batch, Loss, Pair, Terms, angleproto, softmax, sum_of_losses


class LossFunction(Loss):
    """init_w: initial scale of the cosines in the prototypical loss
    init_b: initial offset of the cosines in the prototypical loss
    """

    min_utterances = 2
    min_speakers = 2

    def __init__(self, dim: int, num_classes: int, *, init_w: float = 10.0, init_b: float = -5.0):
        super().__init__()
        self.softmax = softmax.LossFunction(dim, num_classes)
        self.angleproto = angleproto.LossFunction(init_w=init_w, init_b=init_b)

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        return sum_of_losses(self.softmax(rep, batch, pair), self.angleproto(rep, batch, pair))
