"""SphereFace2 (Wen et al., arXiv:2108.01513; for speakers Han et al., arXiv:2307.08205).

Every class is a separate binary classification.

    python trainSpeakerNet.py --trainfunc sphereface2 --margin_type A --margin 0.15 ...
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loss import Batch, Loss, Pair, Terms, accuracy, embeddings_and_labels
from loss._margin import MarginSettings, add_margin, subtract_margin

DEFAULTS = MarginSettings(margin=0.2, scale=32.0)


class LossFunction(Loss):
    """MarginSettings declares further options.

    margin: margin of the target speaker (typically 0.2 for --margin_type C, 0.15 for A)
    scale: factor of the similarities
    margin_type: margin on the similarity (C, as in CosFace) or on the angle (A, as in ArcFace)
    positive_weight: weight of the true class, between 0 and 1 (lambda of the paper)
    exponent: exponent that stretches similarities near 1 (t of the paper)

    For large-margin fine-tuning the paper uses the margins 0.3 (C) and 0.25 (A).
    """

    classifier = ("weight", "bias")

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        settings: MarginSettings = DEFAULTS,
        margin_type: Literal["C", "A"] = "C",
        positive_weight: float = 0.7,
        exponent: float = 3.0,
    ):
        super().__init__()
        self.settings = settings
        self.margin_type = margin_type
        self.positive_weight = positive_weight
        self.exponent = exponent
        self.weight = nn.Parameter(torch.empty(num_classes, dim))
        nn.init.xavier_normal_(self.weight)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        x, label = embeddings_and_labels(rep, batch)
        cos = self.cosine(x)
        is_true = F.one_hot(label, cos.shape[1]).bool()  # [n, classes]
        margin = self.settings.margin_of(batch)
        if self.margin_type == "C":
            similarity = self.stretch(cos) - torch.where(is_true, margin, -margin)
        else:
            similarity = self.stretch(
                torch.where(is_true, add_margin(cos, margin), subtract_margin(cos, margin))
            )
        logit = self.settings.scale * similarity + self.bias
        class_losses = torch.where(
            is_true,
            self.positive_weight * F.softplus(-logit),
            (1.0 - self.positive_weight) * F.softplus(logit),
        )
        terms = {"loss": class_losses.sum(1).mean(), "acc": accuracy(logit, label)}
        return terms | self.settings.term(margin, x)

    def cosine(self, x: Tensor) -> Tensor:
        """Returns the cosines [n, classes] between embeddings [n, D] and the classes."""
        return F.linear(F.normalize(x), F.normalize(self.weight))

    def stretch(self, cos: Tensor) -> Tensor:
        """Applies the function g of the paper to cosines, which stretches values near 1."""
        return 2.0 * ((cos.clamp(min=-1.0) + 1.0) / 2.0) ** self.exponent - 1.0
