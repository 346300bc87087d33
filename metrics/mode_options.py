"""Which options of tuneThreshold.py go together: those of its modes, and those that need others."""

import argparse
import sys

from metrics.score_options import ADCF, TDCF

COSTS = ("p_target", "c_miss", "c_fa")
# Kinds of lines.
PLAIN = "'1|0'"
AWARE = "spoofing-aware"
ADCF_OPTIONS = tuple(f"adcf_{name}" for name in ADCF)
TDCF_OPTIONS = tuple(f"tdcf_{name}" for name in TDCF)
# Options that a mode reads.
READ_BY_MODE = {
    "plot": ("curves",),
    "calibrate": ("output", "quality", "effective_prior", *COSTS),
    "report": (
        "output", "embeddings", "far", "eer", *COSTS, "cm", "prevalence", *ADCF_OPTIONS,
        *TDCF_OPTIONS,
    ),
}  # fmt: skip
# Options that only one mode reads.
ONLY_IN_MODE = {"curves": "plot", "embeddings": "report", "effective_prior": "calibrate"}
# Without one of the first options, the second ones have no effect on scores files.
NEEDED_BY = {
    ("cm",): ("prevalence", *TDCF_OPTIONS),
    ("bootstrap",): ("confidence", "seed"),
    ("by",): ("table", "path", "bins"),
    ("bootstrap", "by", "worst"): ("speaker_level", "speaker_regex", "speaker_table"),
}


def given_options(args: argparse.Namespace, parser: argparse.ArgumentParser) -> list[str]:
    """Returns the options whose value is not the default."""
    return [name for name in vars(args) if getattr(args, name) != parser.get_default(name)]


def check_mode(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends the program if there is not exactly one mode, or if an option has no effect in it."""
    modes = (args.plot, args.compare, args.calibrate, args.report, args.scores)
    if sum(map(bool, modes)) != 1:
        parser.error(
            "want scores files, or --compare and two of them, or --calibrate and some, or --plot "
            "and folders of training runs, or --report and run folders or scores files"
        )
    mode = next((mode for mode in READ_BY_MODE if getattr(args, mode)), None)
    for name in given_options(args, parser):
        if mode and name not in (mode, *READ_BY_MODE[mode]):
            parser.error(f"--{name}: has no effect with --{mode}")
        if ONLY_IN_MODE.get(name, mode) != mode:
            parser.error(f"--{name}: goes with --{ONLY_IN_MODE[name]}")


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
    if PLAIN not in kinds:
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
            sys.stderr.write(f"warning: {', '.join(found)} has no effect {reason}\n")
