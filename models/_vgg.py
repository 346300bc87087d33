"""VGG convolutions on spectral coefficients, a pooling and two linear layers, as published with double multi-head attention
(India et al., arXiv:2007.13199).
"""

from collections import OrderedDict

from torch import nn
from torch.nn import functional as F

from models import Backbone
from models._frontend import MFSC
from models._pooling import make_pooling

BANDS = 80


def convolutions(kernel_size, blocks):
    """maps [N, 1, T, F] -> [N, kernel_size, T', F'], both axes halved by every block, rounding up."""
    layers, inputs = OrderedDict(), 1
    for i in range(1, blocks + 1):
        outputs = kernel_size // 2 ** (blocks - i)
        for j in (1, 2):
            layers[f"conv{i}{j}"] = nn.Conv2d(inputs, outputs, 3, padding=1)
            layers[f"relu{i}{j}"] = nn.ReLU(inplace=True)
            inputs = outputs
        layers[f"pool{i}"] = nn.MaxPool2d(2, ceil_mode=True)
    return nn.Sequential(layers)


class VGG(Backbone):
    """blocks: of two convolutions each. The other options: VGG4L.py."""

    bands = BANDS
    # the published model ends with the classifier, which belongs to the loss here: amsoftmax with --pre_layer
    old_names = {
        "poolingLayer.": "pooling.",
        "preLayer.": "loss.preLayer.",
        "predictionLayer.": "loss.",
    }
    unused = ("b1.", "b3.")

    def __init__(
        self, *, blocks, nOut, encoder_type, kernel_size, heads_number, mask_prob, normalization
    ):
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 ** (blocks - 1):
            raise ValueError(
                f"--kernel_size: want a multiple of {2 ** (blocks - 1)}, got {kernel_size}"
            )
        self.dim = nOut
        self.mfsc = MFSC(BANDS, normalization=normalization)
        self.front_end = convolutions(kernel_size, blocks)
        self.pooling = make_pooling(
            encoder_type,
            kernel_size * BANDS // 2**blocks,
            heads_number=heads_number,
            mask_prob=mask_prob,
        )
        self.fc1 = nn.Linear(self.pooling.size, nOut)
        self.fc2 = nn.Linear(nOut, nOut)
        self.b2 = nn.BatchNorm1d(nOut)

    def frames(self, x):
        """x [N, T] waves, or [N, T, 80] features that were extracted and normalised before -> frames [N, C, T']."""
        if x.dim() == 2:
            x = self.mfsc(x)
        x = self.front_end(x.unsqueeze(1))  # [N, kernel_size, T', F']
        return x.transpose(2, 3).flatten(1, 2)

    def head(self, pooled):
        return self.b2(F.relu(self.fc2(F.relu(self.fc1(pooled)))))
