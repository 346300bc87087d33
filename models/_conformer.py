"""Conformer (Gulati et al., arXiv:2005.08100) for MFA-Conformer (arXiv:2203.15249).

It returns the outputs of all its blocks.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

DROPOUT = 0.1
# Epsilon of the layer normalisations, as published.
EPS = 1e-12


# Stride and padding of each of the first convolutions.
Convolutions = tuple[tuple[int, int], ...]


class Embedding(nn.Module):
    """Maps features [N, 1, T, n_mels] to [N, T', size] by convolutions and a linear layer."""

    def __init__(self, n_mels: int, size: int, convolutions: Convolutions, scale: float) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = []
        inputs = 1
        bands = n_mels
        for stride, padding in convolutions:
            layers += [nn.Conv2d(inputs, size, 3, stride, padding), nn.ReLU(inplace=True)]
            inputs = size
            bands = (bands + 2 * padding - 3) // stride + 1
        if bands < 1:
            raise ValueError(f"--n_mels: expected more bands for the convolutions, found {n_mels}.")
        self.conv = nn.Sequential(*layers)
        self.out = nn.Sequential(nn.Linear(size * bands, size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)  # [N, size, T', F]
        return self.scale * self.out(x.transpose(1, 2).flatten(2))


class Attention(nn.Module):
    """Multi-head self-attention.

    relative: whether to use the published "relative" positions. They lack the shift of
    arXiv:1901.02860, appendix B, so they are positions from the start.
    """

    def __init__(self, size: int, heads: int, relative: bool) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q = nn.Linear(size, size)
        self.linear_k = nn.Linear(size, size)
        self.linear_v = nn.Linear(size, size)
        self.linear_out = nn.Linear(size, size)
        if relative:
            self.linear_pos = nn.Linear(size, size, bias=False)
            self.pos_bias_u = nn.Parameter(torch.empty(heads, size // heads))
            self.pos_bias_v = nn.Parameter(torch.empty(heads, size // heads))
            nn.init.xavier_uniform_(self.pos_bias_u)
            nn.init.xavier_uniform_(self.pos_bias_v)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """Splits the last axis of [N, T, size] into heads: [N, heads, T, size / heads]."""
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: torch.Tensor, table: torch.Tensor | None) -> torch.Tensor:
        """Maps [N, T, size] to [N, T, size]. table: positions [1, T, size], or None."""
        q = self.split(self.linear_q(x))
        k = self.split(self.linear_k(x))
        v = self.split(self.linear_v(x))
        bias = None
        if table is not None:
            # Position p belongs to its key k. So (q + u).k + (q + v).p is q.(k + p), and a bias of
            # the key, which is the same for every query.
            p = self.split(self.linear_pos(table))  # [1, heads, T, size / heads]
            bias_u = torch.einsum("hd,nhtd->nht", self.pos_bias_u, k)
            bias_v = torch.einsum("hd,nhtd->nht", self.pos_bias_v, p)
            bias = ((bias_u + bias_v) / math.sqrt(k.shape[-1])).unsqueeze(2)  # [N, heads, 1, T]
            k = k + p
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.linear_out(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers: [N, T, size] -> [N, T, size]."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.w_1 = nn.Linear(size, width)
        self.dropout = nn.Dropout(DROPOUT)
        self.w_2 = nn.Linear(width, size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w_2(self.dropout(F.silu(self.w_1(x))))


class Convolution(nn.Module):
    """The convolution module of a block: [N, T, size] -> [N, T, size]."""

    def __init__(self, size: int, kernel: int) -> None:
        super().__init__()
        self.pointwise_conv1 = nn.Conv1d(size, 2 * size, 1)
        self.depthwise_conv = nn.Conv1d(size, size, kernel, padding=kernel // 2, groups=size)
        self.norm = nn.BatchNorm1d(size)
        self.pointwise_conv2 = nn.Conv1d(size, size, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.glu(self.pointwise_conv1(x.transpose(1, 2)), 1)  # [N, size, T]
        x = F.silu(self.norm(self.depthwise_conv(x)))
        return self.pointwise_conv2(x).transpose(1, 2)


class Block(nn.Module):
    """Attention and convolution between two halves of feed-forward layers, [N, T, size]."""

    def __init__(self, size: int, heads: int, width: int, kernel: int, relative: bool) -> None:
        super().__init__()
        self.feed_forward_macaron = FeedForward(size, width)
        self.self_attn = Attention(size, heads, relative)
        self.conv_module = Convolution(size, kernel)
        self.feed_forward = FeedForward(size, width)
        self.norm_ff_macaron = nn.LayerNorm(size, EPS)
        self.norm_mha = nn.LayerNorm(size, EPS)
        self.norm_conv = nn.LayerNorm(size, EPS)
        self.norm_ff = nn.LayerNorm(size, EPS)
        self.norm_final = nn.LayerNorm(size, EPS)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: torch.Tensor, table: torch.Tensor | None) -> torch.Tensor:
        x = x + 0.5 * self.dropout(self.feed_forward_macaron(self.norm_ff_macaron(x)))
        x = x + self.dropout(self.self_attn(self.norm_mha(x), table))
        x = x + self.dropout(self.conv_module(self.norm_conv(x)))
        x = x + 0.5 * self.dropout(self.feed_forward(self.norm_ff(x)))
        return self.norm_final(x)


class Conformer(nn.Module):
    """Maps features [N, n_mels, T] to the normalised outputs of all blocks, [N, T', blocks * size].

    size: width of the Conformer. heads: heads of the attention. width: width of the feed-forward
    layers. kernel: size of the depthwise convolution in frames. relative: see Attention.
    """

    def __init__(
        self,
        n_mels: int,
        convolutions: Convolutions,
        *,
        size: int,
        blocks: int,
        heads: int,
        width: int,
        kernel: int,
        relative: bool,
    ) -> None:
        super().__init__()
        self.relative = relative
        self.embed = Embedding(n_mels, size, convolutions, math.sqrt(size) if relative else 1.0)
        self.dropout = nn.Dropout(DROPOUT)
        self.encoders = nn.ModuleList(
            Block(size, heads, width, kernel, relative) for _ in range(blocks)
        )
        self.after_norm = nn.LayerNorm(blocks * size, EPS)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        x = self.dropout(self.embed(features.transpose(1, 2).unsqueeze(1)))  # [N, T', size]
        table = None
        if self.relative:
            table = self.dropout(positions(x.shape[1], x.shape[2], x.device))
        outputs = []
        for block in self.encoders:
            x = block(x, table)
            outputs.append(x)
        return self.after_norm(torch.cat(outputs, 2))


def positions(length: int, size: int, device: torch.device) -> torch.Tensor:
    """Returns a table of positions, [1, length, size].

    Sines and cosines alternate. Their wavelengths are 2 pi to 20000 pi frames.
    """
    frequency = torch.exp(torch.arange(0, size, 2, device=device) * (-math.log(10000.0) / size))
    angle = torch.arange(length, device=device).unsqueeze(1) * frequency  # [length, size / 2]
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1).unsqueeze(0)
