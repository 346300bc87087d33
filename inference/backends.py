"""A back end between the embeddings of a network and their scores, on the device of the network.

metrics/backends.py estimates back ends, and defines their numbers.
"""

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import InputError
from metrics.backends import BackEnd, estimate
from metrics.plda import ratio_of
from models import SpeakerModel
from network.foreign_checkpoints import checksum_of


class BackEndLayers(nn.Module):
    """The stages of a back end in float32, for embeddings of any shape [..., D].

    Every score is an inner product of the vectors that project() returns for enrolment and test.
    With plda, the test side first swaps the last two numbers, see for_tests().
    """

    def __init__(self, backend: BackEnd):
        super().__init__()
        self.backend = backend
        self.lengths = [step.length for step in backend.steps]
        self.before_scaling = len(backend.steps_before_scaling())
        for number, step in enumerate(backend.steps):
            self._keep(f"offset_{number}", step.offset)
            self._keep(f"matrix_{number}", step.matrix)
        self.has_plda = backend.psi is not None
        if backend.psi is not None:
            ratio = ratio_of(backend.psi)
            self._keep("root", ratio.root)
            self._keep("square", ratio.square)
            self.constant = ratio.constant

    def _keep(self, name: str, array: np.ndarray | None) -> None:
        """Stores an array, so that it moves to the device together with the others."""
        tensor = None if array is None else torch.tensor(array, dtype=torch.float32)
        self.register_buffer(name, tensor)

    def _steps(self, x: Tensor, steps: int) -> Tensor:
        """Applies the first steps. Raises InputError for embeddings of another size."""
        self.backend.check_size(x.shape[-1])
        for number in range(steps):
            offset = getattr(self, f"offset_{number}")
            matrix = getattr(self, f"matrix_{number}")
            if offset is not None:
                x = x - offset
            if matrix is not None:
                x = x @ matrix
            if self.lengths[number]:
                x = nn.functional.normalize(x, dim=-1) * self.lengths[number]
        return x

    def forward(self, x: Tensor) -> Tensor:
        """Maps embeddings [..., D] -> [..., D']."""
        return self._steps(x, len(self.lengths))

    def norms(self, x: Tensor) -> Tensor:
        """Returns the lengths of embeddings before the first stage that scales them, [...]."""
        return self._steps(x, self.before_scaling).norm(dim=-1)

    def project(self, x: Tensor) -> Tensor:
        """Maps embeddings [..., D] to vectors whose inner products are the scores."""
        y = self(x)
        if not self.has_plda:
            return nn.functional.normalize(y, dim=-1)
        own = self.constant / 2 - (self.square * y**2).sum(-1, keepdim=True) / 2
        return torch.cat([self.root * y, own, torch.ones_like(own)], -1)

    def for_tests(self, projections: Tensor) -> Tensor:
        """Turns the projections [F, P] of files into the projections of test files."""
        if not self.has_plda:
            return projections
        return torch.cat([projections[:, :-2], projections[:, [-1, -2]]], 1)


class WithBackEnd(SpeakerModel):
    """A model whose embeddings went through the stages of a back end."""

    def __init__(self, model: SpeakerModel, layers: BackEndLayers):
        super().__init__()
        self.model = model
        self.layers = layers
        self.takes = model.takes
        self.dim = model.dim
        self.pairwise = model.pairwise

    def freeze(self) -> None:
        """Prepares the model for weights that will not change any more."""
        self.model.freeze()

    def forward(self, x: Tensor) -> Tensor:
        """Maps inputs [N, ...] to embeddings [N, D']."""
        return self.layers(self.model(x))


def digest_of(model: SpeakerModel) -> str:
    """Returns a text that differs between networks with different weights."""
    return checksum_of(model.state_dict())


def require_embeddings(model: SpeakerModel, place: str) -> None:
    """Raises InputError if a model has no embedding of a single file.

    place: see check_network().
    """
    if model.pairwise:
        raise InputError(
            f"{place}: a back end works on embeddings of single utterances, but the pooling of "
            "this model compares two utterances. Leave it out, or use a model with another pooling."
        )


def check_network(backend: BackEnd, model: SpeakerModel, place: str = "--backend") -> None:
    """Raises InputError if a back end was estimated from the embeddings of another network.

    place: the option or file of the back end, for messages.
    """
    require_embeddings(model, place)
    if not model.state_dict():
        # --check reads embeddings, and does not know their network.
        return
    backend.check_size(model.dim, place)
    if backend.network and backend.network != digest_of(model):
        raise InputError(
            f"{place}: expected a back end of this network, found a back end of other weights "
            f"(estimated from {backend.source}). Estimate a back end for this network with "
            "--estimate_backend FILE."
        )


def own_mean(reps: dict[str, Tensor]) -> BackEnd:
    """Returns the back end that subtracts the mean of the evaluated files.

    reps: {file: embeddings of its crops [K, D]}. The mean of a file counts once.
    """
    means = np.stack([rep.double().mean(0).numpy() for rep in reps.values()])
    return estimate(means, [], ["mean"], source="the evaluated files")
