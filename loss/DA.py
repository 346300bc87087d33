"""Embedding enhancement by the cosine to the speaker's clean embedding, while the distance of two utterances shall be distributed alike
whether they are of one session or of two (maximum mean discrepancy).

    python trainSpeakerNet.py --model MyLinearNetv2 --trainfunc DA --sigma 1 --nPerSpeaker 2 ...
"""

from torch.nn import functional as F

from loss._enhancement import SessionAlignment, away


class LossFunction(SessionAlignment):
    """sigma: width of the Gaussian kernel on differences of distances, which are 1 - cosine"""

    def __init__(self, *, sigma: float = 1.0):
        super().__init__(sigma)

    def distance(self, x, y):
        return 1.0 - F.cosine_similarity(x, y, dim=-1)

    def pull(self, x, target):
        return {"loss_cosine": away(x, target)}
