"""Embedding enhancement by the cosine to the speaker's clean embedding.

python trainSpeakerNet.py --model MyLinearNetv2 --trainfunc CS ...
"""

from loss._enhancement import Enhancement, away


class LossFunction(Enhancement):
    """1 - cosine; it has no options."""

    def terms(self, x, target, batch):
        return {"loss_cosine": away(x, target)}
