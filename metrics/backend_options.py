"""Options of tuneThreshold.py backend and tuneThreshold.py score."""

import argparse
import logging
from collections.abc import Collection, Sequence

import numpy as np

from metrics.backend_stages import BOUNDS, HELP, STAGE_OF, Settings
from metrics.backends import DEFAULT_STAGES, STAGES, BackEnd, adapted, estimate, load_backend

log = logging.getLogger(__name__)
# Defaults of the scales of an adaptation, as in Kaldi.
SCALES = {"between_scale": 0.7, "within_scale": 0.3}


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
        default=DEFAULT_STAGES,
        metavar="STAGE",
        help=f"stages in their order, out of {', '.join(STAGES)} "
        f"(default: {' '.join(DEFAULT_STAGES)})",
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
    add_adaptation_options(parser)


def add_adaptation_options(parser: argparse.ArgumentParser) -> None:
    """Declares the adaptation of a back end to another domain."""
    parser.add_argument(
        "--adapt",
        metavar="FILE",
        help="do not estimate, but adapt this back end with plda to LIST, whose speakers are not "
        "used",
    )
    for name, letter in (("between_scale", "B"), ("within_scale", "W")):
        parser.add_argument(
            f"--{name}",
            type=float,
            default=SCALES[name],
            metavar="X",
            help=f"--adapt: share of the variance of LIST that {letter} of plda receives "
            "(%(default)g)",
        )


def add_options_of_score(parser: argparse.ArgumentParser) -> None:
    """Declares the options of score."""
    parser.add_argument("list", metavar="TRIALS", help="list of trials")
    add_embeddings_option(parser)
    parser.add_argument(
        "--backend", metavar="FILE", help="file of a back end (default: cosines of the embeddings)"
    )
    parser.add_argument(
        "--output", metavar="SCORES", required=True, help="scores file, which is written"
    )


def made_backend(args: argparse.Namespace, x: np.ndarray, speakers: list[str]) -> BackEnd:
    """Estimates or adapts the back end of a command line from embeddings x [n, D] of LIST."""
    defaults = Settings()._asdict() | SCALES | {"stages": DEFAULT_STAGES}
    given = [name for name, default in defaults.items() if getattr(args, name) != default]
    warn_of_settings(given, args.stages, adapts=bool(args.adapt))
    if args.adapt:
        scales = {name: getattr(args, name) for name in SCALES}
        return adapted(load_backend(args.adapt), x, source=args.list, **scales)
    settings = {name: getattr(args, name) for name in Settings._fields}
    return estimate(x, speakers, args.stages, source=args.list, **settings)


def warn_of_settings(given: Collection[str], stages: Sequence[str], adapts: bool = False) -> None:
    """Warns of options that have no effect on a back end of the given stages.

    given: the names of the options that were given. adapts: whether a back end is adapted.
    """
    unused = dict.fromkeys(SCALES, "without --adapt")
    for name, stage in STAGE_OF.items():
        if stage not in stages:
            unused[name] = f"without the stage {stage}"
    if adapts:
        unused = dict.fromkeys((*STAGE_OF, "stages"), "with --adapt")
    for name, reason in unused.items():
        if name in given:
            log.warning("warning: --%s has no effect %s.", name, reason)


def check_backend_options(args: argparse.Namespace) -> None:
    """Raises ValueError for numbers that are out of bounds."""
    for name, (least, most) in (BOUNDS | dict.fromkeys(SCALES, (0, 1))).items():
        value = getattr(args, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"--{name}: expected a number from {least} to {most}, found {value}.")
