"""Poolings over time: frames [N, C, T] -> [N, size]. Statistics are in float32 under autocast too: a variance by subtraction needs it.

TAP temporal average; MAX; SAP self-attentive (Cai et al., arXiv:1804.05160); ASP attentive statistics (Okabe et al., arXiv:1803.10963);
ECA the same with a weight for each channel and the utterance's statistics as context (ECAPA-TDNN, arXiv:2005.07143);
CAP cross attentive, for pairs of utterances (Kye et al., arXiv:2008.05983); Attention, MHA with a weight for each group (head) of channels,
DoubleMHA with a second attention over the heads (India et al., arXiv:2007.13199).
"""

import inspect
import math
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

# of CAP's attention
TEMPERATURE = 0.05


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
        h = torch.tanh(self.sap_linear(frames.transpose(1, 2)))  # [N, T, C]
        return (h @ self.attention).float().softmax(1).transpose(1, 2)  # [N, 1, T]

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

    def __init__(
        self,
        channels,
        width=256,
        context=True,
        tanh=True,
        shared=False,
        deviation=True,
        floor=1e-4,
        ceiling=None,
    ):
        super().__init__(2 * channels if deviation else channels)
        self.context, self.deviation, self.floor, self.ceiling = context, deviation, floor, ceiling
        self.attention = nn.Sequential(
            nn.Conv1d(3 * channels if context else channels, width, 1),
            nn.ReLU(),
            nn.BatchNorm1d(width),
            *([nn.Tanh()] if tanh else []),
            nn.Conv1d(width, 1 if shared else channels, 1),
        )

    def forward(self, frames):
        context = None
        # unbiased, [N, C] each; the deviation of one frame is 0
        if self.context:
            variance, mean = torch.var_mean(
                frames.float(), -1, correction=min(1, frames.shape[-1] - 1)
            )
            context = torch.cat([mean, variance.clamp(self.floor, self.ceiling).sqrt()], -1)
        weights = self.weights(frames, context)
        return (
            statistics(frames, weights, self.floor, self.ceiling)
            if self.deviation
            else (frames * weights).sum(-1)
        )

    def weights(self, frames, context=None):
        """context [N, 2C], the same at every frame: its share of the first layer is computed once, not T times."""
        first, *others = self.attention
        if context is None:
            x = first(frames)  # [N, width, T]
        else:
            of_frames, of_context = first.weight.split([frames.shape[1], context.shape[1]], 1)
            x = F.conv1d(frames, of_frames) + F.linear(
                context, of_context.squeeze(-1), first.bias
            ).unsqueeze(-1)
        for layer in others:
            x = layer(x)
        return x.float().softmax(-1)  # [N, C or 1, T]


class CentredECA(ECA):
    """ECA as in speechbrain: deviations are of centred frames, and biased."""

    def __init__(self, channels):
        super().__init__(channels, 128)

    def forward(self, frames):
        frames = frames.float()
        context = torch.cat(self.moments(frames, 1 / frames.shape[-1]), -1)  # [N, 2C]
        return torch.cat(self.moments(frames, self.weights(frames, context)), -1)

    @staticmethod
    def moments(frames, weights):
        mean = (frames * weights).sum(-1)
        variance = ((frames - mean.unsqueeze(-1)).square() * weights).sum(-1)
        return mean, variance.clamp(min=1e-12).sqrt()  # [N, C] each


def statistics(x, weights, floor, ceiling=None):
    """x [N, C, T], weights [N, 1 or C, T] float32 that sum to 1 over T -> weighted mean and standard deviation [N, 2C]; floor: least variance,
    ceiling: largest."""
    # float32 even if x is not
    weighted = x * weights
    mean = weighted.sum(-1)
    variance = (weighted * x).sum(-1) - mean * mean
    return torch.cat([mean, variance.clamp(floor, ceiling).sqrt()], -1)


