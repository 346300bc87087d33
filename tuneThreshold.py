"""Error rates, EER, minDCF, SASV-EERs, a-DCF, t-DCF and t-EER of speaker-verification scores. numpy only, and runs alone on scores files.

python tuneThreshold.py exps/demo/result/scores.txt              prints the metrics, draws scores_det.png beside the file
python tuneThreshold.py before.txt after.txt --det both.png      several systems in one plot; with --compare before them: is the difference chance?
python tuneThreshold.py --plot exps/demo                         draws losses and EERs of runs by epoch, curves.png and curves.svg in the first
python tuneThreshold.py --calibrate dev.txt --output c.json      learns log-likelihood ratios from scores; of several files their fusion
python tuneThreshold.py --apply c.json scores.txt                writes scores_calibrated.txt and tells how well calibrated it is
python tuneThreshold.py --report exps/demo --output report.html  all about several runs or scores files in one HTML page
A line of a scores file is `1|0 file file score`, or `speaker file bonafide|attack target|nontarget|spoof score` where some speech is spoofed;
the attack may be left out. A trial is accepted where its score is at or above the threshold.
"""

import argparse
import contextlib
import dataclasses
import functools
import inspect
import logging
import shlex
import sys
from pathlib import Path

from common.trial_kinds import TRIAL_KINDS
from metrics import calibration, confidence, slices, speakers, worst
from metrics.llr import effective_prior, llr_text
from metrics.rates import EERS, eer, error_rates, min_dcf, rates_from_counts, summarize
from metrics.sasv import (
    NotDefined,
    a_dcf,
    a_dcf_from_counts,
    adcf_weights,
    groups_of,
    sasv_rates_from_counts,
    summarize_sasv,
)
from metrics.scores import read_cm_scores, read_scores, reorder_like
from metrics.tandem import min_t_dcf, t_eer
from report.curves import plot_curves, read_log
from report.det import plot_det
from report.page import write_report
from report.runs import read_runs

log = logging.getLogger("tuneThreshold")
# Options --adcf_... and --tdcf_...: parameters of the two functions, which have the defaults.
ADCF = {
    "p_spoof": "prior of a spoofed trial",
    "p_nontarget": "prior of a non-target trial, targets have the rest",
    "c_miss": "cost of a miss",
    "c_fa_nontarget": "cost of an accepted non-target",
    "c_fa_spoof": "cost of an accepted spoof",
}
TDCF = {
    "p_spoof": "prior of a spoofed trial",
    "p_nontarget": "prior of a non-target trial, targets have the rest",
    "c_miss_asv": "cost of a target missed by the verification",
    "c_fa_asv": "cost of a non-target accepted by it",
    "c_miss_cm": "cost of real speech missed by the countermeasure",
    "c_fa_cm": "cost of a spoof accepted by it",
}
COSTS = ("p_target", "c_miss", "c_fa")
# kinds of lines
PLAIN, AWARE = "'1|0'", "spoofing-aware"
SPOOFED = (
    "cm",
    "prevalence",
    *(f"adcf_{name}" for name in ADCF),
    *(f"tdcf_{name}" for name in TDCF),
)
# What else a mode reads, and what is read in it alone; for scores files, options that do nothing without another, or one of several.
READS = {
    "plot": ("curves",),
    "calibrate": ("output", "quality", "effective_prior", *COSTS),
    "report": ("output", "embeddings", "far", "eer", *COSTS, *SPOOFED),
}
ALONE = {"curves": "plot", "embeddings": "report", "effective_prior": "calibrate"}
WANTS = {
    ("cm",): ("prevalence", *(f"tdcf_{name}" for name in TDCF)),
    ("bootstrap",): ("confidence", "seed"),
    ("by",): ("table", "path", "bins"),
    ("bootstrap", "by", "worst"): ("speaker_level", "speaker_regex", "speaker_table"),
}


def durations(folder, names, place):
    """Seconds of audio files, see corpus/durations.py."""
    # Imported here, because most metrics need no audio.
    from corpus import durations as of_files

    return of_files.read_durations(folder, names, place)


def options_of(args, prefix, names):
    return {name: getattr(args, f"{prefix}_{name}") for name in names}


