"""The published sizes of ReDimNet and ReDimNet2, and the architectures of released checkpoints.

The fields of Architecture have the names that they have in the `model_config` of a release.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from common.constants import HOP
from models._redimnet_blocks import HEADS

# Rows of `stages_setup` of ReDimNet2: ((band stride, frame stride), blocks, expansion, kernels,
# reduction of the context). ReDimNet has only the band stride.
Stages = tuple[tuple[Any, ...], ...]
KERNEL = ((3, 3),)

# Blocks and strides that several sizes share.
DEEP = (((1, 1), 2), ((2, 1), 3), ((1, 2), 4), ((2, 1), 5), ((1, 2), 4), ((2, 1), 3))
WIDE_START = (2, 1, 1, 1, 1, 1)
WIDE_HALF = (4, 3, 2, 1, 1, 1)


def stages2(expansions: tuple[float, ...], reductions: tuple[int, ...]) -> Stages:
    """Returns the stages of ReDimNet2 with the strides and blocks that most sizes have."""
    rows = zip(DEEP, expansions, reductions, strict=True)
    return tuple((*shape, expansion, KERNEL, reduction) for shape, expansion, reduction in rows)


def stages1(*rows: tuple[int, int, float, int | None]) -> Stages:
    """Returns the stages of ReDimNet from rows (stride, blocks, expansion, reduction)."""
    return tuple((*row[:3], KERNEL, row[3]) for row in rows)


@dataclass(frozen=True)
class Architecture:
    """A network. The defaults are the values of ReDimNet2.

    C, F: channels and bands of the first maps.
    stages_setup: strides, blocks, expansion, kernels and reduction of each stage
    block_1d_type: context over time, "conv+att" or "att".
    block_2d_type: "basic_resnet", "basic_resnet_fwse" or "convnext_like"
    group_divisor: channels of a group in the larger convolutions
    compress_tconvs: whether the first convolution of a stage has groups.
    out_channels: channels that are pooled. None pools all rows of the frames.
    return_2d_output: whether the last convolution is on maps.
    agg_gnorm: group normalisation of outputs: False, True for C groups, or the number of groups.
    dual_agg: whether later stages also see the output of a stage without its context.
    emb_bn: whether the embedding is normalised by batch statistics.
    feat_type: front end, "pt", "tf" or "kaldi". hop_length: samples between two frames.
    norm_signal: whether the wave is normalised.
    layout: "authors" or "wespeaker", whose ReDimNet has other names and lacks a normalisation.
    """

    C: int
    stages_setup: Stages
    F: int = 72
    block_1d_type: str = "conv+att"
    block_2d_type: str = "basic_resnet"
    group_divisor: int = 1
    compress_tconvs: bool = True
    out_channels: int | None = None
    return_2d_output: bool = False
    agg_gnorm: bool | int = False
    dual_agg: bool = False
    emb_bn: bool = False
    feat_type: str = "pt"
    hop_length: int = 160
    norm_signal: bool = True
    layout: str = "authors"

    @property
    def version(self) -> int:
        """1 for ReDimNet, 2 for ReDimNet2, whose strides are pairs."""
        return 1 if isinstance(self.stages_setup[0][0], int) else 2

    def groups(self, channels: int) -> int:
        """Number of groups of the larger convolutions on maps with this number of channels."""
        return max(1, channels // self.group_divisor)

    @property
    def gnorm_groups(self) -> int:
        """Number of groups of the normalisation of outputs, 0 for none."""
        return self.C if self.agg_gnorm is True else int(self.agg_gnorm)


# ReDimNet2 pools all rows, which gives the sizes of the authors' README. b3 and b6 are the networks
# of the published training recipes.
VARIANTS = {
    "b0": Architecture(12, stages2(WIDE_START, (36, 36, 36, 36, 18, 18))),
    "b1": Architecture(16, stages2(WIDE_START, (32, 32, 32, 32, 16, 16))),
    "b2": Architecture(
        20,
        (
            ((1, 1), 2, 2, ((3, 5),), 40),
            ((2, 1), 3, 1, ((3, 5),), 30),
            ((1, 2), 4, 1, ((3, 5),), 30),
            ((3, 1), 5, 1, ((3, 5),), 20),
            ((1, 2), 4, 1, ((3, 7),), 20),
            ((2, 1), 3, 1, ((3, 7),), 10),
        ),
    ),
    "b3": Architecture(24, stages2(WIDE_HALF, (24,) * 6), agg_gnorm=True, feat_type="tf"),
    "b4": Architecture(32, stages2(WIDE_HALF, (24,) * 6)),
    "b5": Architecture(48, stages2(WIDE_HALF, (48, 48, 48, 48, 32, 32))),
    "b6": Architecture(
        64,
        (
            ((1, 1), 3, 3, KERNEL, 64),
            ((2, 1), 4, 2, KERNEL, 64),
            ((1, 2), 5, 2, KERNEL, 48),
            ((2, 1), 5, 1, KERNEL, 48),
            ((1, 2), 4, 0.75, KERNEL, 32),
            ((2, 1), 3, 0.5, KERNEL, 24),
        ),
        out_channels=224,
        return_2d_output=True,
        agg_gnorm=True,
        feat_type="tf",
    ),
    "v1_b0": Architecture(
        10,
        stages1((1, 2, 1, 30), (2, 3, 2, 30), (1, 3, 3, 30), (2, 4, 2, 10), (1, 3, 1, 10)),
        F=60,
        norm_signal=False,
    ),
    "v1_b1": Architecture(
        12,
        stages1((1, 2, 1, None), (2, 3, 1, None), (3, 4, 1, 12), (2, 5, 1, 12), (2, 3, 1, 8)),
        block_2d_type="convnext_like",
        group_divisor=8,
        norm_signal=False,
    ),
    "v1_b2": Architecture(
        16,
        stages1(
            (1, 2, 1, 12), (2, 2, 1, 12), (1, 3, 1, 12), (2, 4, 1, 8), (1, 4, 1, 8), (2, 4, 1, 4)
        ),
        block_2d_type="convnext_like",
        group_divisor=4,
        norm_signal=False,
    ),
    "v1_b3": Architecture(
        16,
        stages1(
            (1, 6, 4, 32), (2, 6, 2, 32), (1, 8, 2, 32), (2, 10, 2, 16), (1, 10, 1, 16),
            (2, 8, 1, 16),
        ),
        block_2d_type="basic_resnet_fwse",
        norm_signal=False,
    ),
    "v1_b4": Architecture(
        32,
        stages1(
            (1, 4, 2, 48), (2, 4, 2, 48), (1, 6, 2, 48), (2, 6, 1, 32), (1, 8, 1, 24), (2, 4, 1, 16)
        ),
        block_2d_type="basic_resnet_fwse",
        norm_signal=False,
    ),
    "v1_b6": Architecture(
        32,
        stages1(
            (1, 4, 4, 32), (2, 6, 2, 32), (1, 6, 2, 24), (3, 8, 1, 24), (1, 8, 1, 16), (2, 8, 1, 16)
        ),
        group_divisor=32,
        norm_signal=False,
    ),
}  # fmt: skip
VARIANTS["v1_b5"] = dataclasses.replace(VARIANTS["v1_b4"], group_divisor=16)

# The value of --fbank that leaves the front end to the variant.
OF_VARIANT = "of_variant"
CHOICES = {
    "block_1d_type": ("conv+att", "att"),
    "block_2d_type": ("basic_resnet", "basic_resnet_fwse", "convnext_like"),
    "layout": ("authors", "wespeaker"),
}
# Entries of `model_config` that have one value in all releases.
FIXED = {
    "causal": "none",
    "spec_in_channels": 1,
    "use_freq_pos_enc": False,
    "fm_weigthing_type": "NC",
    "do_preemph": True,
}
# Entries that do not shape the network, or that options of the pooling express.
OTHER = ("pooling_func", "global_context_att", "do_spec_aug")


# ---------------------------------------------------------------------- changes of a variant
def architecture(variant: str, changes: str, feat_type: str = OF_VARIANT) -> Architecture:
    """Returns a variant with changed fields.

    changes: fields and values as YAML, for instance "C: 24, out_channels: 64", or "" for none.
    feat_type: the front end, or OF_VARIANT. Raises ValueError for other text, and for values that
    are not possible.
    """
    text = changes.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    try:
        values = yaml.safe_load(f"{{{text}}}")
    except yaml.YAMLError:
        values = None
    if not isinstance(values, dict):
        raise ValueError(
            "--redim_config: expected names and values such as 'C: 24, out_channels: 64', found "
            f"{changes!r}."
        )
    base = VARIANTS[variant]
    if feat_type != OF_VARIANT:
        base = dataclasses.replace(base, feat_type=feat_type)
    for name, value in values.items():
        base = replaced(base, name, value)
    check(base)
    return base


def replaced(base: Architecture, name: str, value: Any) -> Architecture:
    """Returns an architecture with one other field. Raises ValueError if the value cannot be."""
    # The front end has an option of its own.
    known = [field.name for field in dataclasses.fields(Architecture) if field.name != "feat_type"]
    if name not in known:
        raise ValueError(
            f"--redim_config: expected names among {', '.join(known)}, found {name!r}."
        )
    if name == "stages_setup":
        return dataclasses.replace(base, stages_setup=stages_of(value))
    if name in CHOICES:
        require(value in CHOICES[name], f"{name}: one of {', '.join(CHOICES[name])}", value)
    elif name == "out_channels":
        require(value is None or is_size(value), "out_channels: null or a whole number", value)
    elif name == "agg_gnorm":
        require(value is False or value is True or is_size(value), "agg_gnorm: a number", value)
    elif isinstance(getattr(base, name), bool):
        require(isinstance(value, bool), f"{name}: true or false", value)
    else:
        require(is_size(value), f"{name}: a whole number of at least 1", value)
    return dataclasses.replace(base, **{name: value})


def require(condition: bool, expected: str, found: Any) -> None:
    """Raises ValueError about --redim_config unless a condition holds."""
    if not condition:
        raise ValueError(f"--redim_config: expected {expected}, found {found!r}.")


def is_size(value: Any) -> bool:
    """Returns whether a value is a whole number of at least 1."""
    return type(value) is int and value >= 1


def stages_of(value: Any) -> Stages:
    """Returns the stages that a list of lists describes. Raises ValueError for other values."""
    rows = as_tuples(value)
    shape = "stages_setup: a list of [stride, blocks, expansion, [kernel], reduction]"
    require(isinstance(rows, tuple) and bool(rows), shape, value)
    for row in rows:
        require(isinstance(row, tuple) and len(row) == 5, shape, value)
        stride, blocks, expansion, kernels, reduction = row
        require(isinstance(stride, int) == isinstance(rows[0][0], int), shape, value)
        strides = (stride, 1) if isinstance(stride, int) else stride
        sizes = (*strides, blocks)
        require(len(strides) == 2 and all(map(is_size, sizes)), shape, value)
        require(isinstance(expansion, int | float) and expansion > 0, shape, value)
        require(isinstance(kernels, tuple) and len(kernels) == 1, "one kernel", kernels)
        odd = all(is_size(size) and size % 2 for size in kernels[0])
        require(odd and len(kernels[0]) == 2, "a kernel of two odd sizes", kernels[0])
        require(reduction is None or is_size(reduction), shape, value)
    return rows


def as_tuples(value: Any) -> Any:
    """Returns nested lists as nested tuples."""
    return tuple(map(as_tuples, value)) if isinstance(value, list | tuple) else value


def check(base: Architecture) -> None:
    """Raises ValueError if the numbers of an architecture do not fit together."""
    rows = base.C * base.F
    channels = base.C
    for stride, _, expansion, _, reduction in base.stages_setup:
        channels *= stride if isinstance(stride, int) else stride[0]
        wide = int(channels * expansion)
        require(rows % channels == 0, f"strides that divide F ({base.F})", stride)
        if reduction is not None:
            fits = (rows // reduction) % HEADS == 0 and rows >= reduction * HEADS
            expected = f"a reduction for which {rows} / reduction is a multiple of {HEADS}"
            require(fits, f"{expected} (C * F is {rows})", reduction)
        for width in (wide, channels):
            fits = width % base.groups(width) == 0
            require(fits, f"group_divisor: a divisor of {width} channels", base.group_divisor)
    if base.gnorm_groups:
        fits = rows % base.gnorm_groups == 0
        require(fits, f"agg_gnorm: a divisor of C * F ({rows})", base.agg_gnorm)
    known = base.feat_type != "kaldi" or base.hop_length == HOP
    require(known, f"hop_length: {HOP} with --fbank kaldi", base.hop_length)
    known = base.version == 2 or base.out_channels is None
    require(known, "out_channels: null in ReDimNet (version 1)", base.out_channels)
    known = base.version == 1 or base.layout == "authors"
    require(known, "layout: authors in ReDimNet2", base.layout)


# ---------------------------------------------------------------------- released checkpoints
def options_of_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of ReDimNet that build the network of a `model_config`.

    The options are nOut, variant, fbank and redim_config. The options of the pooling in `config`
    are left to the caller. Raises ValueError for an entry that no option expresses.
    """
    entries = {**config, **config.get("spec_params", {})}
    for name, value in FIXED.items():
        found = entries.pop(name, value)
        if found != value:
            raise ValueError(f"model_config: expected {name} {value!r}, found {found!r}.")
    for name in ("spec_params", "embed_dim", *OTHER):
        entries.pop(name, None)
    entries["stages_setup"] = as_tuples(entries["stages_setup"])
    plain = Architecture(1, entries["stages_setup"])
    # An absent entry has the default of its version.
    absent = dataclasses.asdict(plain) | {"norm_signal": plain.version == 2}
    entries = absent | entries
    fbank = entries.pop("feat_type")

    def differences(variant: str) -> dict[str, Any]:
        present = dataclasses.asdict(VARIANTS[variant])
        return {name: value for name, value in entries.items() if present.get(name) != value}

    variant = min(VARIANTS, key=lambda name: len(differences(name)))
    text = json.dumps(differences(variant))[1:-1]
    architecture(variant, text, fbank)
    return {
        "nOut": config.get("embed_dim", 192),
        "variant": variant,
        "fbank": fbank,
        "redim_config": text,
    }