class CAP(Pooling):
    """Every pair of utterances attends to what the two have in common. A representation is, over time, the frames, the unit vectors that are
    compared, and ones, [N, 2C + 1, T]."""

    pairwise = True

    def __init__(self, channels):
        super().__init__(channels)
        self.meta_learner = nn.Sequential(nn.Conv1d(channels, channels, 1), nn.ReLU())
        self.att_bn = nn.BatchNorm1d(channels)

    def forward(self, frames):
        # a temperature of 0.05 wants the digits
        with torch.autocast(frames.device.type, enabled=False):
            frames = frames.float()
            return F.pad(
                torch.cat([frames, F.normalize(self.meta_learner(frames), dim=1)], 1),
                (0, 0, 0, 1),
                value=1.0,
            )

    def pair(self, ref, qry):
        with torch.autocast(ref.device.type, enabled=False):
            both = torch.stack(
                [self._pool(ref, qry).transpose(0, 1), self._pool(qry, ref)]
            )  # [2, Q, R, C]
            return F.relu(self.att_bn(both.flatten(0, 2))).unflatten(0, both.shape[:3]).unbind()

    def merge(self, reps):
        return torch.cat(list(reps), -1)

    def _pool(self, mine, other):
        """Representations of N and M utterances -> pooled frames of each of the N when it meets each of the M, [N, M, C].

        The paper attends by the map of cosines g_i . h_j: frame i gets the logit sum_j (g_i . h_j) (mean_k g_k . h_j). That is g_i . v with
        v = sum_j h_j (h_j . mean_k g_k), so the map, T x T for every pair, is never made.
        """
        frames, g, mask = mine.split(
            [self.size, self.size, 1], 1
        )  # [N, C, T], [N, C, T], [N, 1, T]
        h, length = other[:, self.size : -1], mask.sum(-1, keepdim=True)  # [M, C, T'], [N, 1, 1]
        mean = (g.sum(-1) / length.squeeze(-1)).expand(len(h), -1, -1)  # [M, N, C]
        v = (mean @ h @ h.transpose(1, 2)).transpose(0, 1)  # [N, M, C]
        logit = (v @ g / TEMPERATURE).masked_fill(mask == 0, -torch.inf)  # [N, M, T]
        return (logit.softmax(-1) + mask) @ frames.transpose(1, 2) / length


class Attention(Pooling):
    def __init__(self, channels):
        super().__init__(channels)
        self.att = nn.Parameter(torch.empty(channels, 1))
        nn.init.xavier_normal_(self.att)

    def logits(self, frames):
        return (frames * self.att).sum(1, keepdim=True)  # [N, 1, T] float32 even if frames are not

    def weights(self, frames):
        return self.logits(frames).softmax(-1)

    def forward(self, frames):
        return (frames * self.weights(frames)).sum(-1)


class MHA(Pooling):
    def __init__(self, channels, heads_number):
        if heads_number < 1 or channels % heads_number:
            raise ValueError(
                f"--heads_number: want heads that divide the {channels} channels of the pooling, got {heads_number}"
            )
        super().__init__(channels)
        self.query = nn.Parameter(torch.empty(channels // heads_number, heads_number))
        nn.init.xavier_normal_(self.query)

    def heads(self, frames):
        return frames.unflatten(1, self.query.t().shape)  # [N, heads, C / heads, T]

    def weights(self, frames):
        # float32
        logits = (self.heads(frames) * self.query.t().unsqueeze(-1)).sum(2)
        return (logits / math.sqrt(self.query.shape[1])).softmax(
            -1
        )  # [N, heads, T]; reference scales by the heads, not their size; kept

    def forward(self, frames):
        return (self.heads(frames) * self.weights(frames).unsqueeze(2)).sum(-1).flatten(1)


class HeadsAttention(Attention):
    """Attention over heads [N, size, heads], some of which are left out of every training step, each with probability `left_out`."""

    def __init__(self, size, mask_prob):
        if not 0.0 <= mask_prob <= 0.5:
            raise ValueError(f"--mask_prob: want 0 (no head is left out) to 0.5, got {mask_prob}")
        super().__init__(size)
        # rounded as in the reference: 0.3 means one third
        self.left_out = 1 / int(1 / mask_prob) if mask_prob else 0.0

    def logits(self, heads):
        logits = super().logits(heads)  # [N, 1, heads]
        if not self.training:
            return logits
        # the CPU generator's whatever the device, as in spec_augment()
        draw = torch.rand(logits.shape).to(logits.device, non_blocking=True)
        # the reference may leave out all heads, whose softmax is NaN: here the one with the largest draw stays
        return logits.masked_fill(
            (draw < self.left_out) & (draw < draw.amax(-1, keepdim=True)), -torch.inf
        )


class DoubleMHA(Pooling):
    def __init__(self, channels, heads_number, mask_prob):
        utterance = MHA(channels, heads_number)
        super().__init__(channels // heads_number)
        self.utteranceAttention, self.headsAttention = (
            utterance,
            HeadsAttention(self.size, mask_prob),
        )

    def forward(self, frames):
        pooled = self.utteranceAttention(frames)  # [N, C]
        return self.headsAttention(pooled.unflatten(1, (-1, self.size)).transpose(1, 2))


POOLINGS = {
    kind.__name__: kind for kind in (TAP, MAX, SAP, ASP, ECA, CAP, Attention, MHA, DoubleMHA)
}
# the type of every model's option encoder_type
Encoder = Literal[tuple(POOLINGS)]


def make_pooling(encoder_type, channels, published=None, **options):
    """The pooling of that name. published: {name: class or partial} where a model's own paper means something else by a name. options: of all the poolings;
    each takes its own."""
    kind = (POOLINGS | (published or {}))[encoder_type]
    return kind(
        channels,
        **{name: options[name] for name in inspect.signature(kind).parameters if name in options},
    )
