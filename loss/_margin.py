"""What the losses with a margin share: its schedule, angles with a margin, softmax over scaled cosines with a margin at the true class."""

import math
from typing import Literal

import torch
from torch.nn import functional as F

from loss import Loss, accuracy, rows

# the type of the option margin_growth
Growth = Literal["exponential", "linear"]


class Schedule:
    """The margin as a function of the updates done: margin_start before number margin_from, then growing, `margin` from margin_until on."""

    def __init__(self, margin, margin_start, margin_from, margin_until, margin_growth):
        if not 0 <= margin_from <= margin_until:
            raise ValueError(
                f"--margin_from {margin_from} --margin_until {margin_until}: the margin grows from the first update to the second; "
                "want 0 <= margin_from <= margin_until"
            )
        self.last, self.first, self.begin, self.end, self.growth = (
            margin,
            margin_start,
            margin_from,
            margin_until,
            margin_growth,
        )

    def __call__(self, step):
        if step >= self.end:
            return self.last
        if step < self.begin:
            return self.first
        done = (step - self.begin) / (self.end - self.begin)
        return self.first + (self.last - self.first) * (
            done if self.growth == "linear" else 1.0 - 1e-3**done
        )


def add_angle(cos, angle):
    """Cosines of angles -> cosines of the angles plus `angle`."""
    # references clamp at 0, where the gradient is not finite
    sin = (1.0 - cos * cos).clamp(1e-12, 1.0).sqrt()
    return cos * math.cos(angle) - sin * math.sin(angle)


def add_margin(cos, margin):
    """The same for a margin; where the sum passes pi, and the cosine would rise again, it goes on with a line, continuously."""
    limit = math.cos(math.pi - margin)
    return torch.where(cos > limit, add_angle(cos, margin), cos - (1.0 + limit))


def subtract_margin(cos, margin):
    """Cosines of the angles minus the margin, where these would be negative with a line."""
    return -add_margin(-cos, margin)


class MarginSoftmax(Loss):
    """A subclass gives cosine(x [n, D]) -> [n, classes] and penalise(cos [n, 1], margin) -> [n, 1]; it may change margin_at(step)."""

    def __init__(self, schedule, scale):
        super().__init__()
        self.schedule, self.scale = schedule, scale

    def forward(self, rep, batch, pair):
        x, label = rows(rep, batch)
        logit = self.scale * self.with_margin(
            self.cosine(x), label.unsqueeze(1), self.margin_at(batch["step"])
        )
        return {"loss": F.cross_entropy(logit, label), "acc": accuracy(logit, label)}

    def margin_at(self, step):
        return self.schedule(step)

    def with_margin(self, cos, index, margin):
        """cos [n, classes], index [n, 1] of the true class -> [n, classes]."""
        return cos.scatter(1, index, self.penalise(cos.gather(1, index), margin))
