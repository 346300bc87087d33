"""Metrics of speaker-verification scores: error rates, EER, minDCF, and those of spoofed speech.

Print the metrics, and draw scores_det.png beside the file:
    python tuneThreshold.py exps/demo/result/scores.txt
Several systems in one plot; with --compare before them: is the difference chance?
    python tuneThreshold.py before.txt after.txt --det both.png
Draw losses and EERs of runs by epoch, curves.png and curves.svg in the first folder:
    python tuneThreshold.py --plot exps/demo
Learn log-likelihood ratios from scores; from several files their fusion:
    python tuneThreshold.py --calibrate dev.txt --output c.json
Write scores_calibrated.txt, and print how well calibrated it is:
    python tuneThreshold.py --apply c.json scores.txt
Several runs or scores files in one HTML page:
    python tuneThreshold.py --report exps/demo --output report.html

A line of a scores file is `1|0 file file score`. Where some speech is spoofed it is
`speaker file bonafide|attack target|nontarget|spoof score`; the attack may be left out. A trial is
accepted if its score is at or above the threshold.
"""

import argparse
import contextlib
import dataclasses
import functools
import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.trial_kinds import SPOOF, TRIAL_KINDS
from metrics import calibration, confidence, options
from metrics.confidence import Resamples, TooFew
from metrics.llr import effective_prior, llr_text
from metrics.mode_options import AWARE, PLAIN, check_mode, warn_of_unused
from metrics.rates import eer, error_rates, min_dcf, rates_from_counts, summarize
from metrics.sasv import (
    NotDefined,
    a_dcf_from_counts,
    adcf_weights,
    groups_of,
    sasv_rates_from_counts,
    summarize_sasv,
)
from metrics.score_options import (
    add_metric_options,
    add_plain_options,
    add_run_options,
    add_spoofing_options,
    weights_of,
)
from metrics.scores import Scores, read_cm_scores, read_scores, reorder_like
from metrics.slices import slices_of, table_of_slices
from metrics.speakers import Speakers, speakers_of
from metrics.summary import SasvSummary, Summary
from metrics.tandem import min_t_dcf, t_eer
from metrics.worst import tables_of_worst
from report.curves import plot_curves, read_log
from report.det import plot_det
from report.page import write_report
from report.runs import read_runs

log = logging.getLogger("tuneThreshold")
AnySummary = Summary | SasvSummary


class Evaluated(NamedTuple):
    """A scores file that was evaluated. The last two are None without --bootstrap."""

    read: Scores
    summary: AnySummary
    resamples: Resamples | None
    bands: dict | None


# ---------------------------------------------------------------------- metrics
def summary_of(read: Scores, args: argparse.Namespace) -> AnySummary:
    """Returns the metrics of the scores of a file."""
    if read.kinds is None:
        return summarize(
            read.scores,
            read.labels,
            p_target=args.p_target,
            c_miss=args.c_miss,
            c_fa=args.c_fa,
            p_fa=args.far,
            definition=args.eer,
        )
    return summarize_sasv(
        read.scores,
        read.kinds,
        read.attacks,
        p_fa=args.far,
        definition=args.eer,
        **weights_of(args, "adcf"),
    )


def measured(
    threshold: np.ndarray, accepted: dict[str, np.ndarray], args: argparse.Namespace
) -> tuple[dict, dict[str, float]]:
    """Measures one resample of the bootstrap.

    accepted: number of accepted trials of each kind at every threshold. Returns {name of an EER:
    rates as error_rates() returns them}, and {name: value} with the names of the summaries.
    """
    costs = {}
    if SPOOF in accepted:
        rates = sasv_rates_from_counts(threshold, accepted)
        if all(accepted[kind][0] for kind in TRIAL_KINDS):
            weights = adcf_weights(**weights_of(args, "adcf"))
            costs["a-DCF"] = a_dcf_from_counts(threshold, accepted, *weights)[0]
    else:
        plain = rates_from_counts(threshold, accepted["target"], accepted["nontarget"])
        rates = {"EER": plain}
        for p_target in args.p_target:
            cost = min_dcf(*plain, p_target, args.c_miss, args.c_fa)[0]
            costs[f"minDCF({p_target:g})"] = cost
    values = {name: eer(*each, args.eer)[0] for name, each in rates.items()}
    return rates, values | costs