def summary_of(read, args):
    """Scores of a file -> Summary or SasvSummary."""
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
        **options_of(args, "adcf", ADCF),
    )


def measured(threshold, of, args):
    """What accepted_counts() says of targets and non-targets, or of TRIAL_KINDS -> {EER's name: rates as of error_rates}, {name: value}, named as in the summaries."""
    if "spoof" in of:
        rates, costs = sasv_rates_from_counts(threshold, of), {}
        if all(of[kind][0] for kind in TRIAL_KINDS):
            costs = {
                "a-DCF": a_dcf_from_counts(
                    threshold, of, *adcf_weights(**options_of(args, "adcf", ADCF))
                )[0]
            }
    else:
        rates = {"EER": rates_from_counts(threshold, of["target"], of["nontarget"])}
        costs = {
            f"minDCF({p:g})": min_dcf(*rates["EER"], p, args.c_miss, args.c_fa)[0]
            for p in args.p_target
        }
    return rates, {name: eer(*r, args.eer)[0] for name, r in rates.items()} | costs


def with_intervals(summary, read, sides, args):
    """Summary of the scores, speakers of their trials -> the same with intervals, Resamples, bands of its curves. Raises confidence.TooFew."""
    groups = (
        {"target": read.labels, "nontarget": ~read.labels}
        if read.kinds is None
        else groups_of(read.kinds)
    )
    gaps = {
        name: confidence.spread(p_miss, p_fa)
        for name, (_, (_, p_miss, p_fa)) in summary.curves.items()
    }
    resamples = confidence.bootstrap(
        read.scores,
        groups,
        sides,
        functools.partial(measured, args=args),
        gaps,
        args.bootstrap,
        args.seed,
    )
    summary = dataclasses.replace(
        summary, intervals=confidence.intervals(resamples, summary.values, args.confidence)
    )
    return summary, resamples, confidence.bands(resamples, gaps, summary.curves, args.confidence)


def slices_text(column, parts, read, sides, args):
    """Table of one column of --by; without an interval where a slice has too few speakers."""

    def evaluate(part, used):
        summary = summary_of(part, args)
        with contextlib.suppress(confidence.TooFew):
            return (
                with_intervals(summary, part, sides().sides[used], args)[0]
                if args.bootstrap
                else summary
            )
        return summary

    return slices.text_of(column, parts, read, evaluate)


def tandem_text(read, args):
    """min t-DCF, concurrent t-EER and t-EER at each prevalence of the scores with the countermeasure's, one line each."""
    if read.kinds is None:
        raise ValueError(
            "--cm: want spoofing-aware scores, lines 'speaker file bonafide|attack target|nontarget|spoof score'"
        )
    cm_scores = read_cm_scores(args.cm, read)
    lines = []
    for prevalence in (None, *args.prevalence):
        found = t_eer(read.scores, cm_scores, read.kinds, prevalence)
        name = "t-EER" if prevalence is None else f"t-EER({prevalence:g})"
        lines += [
            f"{name:14s}{found.value:8.2f} %   at threshold {found.asv_threshold:.5g}, countermeasure {found.cm_threshold:.5g}"
        ]
    try:
        value, threshold = min_t_dcf(
            read.scores, cm_scores, read.kinds, **options_of(args, "tdcf", TDCF)
        )
        lines += [f"{'min t-DCF':14s}{value:10.4f}   at countermeasure threshold {threshold:.5g}"]
    except NotDefined as error:
        lines += [f"{'min t-DCF':14s}{'-':>10s}   not defined: {error}"]
    return "\n".join(lines)


def prior_of(args):
    """The effective prior that a calibration is trained for."""
    return (
        effective_prior(args.p_target[0], args.c_miss, args.c_fa)
        if args.effective_prior is None
        else args.effective_prior
    )


def run_calibrate(args):
    """Learns a calibration and tells what it does on its own trials."""
    made, read, llrs = calibration.calibrate(
        args.calibrate, args.output, prior_of(args), args.quality
    )
    metrics = llr_text(llrs, read.labels, error_rates(llrs, read.labels), *operating_points(args))
    log.info("%s\n\non the same trials\n%s\n\n%s", made, metrics, args.output)


