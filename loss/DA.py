"""Embedding enhancement by the cosine to the speaker's clean embedding, with session alignment.

Session alignment makes the distances of utterances within one session similar to the distances
between two sessions (maximum mean discrepancy).

    python trainSpeakerNet.py --model MyLinearNetv2 --trainfunc DA --sigma 1 --nPerSpeaker 2 ...
"""

from torch import Tensor
from torch.nn import functional as F

from loss import Terms
from loss._enhancement import SessionAlignment, cosine_distance


class LossFunction(SessionAlignment):
    """1 - cosine to the target, with session alignment.

    sigma: width of the Gaussian kernel that compares distances (1 - cosine)
    """

    def __init__(self, *, sigma: float = 1.0):
        super().__init__(sigma)

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        return 1.0 - F.cosine_similarity(x, y, dim=-1)

    def target_terms(self, x: Tensor, target: Tensor) -> Terms:
        return {"loss_cosine": cosine_distance(x, target)}
