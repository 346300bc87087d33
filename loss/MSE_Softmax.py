"""Embedding enhancement by the mean squared error, plus softmax cross-entropy over the speakers.

The error is the difference to the speaker's clean embedding.

    python trainSpeakerNet.py --model MyLinearNetv2 --trainfunc MSE_Softmax ...
"""

from torch import Tensor

from loss import MSE, Batch, Pair, Terms, softmax


class LossFunction(MSE.LossFunction):
    """The sum of the mean squared error and the cross-entropy. The loss has no options."""

    def __init__(self, dim: int, num_classes: int):
        super().__init__()
        self.softmax = softmax.LossFunction(dim, num_classes)

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        enhancement = super().forward(rep, batch, pair)
        classification = self.softmax(rep, batch, pair)
        return {
            "loss": enhancement["loss"] + classification["loss"],
            "acc": classification["acc"],
            "loss_mse": enhancement["loss_mse"],
            "loss_softmax": classification["loss"].detach(),
        }
