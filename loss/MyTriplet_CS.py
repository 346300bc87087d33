"""Embedding enhancement by two cosines.

The loss moves an embedding towards the speaker's clean embedding, and away from the clean embedding
of another speaker.

    python trainSpeakerNet.py --model MyLinearNetv2 --trainfunc MyTriplet_CS ...
"""

from torch import Tensor

from loss import Batch, Terms
from loss._enhancement import Enhancement, cosine_distance


class LossFunction(Enhancement):
    """1 - cosine to the target + cosine to the other speaker. The loss has no options."""

    reads = ("target", "other")

    def terms(self, x: Tensor, target: Tensor, batch: Batch) -> Terms:
        return {
            "loss_cosine": cosine_distance(x, target),
            "loss_other": 1.0 - cosine_distance(x, batch["other"].unsqueeze(1)),
        }
