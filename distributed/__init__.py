"""The processes of one training or evaluation.

Each process holds a complete network and computes its share of every batch. torchrun, or
distributed/launch.py, starts the processes. In a single process every function returns the
obvious result, so callers need not check whether there are other processes.

Python objects and flags travel over the CPUs (gloo). Gradients and gathered embeddings travel over
the network's device.
"""

import contextlib
import contextvars
import datetime
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
import torch.distributed as dist

from common.errors import InputError

# If a process is lost, the launcher ends the others. Checking the files of a list may need hours.
TIMEOUT = datetime.timedelta(days=1)
# Seconds that rank 0 may need longer than other processes to meet the same error.
RANK_ZERO_TIME = 10
# Whether a thread works without the other processes, see alone().
IS_ALONE = contextvars.ContextVar("IS_ALONE", default=False)


def join() -> None:
    """Connects to the other processes if the variables of torchrun are set in the environment.

    Afterwards only rank 0 prints log lines.
    """
    if "WORLD_SIZE" not in os.environ or dist.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    else:
        backend = "gloo"
    with signals_end_this_process():
        dist.init_process_group(backend, timeout=TIMEOUT)
    if rank():
        logging.disable(logging.WARNING)


@contextlib.contextmanager
def signals_end_this_process() -> Iterator[None]:
    """Context in which Ctrl-C ends this process at once.

    Python calls its own handlers only after a call of C++, which here waits for processes that may
    have ended already.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def is_lost_connection(error: Exception) -> bool:
    """Returns whether an error says that another process has ended."""
    return world_size() > 1 and (isinstance(error, dist.DistError) or "gloo" in str(error))


def rank_zero_reports() -> bool:
    """Returns whether rank 0 reports an error that all processes meet. False on rank 0 itself.

    An engine ends all processes as soon as one has failed. The report would be lost if another
    process ended before rank 0. So this process waits until the engine ends it. If this does not
    happen, rank 0 has not met the error.
    """
    if not rank():
        return False
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return True
    time.sleep(RANK_ZERO_TIME)
    return False


def leave() -> None:
    """Disconnects from the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Context in which this thread works without the other processes.

    A program that uses a network may have processes of its own, with other work.
    """
    token = IS_ALONE.set(True)
    try:
        yield
    finally:
        IS_ALONE.reset(token)


def is_connected() -> bool:
    """Returns whether there may be other processes, with which this one works."""
    return dist.is_initialized() and not IS_ALONE.get()


def rank() -> int:
    """Returns the number of this process, from 0. Rank 0 prints, writes and scores."""
    return dist.get_rank() if is_connected() else 0


def world_size() -> int:
    """Returns the number of processes."""
    return dist.get_world_size() if is_connected() else 1


def local_rank() -> int:
    """Returns the number of this process among the processes on this machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", 0))


def local_world_size() -> int:
    """Returns the number of processes on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", 1))


def shard(items):
    """Returns the items that belong to this process: every world_size-th one."""
    return items[rank() :: world_size()]


def on_rank_zero(function: Callable, *args) -> Any:
    """Calls function(*args) on rank 0 only.

    Returns its result, or raises its InputError, on all ranks. If it raises an OSError, the other
    ranks raise an InputError with the same text.
    """
    if world_size() == 1:
        return function(*args)
    box: list = [None]
    system_error = None
    if rank() == 0:
        try:
            box = [function(*args)]
        except InputError as error:
            box = [error]
        except OSError as error:
            system_error = error
            box = [InputError(str(error))]
    dist.broadcast_object_list(box, device=torch.device("cpu"))
    if isinstance(box[0], InputError):
        # Rank 0 must not end before the others have received the error.
        any_rank(False)
        raise system_error or box[0]
    return box[0]


def gather(value: Any) -> list | None:
    """Returns the values of all processes in the order of their ranks on rank 0, None elsewhere."""
    if world_size() == 1:
        return [value]
    values = [None] * world_size() if rank() == 0 else None
    dist.gather_object(value, values)
    return values


def first_of_ranks(value: Any) -> Any:
    """Returns, in all processes, the value of the first process whose value is not None."""
    values = [value] * world_size()
    if world_size() > 1:
        dist.all_gather_object(values, value)
    return next((value for value in values if value is not None), None)


def any_rank(*flags: bool) -> tuple[bool, ...]:
    """Returns, for each flag, whether it is set in any process."""
    if world_size() == 1:
        return flags
    votes = torch.tensor(flags, dtype=torch.int32)
    dist.all_reduce(votes, dist.ReduceOp.MAX)
    return tuple(votes.bool().tolist())


def mean_over_ranks(x: torch.Tensor) -> torch.Tensor:
    """Returns the mean of x over all processes, in which x has the same shape."""
    if world_size() > 1:
        dist.all_reduce(x)
    return x / world_size()


def means_of_sums(count: int, sums: dict[str, float]) -> dict[str, float]:
    """Returns {name: mean over all processes}. count: number of summands in this process."""
    parts = gather((count, sums))

    def means() -> dict[str, float]:
        total = sum(count for count, _ in parts)
        found = {}
        for name in parts[0][1]:
            found[name] = sum(sums.get(name, 0.0) for _, sums in parts) / total
        return found

    return on_rank_zero(means)


def broadcast(tensors: Iterable[torch.Tensor]) -> None:
    """Overwrites the tensors of every process with the values of rank 0."""
    if world_size() == 1:
        return
    for tensor in tensors:
        dist.broadcast(tensor, 0)


def gather_rows(x: torch.Tensor) -> torch.Tensor:
    """Concatenates x [B, ...] of all ranks to [world_size * B, ...].

    Gradients flow back to the process that the rows came from.
    """
    if not x.requires_grad:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)
    # Imported here, because builds of torch without distributed support lack it.
    from torch.distributed.nn.functional import all_gather

    return torch.cat(all_gather(x))
