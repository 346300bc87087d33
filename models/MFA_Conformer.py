"""MFA-Conformer (Zhang et al., arXiv:2203.15249).

There are two variants: SASV2, of the SASV 2022 baseline (21.1 million parameters), and original, of
the authors (19.8 million parameters).

    python trainSpeakerNet.py --model MFA_Conformer --variant original --pos_enc_layer_type no_pos
"""

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from models import Backbone
from models._conformer import Conformer
from models._frontend import LogBeforeMel, sasv2_front_end
from pooling import PoolingMaker

# Names in the encoder of the original, whose pooling has speechbrain's names.
ENCODER_NAMES = {
    "pooling.tdnn.conv.conv.": "pooling.attention.0.",
    "pooling.tdnn.norm.norm.": "pooling.attention.2.",
    "pooling.conv.conv.": "pooling.attention.4.",
    "bn.norm.": "bn.",
}
OLD_NAMES = {
    "torchfbank.0.": "torchfbank.",
    "torchfbank.1.": "torchfbank.",
    "attention.": "pooling.attention.",
    "mel_trans.pre_emphasis.": "torchfbank.",
    "mel_trans.": "torchfbank.",
    "loss_fun.": "loss.",
    **ENCODER_NAMES,
    **{f"encoder.{old}": new for old, new in ENCODER_NAMES.items()},
    "encoder.": "",
}
# Stride and padding of the first convolutions.
QUARTER = ((2, 0), (2, 0))
HALF = {"SASV2": ((1, 1), (2, 0)), "original": ((2, 0),)}


class MainModel(Backbone):
    """nOut: size of the embedding
    n_mels: mel bands of the input
    variant: front end, ASP pooling and first layers of SASV 2022 (SASV2) or of the authors
    input_layer: divide the frame rate by 2 (conv2d2) or by 4 (conv2d)
    pos_enc_layer_type: position encoding: relative (rel_pos) or none (no_pos)
    output_size: width of the Conformer
    num_blocks: number of Conformer blocks
    attention_heads: number of attention heads in a Conformer block
    linear_units: width of the feed-forward layers
    cnn_module_kernel: kernel size of the depthwise convolution in frames (odd)
    spec_augment: set random frames and mel bands of training inputs to zero (SpecAugment)

    All blocks are pooled. conv2d2 is two convolutions in the variant SASV2, one in the original.
    """

    default_pooling = "ASP"
    # The SASV 2022 baseline calls the pooling of ECAPA-TDNN "ASP".
    pooling_aliases = {"ASP": "ECA"}
    old_names = OLD_NAMES
    training_options = ("spec_augment",)

    def __init__(
        self,
        *,
        pooling: PoolingMaker,
        nOut: int = 192,
        n_mels: int = 80,
        variant: Literal["SASV2", "original"] = "SASV2",
        input_layer: Literal["conv2d2", "conv2d"] = "conv2d2",
        pos_enc_layer_type: Literal["rel_pos", "no_pos"] = "rel_pos",
        output_size: int = 256,
        num_blocks: int = 6,
        attention_heads: int = 4,
        linear_units: int = 2048,
        cnn_module_kernel: int = 15,
        spec_augment: bool = False,
    ) -> None:
        super().__init__()
        if output_size % 2 or output_size % attention_heads:
            raise ValueError(
                f"--output_size: expected a multiple of 2 and of --attention_heads "
                f"({attention_heads}), found {output_size}."
            )
        if cnn_module_kernel % 2 == 0:
            raise ValueError(
                f"--cnn_module_kernel: expected an odd number, found {cnn_module_kernel}."
            )
        self.dim = nOut
        self.unused = tuple(f"conformer.encoders.{i}.concat_linear." for i in range(num_blocks))
        make_front = LogBeforeMel if variant == "original" else sasv2_front_end
        self.torchfbank = make_front(n_mels, augment=spec_augment)
        self.conformer = Conformer(
            n_mels,
            HALF[variant] if input_layer == "conv2d2" else QUARTER,
            size=output_size,
            blocks=num_blocks,
            heads=attention_heads,
            width=linear_units,
            kernel=cnn_module_kernel,
            relative=pos_enc_layer_type == "rel_pos",
        )
        self.pooling = pooling(num_blocks * output_size)
        self.bn = nn.BatchNorm1d(self.pooling.size)
        self.fc = nn.Linear(self.pooling.size, nOut)

    @classmethod
    def aliases(cls, options: Mapping[str, Any]) -> dict[str, str]:
        """The authors of the original use the pooling of speechbrain."""
        if options["variant"] == "original":
            return {"ASP": "CentredECA"}
        return cls.pooling_aliases

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to frames [N, num_blocks * output_size, T']."""
        return self.conformer(self.torchfbank(x)).transpose(1, 2)

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.fc(self.bn(pooled))
