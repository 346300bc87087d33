"""Embedding enhancement by the mean squared error to the clean embedding, with session alignment.

Session alignment makes the distances of utterances within one session similar to the distances
between two sessions (maximum mean discrepancy).

    python trainSpeakerNet.py --model MyLinearNetv2 --trainfunc DA_MSE --sigma 1 --nPerSpeaker 2 ...
"""

from torch import Tensor
from torch.nn import functional as F

from loss import Terms
from loss._enhancement import SessionAlignment


class LossFunction(SessionAlignment):
    """Mean squared error to the target, with session alignment.

    sigma: width of the Gaussian kernel that compares distances (root mean squared differences)
    """

    def __init__(self, *, sigma: float = 1.0):
        super().__init__(sigma)

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        # The gradient of the square root is not finite at 0.
        return (x - y).square().mean(-1).clamp(min=1e-12).sqrt()

    def target_terms(self, x: Tensor, target: Tensor) -> Terms:
        return {"loss_mse": F.mse_loss(x, target)}
