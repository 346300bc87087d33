"""The command `tuneThreshold.py fuse --cm`: a fusion, and the metrics before and after it.

metrics/sasv_fusion.py has the fusions.
"""

import argparse
import sys
from typing import Any

import numpy as np

from common.errors import InputError
from metrics.sasv import a_dcf_at, summarize_sasv
from metrics.sasv_fusion import (
    FOLDS,
    Fusion,
    cross_validated,
    load_fusion,
    read_pair,
    save_fusion,
    train_fusion,
)
from metrics.score_options import weights_of
from metrics.scores import Scores, write_scores
from metrics.unused_options import ADCF_OPTIONS, COSTS

METRICS = ("a-DCF", "SASV-EER", "SV-EER", "SPF-EER")
# Options of fuse that only a fusion with a countermeasure has, and the ones that only others have.
WITH_CM = ("fusion", "test", "test_cm", "eer", *ADCF_OPTIONS)
WITHOUT_CM = ("effective_prior", *COSTS)


def check_fuse_options(args: argparse.Namespace, given: list[str]) -> None:
    """Refuses combinations of options of fuse, and warns of the ones without effect.

    given: names of the options that differ from their defaults. Raises InputError.
    """
    if args.cm and len(args.scores) > 1:
        raise InputError(
            f"--cm: expected one speaker scores file, found {len(args.scores)} scores files. "
            "Fuse the speaker systems first, or leave out --cm."
        )
    if args.cm and args.quality:
        raise InputError(
            "--quality: a fusion with countermeasure scores takes no quality measures. "
            "Leave out --quality, or calibrate the speaker scores with it first."
        )
    if args.cm and bool(args.test) != bool(args.test_cm):
        raise InputError(
            "--test, --test_cm: expected both or none of them, found one. Give the speaker scores "
            "of the test trials to --test, and their countermeasure scores to --test_cm."
        )
    unused = [name for name in (WITHOUT_CM if args.cm else WITH_CM) if name in given]
    if unused:
        names = ", ".join(f"--{name}" for name in unused)
        has = "has" if len(unused) == 1 else "have"
        sys.stderr.write(
            f"warning: {names} {has} no effect {'with' if args.cm else 'without'} --cm.\n"
        )


def fuse(args: argparse.Namespace) -> str:
    """Trains the fusion of the options of fuse, and writes it. Returns the text about it."""
    costs = weights_of(args, "adcf")
    read, cm = read_pair(args.scores[0], args.cm)
    test = read_pair(args.test, args.test_cm) if args.test else None
    kinds = np.asarray(read.kinds)
    paths = [args.scores[0], args.cm]
    made = train_fusion(args.fusion, read.scores, cm, kinds, costs, paths)
    fused = made.llrs(read.scores, cm)
    speakers = [line.split()[0] for line in read.lines]
    honest = cross_validated(args.fusion, read.scores, cm, kinds, speakers, costs)
    rows = {"speaker scores": read.scores, "countermeasure scores": cm}
    if honest is None:
        sys.stderr.write(
            "warning: the metrics of the fusion belong to the trials of its training, so they are "
            "too good. There are too few enrolled speakers or trials for a cross-validation. Give "
            "test trials to --test and --test_cm.\n"
        )
    else:
        rows[f"fused, {FOLDS}-fold cross-validation over enrolled speakers"] = honest
    rows["fused, on the trials of the training"] = fused
    parts = [str(made), "", metric_table("development trials", read, rows, args)]
    if test is not None:
        parts += ["", text_of_test(made, *test, args)]
    save_fusion(made, args.output)
    return "\n".join([*parts, "", f"fusion: {args.output}"])


def text_of_test(made: Fusion, read: Scores, cm: np.ndarray, args: argparse.Namespace) -> str:
    """Returns the metrics of test trials, and the cost at the threshold of the fusion."""
    fused = made.llrs(read.scores, cm)
    rows = {"speaker scores": read.scores, "countermeasure scores": cm, "fused": fused}
    return "\n".join(
        [metric_table("test trials", read, rows, args), *cost_lines(made, read, fused)]
    )


def cost_lines(made: Fusion, read: Scores, fused: np.ndarray) -> list[str]:
    """Returns a line about the cost at the threshold of a fusion, or none if a kind is missing."""
    if read.kinds is None or len(set(read.kinds.tolist())) < len(made.trials):
        return []
    cost = a_dcf_at(made.threshold, fused, read.kinds, **made.costs)
    return [f"a-DCF at the threshold {made.threshold:.5g} of the fusion: {cost:.4f}"]


def metric_table(
    title: str, read: Scores, rows: dict[str, np.ndarray], args: argparse.Namespace
) -> str:
    """Returns the metrics of several scores of the same trials. rows: {name: scores [n]}."""
    width = max(map(len, [title, *rows]))
    lines = [f"{title:{width}s}" + "".join(f"{name:>11s}" for name in METRICS)]
    for name, scores in rows.items():
        found = metrics_of_scores(scores, read, args)
        texts = []
        for metric in METRICS:
            text = f"{found[metric]:.4f}" if metric in found else "-"
            if metric in found and metric != "a-DCF":
                text = f"{found[metric]:.2f} %"
            texts.append(f"{text:>11s}")
        lines.append(f"{name:{width}s}" + "".join(texts))
    return "\n".join(lines)


def metrics_of_scores(
    scores: np.ndarray, read: Scores, args: argparse.Namespace
) -> dict[str, float]:
    """Returns {metric: value} of scores [n] of the trials, without metrics that lack a kind."""
    if read.kinds is None or read.attacks is None:
        return {}
    costs: dict[str, Any] = dict(weights_of(args, "adcf"))
    return summarize_sasv(scores, read.kinds, read.attacks, definition=args.eer, **costs).values


def apply_fusion(args: argparse.Namespace, output: str) -> tuple[Scores, list[str]]:
    """Fuses scores files with the fusion in the file of apply, and writes a scores file.

    Returns the trials, and a line about the cost at the threshold of the fusion if the trials have
    all kinds. Raises InputError for files that do not suit the fusion.
    """
    made = load_fusion(args.json)
    if not args.cm or len(args.scores) > 1 or args.quality:
        raise InputError(
            f"{args.json}: expected one speaker scores file and --cm FILE, because it is a fusion "
            "with a countermeasure, found other inputs. Give the countermeasure scores to --cm, "
            "and no other scores files or --quality."
        )
    read, cm = read_pair(args.scores[0], args.cm, labelled=False)
    fused = made.llrs(read.scores, cm)
    write_scores(output, read.lines, fused)
    return read, cost_lines(made, read, fused)
