"""Two classes, bona fide and spoofed speech: weighted cross-entropy, or the focal loss.

The train list says which speech is spoofed. The defaults are the weights of AASIST (Jung et al.,
arXiv:2110.01200), for ASVspoof 2019 LA, where nine of ten files are spoofed. With --focusing above
0 it is the focal loss (Lin et al., arXiv:1708.02002). The score of a file is the logit of bona fide
speech.

    python trainSpeakerNet.py --model AASIST --trainfunc cm_softmax --nPerSpeaker 1 ...
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loss import Batch, Countermeasure, Pair, Terms, accuracy, require_embeddings


class LossFunction(Countermeasure):
    """class_weight_spoof: weight of spoofed speech in the cross-entropy
    class_weight_bonafide: weight of bona fide speech in the cross-entropy
    focusing: exponent that lowers the weight of files that are classified well (0: no effect)
    """

    def __init__(
        self,
        dim: int,
        *,
        class_weight_spoof: float = 0.1,
        class_weight_bonafide: float = 0.9,
        focusing: float = 0.0,
    ):
        super().__init__()
        if class_weight_spoof + class_weight_bonafide <= 0:
            raise ValueError(
                "--class_weight_spoof: expected a weight above 0 for one of the two classes, found "
                "0 for both. Give --class_weight_spoof 0.1 --class_weight_bonafide 0.9."
            )
        # The rows are spoofed and bona fide speech, as published.
        self.fc = nn.Linear(dim, 2)
        weights = torch.tensor([class_weight_spoof, class_weight_bonafide])
        self.register_buffer("class_weights", weights, persistent=False)
        self.focusing = focusing

    def bonafide(self, x: Tensor) -> Tensor:
        """Returns the logit [...] of bona fide speech for embeddings [..., D]."""
        return self.fc(x)[..., 1]

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        require_embeddings(rep)
        label = (~batch["spoof"]).long().repeat_interleave(rep.shape[1])  # [n]
        logit = self.fc(rep.flatten(0, 1))  # [n, 2]
        entropy = F.cross_entropy(logit, label, reduction="none")
        weight = self.class_weights[label]
        # A batch may have files of weight 0 only.
        total = weight.sum().clamp(min=torch.finfo(weight.dtype).tiny)
        if self.focusing:
            # exp(-entropy) is the probability of the right class.
            entropy = entropy * (1 - (-entropy).exp()).clamp(min=1e-7) ** self.focusing
        return {"loss": (weight * entropy).sum() / total, "acc": accuracy(logit, label)}
