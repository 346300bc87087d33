"""Metrics of speaker-verification scores: EER, minDCF, and metrics of spoofed speech.

Print the metrics, and draw scores_det.png next to the scores file:
    python tuneThreshold.py exps/demo/result/scores.txt
The sub-commands (compare, calibrate, score and others) have their own help:
    python tuneThreshold.py compare --help

metrics/command_options.py declares the command line. metrics/ and report/ do the work.
"""

from common.interrupts import INTERRUPTED, end_at_interrupt, raise_at_interrupt

if __name__ == "__main__":
    end_at_interrupt()
import argparse
import contextlib
import dataclasses
import functools
import logging
import shlex
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from common.errors import InputError, file_problem
from common.outputs import check_output, is_special
from common.terminal import run_program, start_logging, write_error
from common.trial_kinds import SPOOF, TRIAL_KINDS
from metrics import calibration_commands, confidence, options
from metrics.backend_options import check_backend_options, made_backend
from metrics.backend_scores import trial_scores
from metrics.backends import load_backend
from metrics.command_options import ScoresParser, parse_words
from metrics.confidence import Resamples, TooFew
from metrics.countermeasure import summarize_plain
from metrics.direction import OF_SCORES, warn_of_direction
from metrics.kinds import groups_of_scores, rates_of_eers
from metrics.llr import llr_metrics, llr_text
from metrics.rates import eer, min_dcfs
from metrics.sasv import (
    a_dcf_from_counts,
    adcf_weights,
    summarize_sasv,
)
from metrics.score_options import weights_of
from metrics.scores import Scores, read_scores, reorder_like, write_scores
from metrics.slices import slices_of, table_of_slices
from metrics.speakers import Speakers, speakers_of
from metrics.summary import SasvSummary, Summary
from metrics.tandem_text import tandem_text
from metrics.unused_options import given_options, kind_of_lines, warn_of_unused
from metrics.worst import tables_of_worst
from report.curves import plot_curves, read_log
from report.det import plot_det
from report.names import short_names
from report.outputs import calibrated_path, check_outputs, curves_stem, det_path
from report.page import write_report
from report.pictures import check_of_picture
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
        return summarize_plain(
            *(read.scores, read.labels, read.attacks, read.codecs),
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
    rates = rates_of_eers(threshold, accepted)
    costs = {}
    if SPOOF not in accepted:
        costs = min_dcfs(rates["EER"], args.p_target, args.c_miss, args.c_fa)
    elif all(accepted[kind][0] for kind in TRIAL_KINDS):
        weights = adcf_weights(**weights_of(args, "adcf"))
        costs["a-DCF"] = a_dcf_from_counts(threshold, accepted, *weights)[0]
    values = {name: eer(*each, args.eer)[0] for name, each in rates.items()}
    return rates, values | costs


def with_intervals(
    summary: AnySummary, read: Scores, sides: np.ndarray, args: argparse.Namespace
) -> tuple[Any, Resamples, dict]:
    """Adds intervals to a summary. sides: the speakers of the trials, see Speakers.

    Returns the summary, the resamples, and the bands of its curves. Raises TooFew if there are too
    few speakers.
    """
    groups = groups_of_scores(read)
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


def embedding_lists() -> Any:
    """Returns the module that reads lists of embeddings."""
    # Imported here, because most metrics need no embeddings.
    from corpus import backend_lists

    return backend_lists


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

    def llr_numbers(part: Scores, summary: AnySummary) -> dict[str, str]:
        costs = (args.p_target, args.c_miss, args.c_fa)
        found = llr_metrics(part.scores, part.labels, summary.rates, *costs) if args.llr else {}
        return {name: f"{value:.4f}" for name, (value, _) in found.items()}

    return table_of_slices(column, parts, read, evaluate, llr_numbers)


# ---------------------------------------------------------------------- sub-commands
def run_apply(args: argparse.Namespace, parser: ScoresParser) -> None:
    """Calibrates scores files, and prints the metrics if the trials have labels."""
    path = calibrated_path(args)
    read, more = calibration_commands.apply_file(args, path)
    show_written(args, parser, "log-likelihood ratios", path, read.labels)
    for line in more:
        log.info("%s", line)


def run_backend(args: argparse.Namespace) -> None:
    """Estimates a back end from embeddings in files."""
    check_backend_options(args)
    x, speakers = embedding_lists().read_training(args.list, args.embeddings)
    made = made_backend(args, x, speakers)
    made.save(args.output)
    log.info("%s\nback end: %s", made, args.output)


def run_score(args: argparse.Namespace, parser: ScoresParser) -> None:
    """Scores trials of embeddings in files, and prints the metrics if the trials have labels."""
    backend = load_backend(args.backend) if args.backend else None
    trials, crops = embedding_lists().read_tested(args.list, args.embeddings)
    scores = trial_scores(backend, crops, trials.models, trials.files, trials.enrol, trials.test)
    write_scores(args.output, trials.lines, scores)
    show_written(args, parser, "scores", args.output, trials.label)


def run_average_scores(args: argparse.Namespace, parser: ScoresParser) -> None:
    """Averages scores files, and prints the metrics if the trials have labels."""
    read = calibration_commands.average_scores(args.scores, args.output)
    show_written(args, parser, "scores", args.output, read.labels)


def show_written(
    args: argparse.Namespace, parser: ScoresParser, kind: str, path: str, labels: np.ndarray | None
) -> None:
    """Prints the kind and the path of written scores, and their metrics if there are labels."""
    log.info("%s: %s", kind, path)
    if labels is None:
        log.info("The trials have no labels, so there are no metrics.")
        return
    if is_special(path):
        log.info("There are no metrics, because the scores are not in a file that can be read.")
        return
    run_metrics(args, parser, [path])


def run_report(args: argparse.Namespace, argv: list[str]) -> None:
    """Writes the HTML page about runs and scores files."""
    runs = read_runs(args.runs, lambda scores: summary_of(scores, args))
    tandem = {run.name: tandem_text(run.scores, args) for run in runs if args.cm and run.scores}
    write_report(
        args.output,
        runs,
        far=args.far,
        embeddings=args.embeddings,
        tandem=tandem,
        definition=args.eer,
        command=shlex.join(["python", "tuneThreshold.py", *argv]),
    )
    log.info("report: %s", args.output)


def run_plot(args: argparse.Namespace) -> None:
    """Draws the losses and EERs of training runs."""
    logs = {}
    for name, path in zip(short_names(args.runs), args.runs, strict=True):
        logs[name] = read_log(path)
    images = plot_curves(curves_stem(args), logs)
    log.info("curves: %s", " ".join(map(str, images)))


def run_compare(args: argparse.Namespace, parser: ScoresParser) -> None:
    """Prints the metrics of two systems on the same trials, and their differences."""
    first = read_scores(args.first)
    second = reorder_like(first, read_scores(args.second), args.second)
    a = evaluate_file(args.first, first, args)
    b = evaluate_file(args.second, second, args)
    table = confidence.comparison(
        a.summary.values, b.summary.values, a.resamples, b.resamples, args.confidence
    )
    log.info("%s\n", table)
    show_curves({args.first: a, args.second: b}, args, parser)


def run_metrics(args: argparse.Namespace, parser: ScoresParser, paths: list[str]) -> None:
    """Prints everything about scores files and draws their DET curves."""
    results = {path: evaluate_file(path, read_scores(path), args) for path in paths}
    show_curves(results, args, parser)


def show_curves(
    results: dict[str, Evaluated], args: argparse.Namespace, parser: ScoresParser
) -> None:
    """Draws the DET curves of scores files, and warns of options without effect.

    results: {path of a scores file: its results}.
    """
    curves = {}
    bands = {}
    for name, result in zip(short_names(list(results)), results.values(), strict=True):
        curves[name] = result.summary.curves
        if result.bands is not None:
            bands[name] = result.bands
    draw_det(args, next(iter(results)), curves, bands)
    kinds = {kind_of_lines(result.read) for result in results.values()}
    warn_of_unused(args, parser, kinds)


def draw_det(args: argparse.Namespace, first: str, curves: dict, bands: dict) -> None:
    """Draws DET curves. A default place that cannot be written gives a warning, not an error.

    first: the first scores file. Raises OSError if a place that was given cannot be written.
    """
    try:
        image = det_path(args, first)
        check_output(str(image), image, {}, check_of_picture(image))
        plot_det(image, curves, bands=bands)
    except (OSError, InputError) as error:
        if args.det:
            raise
        problem = str(error)
        if isinstance(error, OSError):
            problem = f"{image}: {error.strerror}. Give --det FILE."
        log.warning("warning: no DET plot: %s", problem)
        return
    log.info("DET plot: %s", image)


def evaluate_file(path: str, read: Scores, args: argparse.Namespace) -> Evaluated:
    """Evaluates the scores of one file and prints the results."""
    try:
        return evaluate_scores(path, read, args)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def evaluate_scores(path: str, read: Scores, args: argparse.Namespace) -> Evaluated:
    """Evaluates scores that were read from `path` and prints the results."""
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
            f"Brackets show {100 * args.confidence:g} % intervals from {args.bootstrap:,} "
            f"resamples of {resamples.speakers:,} {speakers().drawn}."
        )
    for column, parts in slices.items():
        text += ["", slices_text(column, parts, read, speakers, args)]
    if args.worst:
        text += ["", tables_of_worst(read, speakers(), summary.eer_threshold, args.worst)]
    more = "".join(f"\n{line}" for line in text)
    log.info("%s\n%s%s\n", path, summary, more)
    warn_of_direction(path, summary, OF_SCORES)
    return Evaluated(read, summary, resamples, bands)


