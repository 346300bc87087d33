"""Classification of the training speakers by softmax cross-entropy.

python trainSpeakerNet.py --trainfunc softmax ...
"""

from torch import nn
from torch.nn import functional as F

from loss import Loss, accuracy, rows


class LossFunction(Loss):
    """Softmax cross-entropy over the speakers; it has no options."""

    def __init__(self, dim, num_classes):
        super().__init__()
        self.fc = nn.Linear(dim, num_classes)

    def forward(self, rep, batch, pair):
        x, label = rows(rep, batch)
        logit = self.fc(x)  # [B*M, classes]
        return {"loss": F.cross_entropy(logit, label), "acc": accuracy(logit, label)}
