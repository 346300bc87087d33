"""What the losses of embedding enhancement share: a network maps an embedding [D] of noisy speech to the speaker's clean one, the target."""

import torch
from torch.nn import functional as F

from loss import Loss, require_pairs

# lists that have it
WHOSE = {
    "other": "of lines '<speaker> <file> <other speaker>'",
    "session": "of lines '<speaker> <file> <file> 0|1'",
}


class Enhancement(Loss):
    """A subclass gives terms(x, target, batch), x and target [B, M, D] -> {name: scalar}; the loss is their sum. Similarity is the cosine."""

    reads = ("target",)

    def forward(self, rep, batch, pair):
        missing = [name for name in self.reads if name not in batch]
        if missing:
            raise ValueError(
                f"--trainfunc: this loss wants {' and '.join(missing)} with every embedding, which only lists of embeddings bring along"
                f"{', ' + WHOSE[missing[-1]] if missing[-1] in WHOSE else ''}: give such a list, or choose another loss"
            )
        if len(batch["real"]) < len(rep):
            raise ValueError(
                "--trainfunc: this loss makes nothing of spoofed speech: take it off the train list, or choose another loss"
            )
        if rep.shape[2:] != batch["target"].shape[1:]:
            raise ValueError(
                f"--trainfunc: this loss wants embeddings of {batch['target'].shape[1]} numbers, as the targets are, got {list(rep.shape)} "
                "from the model: choose --nOut, and an --encoder_type that gives embeddings"
            )
        target = batch["target"].unsqueeze(1).expand_as(rep)
        terms = self.terms(rep, target, batch)
        return {"loss": sum(terms.values())} | {
            name: value.detach() for name, value in terms.items()
        }

    def terms(self, x, target, batch):
        raise NotImplementedError


class Euclidean(Enhancement):
    """The similarity is minus the Euclidean distance of the embeddings as they are."""

    linear = False

    def project(self, x):
        return x

    def similarity(self, ref, qry):
        return self.euclidean(ref, qry)


def away(x, y):
    """Embeddings [..., D] -> 1 - mean cosine."""
    return 1.0 - F.cosine_similarity(x, y, dim=-1).mean()


class SessionAlignment(Enhancement):
    """A subclass gives distance(x, y), [P, D] both -> [P], and pull(x, target) -> terms; utterances 2i and 2i + 1 of a group are a pair."""

    reads = ("target", "session")

    def __init__(self, sigma):
        super().__init__()
        if sigma <= 0:
            raise ValueError(f"--sigma: want more than 0, got {sigma}")
        self.sigma = sigma

    def terms(self, x, target, batch):
        # at least two utterances
        require_pairs(x, batch)
        pairs = x.shape[1] // 2
        first, second = (
            x[:, : 2 * pairs].unflatten(1, (pairs, 2)).flatten(0, 1).unbind(1)
        )  # [P, D] each
        session = batch["session"][:, : 2 * pairs].unflatten(1, (pairs, 2)).flatten(0, 1)  # [P, 2]
        same = session[:, 0] == session[:, 1]
        return {
            "loss_mmd": discrepancy(self.distance(first, second), same, self.sigma)
        } | self.pull(x, target)


def discrepancy(distance, same, sigma):
    """Squared maximum mean discrepancy (Gretton et al., arXiv:0805.2368), with a Gaussian kernel, of the distances of pairs of two kinds.

    distance [P], same [P] bool, the kind -> scalar; 0 where one of the kinds is absent.
    """
    kinds = torch.stack([same, ~same]).float()  # [2, P]
    first, second = kinds / kinds.sum(1, keepdim=True).clamp(min=1.0)
    weight = (first - second) * kinds.any(1).all()
    kernel = torch.exp(
        (distance.unsqueeze(0) - distance.unsqueeze(1)).square() / (-2.0 * sigma**2)
    )  # [P, P]
    return weight @ kernel @ weight
