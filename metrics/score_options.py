"""Options of tuneThreshold.py for all scores, for plain scores, and for spoofing-aware scores."""

import argparse
import inspect
from typing import Any

from metrics.rates import EERS
from metrics.sasv import ADCF_SETS
from metrics.tandem import min_t_dcf

# Options --adcf_... and --tdcf_...: parameters of a_dcf() and min_t_dcf(), and their help.
ADCF = {
    "p_spoof": "prior probability of a spoofed trial",
    "p_nontarget": "prior probability of a non-target trial",
    "c_miss": "cost of a miss",
    "c_fa_nontarget": "cost of an accepted non-target trial",
    "c_fa_spoof": "cost of an accepted spoofed trial",
}
TDCF = {
    "p_spoof": "prior probability of a spoofed trial",
    "p_nontarget": "prior probability of a non-target trial",
    "c_miss_asv": "cost of a target that the verification rejects",
    "c_fa_asv": "cost of a non-target that the verification accepts",
    "c_miss_cm": "cost of bona fide speech that the countermeasure rejects",
    "c_fa_cm": "cost of spoofed speech that the countermeasure accepts",
}


class HiddenOptions:
    """A parser to which options are added that --help does not list."""

    def __init__(self, parser: Any) -> None:
        self.parser = parser

    def add_argument(self, *names: str, **settings: Any) -> None:
        """Adds an option without its help."""
        settings["help"] = argparse.SUPPRESS
        self.parser.add_argument(*names, **settings)

    def add_argument_group(self, *_: str) -> "HiddenOptions":
        """Returns a group, whose title --help does not show either."""
        return self

    def add_mutually_exclusive_group(self) -> "HiddenOptions":
        """Returns a group of options that exclude each other."""
        return HiddenOptions(self.parser.add_mutually_exclusive_group())


Options = argparse.ArgumentParser | HiddenOptions


def add_metric_options(parser: Options) -> None:
    """Declares the options of all metrics of a scores file."""
    add_rate_options(parser)
    parser.add_argument(
        "--det",
        metavar="FILE",
        help="image of the DET curves (default: FIRST_SCORES_det.png)",
    )
    parser.add_argument(
        "--llr",
        action="store_true",
        help="scores are log-likelihood ratios: print actDCF, Cllr and minCllr too",
    )


def add_rate_options(parser: Options) -> None:
    """Declares the false-accept rates and the definition of the EER."""
    parser.add_argument(
        "--far",
        type=float,
        nargs="+",
        default=[0.1, 0.01, 0.001],
        metavar="P",
        help="false-accept rates in the table of thresholds (0.1 0.01 0.001)",
    )
    add_eer_option(parser)


def add_eer_option(parser: Any) -> None:
    """Declares the definition of the EER."""
    parser.add_argument(
        "--eer",
        choices=EERS,
        default=EERS[0],
        metavar="NAME",
        help="definition of the EER: interpolated (default), corner (voxceleb_trainer) or grid "
        "(double-attention trainer)",
    )


def add_plain_options(parser: Options) -> None:
    """Declares the options of scores without spoofed speech."""
    group = parser.add_argument_group("scores without spoofed speech: lines '1|0 file file score'")
    group.add_argument(
        "--p_target",
        type=float,
        nargs="+",
        default=[0.05, 0.01],
        metavar="P",
        help="prior probabilities of a target trial in minDCF (0.05 0.01)",
    )
    group.add_argument(
        "--c_miss", type=float, default=1.0, metavar="C", help="cost of a miss (%(default)g)"
    )
    group.add_argument(
        "--c_fa", type=float, default=1.0, metavar="C", help="cost of a false accept (%(default)g)"
    )


def add_spoofing_options(parser: Options) -> None:
    """Declares the options of spoofing-aware scores."""
    group = parser.add_argument_group("spoofing-aware scores")
    add_cm_option(group, ", for min t-DCF and t-EER")
    group.add_argument(
        "--prevalence",
        type=float,
        nargs="+",
        default=[],
        metavar="P",
        help="print the t-EER also for these shares of spoofed trials among the trials to reject "
        "(the concurrent t-EER needs no share)",
    )
    add_adcf_options(group)
    parameters = inspect.signature(min_t_dcf).parameters
    for name, text in TDCF.items():
        group.add_argument(
            f"--tdcf_{name}",
            type=float,
            default=parameters[name].default,
            metavar=name[0].upper(),
            help=f"t-DCF: {text} (%(default)g)",
        )


def add_cm_option(group: Any, use: str = "") -> None:
    """Declares the countermeasure scores. use: what they are for."""
    group.add_argument(
        "--cm",
        metavar="FILE",
        help=f"countermeasure scores{use}: a file with the same trials in the same "
        "order, or lines 'file ... score' of the tested files",
    )


def add_adcf_options(group: Any) -> None:
    """Declares the priors and costs of the a-DCF."""
    group.add_argument(
        "--adcf",
        choices=list(ADCF_SETS),
        default="default",
        metavar="NAME",
        help="priors and costs of the a-DCF: default (a-DCF 1) or asvspoof5; the options "
        "--adcf_... replace single values",
    )
    for name, text in ADCF.items():
        values = [f"{each[name]:g}" for each in ADCF_SETS.values()]
        group.add_argument(
            f"--adcf_{name}",
            type=float,
            metavar=name[0].upper(),
            help=f"a-DCF: {text} ({'; asvspoof5 '.join(dict.fromkeys(values))})",
        )


def weights_of(args: argparse.Namespace, prefix: str) -> dict[str, float]:
    """Returns the arguments of a_dcf() (prefix "adcf") or of min_t_dcf() (prefix "tdcf")."""
    if prefix == "tdcf":
        return {name: getattr(args, f"tdcf_{name}") for name in TDCF}
    found = {name: getattr(args, f"adcf_{name}") for name in ADCF}
    given = {name: value for name, value in found.items() if value is not None}
    return ADCF_SETS[args.adcf] | given
