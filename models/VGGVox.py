"""VGGVox, the VGG-M network of VoxCeleb (Nagrani et al., arXiv:1706.08612).

It is the network of voxceleb_trainer and has 4.3 million parameters.

    python trainSpeakerNet.py --model VGGVox --encoder_type SAP ...
"""

import torch
from torch import nn
from torch.nn import functional as F

from models import Backbone
from models._frontend import FrontEnd
from pooling import PoolingMaker

# The max pooling makes four rows of the bands, and the last convolution needs four rows.
BANDS = 40
# Number of frames from which the max pooling makes one.
SHORTEST = 63
CHANNELS = 512

Size = int | tuple[int, int]


def block(
    inputs: int, outputs: int, kernel: Size, stride: Size = 1, padding: int = 0
) -> tuple[nn.Module, ...]:
    """Returns a convolution, a normalisation and a ReLU: [N, inputs, F, T] -> [N, outputs, ...]."""
    return (
        nn.Conv2d(inputs, outputs, kernel, stride, padding),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class MainModel(Backbone):
    """nOut: size of the embedding
    log_input: use the logarithm of the mel powers
    spec_augment: set random frames and mel bands of training inputs to zero (SpecAugment)
    """

    old_names = {"sap_linear.": "pooling.sap_linear.", "attention": "pooling.attention"}
    training_options = ("spec_augment",)

    def __init__(
        self,
        *,
        pooling: PoolingMaker,
        nOut: int = 1024,
        log_input: bool = True,
        spec_augment: bool = False,
    ) -> None:
        super().__init__()
        self.dim = nOut
        self.torchfb = FrontEnd(BANDS, window="hann", log=log_input, augment=spec_augment)
        self.netcnn = nn.Sequential(  # [N, 1, 40, T]
            *block(1, 96, (5, 7), (1, 2), 2),
            nn.MaxPool2d((1, 3), (1, 2)),  # [N, 96, 40, T / 4]
            *block(96, 256, 5, 2, 1),
            nn.MaxPool2d(3, 2),  # [N, 256, 9, T / 16]
            *block(256, 384, 3, 1, 1),
            *block(384, 256, 3, 1, 1),
            *block(256, 256, 3, 1, 1),
            nn.MaxPool2d(3, 2),  # [N, 256, 4, T / 32]
            *block(256, CHANNELS, (4, 1)),
        )  # [N, 512, 1, T / 32]
        self.pooling = pooling(CHANNELS)
        self.fc = nn.Linear(self.pooling.size, nOut)

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        x = self.torchfb(x).unsqueeze(1)  # [N, 1, 40, T]
        # 0 is the mean of every band.
        x = F.pad(x, (0, max(0, SHORTEST - x.shape[-1])))
        return self.netcnn(x).squeeze(2)  # [N, 512, T / 32]

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.fc(pooled)
