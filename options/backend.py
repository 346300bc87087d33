"""Options of the back end between embeddings and scores."""

from typing import Literal

from metrics.backend_stages import LARGEST_DIM, Settings
from metrics.backends import STAGES
from options.option import Option

DEFAULTS = Settings()
BACKEND = [
    Option(
        "backend",
        str,
        None,
        "score, or write embeddings, through a back end that --estimate_backend wrote",
        placeholder="FILE",
        daily=True,
    ),
    Option(
        "mean_subtraction",
        str,
        None,
        "subtract the mean embedding of the files of a list, or with 'own' of the evaluated files",
        placeholder="LIST",
        daily=True,
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
    Option(
        "lda_dim",
        int,
        DEFAULTS.lda_dim,
        "numbers that the stage lda keeps (default: as many as possible)",
        1,
        most=LARGEST_DIM,
    ),
    Option(
        "wccn_shrinkage",
        float,
        DEFAULTS.wccn_shrinkage,
        "share of the mean variance that the stage wccn adds to all directions",
        0,
        most=1000,
    ),
    Option(
        "plda_iterations",
        int,
        DEFAULTS.plda_iterations,
        "iterations of expectation-maximisation of the stage plda",
        1,
        most=10_000,
    ),
    Option(
        "plda_length",
        bool,
        DEFAULTS.plda_length,
        "scale embeddings to the root of their size before and after the stage plda",
    ),
]
