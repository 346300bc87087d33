"""Embedding enhancement by the mean squared error to the speaker's clean embedding.

python trainSpeakerNet.py --model MyLinearNetv2 --trainfunc MSE ...
"""

from torch import Tensor
from torch.nn import functional as F

from loss import Batch, Terms
from loss._enhancement import Euclidean


class LossFunction(Euclidean):
    """The mean squared error over all components. The loss has no options."""

    def terms(self, x: Tensor, target: Tensor, batch: Batch) -> Terms:
        return {"loss_mse": F.mse_loss(x, target)}
