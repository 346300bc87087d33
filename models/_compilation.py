"""Functions that torch.compile leaves out.

torch.compiler.disable() loads the compiler, which takes seconds. Most commands compile nothing, so
it is called when the first model is compiled.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

# Functions that make the compiler leave out a function of this program.
SWITCHES: list[Callable[[], None]] = []


def not_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Makes torch.compile leave out a function, from the next leave_out() on."""
    chosen = [function]

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return chosen[0](*args, **kwargs)

    def switch() -> None:
        chosen[0] = torch.compiler.disable(function)

    SWITCHES.append(switch)
    return call


def leave_out() -> None:
    """Loads the compiler, and makes it leave out the functions that need it."""
    for switch in SWITCHES:
        switch()
    SWITCHES.clear()
