"""Starts one process on every GPU of this machine, or several processes on its CPU.

This does what the command torchrun does, with the same engine.
"""

import argparse
import logging
import os
import signal
import stat
import sys
from collections.abc import Mapping, Sequence

import torch

from common.errors import InputError
from common.interrupts import LAUNCHER

# The name of a run that launch() has started. torchrun uses other names.
RUN_ID = "trainSpeakerNet"
# The exit code of a process that has lost the connection to the others.
LOST_CONNECTION = 3
# The exit code of a process that has reported wrong input.
WRONG_INPUT = 2


def is_launched(environ: Mapping[str, str]) -> bool:
    """Returns whether launch() has started this process."""
    return environ.get("TORCHELASTIC_RUN_ID") == RUN_ID


def is_repeated(environ: Mapping[str, str]) -> bool:
    """Returns whether another process has already printed the warnings about options."""
    return environ.get("RANK", "0") != "0" or is_launched(environ)


def number_of_processes(options: argparse.Namespace, argv: Sequence[str]) -> int:
    """Returns the number of processes to start, 1 if this process does the work alone.

    argv: the command line. The number is also 1 in a process that torchrun has started. Raises
    InputError if the machine cannot run the processes that the options ask for.
    """
    is_requested = options.distributed or options.nproc
    needs_one_process = options.verify or options.average or options.export
    if "WORLD_SIZE" in os.environ or not is_requested or needs_one_process:
        return 1
    on_cpu = options.device == "cpu" or not torch.cuda.is_available()
    if options.device and ":" in options.device:
        raise InputError(
            f"--device {options.device}: this is one GPU, but --distributed uses all GPUs of "
            "CUDA_VISIBLE_DEVICES. Leave out one of the two options."
        )
    if on_cpu and not options.nproc:
        raise InputError(
            "--distributed: this machine has no GPU. Give the number of processes with --nproc "
            "N to use the CPU."
        )
    if not on_cpu and (options.nproc or 1) > torch.cuda.device_count():
        raise InputError(
            f"--nproc: expected at most {torch.cuda.device_count()}, the number of GPUs, found "
            f"{options.nproc}. Each process needs its own GPU. Lower --nproc."
        )
    refuse_pipes(options, argv)
    return options.nproc or torch.cuda.device_count()


def refuse_pipes(options: argparse.Namespace, argv: Sequence[str]) -> None:
    """Raises InputError if an input is a pipe, which only one process can read.

    The options do not contain --config, so the words of the command line are checked too.
    """
    words = [part for word in argv for part in word.split("=", 1)]
    inputs = list(zip(["", *words], words, strict=False))
    for name, value in vars(options).items():
        paths = value if isinstance(value, (list, tuple)) else [value]
        inputs += [(f"--{name}", path) for path in paths]
    for name, path in inputs:
        is_path = isinstance(path, str) and os.path.exists(path)
        if is_path and stat.S_ISFIFO(os.stat(path).st_mode):
            raise InputError(
                f"{name}: expected a file, because every process of --nproc or --distributed "
                f"reads it, found the pipe {path}. Write the lines to a file first."
            )


def launch(processes: int, port: int, words: Sequence[str], saves: bool) -> int:
    """Runs a Python program in several processes and waits for them.

    words: the program and its command line. port: where the processes connect; 0 chooses a free
    port. saves: whether the processes save their work after a signal. If a process fails, the
    others are ended. Returns the exit code of the first process that failed, else 0. After a signal
    that ended work without saving it, the code is 128 plus the number, as shells report it.
    """
    os.environ[LAUNCHER] = str(os.getpid())
    cpus = len(os.sched_getaffinity(0))
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cpus // processes)))
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        # The engine would end a program that nohup has started.
        os.environ.setdefault("TORCHELASTIC_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGQUIT")
    # Imported here, because single processes need none of it.
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=RUN_ID,
        max_restarts=0,
        rdzv_backend="c10d",
        rdzv_endpoint=f"localhost:{port}",
        local_addr="localhost",
    )
    # The engine would repeat the output of a failed process at length.
    logging.disable(logging.CRITICAL)
    try:
        elastic_launch(config, sys.executable)(*words)
    except SignalException as error:
        # The engine has sent the signal to all processes, which have ended.
        return 0 if saves else 128 + error.sigval
    except ChildFailedError as error:
        return code_of_failures({rank: one.exitcode for rank, one in error.failures.items()})
    finally:
        logging.disable(logging.NOTSET)
    return 0


def code_of_failures(exit_codes: Mapping[int, int]) -> int:
    """Returns the exit code of a run whose processes have failed, and reports a killed process.

    exit_codes: {rank: exit code}, minus the number of a signal. Other processes print their
    own errors. Those that lose the connection to a killed process print nothing. The launcher
    itself sends SIGTERM to the others as soon as one has failed.
    """
    # All processes have met the error, though the launcher may have ended some by a signal.
    if WRONG_INPUT in exit_codes.values():
        return WRONG_INPUT
    codes = [code for code in exit_codes.values() if code > 0 and code != LOST_CONNECTION]
    for rank, code in exit_codes.items():
        if code < 0 and not (codes and code == -signal.SIGTERM):
            name = signal.Signals(-code).name
            sys.stderr.write(
                f"error: --nproc: process {rank} was ended by signal {-code} ({name}). The system "
                "sends SIGKILL when the memory is full. The last checkpoint is unchanged. Run the "
                "same command to resume.\n"
            )
            # Shells report 128 plus the number.
            return 128 - code
    return codes[0] if codes else LOST_CONNECTION
