"""Softmax over scaled cosines with a margin at the true class: what amsoftmax and aamsoftmax share."""
from torch.nn import functional as F

from loss import Loss, accuracy, rows


class MarginSoftmax(Loss):
    """A subclass gives cosine(x [n, D]) -> [n, classes] and penalise(cos [n, 1], margin) -> [n, 1]; it may change margin_share(step)."""

    def __init__(self, margin, scale, margin_warmup):
        super().__init__()
        self.margin, self.scale, self.margin_warmup = margin, scale, margin_warmup

    def forward(self, rep, batch, pair):
        x, label = rows(rep, batch)
        margin = self.margin * self.margin_share(batch["step"])
        cos = self.cosine(x)                                                     # [n, classes]
        index = label.unsqueeze(1)
        logit = self.scale * cos.scatter(1, index, self.penalise(cos.gather(1, index), margin))
        return {"loss": F.cross_entropy(logit, label), "acc": accuracy(logit, label)}

    def margin_share(self, step):
        """The part of the margin that an update works with."""
        return min(1.0, step / self.margin_warmup) if self.margin_warmup else 1.0
