"""AASIST (Jung et al., arXiv:2110.01200): detects spoofed speech on waveforms, with graphs.

It has 0.30 million parameters. The variant AASIST-L has 0.09 million. Its authors use the first
64,600 samples of a file in an evaluation, and crops of this length in training:

    python trainSpeakerNet.py --model AASIST --trainfunc cm_softmax \
        --max_frames 403 --eval_frames 403 --crop_margin 120 --num_eval 1 ...
"""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from models._aasist import (
    BLOCKS,
    FILTERS,
    POOLED,
    TAPS,
    GraphModel,
    SincMaps,
    Sizes,
    repeated,
    residual_blocks,
)
from models._published import Published, PublishedFile

BANDS = FILTERS // POOLED
# Samples that leave one frame after the front end and all blocks.
SHORTEST = TAPS - 1 + POOLED ** (BLOCKS + 1)
# Files of an evaluation whose maps are in memory at the same time. A file of 4 s needs 0.3 GB.
ROWS_AT_ONCE = 4

VARIANTS = {
    "AASIST": Sizes(width=64, bands=0.5, frames=0.7, later=0.5),
    "AASIST-L": Sizes(width=24, bands=0.4, frames=0.5, later=0.7),
}
# What the authors do in an evaluation: one crop of the first 403 * 160 + 120 = 64,600 samples.
FIRST_SAMPLES = {"eval_frames": 403, "crop_margin": 120, "num_eval": 1}


class MainModel(GraphModel):
    """variant: sizes of AASIST or of AASIST-L
    freq_augment: set random neighbouring filters of training inputs to zero

    The embedding [N, 160] is the last hidden layer of the published network. Its output layer is
    the loss cm_softmax.
    """

    # The names of a file are read without "encoder." in front, see network/names.py.
    old_names = {
        "out_layer.": "loss.fc.",
        **{f"{i}.0.": f"encoder.{i}.0." for i in range(BLOCKS)},
    }
    # The authors compute the first normalisation of later blocks, but do not use its result.
    unused = tuple(f"{start}{i}.0.bn1." for start in ("", "encoder.") for i in range(1, BLOCKS))
    training_options = ("freq_augment",)

    def __init__(
        self, *, variant: Literal["AASIST", "AASIST-L"] = "AASIST", freq_augment: bool = False
    ) -> None:
        super().__init__()
        sizes = VARIANTS[variant]
        self.front = SincMaps(freq_augment)
        self.first_bn = nn.BatchNorm2d(1)
        self.encoder = residual_blocks(sizes.width)
        self.add_graphs(sizes, BANDS)

    @classmethod
    def recognise(cls, file: PublishedFile) -> Published | None:
        """Recognises releases of the authors, and the baseline of ASVspoof 5."""
        if not file.has("pos_S", "GAT_layer_S.att_weight", "HtrgGAT_layer_ST11.att_weight12"):
            return None
        found = [name for name, sizes in VARIANTS.items() if sizes.width == file.size("pos_S", 2)]
        options = {"variant": found[0]} if found else {}
        return Published("AASIST", options, {"trainfunc": "cm_softmax", **FIRST_SAMPLES})

    def maps(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to maps [N, width, 23, T'] of T' = (T - 128) // 3**7 frames.

        Waves below 2,315 samples are repeated.
        """
        x = repeated(x, SHORTEST)
        return self.encoder(F.selu(self.first_bn(self.front(x))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training or torch.compiler.is_exporting():
            size = self.maps(x).abs()
        else:
            size = torch.cat([self.maps(part).abs() for part in x.split(ROWS_AT_ONCE)])
        return self.embed(size)
