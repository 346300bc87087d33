"""Inference: evaluation, scoring, embedding, verification, averaging and export.

The Python interface, see docs/python.md:
    from inference import load
    net = load("best.model")
    embeddings = net.embed(["a.wav", "b.wav"])
    score, same = net.verify("a.wav", "b.wav")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from common.errors import InputError
    from inference.loaded_net import LoadedNet, Verdict, load

__all__ = ["InputError", "LoadedNet", "Verdict", "load"]


def __getattr__(name: str) -> Any:
    """Returns a part of the Python interface, which is loaded at its first use."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from inference import loaded_net

    return getattr(loaded_net, name)
