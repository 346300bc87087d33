"""The files that the sub-commands of tuneThreshold.py write, and which they may overwrite."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from common.outputs import beside, check_output, input_files, is_special
from metrics.own_files import is_backend, is_calibration, is_scores
from report.pictures import check_of_picture

# Values without an option, and what the help calls them.
POSITIONAL = {
    "scores": "SCORES",
    "first": "A",
    "second": "B",
    "json": "JSON",
    "runs": "RUN",
    "list": "LIST",
}
# A file to write: the option and its value, the path, and how such a file begins.
Output = tuple[str, Path, Callable[[bytes], bool]]


def is_page(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is a page of this program."""
    return b"<title>Speaker verification: " in head


def calibrated_path(args: argparse.Namespace) -> str:
    """Returns the scores file that apply writes."""
    first = args.scores[0]
    name = f"{Path(first).stem}_calibrated.txt"
    return args.output or str(beside(first, name, "--output FILE"))


def det_path(args: argparse.Namespace, first: str) -> Path:
    """Returns the DET picture of scores files. first: the first of them."""
    path = Path(args.det or beside(first, f"{Path(first).stem}_det.png", "--det FILE"))
    return path if path.suffix or is_special(path) else path.with_name(f"{path.name}.png")


def curves_stem(args: argparse.Namespace) -> Path:
    """Returns the path of the pictures that plot writes, without their extension."""
    return Path(args.curves or Path(args.runs[0], "curves"))


def files_to_write(name: str | None, args: argparse.Namespace) -> list[Output]:
    """Returns the files that a sub-command writes. name: None without a sub-command.

    The DET picture counts only if an option names it.
    """
    if name in ("calibrate", "fuse"):
        return [(f"--output {args.output}", Path(args.output), is_calibration)]
    if name == "backend":
        return [(f"--output {args.output}", Path(args.output), is_backend)]
    if name == "report":
        return [(f"--output {args.output}", Path(args.output), is_page)]
    if name == "plot":
        stem = curves_stem(args)
        places = [Path(f"{stem}{extension}") for extension in (".png", ".svg")]
        return [(f"--curves {place}", place, check_of_picture(place)) for place in places]
    found: list[Output] = []
    if name in ("apply", "average", "score"):
        path = calibrated_path(args) if name == "apply" else args.output
        found.append((f"--output {path}", Path(path), is_scores))
    if args.det:
        picture = det_path(args, args.det)
        found.append((f"--det {picture}", picture, check_of_picture(picture)))
    return found


def check_outputs(name: str | None, args: argparse.Namespace) -> None:
    """Raises InputError if a sub-command would overwrite an input or a file of others."""
    inputs = {}
    for option, paths in input_files(vars(args), ("output", "det", "curves")).items():
        inputs[POSITIONAL.get(option.removeprefix("--"), option)] = paths
    for place, path, is_own in files_to_write(name, args):
        check_output(place, path, inputs, is_own)
