"""Embedding enhancement by the cosine to the speaker's clean embedding.

python trainSpeakerNet.py --model MyLinearNetv2 --trainfunc CS ...
"""

from torch import Tensor

from loss import Batch, Terms
from loss._enhancement import Enhancement, cosine_distance


class LossFunction(Enhancement):
    """The loss is 1 - cosine. It has no options."""

    def terms(self, x: Tensor, target: Tensor, batch: Batch) -> Terms:
        return {"loss_cosine": cosine_distance(x, target)}
