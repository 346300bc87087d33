"""Embedding enhancement by cosines: towards the speaker's clean embedding, away from another speaker's.

python trainSpeakerNet.py --model MyLinearNetv2 --trainfunc MyTriplet_CS ...
"""

from loss._enhancement import Enhancement, away


class LossFunction(Enhancement):
    """1 - cosine to the target + cosine to the other; it has no options."""

    reads = ("target", "other")

    def terms(self, x, target, batch):
        return {
            "loss_cosine": away(x, target),
            "loss_other": 1.0 - away(x, batch["other"].unsqueeze(1)),
        }
