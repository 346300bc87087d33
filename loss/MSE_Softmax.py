"""Embedding enhancement by the mean squared error to the speaker's clean embedding, plus softmax cross-entropy over the speakers.

python trainSpeakerNet.py --model MyLinearNetv2 --trainfunc MSE_Softmax ...
"""

from loss import MSE, softmax


class LossFunction(MSE.LossFunction):
    """The sum of both; it has no options."""

    def __init__(self, dim, num_classes):
        super().__init__()
        self.softmax = softmax.LossFunction(dim, num_classes)

    def forward(self, rep, batch, pair):
        m, s = super().forward(rep, batch, pair), self.softmax(rep, batch, pair)
        return {
            "loss": m["loss"] + s["loss"],
            "acc": s["acc"],
            "loss_mse": m["loss_mse"],
            "loss_softmax": s["loss"].detach(),
        }
