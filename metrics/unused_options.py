"""Warnings about options of tuneThreshold.py that have no effect on the scores files."""

import argparse
import sys

from metrics.score_options import ADCF, TDCF
from metrics.scores import Scores

COSTS = ("p_target", "c_miss", "c_fa")
# Kinds of lines.
PLAIN = "'1|0'"
AWARE = "spoofing-aware"
FILES = "single-file"
ADCF_OPTIONS = ("adcf", *(f"adcf_{name}" for name in ADCF))
TDCF_OPTIONS = tuple(f"tdcf_{name}" for name in TDCF)
# Without one of the first options, the second ones have no effect on scores files.
NEEDED_BY = {
    ("cm",): ("prevalence", *TDCF_OPTIONS),
    ("bootstrap",): ("confidence", "seed"),
    ("by",): ("table", "path", "bins"),
    ("bootstrap", "by", "worst"): ("speaker_level", "speaker_regex", "speaker_table"),
}


def kind_of_lines(read: Scores) -> str:
    """Returns the kind of the lines of scores."""
    if read.are_of_files:
        return FILES
    return PLAIN if read.kinds is None else AWARE


def given_options(args: argparse.Namespace, parser: argparse.ArgumentParser) -> list[str]:
    """Returns the options whose value is not the default."""
    return [name for name in vars(args) if getattr(args, name) != parser.get_default(name)]


def warn_of_unused(
    args: argparse.Namespace, parser: argparse.ArgumentParser, kinds: set[str]
) -> None:
    """Warns of options without effect. kinds: kinds of the lines of the scores files."""
    if args.llr:
        # --llr uses the priors and costs of plain scores.
        kinds = kinds | {PLAIN}
    unused: dict[str, list[str]] = {}
    scores = f"on {' and '.join(sorted(kinds))} scores"
    unused[scores] = []
    if kinds == {AWARE}:
        unused[scores] += COSTS
    if AWARE not in kinds:
        unused[scores] += ADCF_OPTIONS
    for needed, needing in NEEDED_BY.items():
        if not any(getattr(args, name) for name in needed):
            unused[f"without --{' or --'.join(needed)}"] = list(needing)
    given = given_options(args, parser)
    for reason, names in unused.items():
        found = [f"--{name}" for name in names if name in given]
        if found:
            has = "has" if len(found) == 1 else "have"
            sys.stderr.write(f"warning: {', '.join(found)} {has} no effect {reason}.\n")
