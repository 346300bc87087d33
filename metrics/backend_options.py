"""Options of tuneThreshold.py backend and tuneThreshold.py score."""

import argparse

from metrics.backend_stages import BOUNDS, HELP, Settings
from metrics.backends import STAGES


def add_embeddings_option(parser: argparse.ArgumentParser) -> None:
    """Declares the folder of the embeddings."""
    parser.add_argument(
        "--embeddings",
        metavar="DIR",
        required=True,
        help="folder of the .npy files that trainSpeakerNet.py --extract wrote for the list",
    )


def add_backend_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of backend."""
    parser.add_argument(
        "list", metavar="LIST", help="a train list, or lines '<file>' for mean and length"
    )
    add_embeddings_option(parser)
    parser.add_argument(
        "--output", metavar="FILE", required=True, help="file of the back end, which is written"
    )
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=STAGES,
        default=["mean", "wccn"],
        metavar="STAGE",
        help=f"stages in their order, out of {', '.join(STAGES)} (default: mean wccn)",
    )
    for name, kind in (("lda_dim", int), ("wccn_shrinkage", float), ("plda_iterations", int)):
        default = getattr(Settings(), name)
        text = HELP[name] if default is None else f"{HELP[name]} (%(default)s)"
        parser.add_argument(
            f"--{name}", type=kind, default=default, metavar="N" if kind is int else "X", help=text
        )
    parser.add_argument(
        "--plda_length",
        action=argparse.BooleanOptionalAction,
        default=Settings().plda_length,
        help=f"{HELP['plda_length']} (on)",
    )


def add_score_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of score."""
    parser.add_argument("list", metavar="TRIALS", help="list of trials")
    add_embeddings_option(parser)
    parser.add_argument(
        "--backend", metavar="FILE", help="file of a back end (default: cosines of the embeddings)"
    )
    parser.add_argument(
        "--output", metavar="SCORES", required=True, help="scores file, which is written"
    )


def check_backend_options(args: argparse.Namespace) -> None:
    """Raises ValueError for numbers that are out of bounds."""
    for name, (least, most) in BOUNDS.items():
        value = getattr(args, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"--{name}: expected a number from {least} to {most}, found {value}.")