def run_apply(args):
    """Calibrates scores files -> the scores file that is written."""
    path = args.output or Path(args.scores[0]).with_name(
        f"{Path(args.scores[0]).stem}_calibrated.txt"
    )
    read, _ = calibration.apply(args.apply, args.scores, path, args.quality)
    log.info(
        "log-likelihood ratios: %s%s",
        path,
        "" if read.labels is not None else "; no labels and so no metrics",
    )
    return [path] if read.labels is not None else []


def operating_points(args):
    return args.p_target, args.c_miss, args.c_fa


def run_report(args, argv):
    runs = read_runs(args.report, lambda scores: summary_of(scores, args))
    tandem = {run.name: tandem_text(run.scores, args) for run in runs if args.cm and run.scores}
    write_report(
        args.output or "report.html",
        runs,
        far=args.far,
        embeddings=args.embeddings,
        tandem=tandem,
        definition=args.eer,
        command=shlex.join(["python", "tuneThreshold.py", *argv]),
    )
    log.info("report: %s", args.output or "report.html")


def run_plot(args):
    images = plot_curves(
        args.curves or Path(args.plot[0], "curves"), {path: read_log(path) for path in args.plot}
    )
    log.info("curves: %s", " ".join(map(str, images)))


def run_scores(args, paths):
    """Tells all about scores files, one after the other, and draws their DET curves -> the kinds of lines that they have."""
    summaries, families, resamples, bands, first = {}, set(), {}, {}, None
    for path in paths:
        read = read_scores(path)
        if args.compare:
            first = first or read
            read = reorder_like(first, read, path)
        families.add(PLAIN if read.kinds is None else AWARE)
        try:
            summaries[path] = summary_of(read, args)
            more = (
                f"\n{llr_text(read.scores, read.labels, summaries[path].rates, *operating_points(args))}"
                if args.llr
                else ""
            )
            more += f"\n{tandem_text(read, args)}" if args.cm else ""
            sides = functools.cache(functools.partial(speakers.speakers_of, read, args))
            parts = {
                column: slices.slices_of(column, read, sides, args, durations) for column in args.by
            }
            if args.bootstrap:
                summaries[path], resamples[path], bands[path] = with_intervals(
                    summaries[path], read, sides().sides, args
                )
                more += f"\nin brackets {100 * args.confidence:g} % intervals: {args.bootstrap:,} resamples of {resamples[path].speakers:,} speakers"
            more += "".join(
                f"\n\n{slices_text(column, part, read, sides, args)}"
                for column, part in parts.items()
            )
            more += (
                f"\n\n{worst.text_of(read, sides(), summaries[path].eer_threshold, args.worst)}"
                if args.worst
                else ""
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None
        log.info("%s\n%s%s\n", path, summaries[path], more)
    if args.compare:
        log.info(
            "%s\n",
            confidence.comparison(
                *(summaries[path].values for path in paths),
                *(resamples[path] for path in paths),
                args.confidence,
            ),
        )
    image = args.det or Path(paths[0]).with_name(Path(paths[0]).stem + "_det.png")
    plot_det(image, {path: summary.curves for path, summary in summaries.items()}, bands=bands)
    log.info("DET plot: %s", image)
    return families


def make_parser():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "scores", nargs="*", default=[], help="scores files, of one kind of line each"
    )
    parser.add_argument(
        "--plot",
        nargs="+",
        metavar="SAVE_PATH",
        help="instead of scores: folders of training runs, whose losses and EERs are drawn",
    )
    parser.add_argument(
        "--curves",
        metavar="FILE",
        help="images of --plot, without the extension (default: <first SAVE_PATH>/curves)",
    )
    parser.add_argument(
        "--report",
        nargs="+",
        metavar="RUN_OR_SCORES",
        help="instead of scores: run folders and scores files, of which one page tells all",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="what is written: the JSON file of --calibrate, the scores file of --apply (default: <first scores "
        "file>_calibrated.txt), the page of --report (report.html)",
    )
    parser.add_argument(
        "--embeddings",
        nargs="+",
        default=[],
        metavar="DIR",
        help="for --report: folders that trainSpeakerNet.py --extract wrote, to draw maps of their speakers",
    )
    parser.add_argument(
        "--far",
        type=float,
        nargs="+",
        default=[0.1, 0.01, 0.001],
        metavar="F",
        help="false-accept rates (0.1 0.01 0.001)",
    )
    parser.add_argument(
        "--eer",
        choices=EERS,
        default=EERS[0],
        help="definition of the EER: interpolated, or as voxceleb_trainer (corner) or the double-attention trainer (grid) have it",
    )
    parser.add_argument(
        "--det",
        metavar="FILE",
        help="image of the DET curves (default: <first scores file>_det.png)",
    )
    plain = parser.add_argument_group("scores of lines '1|0 file file score'")
    plain.add_argument(
        "--p_target",
        type=float,
        nargs="+",
        default=[0.05, 0.01],
        metavar="P",
        help="priors of a target trial in minDCF (0.05 0.01)",
    )
    plain.add_argument("--c_miss", type=float, default=1.0, help="cost of a miss (%(default)s)")
    plain.add_argument(
        "--c_fa", type=float, default=1.0, help="cost of a false accept (%(default)s)"
    )
    aware = parser.add_argument_group("spoofing-aware scores")
    aware.add_argument(
        "--cm",
        metavar="FILE",
        help="countermeasure scores of the same trials, for min t-DCF and t-EER: a scores file with the same trials "
        "line by line, or lines 'file ... score' for the tested files",
    )
    aware.add_argument(
        "--prevalence",
        type=float,
        nargs="+",
        default=[],
        metavar="R",
        help="t-EER also where this share of the trials to reject is spoofed (without: the concurrent t-EER, which is of no prevalence)",
    )
    for metric, prefix, function, options in (
        ("a-DCF", "adcf", a_dcf, ADCF),
        ("t-DCF", "tdcf", min_t_dcf, TDCF),
    ):
        for name, text in options.items():
            aware.add_argument(
                f"--{prefix}_{name}",
                type=float,
                default=inspect.signature(function).parameters[name].default,
                metavar="X",
                help=f"{metric}: {text} (%(default)s)",
            )
    for part in (calibration, speakers, confidence, slices):
        part.add_options(parser)
    return parser


