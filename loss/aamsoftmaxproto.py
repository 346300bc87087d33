"""Additive angular margin softmax plus angular prototypical loss, as in ska-tdnn (Mun et al., arXiv:2204.01005).

    python trainSpeakerNet.py --trainfunc aamsoftmaxproto --margin 0.2 --scale 30 --nPerSpeaker 2 ...
"""
from loss import Loss, aamsoftmax, angleproto


class LossFunction(Loss):
    """margin: added to the angle to the true speaker, radians
    scale: factor of the cosines of the softmax part
    easy_margin: no margin at all for angles above 90 degrees
    margin_warmup: updates over which the margin grows linearly from 0; 0 for the full margin at once
    init_w: initial scale of the cosines of the prototypical part
    init_b: initial offset of the prototypical part
    """

    def __init__(self, dim, num_classes, *, margin: float = 0.2, scale: float = 30.0, easy_margin: bool = False, margin_warmup: int = 0,
                 init_w: float = 10.0, init_b: float = -5.0):
        super().__init__()
        self.aamsoftmax = aamsoftmax.LossFunction(dim, num_classes, margin=margin, scale=scale, easy_margin=easy_margin,
                                                  margin_warmup=margin_warmup)
        self.angleproto = angleproto.LossFunction(init_w=init_w, init_b=init_b)

    def forward(self, rep, batch, pair):
        s, p = self.aamsoftmax(rep, batch, pair), self.angleproto(rep, batch, pair)
        return {"loss": s["loss"] + p["loss"], "acc": s["acc"], "loss_softmax": s["loss"].detach(), "loss_proto": p["loss"].detach()}
