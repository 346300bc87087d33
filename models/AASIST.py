"""AASIST (Jung et al., arXiv:2110.01200): detects spoofed speech on waveforms, with graphs.

It has 0.30 million parameters. The variant AASIST-L has 0.09 million. Its authors use the first
64,600 samples of a file in an evaluation, and crops of this length in training:

    python trainSpeakerNet.py --model AASIST --trainfunc cm_softmax \
        --max_frames 403 --eval_frames 403 --crop_margin 120 --num_eval 1 ...
"""

from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from models import SpeakerModel
from models._aasist import (
    FILTERS,
    TAPS,
    Block,
    GraphAttention,
    GraphPool,
    MixedGraphAttention,
    SincMaps,
)
from models._published import Published, PublishedFile

BANDS = FILTERS // 3
# Widths of the first two blocks. The other four have a width of their own.
NARROW = 32
BLOCKS = 6
# Samples that leave one frame after the front end and all blocks.
SHORTEST = TAPS - 1 + 3 * 3**BLOCKS
# Size of a node after the first graphs, and of one of the five parts of an embedding.
SIZE = 32
# Files of an evaluation whose maps are in memory at the same time. A file of 4 s needs 0.3 GB.
ROWS_AT_ONCE = 4
# Temperatures of the attention in one graph, and in two graphs with a master.
COOL = 2.0
WARM = 100.0


class Sizes(NamedTuple):
    """Sizes of a variant.

    width: channels of the last four blocks, and numbers of a node in the first graphs. bands,
    frames, later: shares of the nodes that remain of the bands, of the frames, and of each later
    graph.
    """

    width: int
    bands: float
    frames: float
    later: float


VARIANTS = {
    "AASIST": Sizes(width=64, bands=0.5, frames=0.7, later=0.5),
    "AASIST-L": Sizes(width=24, bands=0.4, frames=0.5, later=0.7),
}
# What the authors do in an evaluation: one crop of the first 403 * 160 + 120 = 64,600 samples.
FIRST_SAMPLES = {"eval_frames": 403, "crop_margin": 120, "num_eval": 1}


class MainModel(SpeakerModel):
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
        self.dim = 5 * SIZE
        self.front = SincMaps(freq_augment)
        self.first_bn = nn.BatchNorm2d(1)
        widths = [1, NARROW, NARROW, *[sizes.width] * (BLOCKS - 2)]
        blocks = [Block(*pair) for pair in zip(widths, widths[1:], strict=False)]
        # The published names have one more number.
        self.encoder = nn.Sequential(*map(nn.Sequential, blocks))
        self.pos_S = nn.Parameter(torch.randn(1, BANDS, sizes.width))
        self.GAT_layer_S = GraphAttention(sizes.width, sizes.width, COOL)
        self.GAT_layer_T = GraphAttention(sizes.width, sizes.width, COOL)
        self.pool_S = GraphPool(sizes.width, sizes.bands)
        self.pool_T = GraphPool(sizes.width, sizes.frames)
        for path in "12":
            self.add_path(path, sizes)
        self.drop_way = nn.Dropout(0.2)
        self.drop = nn.Dropout(0.5)

    def add_path(self, path: str, sizes: Sizes) -> None:
        """Makes the modules of one of the two paths, which have the same sizes."""
        setattr(self, f"master{path}", nn.Parameter(torch.randn(1, 1, sizes.width)))
        modules = {
            f"HtrgGAT_layer_ST{path}1": MixedGraphAttention(sizes.width, SIZE, WARM),
            f"HtrgGAT_layer_ST{path}2": MixedGraphAttention(SIZE, SIZE, WARM),
            f"pool_hS{path}": GraphPool(SIZE, sizes.later),
            f"pool_hT{path}": GraphPool(SIZE, sizes.later),
        }
        for name, module in modules.items():
            self.add_module(name, module)

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
        if x.shape[1] < SHORTEST:
            repeats = -(-SHORTEST // x.shape[1])
            x = x.repeat(1, repeats)[:, :SHORTEST]
        return self.encoder(F.selu(self.first_bn(self.front(x))))

    def path(
        self, name: str, frames: torch.Tensor, bands: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Maps the graphs of frames and bands to the graphs and the master of one path."""
        first, second = (getattr(self, f"HtrgGAT_layer_ST{name}{i}") for i in "12")
        master = getattr(self, f"master{name}").expand(frames.shape[0], -1, -1)
        frames, bands, master = first(frames, bands, master)
        frames = getattr(self, f"pool_hT{name}")(frames)
        bands = getattr(self, f"pool_hS{name}")(bands)
        before = (frames, bands, master)
        return tuple(
            self.drop_way(old + new) for old, new in zip(before, second(*before), strict=True)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training or torch.compiler.is_exporting():
            size = self.maps(x).abs()
        else:
            size = torch.cat([self.maps(part).abs() for part in x.split(ROWS_AT_ONCE)])
        # Which nodes remain is decided by small differences of scores.
        with torch.autocast(x.device.type, enabled=False):
            return self.drop(self.graphs(size.float()))

    def graphs(self, size: torch.Tensor) -> torch.Tensor:
        """Maps absolute maps [N, width, 23, T'] to embeddings [N, 160]."""
        bands = self.pool_S(self.GAT_layer_S(size.amax(3).mT + self.pos_S))
        frames = self.pool_T(self.GAT_layer_T(size.amax(2).mT))
        paths = zip(self.path("1", frames, bands), self.path("2", frames, bands), strict=True)
        frames, bands, master = (torch.maximum(*both) for both in paths)
        parts = [frames.abs().amax(1), frames.mean(1), bands.abs().amax(1), bands.mean(1)]
        return torch.cat([*parts, master.squeeze(1)], 1)