def with_intervals(
    summary: AnySummary, read: Scores, sides: np.ndarray, args: argparse.Namespace
) -> tuple[Any, Resamples, dict]:
    """Adds intervals to a summary. sides: the speakers of the trials, see Speakers.

    Returns the summary, the resamples, and the bands of its curves. Raises TooFew if there are too
    few speakers.
    """
    if read.kinds is None:
        groups = {"target": read.labels, "nontarget": ~read.labels}
    else:
        groups = groups_of(read.kinds)
    gaps = {}
    for name, (_, (_, p_miss, p_fa)) in summary.curves.items():
        gaps[name] = confidence.spread(p_miss, p_fa)
    measure = functools.partial(measured, args=args)
    resamples = confidence.bootstrap(
        read.scores, groups, sides, measure, gaps, args.bootstrap, args.seed
    )
    intervals = confidence.intervals(resamples, summary.values, args.confidence)
    bands = confidence.bands(resamples, gaps, summary.curves, args.confidence)
    return dataclasses.replace(summary, intervals=intervals), resamples, bands


def load_durations(folder: str, names: list[str], place: str) -> dict[str, float]:
    """Returns the seconds of audio files, see corpus/durations.py."""
    # Imported here, because most metrics need no audio.
    from corpus import durations

    return durations.read_durations(folder, names, place)


# ---------------------------------------------------------------------- text
def slices_text(
    column: str,
    parts: dict[str, np.ndarray],
    read: Scores,
    speakers: Callable[[], Speakers],
    args: argparse.Namespace,
) -> str:
    """Returns the table of one column of --by.

    A slice with too few speakers has no intervals.
    """

    def evaluate(part: Scores, selected: np.ndarray) -> AnySummary:
        summary = summary_of(part, args)
        if args.bootstrap:
            with contextlib.suppress(TooFew):
                return with_intervals(summary, part, speakers().sides[selected], args)[0]
        return summary

    return table_of_slices(column, parts, read, evaluate)


def tandem_text(read: Scores, args: argparse.Namespace) -> str:
    """Returns the metrics of the scores together with the countermeasure's scores.

    These are the concurrent t-EER, the t-EER at each prevalence, and min t-DCF.
    """
    if read.kinds is None:
        raise ValueError(
            "--cm: want spoofing-aware scores, lines 'speaker file bonafide|attack "
            "target|nontarget|spoof score'"
        )
    cm_scores = read_cm_scores(args.cm, read)
    lines = []
    for prevalence in (None, *args.prevalence):
        found = t_eer(read.scores, cm_scores, read.kinds, prevalence)
        name = "t-EER" if prevalence is None else f"t-EER({prevalence:g})"
        lines.append(
            f"{name:14s}{found.value:8.2f} %   at threshold {found.asv_threshold:.5g}, "
            f"countermeasure {found.cm_threshold:.5g}"
        )
    weights = weights_of(args, "tdcf")
    try:
        value, threshold = min_t_dcf(read.scores, cm_scores, read.kinds, **weights)
    except NotDefined as error:
        lines.append(f"{'min t-DCF':14s}{'-':>10s}   not defined: {error}")
    else:
        lines.append(
            f"{'min t-DCF':14s}{value:10.4f}   at countermeasure threshold {threshold:.5g}"
        )
    return "\n".join(lines)


# ---------------------------------------------------------------------- modes
def run_calibrate(args: argparse.Namespace) -> None:
    """Learns a calibration, and prints its effect on its own trials."""
    prior = args.effective_prior
    if prior is None:
        prior = effective_prior(args.p_target[0], args.c_miss, args.c_fa)
    made, read, llrs = calibration.calibrate(args.calibrate, args.output, prior, args.quality)
    rates = error_rates(llrs, read.labels)
    metrics = llr_text(llrs, read.labels, rates, args.p_target, args.c_miss, args.c_fa)
    log.info("%s\n\non the same trials\n%s\n\n%s", made, metrics, args.output)


def run_apply(args: argparse.Namespace) -> list:
    """Calibrates scores files. Returns the scores file that was written, if it has labels."""
    first = Path(args.scores[0])
    path = args.output or first.with_name(f"{first.stem}_calibrated.txt")
    read, _ = calibration.apply(args.apply, args.scores, path, args.quality)
    unlabelled = read.labels is None
    remark = "; no labels and so no metrics" if unlabelled else ""
    log.info("log-likelihood ratios: %s%s", path, remark)
    return [] if unlabelled else [path]


