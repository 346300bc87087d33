"""Poolings over time: frames [N, C, T] -> [N, size]. Statistics are in float32 under autocast too: a variance by subtraction needs it.

TAP temporal average; MAX; SAP self-attentive (Cai et al., arXiv:1804.05160); ASP attentive statistics (Okabe et al., arXiv:1803.10963);
ECA the same with a weight for each channel and the utterance's statistics as context (ECAPA-TDNN, arXiv:2005.07143);
CAP cross attentive, for pairs of utterances (Kye et al., arXiv:2008.05983).
"""
import inspect
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

TEMPERATURE = 0.05                                                               # of CAP's attention


class Pooling(nn.Module):
    """size: channels that come out. A pairwise pooling returns what pair(ref [R, ...], qry [Q, ...]) -> [Q, R, size] each will need; zeros at
    the end of its last axis change nothing, so that utterances of different lengths can be padded to one."""

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


class MAX(Pooling):
    def __init__(self, channels):
        super().__init__(channels)

    def forward(self, frames):
        return frames.amax(-1).float()


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


class ECA(Pooling):
    """A network of two layers weighs the frames. The defaults are ECAPA-TDNN's; models that publish a relative of it give another
    width of the hidden layer, context: whether the utterance's mean and deviation are seen beside each frame, tanh: after the hidden layer,
    shared: one weight for all channels, deviation: whether the weighted deviation is pooled too, floor, ceiling: of all variances."""

    def __init__(self, channels, width=256, context=True, tanh=True, shared=False, deviation=True, floor=1e-4, ceiling=None):
        super().__init__(2 * channels if deviation else channels)
        self.context, self.deviation, self.floor, self.ceiling = context, deviation, floor, ceiling
        self.attention = nn.Sequential(nn.Conv1d(3 * channels if context else channels, width, 1), nn.ReLU(), nn.BatchNorm1d(width),
                                       *([nn.Tanh()] if tanh else []), nn.Conv1d(width, 1 if shared else channels, 1))

    def forward(self, frames):
        first, *others = self.attention
        x = self._with_context(frames, first) if self.context else first(frames)  # [N, width, T]
        for layer in others:
            x = layer(x)
        weights = x.float().softmax(-1)                                          # [N, C or 1, T]
        return statistics(frames, weights, self.floor, self.ceiling) if self.deviation else (frames * weights).sum(-1)

    def _with_context(self, frames, first):
        """first(frames, mean and deviation), where the last two are the same at every frame: their share is computed once, not T times."""
        variance, mean = torch.var_mean(frames.float(), -1, correction=min(1, frames.shape[-1] - 1))   # unbiased, [N, C] each; 0 of one frame
        context = torch.cat([mean, variance.clamp(self.floor, self.ceiling).sqrt()], -1)  # [N, 2C]
        of_frames, of_context = first.weight.split([frames.shape[1], context.shape[1]], 1)
        return F.conv1d(frames, of_frames) + F.linear(context, of_context.squeeze(-1), first.bias).unsqueeze(-1)


def statistics(x, weights, floor, ceiling=None):
    """x [N, C, T], weights [N, 1 or C, T] float32 that sum to 1 over T -> weighted mean and standard deviation [N, 2C]; floor: least variance,
    ceiling: largest."""
    weighted = x * weights                                                       # float32 even if x is not
    mean = weighted.sum(-1)
    variance = (weighted * x).sum(-1) - mean * mean
    return torch.cat([mean, variance.clamp(floor, ceiling).sqrt()], -1)


class CAP(Pooling):
    """Every pair of utterances attends to what the two have in common. A representation is the frames with a channel of ones, [N, C + 1, T]."""

    pairwise = True

    def __init__(self, channels):
        super().__init__(channels)
        self.meta_learner = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.ReLU())
        self.att_bn = nn.BatchNorm1d(channels)

    def forward(self, frames):
        return F.pad(frames.float(), (0, 0, 0, 1), value=1.0)

    def pair(self, ref, qry):
        with torch.autocast(ref.device.type, enabled=False):                     # a temperature of 0.05 wants the digits
            sides = [self._side(rep.float()) for rep in (ref, qry)]
            ref, qry = self._pool(*sides).transpose(0, 1), self._pool(*reversed(sides))       # [Q, R, C] each
            both = torch.stack([ref, qry])
            return F.relu(self.att_bn(both.flatten(0, 2))).unflatten(0, both.shape[:3]).unbind()

    def merge(self, reps):
        return torch.cat(list(reps), -1)

    def _side(self, rep):
        frames, mask = rep[:, :-1], rep[:, -1:]                                  # [N, C, T], [N, 1, T]
        g = F.normalize(self.meta_learner(frames), dim=1) * mask
        return frames, mask, g, g.sum(-1) / mask.sum(-1), g @ g.transpose(1, 2)  # the last two: [N, C], [N, C, C]

    @staticmethod
    def _pool(mine, other):
        """-> pooled frames of mine [N] when they meet other [M], [N, M, C].

        The paper attends by the map of cosines g_i . h_j: frame i gets the logit sum_j (g_i . h_j) (mean_k g_k . h_j). That is g_i . H mean_k g_k
        with H = sum_j h_j h_j', so the map, T x T for every pair, is never made.
        """
        frames, mask, g, mean, _ = mine
        seen = torch.einsum("mcd,nd->nmc", other[4], mean)                       # [N, M, C]
        logit = (seen @ g / TEMPERATURE).masked_fill(mask == 0, -torch.inf)      # [N, M, T]
        weights = logit.softmax(-1) + mask
        return weights @ frames.transpose(1, 2) / mask.sum(-1, keepdim=True)


POOLINGS = {kind.__name__: kind for kind in (TAP, MAX, SAP, ASP, ECA, CAP)}
Encoder = Literal[tuple(POOLINGS)]                                               # the type of every model's option encoder_type


def make_pooling(encoder_type, channels, published=None, **options):
    """The pooling of that name. published: {name: class or partial} where a model's own paper means something else by a name. options: of all the poolings;
    each takes its own."""
    kind = (POOLINGS | (published or {}))[encoder_type]
    return kind(channels, **{name: options[name] for name in inspect.signature(kind).parameters if name in options})