# ---------------------------------------------------------------------- command line
def run_command(args: argparse.Namespace, parser: ScoresParser, argv: list[str]) -> None:
    """Runs the sub-command, or prints metrics without one."""
    if parser.name in (None, "compare", "apply", "average", "score"):
        options.check_confidence_options(args)
        options.check_slice_options(args)
    check_outputs(parser.name, args)
    if parser.name == "compare":
        run_compare(args, parser)
    elif parser.name in ("calibrate", "fuse"):
        log.info("%s", calibration_commands.learn(args, given_options(args, parser)))
    elif parser.name == "apply":
        run_apply(args, parser)
    elif parser.name == "average":
        run_average_scores(args, parser)
    elif parser.name == "backend":
        run_backend(args)
    elif parser.name == "score":
        run_score(args, parser)
    elif parser.name == "plot":
        run_plot(args)
    elif parser.name == "report":
        run_report(args, argv)
    else:
        run_metrics(args, parser, args.scores)


def main(argv: list[str] | None = None) -> int:
    """Runs the command line. Returns the exit code."""
    if argv is None:
        argv = sys.argv[1:]
    parser, args = parse_words(argv)
    start_logging()
    try:
        raise_at_interrupt()
        run_command(args, parser, argv)
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        write_error(f"{place}{file_problem(error)}")
        return 2
    except ValueError as error:
        write_error(str(error))
        return 2
    return 0


if __name__ == "__main__":
    run_program(main)
