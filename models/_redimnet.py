"""The backbone of ReDimNet and ReDimNet2: stages that see the outputs of all stages before them.

The same data have two shapes: maps [N, T, F', C'] for 2-D convolutions, and frames [N, T, C * F]
for the context over time. See models/_redimnet_blocks.py for the order of the axes.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from models._redimnet_blocks import (
    EPS,
    ChannelNorm,
    ConvNeXtMaps,
    FrameConv,
    Gather,
    GroupNorm,
    MapConv,
    MapNorm,
    PointConv,
    ResidualBlock,
    TimeContext,
)
from models._redimnet_variants import Architecture


# ---------------------------------------------------------------------- outputs of all stages
class WeightedSum(nn.Module):
    """Adds the outputs of all stages so far, with a weight for each output and row.

    rates: frames of the input per frame of each output. rows: C * F, or 1 for one weight.
    """

    def __init__(self, rates: list[int], rows: int) -> None:
        super().__init__()
        self.rates = [*rates]
        start = torch.zeros(1, len(rates), rows, 1)
        if len(rates) == 1:
            # The softmax of one number is 1, so there is nothing to train.
            self.register_buffer("w", start)
        else:
            self.w = nn.Parameter(start)

    def forward(self, outputs: list[torch.Tensor]) -> torch.Tensor:
        """Returns the sum [N, T, C * F] of frames [N, T / rate, C * F]."""
        if len(outputs) == 1:
            return outputs[0]
        weights = self.w[0, :, :, 0].softmax(0)  # [number of outputs, C * F]
        return Blend.apply(weights.to(outputs[-1].dtype), self.rates, *outputs)


class Blend(torch.autograd.Function):
    """A weighted sum of outputs in the fewest passes over them.

    Outputs of a strided stage have fewer frames, which are repeated `rate` times. Autograd
    would make one more pass per output in the backward pass, and this sum is a quarter of the
    memory traffic of the network.
    """

    @staticmethod
    def forward(
        ctx: Any, weights: torch.Tensor, rates: list[int], *outputs: torch.Tensor
    ) -> torch.Tensor:
        """Returns the sum [N, T, C] of outputs [N, T / rate, C]. weights: [outputs, C]."""
        ctx.rates = rates
        ctx.save_for_backward(weights, *outputs)
        total = None
        slower = None
        # Slow outputs first: their sum is repeated, and not each of them.
        for rate in sorted({*rates}, reverse=True):
            if total is not None:
                repeats = total.unsqueeze(2).expand(-1, -1, slower // rate, -1)
                total = repeats.flatten(1, 2)
            slower = rate
            for output, weight, own in zip(outputs, weights, rates, strict=True):
                if own == rate and total is None:
                    total = output * weight
                elif own == rate:
                    total = torch.addcmul(total, output, weight)
        return total

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Returns the gradients of all arguments of forward()."""
        weights, *outputs = ctx.saved_tensors
        at_rate = {1: grad}
        for rate in sorted({*ctx.rates} - {1}):
            at_rate[rate] = grad.unflatten(1, (-1, rate)).sum(2)
        to_weights = []
        to_outputs = []
        for output, weight, rate in zip(outputs, weights, ctx.rates, strict=True):
            own = at_rate[rate]
            to_weights.append((own * output).sum((0, 1), dtype=torch.float32))
            to_outputs.append(own * weight)
        return torch.stack(to_weights).to(weights.dtype), None, *to_outputs


class ToMaps(nn.Module):
    """Frames [N, T, C * F] -> maps [N, T, bands, channels]."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.bands = bands

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(2, (self.bands, -1))


class ToFrames(nn.Module):
    """Maps [N, T, bands, channels] -> frames [N, T, C * F]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(2)


