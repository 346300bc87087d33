"""Embedding enhancement by the mean squared error and the cosine to the speaker's clean embedding.

python trainSpeakerNet.py --model MyLinearNetv2 --trainfunc MSE_CS ...
"""

from torch import Tensor
from torch.nn import functional as F

from loss import Batch, Terms
from loss._enhancement import Enhancement, cosine_distance


class LossFunction(Enhancement):
    """The sum of the mean squared error and 1 - cosine. The loss has no options."""

    def terms(self, x: Tensor, target: Tensor, batch: Batch) -> Terms:
        return {"loss_mse": F.mse_loss(x, target), "loss_cosine": cosine_distance(x, target)}
