"""A batch that cannot be loaded ends all processes after the same update, so that they can save."""

from collections.abc import Iterable, Iterator

import distributed
from DatasetLoader import LoadingError
from inference.evaluation import check_stop
from training.progress import StopRequest


def complete(batches: Iterable, stop: StopRequest) -> Iterator:
    """Yields training batches that all processes have.

    Raises LostBatch or Stopped if a process cannot load its batch, see check_stop().
    """
    items = iter(batches)
    while True:
        batch = None
        error = None
        try:
            batch = next(items, None)
        except LoadingError as caught:
            error = caught
        if any(distributed.any_rank(error is not None)):
            check_stop(stop, error)
        if batch is None:
            return
        yield batch
