"""Additive angular margin softmax with sub-centres and the inter-top-k penalty.

With sub-centres a speaker has several class vectors (Deng et al., "Sub-center ArcFace", ECCV 2020).
The inter-top-k penalty makes the wrong classes that are nearest to an embedding even nearer
(Zhao et al., arXiv:2110.05042).

    python trainSpeakerNet.py --trainfunc aamsoftmax_subcenter --margin 0.2 --margin_from 20000 \
        --margin_until 40000 ...
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loss._margin import MarginSettings, MarginSoftmax, add_margin, subtract_margin

DEFAULTS = MarginSettings(margin=0.2, scale=32.0)


class LossFunction(MarginSoftmax):
    """MarginSettings declares further options.

    margin: margin added to the angle of the target speaker, in radians
    subcenters: number of class vectors per speaker (the nearest one counts)
    k_top: number of nearest wrong speakers with a margin (0 for large-margin fine-tuning)
    inter_margin: margin of the --k_top speakers in radians at --margin 0.2 (scales with --margin)
    """

    classifier = ("weight",)

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        settings: MarginSettings = DEFAULTS,
        subcenters: int = 3,
        k_top: int = 5,
        inter_margin: float = 0.06,
    ):
        super().__init__(settings)
        if subcenters < 1 or k_top < 0:
            raise ValueError(
                "--subcenters, --k_top: expected at least 1 and at least 0, found "
                f"{subcenters} and {k_top}."
            )
        self.subcenters = subcenters
        self.k_top = min(k_top, num_classes - 1)
        self.inter_margin = inter_margin
        self.weight = nn.Parameter(torch.empty(num_classes * subcenters, dim))
        nn.init.xavier_normal_(self.weight)

    def cosine(self, x: Tensor) -> Tensor:
        """Returns the cosines [n, classes] to the nearest sub-centre of every class."""
        cos = F.linear(F.normalize(x), F.normalize(self.weight))
        return cos.unflatten(1, (-1, self.subcenters)).amax(2)

    def penalise(self, cos: Tensor, margin: float) -> Tensor:
        return add_margin(cos, margin)

    def with_margin(self, cos: Tensor, index: Tensor, margin: float) -> Tensor:
        """Applies the margin to the true class, and the penalty to the nearest wrong classes."""
        top = cos.scatter(1, index, -torch.inf).topk(self.k_top).indices  # [n, k_top]
        nearer = subtract_margin(cos.gather(1, top), self.inter_margin * margin / 0.2)
        return super().with_margin(cos, index, margin).scatter(1, top, nearer)
