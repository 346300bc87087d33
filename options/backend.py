"""Options of the back end between embeddings and scores."""

from typing import Any, Literal

from metrics.backend_stages import BOUNDS, HELP, Settings
from metrics.backends import STAGES
from options.option import Option


def setting(name: str, kind: type) -> Option:
    """Declares a setting of the stages of --estimate_backend."""
    bounds: dict[str, Any] = {}
    if name in BOUNDS:
        bounds = {"least": BOUNDS[name][0], "most": BOUNDS[name][1]}
    return Option(name, kind, getattr(Settings(), name), HELP[name], **bounds)


BACKEND = [
    Option(
        "backend",
        str,
        None,
        "score, or write embeddings, through a back end that --estimate_backend wrote",
        placeholder="FILE",
    ),
    Option(
        "mean_subtraction",
        str,
        None,
        "subtract the mean embedding of the files of a list, or with 'own' of the evaluated files",
        placeholder="LIST",
    ),
    Option(
        "mean_path",
        str,
        "",
        "folder that contains the files of --mean_subtraction",
        placeholder="DIR",
    ),
    Option(
        "backend_list",
        str,
        None,
        "list for --estimate_backend: a train list, or lines '<file>' for the stages mean and "
        "length",
        placeholder="LIST",
    ),
    Option(
        "backend_path",
        str,
        "",
        "folder that contains the files of --backend_list",
        placeholder="DIR",
    ),
    Option(
        "backend_stages",
        Literal[STAGES],
        ["mean", "wccn"],
        "stages of --estimate_backend in their order",
        nargs="+",
    ),
    setting("lda_dim", int),
    setting("wccn_shrinkage", float),
    setting("plda_iterations", int),
    setting("plda_length", bool),
]
