"""Embedding enhancement by the mean squared error to the speaker's clean embedding, while the distance of two utterances shall be
distributed alike whether they are of one session or of two (maximum mean discrepancy).

    python trainSpeakerNet.py --model MyLinearNetv2 --trainfunc DA_MSE --sigma 1 --nPerSpeaker 2 ...
"""

from torch.nn import functional as F

from loss._enhancement import SessionAlignment


class LossFunction(SessionAlignment):
    """sigma: width of the Gaussian kernel on differences of distances, which are root mean squared differences"""

    def __init__(self, *, sigma: float = 1.0):
        super().__init__(sigma)

    def distance(self, x, y):
        # at 0 the gradient would not be finite
        return (x - y).square().mean(-1).clamp(min=1e-12).sqrt()

    def pull(self, x, target):
        return {"loss_mse": F.mse_loss(x, target)}
