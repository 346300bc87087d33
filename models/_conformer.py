"""Conformer (Gulati et al., arXiv:2005.08100) that returns the outputs of all its blocks, for MFA-Conformer (arXiv:2203.15249)."""

import math

import torch
from torch import nn
from torch.nn import functional as F

DROPOUT = 0.1
# of the layer normalisations, as published
EPS = 1e-12


class Embedding(nn.Module):
    """features [N, 1, T, n_mels] -> [N, T', size]. convolutions: stride and padding of each."""

    def __init__(self, n_mels, size, convolutions, scale):
        super().__init__()
        self.scale = scale
        layers, inputs, bands = [], 1, n_mels
        for stride, padding in convolutions:
            layers += [nn.Conv2d(inputs, size, 3, stride, padding), nn.ReLU(inplace=True)]
            inputs, bands = size, (bands + 2 * padding - 3) // stride + 1
        self.conv = nn.Sequential(*layers)
        self.out = nn.Sequential(nn.Linear(size * bands, size))

    def forward(self, x):
        x = self.conv(x)  # [N, size, T', F]
        return self.scale * self.out(x.transpose(1, 2).flatten(2))


class Attention(nn.Module):
    """relative: with the published "relative" positions, which lack the shift (arXiv:1901.02860, appendix B) and so count from the start."""

    def __init__(self, size, heads, relative):
        super().__init__()
        self.heads = heads
        self.linear_q, self.linear_k, self.linear_v, self.linear_out = (
            nn.Linear(size, size) for _ in range(4)
        )
        if relative:
            self.linear_pos = nn.Linear(size, size, bias=False)
            self.pos_bias_u = nn.Parameter(torch.empty(heads, size // heads))
            self.pos_bias_v = nn.Parameter(torch.empty(heads, size // heads))
            nn.init.xavier_uniform_(self.pos_bias_u)
            nn.init.xavier_uniform_(self.pos_bias_v)

    def split(self, x):
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)  # [N, heads, T, size / heads]

    def forward(self, x, table):
        """x [N, T, size], table [1, T, size] or None -> [N, T, size]."""
        q, k, v = (
            self.split(self.linear_q(x)),
            self.split(self.linear_k(x)),
            self.split(self.linear_v(x)),
        )
        bias = None
        if table is not None:
            # a position p belongs to its key k, so that (q + u).k + (q + v).p is q.(k + p) and a bias of the key
            p = self.split(self.linear_pos(table))  # [1, heads, T, size / heads]
            bias = torch.einsum("hd,nhtd->nht", self.pos_bias_u, k) + torch.einsum(
                "hd,nhtd->nht", self.pos_bias_v, p
            )
            bias = (bias / math.sqrt(k.shape[-1])).unsqueeze(
                2
            )  # [N, heads, 1, T], the same for every query
            k = k + p
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.linear_out(y.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    def __init__(self, size, width):
        super().__init__()
        self.w_1 = nn.Linear(size, width)
        self.dropout = nn.Dropout(DROPOUT)
        self.w_2 = nn.Linear(width, size)

    def forward(self, x):
        return self.w_2(self.dropout(F.silu(self.w_1(x))))


class Convolution(nn.Module):
    def __init__(self, size, kernel):
        super().__init__()
        self.pointwise_conv1 = nn.Conv1d(size, 2 * size, 1)
        self.depthwise_conv = nn.Conv1d(size, size, kernel, padding=kernel // 2, groups=size)
        self.norm = nn.BatchNorm1d(size)
        self.pointwise_conv2 = nn.Conv1d(size, size, 1)

    def forward(self, x):
        x = F.glu(self.pointwise_conv1(x.transpose(1, 2)), 1)  # [N, size, T]
        x = F.silu(self.norm(self.depthwise_conv(x)))
        return self.pointwise_conv2(x).transpose(1, 2)


class Block(nn.Module):
    def __init__(self, size, heads, width, kernel, relative):
        super().__init__()
        self.feed_forward_macaron = FeedForward(size, width)
        self.self_attn = Attention(size, heads, relative)
        self.conv_module = Convolution(size, kernel)
        self.feed_forward = FeedForward(size, width)
        self.norm_ff_macaron, self.norm_mha, self.norm_conv, self.norm_ff, self.norm_final = (
            nn.LayerNorm(size, EPS) for _ in range(5)
        )
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x, table):
        x = x + 0.5 * self.dropout(self.feed_forward_macaron(self.norm_ff_macaron(x)))
        x = x + self.dropout(self.self_attn(self.norm_mha(x), table))
        x = x + self.dropout(self.conv_module(self.norm_conv(x)))
        x = x + 0.5 * self.dropout(self.feed_forward(self.norm_ff(x)))
        return self.norm_final(x)


class Conformer(nn.Module):
    """features [N, n_mels, T] -> [N, T', blocks * size], the outputs of all the blocks side by side, normalised."""

    def __init__(self, n_mels, convolutions, *, size, blocks, heads, width, kernel, relative):
        super().__init__()
        self.relative = relative
        self.embed = Embedding(n_mels, size, convolutions, math.sqrt(size) if relative else 1.0)
        self.dropout = nn.Dropout(DROPOUT)
        self.encoders = nn.ModuleList(
            Block(size, heads, width, kernel, relative) for _ in range(blocks)
        )
        self.after_norm = nn.LayerNorm(blocks * size, EPS)

    def forward(self, features):
        x = self.dropout(self.embed(features.transpose(1, 2).unsqueeze(1)))  # [N, T', size]
        table = self.dropout(positions(x.shape[1], x.shape[2], x.device)) if self.relative else None
        outputs = []
        for block in self.encoders:
            x = block(x, table)
            outputs.append(x)
        return self.after_norm(torch.cat(outputs, 2))


def positions(length, size, device):
    """-> [1, length, size]: sines and cosines in turn, of wavelengths from 2 pi to 20000 pi frames."""
    frequency = torch.exp(torch.arange(0, size, 2, device=device) * (-math.log(10000.0) / size))
    angle = torch.arange(length, device=device).unsqueeze(1) * frequency  # [length, size / 2]
    return torch.stack([angle.sin(), angle.cos()], 2).flatten(1).unsqueeze(0)
