"""Additive margin softmax (Wang et al., "CosFace", arXiv:1801.05599 and 1801.09414).

The margin is subtracted from the cosine. The second command is the loss of DoubleMHA
(arXiv:2007.13199).

    python trainSpeakerNet.py --trainfunc amsoftmax --margin 0.2 --scale 30 ...
    python trainSpeakerNet.py --trainfunc amsoftmax --margin 0.4 --pre_layer --annealing ...
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loss import Batch
from loss._margin import MarginSettings, MarginSoftmax

DEFAULTS = MarginSettings(margin=0.1, scale=30.0)


class LossFunction(MarginSoftmax):
    """MarginSettings declares further options.

    margin: margin subtracted from the cosine of the target speaker
    annealing: let the margin grow slowly (1/1001 at first, half of it after 306 000 updates)
    pre_layer: add a linear layer between the embeddings and the cosines
    """

    classifier = ("W",)

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        settings: MarginSettings = DEFAULTS,
        annealing: bool = False,
        pre_layer: bool = False,
    ):
        super().__init__(settings)
        self.annealing = annealing
        # Published checkpoints have these names of the weights.
        self.preLayer = nn.Linear(dim, dim) if pre_layer else nn.Identity()
        self.W = nn.Parameter(torch.empty(dim, num_classes))
        nn.init.xavier_normal_(self.W)

    def cosine(self, x: Tensor) -> Tensor:
        return F.normalize(self.preLayer(x)) @ F.normalize(self.W, dim=0)

    def penalise(self, cos: Tensor, margin: float) -> Tensor:
        return cos - margin

    def margin_of(self, batch: Batch) -> float:
        """Returns the margin for a batch, including the annealing."""
        margin = super().margin_of(batch)
        if not self.annealing:
            return margin
        # The paper uses the weighted mean of the logits with the margin (weight 1) and without it
        # (weight alpha). This mean equals the logits with a smaller margin.
        alpha = 1000.0 / (1.0 + 0.0001 * batch["step"]) ** 2
        return margin / (1.0 + alpha)
