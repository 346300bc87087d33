"""Additive angular margin softmax plus angular prototypical loss (ska-tdnn).

Source: Mun et al., arXiv:2204.01005.

    python trainSpeakerNet.py --trainfunc aamsoftmaxproto --margin 0.2 --nPerSpeaker 2 ...
"""

from torch import Tensor

from loss import Batch, Loss, Pair, Terms, aamsoftmax, angleproto, sum_of_losses
from loss._margin import AngularMarginSettings

DEFAULTS = AngularMarginSettings(margin=0.2, scale=30.0)


class LossFunction(Loss):
    """AngularMarginSettings declares further options.

    scale: factor of the cosines in the softmax loss
    init_w: initial scale of the cosines in the prototypical loss
    init_b: initial offset of the cosines in the prototypical loss
    """

    min_utterances = 2
    min_speakers = 2

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        settings: AngularMarginSettings = DEFAULTS,
        init_w: float = 10.0,
        init_b: float = -5.0,
    ):
        super().__init__()
        self.aamsoftmax = aamsoftmax.LossFunction(dim, num_classes, settings=settings)
        self.angleproto = angleproto.LossFunction(init_w=init_w, init_b=init_b)

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        return sum_of_losses(self.aamsoftmax(rep, batch, pair), self.angleproto(rep, batch, pair))
