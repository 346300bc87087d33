"""The text of the metrics of a speaker verification together with a countermeasure."""

import argparse

import numpy as np

from metrics.sasv import NotDefined
from metrics.score_options import weights_of
from metrics.scores import Scores, read_cm_scores
from metrics.tandem import min_t_dcf, t_eer
from metrics.thresholds import threshold_text


def tandem_text(read: Scores, args: argparse.Namespace) -> str:
    """Returns the metrics of the scores together with the countermeasure's scores.

    These are the concurrent t-EER, the t-EER at each prevalence, and min t-DCF.
    """
    if read.are_of_files:
        raise ValueError(
            "--cm: expected spoofing-aware scores of trials, found scores of single files, which "
            "are the scores of a countermeasure themselves. Give the scores file of the "
            "verification first, and this file after --cm."
        )
    if read.kinds is None:
        raise ValueError(
            "--cm: expected spoofing-aware scores, lines 'speaker file bonafide|attack "
            "target|nontarget|spoof score', found lines '1|0 file file score'."
        )
    cm_scores = read_cm_scores(args.cm, read)
    asv_ascending = np.sort(read.scores)
    cm_ascending = np.sort(cm_scores)
    lines = []
    for prevalence in (None, *args.prevalence):
        found = t_eer(read.scores, cm_scores, read.kinds, prevalence)
        name = "t-EER" if prevalence is None else f"t-EER({prevalence:g})"
        asv_threshold = threshold_text(found.asv_threshold, asv_ascending)
        cm_threshold = threshold_text(found.cm_threshold, cm_ascending)
        lines.append(
            f"{name:14s}{found.value:8.2f} %   at threshold {asv_threshold}, "
            f"countermeasure {cm_threshold}"
        )
    weights = weights_of(args, "tdcf")
    try:
        value, threshold = min_t_dcf(read.scores, cm_scores, read.kinds, **weights)
    except NotDefined as error:
        lines.append(f"{'min t-DCF':14s}{'-':>10s}   not defined: {error}")
    else:
        shown = threshold_text(threshold, cm_ascending)
        lines.append(f"{'min t-DCF':14s}{value:10.4f}   at countermeasure threshold {shown}")
    return "\n".join(lines)