def given_options(args, parser):
    return [name for name in vars(args) if getattr(args, name) != parser.get_default(name)]


def check_mode(args, parser):
    if sum(map(bool, (args.plot, args.compare, args.calibrate, args.report, args.scores))) != 1:
        parser.error(
            "want scores files, or --compare and two of them, or --calibrate and some, or --plot and folders of training runs, or --report and run "
            "folders or scores files"
        )
    mode = next((mode for mode in READS if getattr(args, mode)), None)
    for name in given_options(args, parser):
        if mode and name not in (mode, *READS[mode]):
            parser.error(f"--{name}: has no effect with --{mode}")
        if ALONE.get(name, mode) != mode:
            parser.error(f"--{name}: goes with --{ALONE[name]}")


def warn_of_idle(args, parser, families):
    """families: kinds of the lines of the scores files."""
    # whose priors and costs --llr takes
    families = families | ({PLAIN} if args.llr else set())
    of, given = (
        {**dict.fromkeys(COSTS, PLAIN), **{f"adcf_{name}": AWARE for name in ADCF}},
        given_options(args, parser),
    )
    idle = {
        f"on {' and '.join(sorted(families))} scores": [
            name for name in of if of[name] not in families
        ]
    }
    idle |= {
        f"without --{' or --'.join(wants)}": names
        for wants, names in WANTS.items()
        if not any(getattr(args, name) for name in wants)
    }
    for why, names in idle.items():
        if names := [f"--{name}" for name in names if name in given]:
            sys.stderr.write(f"warning: {', '.join(names)} has no effect {why}\n")


def main(argv=None):
    argv, parser = sys.argv[1:] if argv is None else argv, make_parser()
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    check_mode(args, parser)
    try:
        for part in (calibration, confidence, slices):
            part.check_options(args)
        if args.report:
            run_report(args, argv)
        elif args.calibrate:
            run_calibrate(args)
        elif args.plot:
            run_plot(args)
        else:
            paths = args.compare or args.scores
            if args.apply:
                paths, args.llr = run_apply(args), True
            if paths:
                warn_of_idle(args, parser, run_scores(args, paths))
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
