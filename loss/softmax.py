"""Classification of the training speakers by softmax cross-entropy.

python trainSpeakerNet.py --trainfunc softmax ...
"""

from torch import Tensor, nn
from torch.nn import functional as F

from loss import Batch, Loss, Pair, Terms, accuracy, embeddings_and_labels


class LossFunction(Loss):
    """Softmax cross-entropy over the speakers. The loss has no options."""

    classifier = ("fc.weight", "fc.bias")

    def __init__(self, dim: int, num_classes: int):
        super().__init__()
        self.fc = nn.Linear(dim, num_classes)

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        x, label = embeddings_and_labels(rep, batch)
        logit = self.fc(x)  # [n, classes]
        return {"loss": F.cross_entropy(logit, label), "acc": accuracy(logit, label)}
