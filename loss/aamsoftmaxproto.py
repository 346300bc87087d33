"""Additive angular margin softmax plus angular prototypical loss, as in ska-tdnn (Mun et al., arXiv:2204.01005).

python trainSpeakerNet.py --trainfunc aamsoftmaxproto --margin 0.2 --scale 30 --nPerSpeaker 2 ...
"""

from loss import Loss, aamsoftmax, angleproto, sum_of_losses
from loss._margin import Growth


class LossFunction(Loss):
    """margin: added to the angle to the true speaker, radians
    scale: factor of the cosines of the softmax part
    easy_margin: no margin at all for angles above 90 degrees
    margin_start: margin at first, see margin_until
    margin_from: update at which the margin begins to grow
    margin_until: update from which on the margin is `margin`; 0 for the full margin at once
    margin_growth: course of the margin in between
    init_w: initial scale of the cosines of the prototypical part
    init_b: initial offset of the prototypical part
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
    ):
        super().__init__()
        self.aamsoftmax = aamsoftmax.LossFunction(
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
        self.angleproto = angleproto.LossFunction(init_w=init_w, init_b=init_b)

    def forward(self, rep, batch, pair):
        return sum_of_losses(self.aamsoftmax(rep, batch, pair), self.angleproto(rep, batch, pair))
