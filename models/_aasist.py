"""Parts of AASIST: filters on waves, residual blocks on maps, and attention on graphs.

A graph is a set of n nodes with C numbers each, [N, n, C]. Every node is connected with every node.
"""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from common.constants import SAMPLE_RATE
from models import SpeakerModel

FILTERS = 70
TAPS = 129
# Values of a map of which the largest one remains, in bands and in frames.
POOLED = 3
# Residual blocks, and the widths of the first two. The others have the width of the first graphs.
BLOCKS = 6
NARROW = 32
# Size of a node after the first graphs, and of one of the five parts of an embedding.
SIZE = 32
# Temperatures of the attention in one graph, and in two graphs with a master.
COOL = 2.0
WARM = 100.0
# Most neighbouring filters that are set to zero while training.
MOST_MASKED = 20
# Dropout of the nodes before attention, and before the scores of the pooling.
DROPPED_NODES = 0.2
DROPPED_SCORES = 0.3


def repeated(x: torch.Tensor, samples: int) -> torch.Tensor:
    """Repeats waves [N, T] below this number of samples up to it. Longer waves stay as they are."""
    if x.shape[1] >= samples:
        return x
    return x.repeat(1, -(-samples // x.shape[1]))[:, :samples]


# ---------------------------------------------------------------------- front end
class SincMaps(nn.Module):
    """Fixed band passes, equally wide in mel: waves [N, T] -> maps [N, 1, 23, (T - 128) // 3].

    The largest size of the filtered waves in 3 filters and 3 samples remains. augment: set up to
    MOST_MASKED neighbouring filters to zero while training.
    """

    def __init__(self, augment: bool) -> None:
        super().__init__()
        self.augment = augment
        # Published files do not have the filters, so checkpoints do not need them.
        self.register_buffer("filters", band_passes(), persistent=False)

    @torch.no_grad()
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        filters = self.filters
        if self.training and self.augment:
            filters = filters * self.mask(filters)
        # bfloat16 would cost three digits before anything is learned.
        with torch.autocast(x.device.type, enabled=False):
            y = F.conv1d(x.float().unsqueeze(1), filters.unsqueeze(1))  # [N, 70, T - 128]
            return F.max_pool2d(y.abs_().unsqueeze(1), POOLED)

    def mask(self, filters: torch.Tensor) -> torch.Tensor:
        """Draws which filters of [70, 129] remain -> [70, 1], 0 for the masked ones."""
        draws = torch.rand(2, device=filters.device)
        number = (draws[0] * MOST_MASKED).floor()
        first = (draws[1] * (FILTERS - number)).floor()
        place = torch.arange(FILTERS, device=filters.device)
        masked = (place >= first) & (place < first + number)
        return (~masked).float().unsqueeze(1)


def band_passes() -> torch.Tensor:
    """Returns the filters [70, 129]: ideal band passes times a symmetric Hamming window."""
    highest = 2595 * math.log10(1 + SAMPLE_RATE / 2 / 700)
    mel = torch.linspace(0, highest, FILTERS + 1, dtype=torch.float64)
    # Edges of the bands as shares of the sample rate.
    edges = 700 * (10 ** (mel / 2595) - 1) / SAMPLE_RATE
    half = TAPS // 2
    time = torch.arange(-half, half + 1, dtype=torch.float64)
    low_passes = 2 * edges[:, None] * torch.sinc(2 * edges[:, None] * time)  # [71, 129]
    window = torch.hamming_window(TAPS, periodic=False, dtype=torch.float64)
    return (low_passes.diff(dim=0) * window).float()


# ---------------------------------------------------------------------- maps
class Block(nn.Module):
    """Two convolutions and a shortcut: maps [N, inputs, B, T] -> [N, outputs, B, T // 3].

    shortens: whether the largest of 3 frames remains. Otherwise all T frames remain.
    """

    def __init__(self, inputs: int, outputs: int, shortens: bool = True) -> None:
        super().__init__()
        self.shortens = shortens
        self.conv1 = nn.Conv2d(inputs, outputs, (2, 3), padding=(1, 1))
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, (2, 3), padding=(0, 1))
        self.conv_downsample: nn.Module = nn.Identity()
        if inputs != outputs:
            self.conv_downsample = nn.Conv2d(inputs, outputs, (1, 3), padding=(0, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(F.selu(self.bn2(self.conv1(x)), inplace=True))
        y = y + self.conv_downsample(x)
        return F.max_pool2d(y, (1, POOLED)) if self.shortens else y


def residual_blocks(width: int, shortens: bool = True) -> nn.Sequential:
    """Returns the blocks between a map and the graphs: [N, 1, B, T] -> [N, width, B, T']."""
    widths = [1, NARROW, NARROW, *[width] * (BLOCKS - 2)]
    blocks = [Block(*pair, shortens) for pair in zip(widths, widths[1:], strict=False)]
    # The published names have one more number.
    return nn.Sequential(*map(nn.Sequential, blocks))


# ---------------------------------------------------------------------- graphs
def on_nodes(norm: nn.BatchNorm1d, x: torch.Tensor) -> torch.Tensor:
    """Normalises nodes [N, n, C] with statistics of all nodes of a batch."""
    return norm(x.flatten(0, 1)).view(x.shape)


def weight_of(size: int) -> nn.Parameter:
    """Returns a random vector [size, 1], which weights the numbers of a pair of nodes."""
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(size, 1)))


class GraphAttention(nn.Module):
    """Attention of every node to all nodes: [N, n, inputs] -> [N, n, outputs].

    The products of the numbers of two nodes decide the attention. temperature: divides its logits.
    """

    def __init__(self, inputs: int, outputs: int, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.drop = nn.Dropout(DROPPED_NODES)
        self.att_proj = nn.Linear(inputs, outputs)
        self.add_weights(outputs)
        self.proj_with_att = nn.Linear(inputs, outputs)
        self.proj_without_att = nn.Linear(inputs, outputs)
        self.bn = nn.BatchNorm1d(outputs)

    def add_weights(self, size: int) -> None:
        """Makes the weights of the `size` numbers of a pair."""
        self.att_weight = weight_of(size)

    def pairs(self, x: torch.Tensor) -> torch.Tensor:
        """Maps nodes [N, n, inputs] to the numbers of their pairs [N, n, n, outputs]."""
        return self.att_proj(x.unsqueeze(2) * x.unsqueeze(1)).tanh()

    def attend(self, x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Returns nodes [N, n, outputs]. logits: of the attention, [N, n, n]."""
        shares = (logits / self.temperature).softmax(-1)
        y = self.proj_with_att(shares @ x) + self.proj_without_att(x)
        return F.selu(on_nodes(self.bn, y))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.drop(x)
        return self.attend(x, (self.pairs(x) @ self.att_weight).squeeze(-1))


class MixedGraphAttention(GraphAttention):
    """Attention among the nodes of two graphs, and of a master node to all of them.

    The weights of a pair depend on the graphs of its two nodes. The master reads all nodes, and no
    node reads the master.
    """

    def __init__(self, inputs: int, outputs: int, temperature: float) -> None:
        super().__init__(inputs, outputs, temperature)
        self.proj_type1 = nn.Linear(inputs, inputs)
        self.proj_type2 = nn.Linear(inputs, inputs)
        self.att_projM = nn.Linear(inputs, outputs)
        self.proj_with_attM = nn.Linear(inputs, outputs)
        self.proj_without_attM = nn.Linear(inputs, outputs)

    def add_weights(self, size: int) -> None:
        """Makes the weights of pairs in the first graph, in the second, across, and of a master."""
        self.att_weight11 = weight_of(size)
        self.att_weight22 = weight_of(size)
        self.att_weight12 = weight_of(size)
        self.att_weightM = weight_of(size)

    def logits(self, x: torch.Tensor, first: int) -> torch.Tensor:
        """Returns the logits [N, n, n] of nodes [N, n, inputs], of which `first` are first."""
        weights = torch.cat([self.att_weight11, self.att_weight22, self.att_weight12], 1)
        inside1, inside2, across = (self.pairs(x) @ weights).unbind(-1)  # [N, n, n] each
        upper = torch.cat([inside1[:, :first, :first], across[:, :first, first:]], 2)
        lower = torch.cat([across[:, first:, :first], inside2[:, first:, first:]], 2)
        return torch.cat([upper, lower], 1)

    def read(self, x: torch.Tensor, master: torch.Tensor) -> torch.Tensor:
        """Returns the new master [N, 1, outputs] of a master [N, 1, inputs] and of nodes."""
        logits = self.att_projM(x * master).tanh() @ self.att_weightM  # [N, n, 1]
        shares = (logits / self.temperature).softmax(1)
        return self.proj_with_attM(shares.mT @ x) + self.proj_without_attM(master)

    def forward(
        self, one: torch.Tensor, two: torch.Tensor, master: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Maps two graphs and a master [N, 1, inputs] to new ones with `outputs` numbers."""
        first = one.shape[1]
        x = self.drop(torch.cat([self.proj_type1(one), self.proj_type2(two)], 1))
        y = self.attend(x, self.logits(x, first))
        return y[:, :first], y[:, first:], self.read(x, master)


class GraphPool(nn.Module):
    """Keeps the given share of the nodes with the highest scores, times their scores.

    It maps nodes [N, n, size] to [N, max(int(n * share), 1), size] in the order of their scores.
    """

    def __init__(self, size: int, share: float) -> None:
        super().__init__()
        self.share = share
        self.drop = nn.Dropout(DROPPED_SCORES)
        self.proj = nn.Linear(size, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = self.proj(self.drop(x)).sigmoid()  # [N, n, 1]
        # int() and max() would fix the number of nodes in an exported network.
        kept = torch.sym_max(torch.sym_int(x.shape[1] * self.share), 1)
        place = scores.topk(kept, dim=1).indices
        return (x * scores).gather(1, place.expand(-1, -1, x.shape[2]))


# ---------------------------------------------------------------------- back end
class Sizes(NamedTuple):
    """Sizes of the graphs.

    width: channels of the last four blocks, and numbers of a node in the first graphs. bands,
    frames, later: shares of the nodes that remain of the bands, of the frames, and of each later
    graph.
    """

    width: int
    bands: float
    frames: float
    later: float


class GraphModel(SpeakerModel):
    """A model whose embeddings [N, 160] come from graphs of the bands and of the frames of maps.

    Its __init__ calls add_graphs(), and its forward() calls embed(). The names of the weights are
    the names in the release of AASIST's authors.
    """

    dim = 5 * SIZE

    def add_graphs(self, sizes: Sizes, bands: int) -> None:
        """Makes the modules of all graphs. bands: of the maps."""
        self.pos_S = nn.Parameter(torch.randn(1, bands, sizes.width))
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

    def graphs(self, size: torch.Tensor) -> torch.Tensor:
        """Maps absolute maps [N, width, bands, T'] to embeddings [N, 160]."""
        bands = self.pool_S(self.GAT_layer_S(size.amax(3).mT + self.pos_S))
        frames = self.pool_T(self.GAT_layer_T(size.amax(2).mT))
        paths = zip(self.path("1", frames, bands), self.path("2", frames, bands), strict=True)
        frames, bands, master = (torch.maximum(*both) for both in paths)
        parts = [frames.abs().amax(1), frames.mean(1), bands.abs().amax(1), bands.mean(1)]
        return torch.cat([*parts, master.squeeze(1)], 1)

    def embed(self, size: torch.Tensor) -> torch.Tensor:
        """Maps absolute maps to embeddings as graphs() does, in float32 and with dropout."""
        # Which nodes remain is decided by small differences of scores.
        with torch.autocast(size.device.type, enabled=False):
            return self.drop(self.graphs(size.float()))
