"""One-class softmax (Zhang et al., arXiv:2010.13995): bona fide speech is close to one direction.

Spoofed speech only stays away from it, because unknown attacks may be anywhere else. The train list
says which speech is spoofed. The score of a file is the cosine to the direction.

    python trainSpeakerNet.py --model AASIST --trainfunc cm_ocsoftmax --nPerSpeaker 1 ...
"""

from torch import Tensor

from loss import Batch, Countermeasure, Pair, Terms, require_embeddings
from loss._one_class import cosine_to, new_direction, one_class_softmax


class LossFunction(Countermeasure):
    """spoof_scale: factor of the cosines
    margin_real: cosine that bona fide speech should exceed
    margin_spoof: cosine that spoofed speech should stay below
    """

    def __init__(
        self,
        dim: int,
        *,
        spoof_scale: float = 20.0,
        margin_real: float = 0.9,
        margin_spoof: float = 0.2,
    ):
        super().__init__()
        self.direction = new_direction(dim)
        self.spoof_scale = spoof_scale
        self.margin_real = margin_real
        self.margin_spoof = margin_spoof

    def bonafide(self, x: Tensor) -> Tensor:
        """Returns the cosine [...] between embeddings [..., D] and the bona fide direction."""
        return cosine_to(self.direction, x)

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        require_embeddings(rep)
        spoof = batch["spoof"].unsqueeze(1).expand(rep.shape[:2])
        margins = (self.margin_real, self.margin_spoof)
        return {"loss": one_class_softmax(self.bonafide(rep), spoof, self.spoof_scale, *margins)}
