"""The processes of one training or evaluation: each holds the whole network and does its share of every batch. torchrun, or parallel/launch.py, starts them.

In a process that is alone every function does the obvious, so that nobody has to ask whether there are others. All that passes between processes here
goes over the CPUs (gloo); gradients and gathered embeddings go over the network's device.
"""
import datetime
import logging
import os

import torch
from torch import distributed

from corpus import InputError

PATIENCE = datetime.timedelta(days=1)                   # a process that is lost ends the others, whoever started them; checking files may take hours


def join():
    """Meets the other processes where the environment, torchrun's, says that there are some. From then on only the first one tells."""
    if "WORLD_SIZE" not in os.environ or distributed.is_initialized():
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=PATIENCE)
    if rank():
        logging.disable(logging.WARNING)


def leave():
    if distributed.is_initialized():
        distributed.destroy_process_group()


def rank():
    """Number of this process, from 0. Number 0 tells, writes and scores."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world():
    """How many processes there are."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def share(items):
    """Those of the items that are this process's."""
    return items[rank()::world()]


def first(function, *args):
    """function(*args), called in process 0 alone -> its result, or its InputError, in all."""
    if world() == 1:
        return function(*args)
    box = [None]
    if rank() == 0:
        try:
            box = [function(*args)]
        except InputError as error:
            box = [error]
    distributed.broadcast_object_list(box, device=torch.device("cpu"))
    if isinstance(box[0], InputError):
        raise box[0]
    return box[0]


def collect(value):
    """-> the values of all processes, by rank, in process 0; in the others None."""
    if world() == 1:
        return [value]
    found = [None] * world() if rank() == 0 else None
    distributed.gather_object(value, found)
    return found


def anyone(*flags):
    """-> for each flag: is it set in any process?"""
    if world() == 1:
        return flags
    votes = torch.tensor(flags, dtype=torch.int32)
    distributed.all_reduce(votes, distributed.ReduceOp.MAX)
    return tuple(votes.bool().tolist())


def mean(x):
    """x, of one shape in all processes -> the mean over them; over the network of the tensor's device."""
    if world() > 1:
        distributed.all_reduce(x)
    return x / world()


def from_first(tensors):
    """Gives tensors of every process, in place, the values that they have in process 0."""
    for tensor in tensors if world() > 1 else ():
        distributed.broadcast(tensor, 0)


def gathered(x):
    """x [B, ...], of one shape in all processes -> [processes * B, ...], by rank; gradients flow back to where the rows came from."""
    from torch.distributed.nn.functional import all_gather  # here: builds of torch without distributed lack it
    return torch.cat(all_gather(x)) if x.requires_grad else torch.cat(all_gather_plain(x))


def all_gather_plain(x):
    parts = [torch.empty_like(x) for _ in range(world())]
    distributed.all_gather(parts, x.contiguous())
    return parts
