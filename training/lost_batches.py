"""A batch that cannot be loaded ends all processes after the same update, so that they can save."""

from collections.abc import Iterable, Iterator

import distributed
from common.errors import InputError
from DatasetLoader import LoadingError
from inference.evaluation import Stopped
from training.progress import StopRequest


class LostBatch(InputError):
    """A batch of training cannot be loaded. All processes raise it after the same update."""


def complete(batches: Iterable, stop: StopRequest) -> Iterator:
    """Yields training batches that all processes have.

    Raises LostBatch if a process cannot load its batch. Raises Stopped instead if a stop was
    requested, because the signal may have ended the loader processes too.
    """
    items = iter(batches)
    while True:
        batch = None
        error = None
        try:
            batch = next(items, None)
        except LoadingError as caught:
            error = caught
        lost, stopped = distributed.any_rank(error is not None, stop.requested)
        if lost and stopped:
            raise Stopped
        if lost:
            raise LostBatch(*distributed.first_of_ranks(error).args)
        if batch is None:
            return
        yield batch
