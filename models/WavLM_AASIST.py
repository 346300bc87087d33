"""A countermeasure: WavLM, and attention between the nodes of graphs as in AASIST.

    python trainSpeakerNet.py --model WavLM_AASIST --ssl_weights WavLM-Base+.pt \
        --trainfunc cm_softmax --ssl_lr 1e-6 --max_frames 400 ...

Source: Tak et al., arXiv:2202.12233, with wav2vec 2.0 in the place of WavLM (arXiv:2110.13900) and
its last layer in the place of a learned sum of all layers. The back end is the back end of AASIST
(arXiv:2110.01200). Its residual blocks do not shorten the maps, because WavLM has 50 frames in a
second, and AASIST's filters one for each sample.
"""

import torch
from torch import nn
from torch.nn import functional as F

from common.parameter_groups import Group
from models._aasist import POOLED, GraphModel, Sizes, repeated, residual_blocks
from models._fine_tuning import FINE_TUNING, UPDATE_OPTIONS, FineTuning
from models._wavlm_options import TRAINING_OPTIONS, WAVLM_OPTIONS, WAVLM_PART, WavLMOptions
from pooling._layers import layer_weights, sum_of_layers

# Numbers of a frame behind WavLM, which take the place of bands.
CHANNELS = 128
GRAPHS = Sizes(width=64, bands=0.5, frames=0.5, later=0.5)
# Samples of the first frame of WavLM, and of each further one.
FIRST = 400
HOP = 320
# Samples that leave one frame after the maps are pooled.
SHORTEST = FIRST + (POOLED - 1) * HOP


class MainModel(GraphModel):
    """The embedding [N, 160] is the last hidden layer. The loss cm_softmax is the output layer."""

    training_options = TRAINING_OPTIONS
    update_options = UPDATE_OPTIONS
    pretrained = WAVLM_PART

    def __init__(
        self, *, wavlm: WavLMOptions = WAVLM_OPTIONS, fine_tuning: FineTuning = FINE_TUNING
    ) -> None:
        super().__init__()
        self.fine_tuning = fine_tuning
        self.ssl = wavlm.build()
        self.layer_weights = layer_weights(self.ssl.layers)
        self.projection = nn.Linear(self.ssl.width, CHANNELS)
        self.first_bn = nn.BatchNorm2d(1)
        self.blocks = residual_blocks(GRAPHS.width, shortens=False)
        self.add_graphs(GRAPHS, CHANNELS // POOLED)

    def parameter_groups(self) -> list[Group]:
        """WavLM has its own learning rates, see FineTuning."""
        return self.fine_tuning.groups(self.ssl.parts())

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to maps [N, 64, 42, T'] of T' = ((T - 80) // 320) // 3 frames.

        Waves below 1,040 samples are repeated.
        """
        x = repeated(x, SHORTEST)
        frames = sum_of_layers(self.ssl(x), self.layer_weights)  # [N, C, T]
        y = self.projection(frames.mT).mT.unsqueeze(1)  # [N, 1, 128, T]
        return self.blocks(F.selu(self.first_bn(F.max_pool2d(y, POOLED))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.embed(self.maps(x).abs())
