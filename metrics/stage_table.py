"""The table of the stages from the raw scores of a network to its calibrated scores.

Each stage has four numbers: EER, minDCF, actDCF and Cllr. Each number has an interval, and a
p-value of no difference to the stage before. Both come from the same resamples of speakers, see
metrics/confidence.py. actDCF and Cllr treat the scores of every stage as log-likelihood ratios,
which only calibrated scores are.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from metrics import confidence
from metrics.confidence import Resamples
from metrics.llr import act_dcf, cllr_from_counts, costs_of_llrs
from metrics.rates import accepted_counts, eer, min_dcfs, rates_from_counts
from metrics.summary import interval_text

LEVEL = 0.95
NAME_WIDTH = 13
CELL_WIDTH = 21


class Costs(NamedTuple):
    """What the numbers depend on: prior and costs of minDCF and actDCF, definition of the EER."""

    p_target: float = 0.05
    c_miss: float = 1.0
    c_fa: float = 1.0
    definition: str = "interpolated"


class MeasuredStage(NamedTuple):
    """The numbers of a stage, {name: value}. resamples: None without intervals."""

    values: dict[str, float]
    resamples: Resamples | None


class Measure:
    """Measures weighted trials with the scores [n], as confidence.bootstrap() asks for it."""

    def __init__(self, scores: np.ndarray, costs: Costs) -> None:
        self.costs = costs
        self.costs_of_llrs = costs_of_llrs(np.unique(scores))

    def __call__(
        self, threshold: np.ndarray, accepted: Mapping[str, np.ndarray]
    ) -> tuple[dict, dict[str, float]]:
        """Returns ({"EER": rates}, {name: value}). accepted: {kind: trials at every threshold}."""
        p_target, c_miss, c_fa, definition = self.costs
        targets = accepted["target"]
        others = accepted["nontarget"]
        rates = rates_from_counts(threshold, targets, others)
        values = {"EER": eer(*rates, definition)[0]}
        values |= min_dcfs(rates, [p_target], c_miss, c_fa)
        values[f"actDCF({p_target:g})"] = act_dcf(*rates, p_target, c_miss, c_fa)[0]
        values["Cllr"] = cllr_from_counts(self.costs_of_llrs, targets, others)
        return {"EER": rates}, values


def measure_stages(
    scores: Mapping[str, np.ndarray],
    label: np.ndarray,
    costs: Costs,
    sides: np.ndarray | None = None,
    repeats: int = confidence.REPEATS,
) -> dict[str, MeasuredStage]:
    """Measures the scores of all stages {name: [n]}. label: bool [n], True for target trials.

    sides: int [n, 2], the speakers of the trials as in metrics.speakers.Speakers, or None for no
    intervals. Raises TooFew if there are too few speakers for intervals.
    """
    groups = {"target": label, "nontarget": ~label}
    stages = {}
    for name, given in scores.items():
        stage_scores = given.astype(float)
        measure = Measure(stage_scores, costs)
        _, values = measure(*accepted_counts(stage_scores, groups))
        resamples = None
        if sides is not None:
            resamples = confidence.bootstrap(stage_scores, groups, sides, measure, {}, repeats)
        stages[name] = MeasuredStage(values, resamples)
    return stages


def table_of_stages(stages: Mapping[str, MeasuredStage]) -> str:
    """Returns the table of the stages {name: its numbers}, which follow each other.

    A stage has one line of values and p-values, and below it a line of intervals.
    """
    lines = []
    before = None
    for name, stage in stages.items():
        if before is None:
            lines.append(row_of_stage("", list(stage.values)))
        lines += lines_of_stage(name, stage, before)
        before = stage
    return "\n".join(lines)


def lines_of_stage(name: str, stage: MeasuredStage, before: MeasuredStage | None) -> list[str]:
    """Returns the lines of a stage. before: the stage before it, or None for the first one."""
    cells = []
    for number, value in stage.values.items():
        text = f"{value:.2f} %" if number == "EER" else f"{value:.4f}"
        if before and stage.resamples and before.resamples:
            changes = stage.resamples.values[number] - before.resamples.values[number]
            p = confidence.difference(changes, value - before.values[number], LEVEL).p
            text = f"{text:9s} p {p:.3f}"
        cells.append(text)
    lines = [row_of_stage(name, cells)]
    if stage.resamples:
        intervals = confidence.intervals(stage.resamples, stage.values, LEVEL)
        lines.append(row_of_stage("", [interval_text(intervals, n).strip() for n in stage.values]))
    return lines


def row_of_stage(name: str, cells: list[str]) -> str:
    """Returns a line of the table."""
    padded = [f"{cell:{CELL_WIDTH}s}" for cell in cells]
    return "".join([f"{name:{NAME_WIDTH}s}", *padded]).rstrip()


def explanation(stages: Mapping[str, MeasuredStage], repeats: int) -> list[str]:
    """Returns the lines that explain intervals and p-values, no lines if there are none."""
    resamples = next(iter(stages.values())).resamples
    if resamples is None:
        return []
    return [
        f"Brackets: {100 * LEVEL:g} % intervals from {repeats:,} resamples of "
        f"{resamples.speakers:,} speakers. p: of no difference to the stage above."
    ]