def run_report(args: argparse.Namespace, argv: list[str]) -> None:
    """Writes the HTML page about runs and scores files."""
    runs = read_runs(args.report, lambda scores: summary_of(scores, args))
    tandem = {run.name: tandem_text(run.scores, args) for run in runs if args.cm and run.scores}
    path = args.output or "report.html"
    write_report(
        path,
        runs,
        far=args.far,
        embeddings=args.embeddings,
        tandem=tandem,
        definition=args.eer,
        command=shlex.join(["python", "tuneThreshold.py", *argv]),
    )
    log.info("report: %s", path)


def run_plot(args: argparse.Namespace) -> None:
    """Draws the losses and EERs of training runs."""
    logs = {path: read_log(path) for path in args.plot}
    images = plot_curves(args.curves or Path(args.plot[0], "curves"), logs)
    log.info("curves: %s", " ".join(map(str, images)))


def run_scores(args: argparse.Namespace, paths: list) -> set[str]:
    """Prints everything about scores files and draws their DET curves.

    Returns the kinds of lines that the files have.
    """
    results: dict[str, Evaluated] = {}
    for path in paths:
        read = read_scores(path)
        if args.compare and results:
            first = results[paths[0]].read
            read = reorder_like(first, read, path)
        try:
            results[path] = evaluate_file(path, read, args)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
    if args.compare:
        a, b = (results[path] for path in paths)
        table = confidence.comparison(
            a.summary.values, b.summary.values, a.resamples, b.resamples, args.confidence
        )
        log.info("%s\n", table)
    image = args.det or Path(paths[0]).with_name(Path(paths[0]).stem + "_det.png")
    curves = {path: result.summary.curves for path, result in results.items()}
    bands = {path: result.bands for path, result in results.items() if result.bands is not None}
    plot_det(image, curves, bands=bands)
    log.info("DET plot: %s", image)
    return {PLAIN if result.read.kinds is None else AWARE for result in results.values()}


def evaluate_file(path: str, read: Scores, args: argparse.Namespace) -> Evaluated:
    """Evaluates the scores of one file and prints the results."""
    summary = summary_of(read, args)
    resamples = None
    bands = None
    text = []
    if args.llr:
        costs = (args.p_target, args.c_miss, args.c_fa)
        text.append(llr_text(read.scores, read.labels, summary.rates, *costs))
    if args.cm:
        text.append(tandem_text(read, args))
    speakers = functools.cache(functools.partial(speakers_of, read, args))
    slices = {}
    for column in args.by:
        slices[column] = slices_of(column, read, speakers, args, load_durations)
    if args.bootstrap:
        summary, resamples, bands = with_intervals(summary, read, speakers().sides, args)
        text.append(
            f"in brackets {100 * args.confidence:g} % intervals: {args.bootstrap:,} resamples of "
            f"{resamples.speakers:,} speakers"
        )
    for column, parts in slices.items():
        text += ["", slices_text(column, parts, read, speakers, args)]
    if args.worst:
        text += ["", tables_of_worst(read, speakers(), summary.eer_threshold, args.worst)]
    more = "".join(f"\n{line}" for line in text)
    log.info("%s\n%s%s\n", path, summary, more)
    return Evaluated(read, summary, resamples, bands)


# ---------------------------------------------------------------------- command line
def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_run_options(parser)
    add_metric_options(parser)
    add_plain_options(parser)
    add_spoofing_options(parser)
    options.add_calibration_options(parser)
    options.add_speaker_options(parser)
    options.add_confidence_options(parser)
    options.add_slice_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit code."""
    if argv is None:
        argv = sys.argv[1:]
    parser = make_parser()
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    check_mode(args, parser)
    try:
        options.check_calibration_options(args)
        options.check_confidence_options(args)
        options.check_slice_options(args)
        if args.report:
            run_report(args, argv)
        elif args.calibrate:
            run_calibrate(args)
        elif args.plot:
            run_plot(args)
        else:
            paths = args.compare or args.scores
            if args.apply:
                paths = run_apply(args)
                args.llr = True
            if paths:
                warn_of_unused(args, parser, run_scores(args, paths))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
