"""ReDimNet and ReDimNet2 (Yakovlev et al., arXiv:2407.18223), as published by their authors.

Convolutions on maps and layers on frames alternate. All their outputs have the same size, so every
stage sees a weighted sum of all outputs before it. ReDimNet2 also has strides over time. The sizes
b0 to b6 of ReDimNet2 have 1.4 to 12.5 million parameters.

    python trainSpeakerNet.py --model ReDimNet --variant b2 ...
"""

import re
from typing import Literal

import torch
from torch import nn

from models import Backbone
from models import _redimnet as parts
from models._published import OF_WESPEAKER, WHOLE_FILES, Published, PublishedFile
from models._redimnet_front import EPS, front_end, normalised_wave
from models._redimnet_variants import VARIANTS, architecture, options_of_config
from pooling import PoolingMaker

SUMS = re.compile(r"^backbone\.inputs_weights\.(\d+)$")


def variant_of(file: PublishedFile, changes: str) -> str | None:
    """Returns the variant whose layers before the pooling have the shapes in a file, or None.

    changes: a value of --redim_config.
    """
    for variant in VARIANTS:
        try:
            shape = architecture(variant, changes)
        except ValueError:
            # Only ReDimNet has the layout of wespeaker.
            continue
        with torch.device("meta"):
            expected = parts.Backbone(shape).state_dict()
        learned = [name for name in expected if not name.startswith("sums.")]
        shapes = (file.weights.get(f"backbone.{name}") for name in learned)
        if all(
            weight is not None and weight.shape == expected[name].shape
            for name, weight in zip(learned, shapes, strict=True)
        ):
            return variant
    return None


class MainModel(Backbone):
    """nOut: size of the embedding
    variant: size of ReDimNet2 (b0 to b6) or of ReDimNet (v1_b0 to v1_b6)
    fbank: front end: as in the variant, a mel spectrogram (pt), triangles that are linear in mel
        (tf), or filter banks as in wespeaker (kaldi)
    redim_config: other values of a published model_config that differ from the variant, for
        instance "C: 24, out_channels: 64, agg_gnorm: true"
    spec_augment: set random frames and mel bands of training inputs to zero (SpecAugment)
    """

    default_pooling = "ASTP"
    # The attention of this model also receives the statistics of the utterance, as published.
    pooling_aliases = {"ASTP": "ReDimNet_ASTP"}
    old_names = {
        "spec.torchfbank.1.": "torchfbank.",
        "spec.torchfbank.2.": "torchfbank.",
        "backbone.head.1.": "backbone.head.",
        "pool.": "pooling.",
        "seg_1.": "linear.",
    }
    training_options = ("spec_augment",)

    def __init__(
        self,
        *,
        pooling: PoolingMaker,
        nOut: int = 192,
        variant: Literal[
            "b0", "b1", "b2", "b3", "b4", "b5", "b6",
            "v1_b0", "v1_b1", "v1_b2", "v1_b3", "v1_b4", "v1_b5", "v1_b6",
        ] = "b2",
        fbank: Literal["of_variant", "pt", "tf", "kaldi"] = "of_variant",
        redim_config: str = "",
        spec_augment: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.dim = nOut
        shape = architecture(variant, redim_config, fbank)
        self.shape = shape
        self.torchfbank = front_end(shape.feat_type, shape.F, shape.hop_length, spec_augment)
        self.backbone = parts.Backbone(shape)
        self.pooling = pooling(self.backbone.channels)
        size = self.pooling.size
        # wespeaker's ReDimNet has no normalisation here.
        self.bn = nn.Identity() if shape.layout == "wespeaker" else nn.BatchNorm1d(size)
        self.linear = nn.Linear(size, nOut)
        self.bn2 = nn.BatchNorm1d(nOut) if shape.emb_bn else nn.Identity()

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Maps waves [N, T] to features [N, bands, T']."""
        if self.shape.norm_signal:
            x = normalised_wave(x, EPS[self.shape.feat_type])
        return self.torchfbank(x)

    def frames(self, x: torch.Tensor) -> torch.Tensor:
        return self.backbone(self.features(x))

    def head(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.bn2(self.linear(self.bn(pooled)))

    @classmethod
    def recognise(cls, file: PublishedFile) -> Published | None:
        """Recognises the releases, which contain a `model_config`, and the weights of wespeaker."""
        if not file.has("backbone.stem.0.weight"):
            return None
        attention = {
            "bottleneck_dim": file.size("pool.linear1.weight"),
            "global_context_att": file.size("pool.linear1.weight", 1)
            == 3 * file.size("pool.linear2.weight"),
        }
        config = file.setting("model_config")
        if config and "stages_setup" in config:
            options = options_of_config(config) | attention
            return Published(
                f"ReDimNet{'2' if '_' not in options['variant'] else ''}", options, WHOLE_FILES
            )
        changes = "layout: wespeaker" if file.has("backbone.inputs_weights.0") else ""
        variant = variant_of(file, changes)
        if variant is None:
            return None
        options = {"variant": variant, "redim_config": changes, "nOut": file.size("seg_1.weight")}
        return Published(OF_WESPEAKER, options | attention, {"fbank": "kaldi", **WHOLE_FILES})

    def new_name(self, name: str) -> str:
        if name.startswith("spec.") and self.shape.feat_type != "pt":
            # Constants that this program computes. wespeaker does not store them either.
            return ""
        of_sum = SUMS.match(name)
        return f"backbone.sums.{of_sum[1]}.w" if of_sum else super().new_name(name)