# ---------------------------------------------------------------------- the backbone
class Backbone(nn.Module):
    """Maps features [N, bands, T] to frames [N, channels, T].

    T is cut to a multiple of the strides, and zeros (the means of the bands) make it at least one.
    The modules have their published names and numbers, in
    which modules without weights count.

    channels: number of channels of the result.
    """

    def __init__(self, shape: Architecture) -> None:
        super().__init__()
        self.shape = shape
        self.rows = shape.C * shape.F
        norm = ChannelNorm(shape.C, eps=EPS)
        self.stem = nn.Sequential(MapConv(1, shape.C, (3, 3)), norm, ToFrames())
        self.stem_gnorm = self.output_norm()
        # The sums of all outputs are the first module of their stage, except for wespeaker.
        self.apart = shape.layout == "wespeaker"
        self.sums = nn.ModuleList()
        self.inputs: list[int] = []
        maps = (shape.F, shape.C)
        self.stride = 1
        self.rates = [1]
        for i in range(len(shape.stages_setup)):
            maps = self.add_stage(i, maps)
        total = WeightedSum(self.rates, self.rows)
        if self.apart:
            self.sums.append(total)
        else:
            self.fin_wght1d = total
        self.add_head(*maps)

    def output_norm(self) -> nn.Module:
        """Returns the normalisation of an output, which is the same at every rate of frames."""
        groups = self.shape.gnorm_groups
        return GroupNorm(groups, self.rows) if groups else nn.Identity()

    def add_stage(self, i: int, maps: tuple[int, int]) -> tuple[int, int]:
        """Adds a stage behind maps of (bands, channels). Returns bands and channels behind it."""
        shape = self.shape
        strides, blocks, expansion, (kernel,), reduction = shape.stages_setup[i]
        of_bands, of_frames = (strides, 1) if shape.version == 1 else strides
        bands = maps[0] // of_bands
        channels = maps[1] * of_bands
        wide = int(channels * expansion)
        # All outputs have the frames of the input, so the strides of earlier stages count again.
        self.stride *= of_frames
        separate = shape.version == 2 and shape.compress_tconvs
        gather = Gather(maps[1], wide, (of_bands, self.stride), separate)
        before: list[nn.Module] = [gather]
        before += [self.block(bands, wide, kernel) for _ in range(blocks)]
        if expansion != 1:
            before.append(self.squeeze(wide, channels))
        before.append(ToFrames())
        # In version 1 one weight serves all rows of the first output.
        total = WeightedSum(self.rates, 1 if shape.version == 1 and i == 0 else self.rows)
        if self.apart:
            self.sums.append(total)
            self.inputs.append(maps[0])
        else:
            before = [total, ToMaps(maps[0]), *before]
        context: list[nn.Module] = []
        if reduction is not None:
            context = [TimeContext(self.rows, reduction, shape.block_1d_type)]
        if shape.dual_agg:
            self.add_module(f"stage{i}_pre", nn.Sequential(*before))
            self.add_module(f"stage{i}_1d", nn.Sequential(*context)[0])
            for branch in ("2d", "1d"):
                # The number of the module that repeats frames. WeightedSum repeats them.
                repeat = nn.Identity()
                up = nn.Sequential(repeat, self.output_norm())
                self.add_module(f"stage{i}_up_{branch}", up)
            self.rates += [self.stride, self.stride]
        else:
            after = [nn.Identity(), self.output_norm()] if shape.version == 2 else []
            self.add_module(f"stage{i}", nn.Sequential(*before, *context, *after))
            self.rates.append(self.stride)
        return bands, channels

    def block(self, bands: int, channels: int, kernel: tuple[int, int]) -> nn.Module:
        """Returns a block on maps."""
        groups = self.shape.groups(channels)
        if self.shape.block_2d_type == "convnext_like":
            return ConvNeXtMaps(channels, groups, kernel)
        excited = self.shape.block_2d_type == "basic_resnet_fwse"
        return ResidualBlock(channels, groups, bands if excited else 0)

    def squeeze(self, inputs: int, outputs: int) -> nn.Sequential:
        """Returns the end of a stage, whose blocks have more channels than its output."""
        if self.shape.version == 2:
            return nn.Sequential(PointConv(inputs, outputs), MapNorm(outputs, eps=EPS))
        conv = MapConv(inputs, outputs, (3, 3), groups=self.shape.groups(outputs))
        norm = MapNorm(outputs, eps=EPS)
        return nn.Sequential(conv, norm, nn.GELU(), PointConv(outputs, outputs))

    def add_head(self, bands: int, channels: int) -> None:
        """Adds the last convolution. bands, channels: size of the maps before it."""
        shape = self.shape
        self.head: nn.Module = nn.Identity()
        self.channels = self.rows
        if shape.out_channels is None:
            return
        self.channels = shape.out_channels
        if shape.return_2d_output:
            self.bands = bands
            self.head = PointConv(channels, shape.out_channels)
            self.channels *= bands
        else:
            self.head = FrameConv(self.rows, shape.out_channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        frames = features.shape[2]
        kept = max(1, frames // self.stride) * self.stride
        # Padding also cuts. In an ONNX export the length of a slice would be unknown.
        x = F.pad(features, (0, kept - frames)).transpose(1, 2)  # [N, T, F]
        outputs = [self.stem_gnorm(self.stem(x.unsqueeze(3)))]
        for i in range(len(self.shape.stages_setup)):
            outputs += self.stage(i, outputs)
        x = (self.sums[-1] if self.apart else self.fin_wght1d)(outputs)
        if not self.shape.return_2d_output or self.shape.out_channels is None:
            return self.head(x).transpose(1, 2)
        x = self.head(x.unflatten(2, (self.bands, -1)))  # [N, T, bands, out_channels]
        return x.permute(0, 3, 2, 1).flatten(1, 2)

    def stage(self, i: int, outputs: list[torch.Tensor]) -> list[torch.Tensor]:
        """Returns the outputs of a stage, [N, T / stride, C * F] each, from all outputs so far."""
        if self.apart:
            x = self.sums[i](outputs).unflatten(2, (self.inputs[i], -1))
            return [self.get_submodule(f"stage{i}")(x)]
        if not self.shape.dual_agg:
            return [self.get_submodule(f"stage{i}")(outputs)]
        maps = self.get_submodule(f"stage{i}_pre")(outputs)
        context = self.get_submodule(f"stage{i}_1d")(maps)
        return [
            self.get_submodule(f"stage{i}_up_2d")(maps),
            self.get_submodule(f"stage{i}_up_1d")(context),
        ]
