"""The device to compute on, and the precision that it computes in."""

import contextlib
import re
from collections.abc import Iterator

import torch

from common.errors import InputError

# The name that torch gives to the allocator of the CPU in its errors.
CPU_ALLOCATOR = "DefaultCPUAllocator"


def resolve_device(name: str | None) -> torch.device:
    """Returns the device called `name`, or without a name the best device of this machine.

    Raises InputError if the device cannot compute.
    """
    name = name or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        # The device "meta" makes tensors, but has no numbers.
        torch.zeros(1, device=name).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        devices = torch.cuda.device_count()
        raise InputError(
            f"--device {name}: the device cannot be used ({reason}). CUDA devices of this "
            f"computer: {devices}."
        ) from None
    return torch.device(name)


def make_autocast(device: torch.device, enabled: bool) -> torch.autocast:
    """Returns autocast to bfloat16, or to float16 on GPUs without bfloat16."""
    float16 = device.type == "cuda" and not torch.cuda.is_bf16_supported()
    dtype = torch.float16 if float16 else torch.bfloat16
    return torch.autocast(device.type, dtype=dtype, enabled=enabled)


def require_compiler(device: torch.device) -> None:
    """Raises InputError if torch.compile finds no compiler, before the run begins."""
    try:
        torch.compile(torch.neg)(torch.zeros(8, device=device))
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"--compile does not work here: {reason}. It needs a C++ compiler (g++) and the "
            "header files of Python. Install them, or leave out --compile."
        ) from None


def has_bfloat16_instructions() -> bool:
    """Returns whether this CPU multiplies bfloat16 numbers in hardware (AVX-512 BF16 or AMX)."""
    # torch.cpu has no public function for this. A build of torch may lack the private ones.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def allow_tf32(allowed: bool) -> None:
    """Allows or forbids TF32 matrix products and convolutions on GPUs."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


@contextlib.contextmanager
def kept_tf32() -> Iterator[None]:
    """Context after which TF32 is allowed or forbidden as before."""
    matmul = torch.backends.cuda.matmul.allow_tf32
    cudnn = torch.backends.cudnn.allow_tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = matmul
        torch.backends.cudnn.allow_tf32 = cudnn


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device or the computer has too little memory. torch has no class for a CPU."""
    is_known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return is_known or CPU_ALLOCATOR in str(error)


def memory_problem(error: Exception) -> str:
    """Returns the first sentence of an error for which is_out_of_memory() is true."""
    text = str(error)
    size = re.search(r"tried to allocate (\d+) bytes", text)
    if CPU_ALLOCATOR in text and size:
        return f"The memory of this computer has no room for {int(size[1]) / 1e9:.3g} GB more"
    return text.partition(". ")[0]
