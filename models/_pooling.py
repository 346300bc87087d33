"""Poolings over time: frames [N, C, T] -> [N, size]. Statistics are in float32 under autocast too: a variance by subtraction needs it.

TAP temporal average; SAP self-attentive (Cai et al., arXiv:1804.05160); ASP attentive statistics (Okabe et al., arXiv:1803.10963);
ContextASP the same with a weight for each channel and the utterance's statistics as context (ECAPA-TDNN, arXiv:2005.07143).
"""
import torch
from torch import nn
from torch.nn import functional as F


class Pooling(nn.Module):
    """size: channels that come out. A pairwise pooling returns what pair(ref [R, ...], qry [Q, ...]) -> [Q, R, size] each will need."""

    pairwise = False

    def __init__(self, size):
        super().__init__()
        self.size = size

    def merge(self, reps):
        """What forward() led to for n enrolment files [n, ...] -> one reference [...]."""
        return reps.mean(0)


class TAP(Pooling):
    def __init__(self, channels):
        super().__init__(channels)

    def forward(self, frames):
        return frames.mean(-1, dtype=torch.float32)


class SAP(Pooling):
    def __init__(self, channels, size=None):
        super().__init__(size or channels)
        self.sap_linear = nn.Linear(channels, channels)
        self.attention = nn.Parameter(torch.empty(channels, 1))
        nn.init.xavier_normal_(self.attention)

    def weights(self, frames):
        h = torch.tanh(self.sap_linear(frames.transpose(1, 2)))                  # [N, T, C]
        return (h @ self.attention).float().softmax(1).transpose(1, 2)           # [N, 1, T]

    def forward(self, frames):
        return (frames * self.weights(frames)).sum(-1)


class ASP(SAP):
    def __init__(self, channels):
        super().__init__(channels, 2 * channels)

    def forward(self, frames):
        return statistics(frames, self.weights(frames), 1e-5)


class ContextASP(Pooling):
    def __init__(self, channels, width=256):
        super().__init__(2 * channels)
        self.attention = nn.Sequential(nn.Conv1d(3 * channels, width, 1), nn.ReLU(), nn.BatchNorm1d(width), nn.Tanh(),
                                       nn.Conv1d(width, channels, 1))

    def forward(self, frames):
        variance, mean = torch.var_mean(frames.float(), -1)                      # unbiased, [N, C] each
        context = torch.cat([mean, variance.clamp(min=1e-4).sqrt()], -1)         # [N, 2C]
        # the context is the same at every frame: its share of the first layer is computed once, not T times
        first, *others = self.attention
        of_frames, of_context = first.weight.split([frames.shape[1], context.shape[1]], 1)
        x = F.conv1d(frames, of_frames) + F.linear(context, of_context.squeeze(-1), first.bias).unsqueeze(-1)   # [N, width, T]
        for layer in others:
            x = layer(x)
        return statistics(frames, x.float().softmax(-1), 1e-4)                   # weights [N, C, T]


def statistics(x, weights, floor):
    """x [N, C, T], weights [N, 1 or C, T] float32 that sum to 1 over T -> weighted mean and standard deviation [N, 2C]; floor: least variance."""
    weighted = x * weights                                                       # float32 even if x is not
    mean = weighted.sum(-1)
    variance = (weighted * x).sum(-1) - mean * mean
    return torch.cat([mean, variance.clamp(min=floor).sqrt()], -1)


def make_pooling(kinds, name, channels):
    """kinds: {name: class}. ValueError when there is none of that name."""
    if name not in kinds:
        raise ValueError(f"--encoder_type: want one of {', '.join(kinds)}, got {name!r}")
    return kinds[name](channels)
