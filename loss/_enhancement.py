"""Shared parts of the losses for embedding enhancement.

A network maps an embedding [D] of noisy speech to the clean embedding of the speaker, the target.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from loss import Batch, Loss, Pair, Terms, require_embeddings, require_pairs


class Enhancement(Loss):
    """The loss is the sum of the terms that a subclass defines. The similarity is the cosine."""

    reads = ("target",)

    def forward(self, rep: Tensor, batch: Batch, pair: Pair) -> Terms:
        self.check_batch(rep, batch)
        target = batch["target"].unsqueeze(1).expand_as(rep)
        terms = self.terms(rep, target, batch)
        out = {"loss": sum(terms.values())}
        for name, value in terms.items():
            out[name] = value.detach()
        return out

    def check_batch(self, rep: Tensor, batch: Batch) -> None:
        """Raises ValueError if the loss cannot use the batch or the representations."""
        missing = [name for name in self.reads if name not in batch]
        if missing:
            raise ValueError(
                f"--trainfunc: this loss needs the entries {' and '.join(missing)} of a batch, "
                "which only lists of embeddings provide. Choose another list or another loss."
            )
        if len(batch["real"]) < len(rep):
            raise ValueError(
                "--trainfunc: this loss does not use spoofed speech. Remove spoofed speech from "
                "the train list, or choose another loss."
            )
        require_embeddings(rep)
        size = batch["target"].shape[1]
        if rep.shape[2:] != (size,):
            raise ValueError(
                f"--nOut: expected {size}, the size of the targets, found embeddings of shape "
                f"{list(rep.shape[2:])}. Choose --nOut {size}."
            )

    def terms(self, x: Tensor, target: Tensor, batch: Batch) -> Terms:
        """Returns named scalars, whose sum is the loss. x, target: [B, M, D]."""
        raise NotImplementedError


class Euclidean(Enhancement):
    """The similarity is minus the Euclidean distance of the embeddings without normalisation."""

    linear = False

    def project(self, x: Tensor) -> Tensor:
        return x

    def similarity(self, ref: Tensor, qry: Tensor) -> Tensor:
        return self.euclidean(ref, qry)


def cosine_distance(x: Tensor, y: Tensor) -> Tensor:
    """Returns 1 - the mean cosine of embeddings x and y [..., D], a scalar."""
    return 1.0 - F.cosine_similarity(x, y, dim=-1).mean()


class SessionAlignment(Enhancement):
    """Makes the distances within one recording session similar to those between two sessions.

    A distance is measured between the two utterances of a pair. Utterances 2i and 2i + 1 of a group
    are a pair. The term loss_mmd compares the distributions of the distances, see
    maximum_mean_discrepancy(). A subclass defines distance() and target_terms().
    """

    min_utterances = 2
    reads = ("target", "session")

    def __init__(self, sigma: float):
        super().__init__()
        if sigma <= 0:
            raise ValueError(f"--sigma: expected more than 0, found {sigma}.")
        self.sigma = sigma

    def terms(self, x: Tensor, target: Tensor, batch: Batch) -> Terms:
        require_pairs(x)
        first, second = pairs_of_groups(x)
        # The last batch of a validation list may be that small.
        if len(first) < 2 and not torch.is_inference_mode_enabled():
            raise ValueError(
                "--batch_size: expected at least 2 pairs of utterances per batch, because the loss "
                "compares pairs of one session with pairs of two sessions, found 1 pair. Give "
                "--batch_size 2 or more."
            )
        first_session, second_session = pairs_of_groups(batch["session"])
        distance = self.distance(first, second)
        discrepancy = maximum_mean_discrepancy(
            distance, first_session == second_session, self.sigma
        )
        return {"loss_mmd": discrepancy} | self.target_terms(x, target)

    def distance(self, x: Tensor, y: Tensor) -> Tensor:
        """Returns the distances [P] between embeddings x and y [P, D]."""
        raise NotImplementedError

    def target_terms(self, x: Tensor, target: Tensor) -> Terms:
        """Returns the terms that move embeddings towards their targets. x, target: [B, M, D]."""
        raise NotImplementedError


def pairs_of_groups(x: Tensor) -> tuple[Tensor, Tensor]:
    """Splits x [B, M, ...] into the first and the second elements of all P pairs, [P, ...] each.

    Elements 2i and 2i + 1 of a group are a pair. If M is odd, the last element has no partner and
    is left out.
    """
    number = x.shape[1] // 2
    pairs = x[:, : 2 * number].unflatten(1, (number, 2)).flatten(0, 1)  # [P, 2, ...]
    first, second = pairs.unbind(1)
    return first, second


def maximum_mean_discrepancy(distance: Tensor, same_session: Tensor, sigma: float) -> Tensor:
    """Returns the squared maximum mean discrepancy of two sets of distances, a scalar.

    The two sets are the pairs of one session and the pairs of two sessions. The discrepancy is 0 if
    one of the sets is empty. The kernel is Gaussian with width sigma (Gretton et al.,
    arXiv:0805.2368).

    distance: [P]. same_session: [P] bool.
    """
    is_in_set = torch.stack([same_session, ~same_session]).float()  # [2, P]
    first, second = is_in_set / is_in_set.sum(1, keepdim=True).clamp(min=1.0)
    weight = (first - second) * is_in_set.any(1).all()
    difference = distance.unsqueeze(0) - distance.unsqueeze(1)
    kernel = torch.exp(difference.square() / (-2.0 * sigma**2))  # [P, P]
    return weight @ kernel @ weight
