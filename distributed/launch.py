"""Starts one process on every GPU of this machine, or several on its CPU: what torchrun does, with torchrun's engine, without its command line."""

import os
import sys

import torch

from common.errors import InputError

RUN_ID = "trainSpeakerNet"


def is_repeated(environ):
    """Is this a process whose warnings about options another one has given already?"""
    return environ.get("RANK", "0") != "0" or environ.get("TORCHELASTIC_RUN_ID") == RUN_ID


def number_of_processes(options):
    """How many processes this command asks to be started: 1 for none besides this one, and where torchrun has started it. InputError if that cannot be."""
    if (
        "WORLD_SIZE" in os.environ
        or not (options.distributed or options.nproc)
        or options.verify
        or options.average
        or options.export
    ):
        return 1
    on_cpu = options.device == "cpu" or not torch.cuda.is_available()
    if options.device and ":" in options.device:
        raise InputError(
            f"--device {options.device}: names one GPU, --distributed takes all of CUDA_VISIBLE_DEVICES; leave one of them out"
        )
    if on_cpu and not options.nproc:
        raise InputError(
            "--distributed: there is no GPU here; on a CPU say how many processes, --nproc N"
        )
    if not on_cpu and (options.nproc or 1) > torch.cuda.device_count():
        raise InputError(
            f"--nproc {options.nproc}: there are {torch.cuda.device_count()} GPUs here, and each process wants its own"
        )
    return options.nproc or torch.cuda.device_count()


def launch(processes, port, words):
    """Runs a Python program, words[0], and its command line in so many processes. -> exit code: that of the process that failed first, which ends the
    others."""
    # the engine repeats at length what the process has said
    os.environ.setdefault("LOGLEVEL", "CRITICAL")
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // processes)))
    # here: reads LOGLEVEL
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=RUN_ID,
        max_restarts=0,
        # port 0: one that is free
        rdzv_backend="c10d",
        rdzv_endpoint=f"localhost:{port}",
        local_addr="localhost",
    )
    try:
        elastic_launch(config, sys.executable)(*words)
    except SignalException:
        # handed on to all, which have saved and ended
        return 0
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 128 - failure.exitcode
    return 0
