"""Options of the computer: device, precision, processes."""

import os

from options.option import Option

COMPUTER = [
    Option(
        "device",
        str,
        None,
        "cpu, cuda or cuda:N (default: cuda if there is a GPU, else cpu)",
        placeholder="NAME",
        daily=True,
    ),
    Option(
        "nDataLoaderThread",
        int,
        min(5, os.cpu_count() or 1),
        "loader processes of each process (0: none)",
        0,
        daily=True,
        most=1024,
    ),
    Option(
        "mixedprec",
        bool,
        False,
        "compute in bfloat16, or in float16 on GPUs without bfloat16",
        daily=True,
    ),
    Option("tf32", bool, True, "allow TF32 matrix products on GPUs while training"),
    Option(
        "compile",
        bool,
        False,
        "compile the model with torch.compile: faster steps after one or two minutes; needs g++",
    ),
    Option(
        "distributed",
        bool,
        False,
        "use all GPUs of CUDA_VISIBLE_DEVICES (not needed with torchrun)",
        daily=True,
    ),
    Option(
        "nproc", int, None, "number of processes, on GPUs or on a CPU", 1, daily=True, most=1024
    ),
    Option(
        "port",
        int,
        0,
        "rendezvous port of the processes (0: choose a free port)",
        0,
        most=2**16 - 1,
    ),
    Option(
        "gather_embeddings",
        bool,
        False,
        "compute the loss from the embeddings of all processes",
    ),
    Option(
        "sync_batchnorm",
        bool,
        False,
        "compute BatchNorm statistics over all processes (GPUs only)",
    ),
]
