"""Options of tuneThreshold.py for all scores, for plain scores, and for spoofing-aware scores."""

import argparse
import inspect

from metrics.rates import EERS
from metrics.sasv import a_dcf
from metrics.tandem import min_t_dcf

# Options --adcf_... and --tdcf_...: parameters of a_dcf() and min_t_dcf(), and their help.
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


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Declares what is read and written."""
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
        help="what is written: the JSON file of --calibrate, the scores file of --apply (default: "
        "<first scores file>_calibrated.txt), the page of --report (report.html)",
    )
    parser.add_argument(
        "--embeddings",
        nargs="+",
        default=[],
        metavar="DIR",
        help="for --report: folders that trainSpeakerNet.py --extract wrote, to draw maps of their "
        "speakers",
    )


def add_metric_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of all metrics."""
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
        help="definition of the EER: interpolated, or as voxceleb_trainer (corner) or the "
        "double-attention trainer (grid) have it",
    )
    parser.add_argument(
        "--det",
        metavar="FILE",
        help="image of the DET curves (default: <first scores file>_det.png)",
    )


def add_plain_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of scores without spoofed speech."""
    group = parser.add_argument_group("scores of lines '1|0 file file score'")
    group.add_argument(
        "--p_target",
        type=float,
        nargs="+",
        default=[0.05, 0.01],
        metavar="P",
        help="priors of a target trial in minDCF (0.05 0.01)",
    )
    group.add_argument("--c_miss", type=float, default=1.0, help="cost of a miss (%(default)s)")
    group.add_argument(
        "--c_fa", type=float, default=1.0, help="cost of a false accept (%(default)s)"
    )


def add_spoofing_options(parser: argparse.ArgumentParser) -> None:
    """Declares the options of spoofing-aware scores."""
    group = parser.add_argument_group("spoofing-aware scores")
    group.add_argument(
        "--cm",
        metavar="FILE",
        help="countermeasure scores of the same trials, for min t-DCF and t-EER: a scores file "
        "with the same trials line by line, or lines 'file ... score' for the tested files",
    )
    group.add_argument(
        "--prevalence",
        type=float,
        nargs="+",
        default=[],
        metavar="R",
        help="t-EER also where this share of the trials to reject is spoofed (without: the "
        "concurrent t-EER, which is of no prevalence)",
    )
    for metric, prefix, function, options in (
        ("a-DCF", "adcf", a_dcf, ADCF),
        ("t-DCF", "tdcf", min_t_dcf, TDCF),
    ):
        parameters = inspect.signature(function).parameters
        for name, text in options.items():
            group.add_argument(
                f"--{prefix}_{name}",
                type=float,
                default=parameters[name].default,
                metavar="X",
                help=f"{metric}: {text} (%(default)s)",
            )


def weights_of(args: argparse.Namespace, prefix: str) -> dict[str, float]:
    """Returns the arguments of a_dcf() (prefix "adcf") or of min_t_dcf() (prefix "tdcf")."""
    names = ADCF if prefix == "adcf" else TDCF
    return {name: getattr(args, f"{prefix}_{name}") for name in names}
