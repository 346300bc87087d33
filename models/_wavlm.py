"""WavLM (Chen et al., arXiv:2110.13900) with the outputs of all its layers, built by torchaudio.

The names of its weights are torchaudio's. torchaudio_names() translates the names of the authors'
files.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torchaudio
from torch import nn
from torch.nn import functional as F


class Size(NamedTuple):
    """What the sizes of WavLM differ in.

    norm: normalisation in the convolutions: "group_norm" in the first one, or "layer_norm" in all.
    norm_first: normalise the input of each part of a transformer layer, not its output. buckets,
    distance: number of relative positions with a bias of their own, and the largest one in frames.
    """

    norm: str
    convolutions: int
    width: int
    hidden: int
    layers: int
    heads: int
    norm_first: bool
    buckets: int = 320
    distance: int = 800
    position_kernel: int = 128
    position_groups: int = 16


# Base and Base+ differ in their training only. The tiny one is for tests and for CPUs.
SIZES = {
    "base": Size("group_norm", 512, 768, 3072, 12, 12, norm_first=False),
    "large": Size("layer_norm", 512, 1024, 4096, 24, 16, norm_first=True),
    "tiny": Size("group_norm", 32, 64, 128, 3, 4, norm_first=False, position_kernel=16),
}
# Kernel sizes and strides of the convolutions: a frame every 20 ms.
CONVOLUTIONS = ((10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2))


def torchaudio_wavlm(size: Size, dropout: float) -> nn.Module:
    """Returns torchaudio's WavLM with random weights."""
    return torchaudio.models.wavlm_model(
        extractor_mode=size.norm,
        extractor_conv_layer_config=[(size.convolutions, *shape) for shape in CONVOLUTIONS],
        extractor_conv_bias=False,
        encoder_embed_dim=size.width,
        encoder_projection_dropout=dropout,
        encoder_pos_conv_kernel=size.position_kernel,
        encoder_pos_conv_groups=size.position_groups,
        encoder_num_layers=size.layers,
        encoder_num_heads=size.heads,
        encoder_num_buckets=size.buckets,
        encoder_max_distance=size.distance,
        encoder_attention_dropout=dropout,
        encoder_ff_interm_features=size.hidden,
        encoder_ff_interm_dropout=0.0,
        encoder_dropout=dropout,
        encoder_layer_norm_first=size.norm_first,
        # See WavLM.forward().
        encoder_layer_drop=0.0,
        aux_num_out=None,
    )


class WavLM(nn.Module):
    """Maps waves to the frames of all transformer layers and of their input.

    dropout: share of numbers that training sets to zero after the projection, in the attention and
    at the end of each part of a layer. layer_drop: probability that an update skips a layer.
    freeze_cnn: the convolutions never learn. normalise: shift and scale each wave to mean 0 and
    variance 1.

    layers: number of layers, with the input of the first one. width: number of channels.
    """

    def __init__(
        self,
        size: Size,
        *,
        dropout: float = 0.1,
        layer_drop: float = 0.0,
        freeze_cnn: bool = True,
        normalise: bool = False,
    ) -> None:
        super().__init__()
        self.layers = size.layers + 1
        self.width = size.width
        self.layer_drop = layer_drop
        self.freeze_cnn = freeze_cnn
        self.normalise = normalise
        built = torchaudio_wavlm(size, dropout)
        self.feature_extractor = built.feature_extractor
        self.encoder = built.encoder
        self.feature_extractor.requires_grad_(not freeze_cnn)
        if size.norm_first:
            # Only the unused end of the network has this layer, but files contain its weights.
            self.encoder.transformer.layer_norm.requires_grad_(False)

    def _apply(self, fn: Callable, recurse: bool = True) -> "WavLM":
        """Keeps the strides of the parameters [1, heads, 1, 1] if the network is channels-last.

        Otherwise several processes warn that gradients have other strides.
        """
        super()._apply(fn, recurse)
        for layer in self.encoder.transformer.layers:
            factor = layer.attention.gru_rel_pos_const
            factor.data = factor.data.flatten().view(factor.shape)
        return self

    def parts(self) -> dict[str, list[nn.Parameter]]:
        """Returns the parameters from the input to the output, as {name of the part: parameters}.

        The first part, "ssl input", is everything below the first layer of the transformer. The
        others are its layers "ssl layer 1", "ssl layer 2", ...
        """
        transformer = self.encoder.transformer
        below = (
            self.feature_extractor,
            self.encoder.feature_projection,
            transformer.pos_conv_embed,
            transformer.layer_norm,
        )
        parts = {"ssl input": [p for module in below for p in module.parameters()]}
        for number, layer in enumerate(transformer.layers, 1):
            parts[f"ssl layer {number}"] = list(layer.parameters())
        return parts

    def convolve(self, waves: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to the outputs of the convolutions, [N, T', convolutions]."""
        if self.normalise:
            waves = F.layer_norm(waves, waves.shape[-1:])
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze_cnn):
            return self.feature_extractor(waves, None)[0]

    def forward(self, waves: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to the frames of all layers, [N, layers, width, T'].

        Layer 0 is the input of the first transformer layer. In the large size the last layer is not
        normalised (as in SLT 2022; kept).
        """
        transformer = self.encoder.transformer
        x = self.encoder.feature_projection(self.convolve(waves))  # [N, T', width]
        x = x + transformer.pos_conv_embed(x)
        # In the other sizes this is the normalisation at the end of the network.
        if transformer.layer_norm_first:
            x = transformer.layer_norm(x)
        x = transformer.dropout(x)
        outputs = [x]
        bias = self.position_bias(x)
        for layer in transformer.layers:
            y, _ = layer(x, None, position_bias=bias)
            x = self.skip_at_random(y, x)
            outputs.append(x)
        return torch.stack(outputs, 1).transpose(2, 3)

    def position_bias(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the bias of the relative positions of frames [N, T', width], for all layers.

        The shape is [N, heads, T', T']. torchaudio makes the positions on the CPU, and waits for
        their copy to a GPU.
        """
        attention = self.encoder.transformer.layers[0].attention
        frame = torch.arange(x.shape[1], device=x.device)
        buckets = attention._relative_positions_bucket(frame - frame.unsqueeze(1))  # [T', T']
        bias = attention.rel_attn_embed(buckets).permute(2, 0, 1)
        # len(x) would fix the number of rows in an exported network.
        return bias.expand(x.shape[0], -1, -1, -1)

    def skip_at_random(self, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Returns the output y of a layer, or its input x with probability `layer_drop`.

        A skipped layer is computed all the same. So every parameter has a gradient in every update,
        for which several processes wait, and the update needs no answer from the device.
        """
        if not self.training or not self.layer_drop:
            return y
        return torch.where(torch.rand((), device=x.device) < self.layer_drop, x, y)


# ---------------------------------------------------------------------- names of the authors
# Beginning of a name in the authors' files -> torchaudio's.
PARTS = {
    "layer_norm.": "encoder.feature_projection.layer_norm.",
    "post_extract_proj.": "encoder.feature_projection.projection.",
    "encoder.pos_conv.0.bias": "encoder.transformer.pos_conv_embed.conv.bias",
    "encoder.pos_conv.0.weight_g": (
        "encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original0"
    ),
    "encoder.pos_conv.0.weight_v": (
        "encoder.transformer.pos_conv_embed.conv.parametrizations.weight.original1"
    ),
    "encoder.layer_norm.": "encoder.transformer.layer_norm.",
}
# The same within a transformer layer.
PARTS_OF_LAYER = {
    "self_attn.out_proj.": "attention.attention.out_proj.",
    "self_attn.grep_linear.": "attention.gru_rel_pos_linear.",
    "self_attn.grep_a": "attention.gru_rel_pos_const",
    "self_attn.relative_attention_bias.": "attention.rel_attn_embed.",
    "self_attn_layer_norm.": "layer_norm.",
    "fc1.": "feed_forward.intermediate_dense.",
    "fc2.": "feed_forward.output_dense.",
}
LAYER = re.compile(r"encoder\.layers\.(\d+)\.(.+)")
# The normalisation is the entry 2 of a convolution in Base, and the entry 2.1 in Large.
CONVOLUTION = re.compile(r"feature_extractor\.conv_layers\.(\d+)\.(0|2|2\.1)\.(weight|bias)")
PROJECTION = re.compile(r"(encoder\.layers\.\d+\.self_attn\.)([qkv])_proj\.(weight|bias)")
# The vector in the place of masked frames, which only the pre-training uses.
UNUSED = "mask_emb"


def torchaudio_names(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the weights of a file of WavLM's authors with torchaudio's names.

    The projections of queries, keys and values of a layer become one tensor. Names of torchaudio,
    and names that are unknown, stay as they are.
    """
    renamed: dict[str, torch.Tensor] = {}
    # Name of the joined tensor -> letter -> projection.
    projections: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in weights.items():
        projection = PROJECTION.fullmatch(name)
        if projection:
            layer, letter, kind = projection.groups()
            projections.setdefault(f"{layer}in_proj_{kind}", {})[letter] = value
        elif name != UNUSED:
            renamed[torchaudio_name(name)] = value
    for name, group in projections.items():
        parts = [group.get(letter, torch.tensor(0.0)) for letter in "qkv"]
        # In a damaged file they do not fit together. Their joined tensor is missing in that case.
        if parts[0].dim() and len({part.shape for part in parts}) == 1:
            renamed[torchaudio_name(name)] = torch.cat(parts)
    return renamed


def torchaudio_name(name: str) -> str:
    """Returns torchaudio's name of a weight of the authors."""
    convolution = CONVOLUTION.fullmatch(name)
    if convolution:
        number, entry, kind = convolution.groups()
        part = "conv" if entry == "0" else "layer_norm"
        return f"feature_extractor.conv_layers.{number}.{part}.{kind}"
    layer = LAYER.fullmatch(name)
    if layer:
        number, rest = layer.groups()
        rest = rest.replace("self_attn.in_proj_", "attention.attention.in_proj_")
        return f"encoder.transformer.layers.{number}.{renamed_start(rest, PARTS_OF_LAYER)}"
    return renamed_start(name, PARTS)


def renamed_start(name: str, table: Mapping[str, str]) -> str:
    """Replaces the beginning of a name by a table {old: new}."""
    for old, new in table.items():
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def size_of(weights: Mapping[str, torch.Tensor]) -> str | None:
    """Returns the name of the size that weights with torchaudio's names have, or None."""
    scale = weights.get("encoder.transformer.layer_norm.weight")
    return None if scale is None else size_of_width(len(scale))


def size_of_width(width: int) -> str | None:
    """Returns the name of the size with this number of channels, or None."""
    return next((name for name, size in SIZES.items() if size.width == width), None)


# ---------------------------------------------------------------------- torchaudio's files
# Bundles of torchaudio, which it downloads.
BUNDLES = ("WAVLM_BASE", "WAVLM_BASE_PLUS", "WAVLM_LARGE")


def download(bundle: str) -> dict[str, torch.Tensor]:
    """Returns the weights of a bundle, which torchaudio downloads or has downloaded before.

    Raises OSError or RuntimeError if it cannot.
    """
    weights = getattr(torchaudio.pipelines, bundle).get_model().state_dict()
    # The network of Large is in another one, which normalises the waves.
    return {name.removeprefix("model."): value for name, value in weights.items()}
