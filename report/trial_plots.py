"""The sections of a report about trials: results, DET curves, histograms of scores, thresholds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from common.trial_kinds import TRIAL_KINDS
from metrics.countermeasure import FileSummary
from metrics.rates import corners, probit
from metrics.scores import Scores
from metrics.summary import SasvSummary
from metrics.thresholds import threshold_text
from report import svg
from report.det import Rates, det_axis
from report.markup import Element, figure, html_table, section, side_by_side, swatch, tag
from report.runs import AnySummary, ReportedRun

# Number of bins of a histogram.
BINS = 60
# Classes of the kinds of trials, which differ from the classes of the first runs.
KIND_COLOURS = dict(zip((*TRIAL_KINDS, "bona fide"), ("c5", "c4", "c3", "c5"), strict=True))
# Drawings with few columns, three in a row.
SMALL_GRID = "grid small"

RESULTS_INTRO = (
    "The equal error rate (EER) is the error rate at the threshold where misses and false accepts "
    "are equally frequent."
)
PLAIN_INTRO = (
    " minDCF(p) is the lowest detection cost at the prior probability p of a target trial. It is "
    "divided by the cost of the better trivial system, which accepts or rejects all trials."
)
SASV_INTRO = (
    " The SASV-EER compares targets with all other trials, the SV-EER with trials of other "
    "speakers, and the SPF-EER with spoofed speech. Each of several attacks has its own column. "
    "The a-DCF is the lowest detection cost that counts both kinds of false accepts."
)
DET_CAPTION = (
    "Misses against false accepts at every threshold, on normal-deviate axes. A curve nearer to "
    "the lower left corner is better. The dots mark the equal error rates."
)
HISTOGRAM_CAPTION = (
    f"Share of the trials of each kind in {BINS} bins of scores. At the dashed threshold, misses "
    "and false accepts are equally frequent."
)
THRESHOLDS_INTRO = (
    "A trial is accepted if its score is at or above the threshold. The table shows the error "
    "rates of the trials at several thresholds. The row P_fa ≤ 1 % has the lowest threshold whose "
    "false-accept rate is at most 1 %."
)
SASV_THRESHOLDS_INTRO = (
    " For spoofing-aware scores, this rate counts non-targets and spoofed trials together. "
    "P_fa,non counts only non-targets, and P_fa,spf counts only spoofed trials."
)


def run_heading(run: ReportedRun) -> tuple[Element, str]:
    """Make the heading of a part about one run: its colour and its name."""
    return swatch(f"dot {run.colour}"), run.name


def any_spoofing_aware(runs: Sequence[ReportedRun]) -> bool:
    """Return whether any run has spoofing-aware scores."""
    return any(isinstance(run.summary, SasvSummary) for run in runs)


def eer_name(summary: AnySummary) -> str:
    """Return the name of the EER over all trials: SASV-EER if some speech is spoofed."""
    return next(iter(summary.curves))


# ---------------------------------------------------------------------- results
class ErrorCell(NamedTuple):
    """A number in the table of results: its text, and its value for comparisons."""

    text: str
    value: float


def families(runs: Sequence[ReportedRun]) -> list[list[ReportedRun]]:
    """Group the runs by the kind of their scores, because each kind has its own metrics."""
    kinds: dict[type, list[ReportedRun]] = {}
    for run in runs:
        kinds.setdefault(type(run.summary), []).append(run)
    return list(kinds.values())


def error_cells(summary: AnySummary) -> dict[str, ErrorCell]:
    """Collect the error rates and costs of a run by their columns in the table of results."""
    if not isinstance(summary, SasvSummary):
        cells = {"EER, %": ErrorCell(f"{summary.eer:.2f}", summary.eer)}
        for cost in summary.costs:
            cells[f"minDCF({cost.p_target:g})"] = ErrorCell(f"{cost.value:.4f}", cost.value)
        if isinstance(summary, FileSummary):
            cells |= eer_cells(summary.part_eers)
        return cells
    cells = eer_cells(summary.eers)
    if summary.a_dcf:
        cells["a-DCF"] = ErrorCell(f"{summary.a_dcf.value:.4f}", summary.a_dcf.value)
    # The EER of the only attack would repeat the SPF-EER.
    if len(summary.attack_eers) > 1:
        cells |= eer_cells(summary.attack_eers)
    return cells


def eer_cells(eers: Mapping[str, float]) -> dict[str, ErrorCell]:
    """Make the cells of EERs in per cent, without those that are not defined (NaN)."""
    known = {name: eer for name, eer in eers.items() if not math.isnan(eer)}
    return {f"{name}, %": ErrorCell(f"{eer:.2f}", eer) for name, eer in known.items()}


def name_cell(run: ReportedRun) -> Element:
    """Make the first cell of a run: its colour, its name, and its components."""
    options = [name for name in ("model", "encoder_type", "trainfunc") if name in run.config]
    components = " · ".join(str(run.config[name]) for name in options)
    details = [tag("small", components)] if components else []
    return tag("span", *run_heading(run), *details)


def result_table(runs: Sequence[ReportedRun]) -> Element:
    """Make the table of the results of runs with one kind of scores.

    The smallest error of each column is bold if all runs scored the same trials.
    """
    errors = [error_cells(run.summary) for run in runs]
    columns: dict[str, None] = {}
    kinds: dict[str, None] = {}
    for run, cells in zip(runs, errors, strict=True):
        columns.update(dict.fromkeys(cells))
        kinds.update(dict.fromkeys(kinds_of(run.scores)))
    same_trials = all(run.scores.lines == runs[0].scores.lines for run in runs)
    best = {}
    if len(runs) > 1 and same_trials:
        for name in columns:
            best[name] = min(cells[name].value for cells in errors if name in cells)
    rows = []
    for run, cells in zip(runs, errors, strict=True):
        values = [result_cell(cells.get(name), best.get(name)) for name in columns]
        rows.append((name_cell(run), *values, trial_counts(run.scores)))
    notes = []
    if len(runs) > 1:
        notes.append(tag("p", comparison_note(same_trials), class_="note"))
    head = ["Run", *columns, f"Trials: {' / '.join(kinds)}"]
    return tag("div", html_table(head, rows), *notes)


def result_cell(cell: ErrorCell | None, best: float | None) -> Element:
    """Make a cell of the table of results. cell: None if the run has no such number."""
    if cell is None:
        return tag("td", "–")
    return tag("td", cell.text, class_="best" if cell.value == best else None)


def trial_counts(scores: Scores) -> str:
    """Write the number of trials of each kind."""
    counts = [np.count_nonzero(kind) for kind in kinds_of(scores).values()]
    return " / ".join(f"{count:,}" for count in counts)


def comparison_note(same_trials: bool) -> str:
    """Say whether the errors of several runs can be compared."""
    if same_trials:
        return "All runs scored the same trials. The lowest error in each column is bold."
    return "The runs scored different trials, so their errors cannot be compared."


def results_section(runs: Sequence[ReportedRun], tandem: Mapping[str, str]) -> Element:
    """Make the section of the results.

    tandem: {name of a run: text about its scores combined with a countermeasure}.
    """
    text = RESULTS_INTRO
    if any(not isinstance(run.summary, SasvSummary) for run in runs):
        text += PLAIN_INTRO
    if any_spoofing_aware(runs):
        text += SASV_INTRO
    parts = [result_table(family) for family in families(runs)]
    for run in runs:
        if run.name in tandem:
            heading = tag("h3", f"{run.name}: with the countermeasure")
            parts.append(tag("div", heading, tag("pre", tandem[run.name])))
    return section("Results", text, *parts)


# ---------------------------------------------------------------------- DET curves
def det_section(runs: Sequence[ReportedRun]) -> Element:
    """Draw the DET curves of all runs, and of spoofing-aware runs one curve for each EER."""
    eers: list[float] = []
    for run in runs:
        eers += [eer for eer, _ in run.summary.curves.values()]
    limits, ticks = det_axis(eers)
    frame = det_frame(limits, ticks)
    marks = [tag("path", d=f"M{svg.path_points(frame.at(limits, limits))}", class_="rules")]
    dots = []
    entries = []
    for run in runs:
        for number, (name, (eer, rates)) in enumerate(run.summary.curves.items()):
            look = f"{run.colour} d{number}"
            marks += det_line(frame, rates, look, f"{run.name}: {name}")
            place = frame.at(probit(eer / 100), probit(eer / 100))[0]
            dots.append(svg.dot(*place, look, 5))
            entries.append((f"line {look}", f"{run.name}: {name} {eer:.2f} %"))
    drawing = svg.chart(frame, *marks, *dots, label="DET curves")
    content = figure(drawing, DET_CAPTION, None, entries, "beside")
    return section("Detection error trade-off", None, content)


def det_frame(limits: np.ndarray, ticks: np.ndarray) -> svg.Frame:
    """Make a frame whose grid is square. limits: probits [2]; ticks: per cent."""
    texts = [f"{tick:g}" for tick in ticks]
    positions = dict(zip(probit(ticks / 100).tolist(), texts, strict=True))
    across = svg.Scale(*limits, positions, "False accepts, P_fa (%)")
    up = across._replace(name="Misses, P_miss (%)")
    return svg.Frame(across, up, height=440 - svg.LEFT - svg.RIGHT + svg.TOP + svg.BOTTOM)


def det_line(frame: svg.Frame, rates: Rates, look: str, title: str) -> list[Element]:
    """Draw the part of a DET curve inside the frame. Returns an empty list for a curve outside."""
    _, p_miss, p_fa = rates
    kept = corners(p_miss, p_fa)
    x, y = svg.visible_part(frame, probit(p_fa[kept]), probit(p_miss[kept]))
    if not len(x):
        return []
    path = f"M{svg.path_points(frame.at(x, y))}"
    return [tag("path", tag("title", title), d=path, class_=f"line {look}")]


# ---------------------------------------------------------------------- scores
def kinds_of(scores: Scores) -> dict[str, np.ndarray]:
    """Find the trials or files of each kind: {kind: bool [n]}, without empty kinds."""
    if scores.are_of_files:
        return {"bona fide": scores.labels, "spoof": ~scores.labels}
    if scores.kinds is None:
        return {"target": scores.labels, "nontarget": ~scores.labels}
    return {kind: scores.kinds == kind for kind in TRIAL_KINDS if (scores.kinds == kind).any()}


def score_histogram(run: ReportedRun) -> Element:
    """Draw the distribution of the scores of each kind of trials of a run."""
    scores = run.scores.scores
    kinds = kinds_of(run.scores)
    x = svg.linear_scale(scores, "Score")
    edges = np.linspace(x.low, x.high, BINS + 1)
    shares = {}
    entries = []
    for name, kind in kinds.items():
        count = np.count_nonzero(kind)
        shares[name] = 100 * np.histogram(scores[kind], edges)[0] / count
        entries.append((f"area {KIND_COLOURS[name]}", f"{name}, {count:,}"))
    y = svg.linear_scale(np.concatenate([*shares.values()]), "Share (%)", from_zero=True)
    frame = svg.Frame(x, y, width=380, height=250)
    marks = []
    for name, share in shares.items():
        marks.append(svg.histogram_area(frame, edges, share, KIND_COLOURS[name]))
    threshold = run.summary.eer_threshold
    text = threshold_text(threshold, run.summary.rates[0], digits=3)
    # An infinite threshold has no place on the axis.
    if math.isfinite(threshold):
        marks.append(svg.vertical_line(frame, threshold, f"{eer_name(run.summary)}, {text}"))
    drawing = svg.chart(frame, *marks, label=f"Score histograms of {run.name}")
    return figure(drawing, HISTOGRAM_CAPTION, run_heading(run), entries)


def scores_section(runs: Sequence[ReportedRun]) -> Element:
    """Draw the histograms of the scores of all runs."""
    return section("Scores", None, side_by_side(map(score_histogram, runs), SMALL_GRID))


# ---------------------------------------------------------------------- thresholds
def operating_points(summary: AnySummary, far: Sequence[float]) -> list[tuple[str, float]]:
    """List the thresholds of a run: (name, threshold) of the EER, of the costs and of each rate.

    far: the false-accept rates of the summary's points.
    """
    points = [(eer_name(summary), summary.eer_threshold)]
    if not isinstance(summary, SasvSummary):
        points += [(f"minDCF({cost.p_target:g})", cost.threshold) for cost in summary.costs]
    elif summary.a_dcf:
        points.append(("a-DCF", summary.a_dcf.threshold))
    for rate, point in zip(far, summary.points, strict=True):
        points.append((f"P_fa ≤ {100 * rate:g} %", point.threshold))
    return points


def rates_at(rates: Rates, threshold: float) -> tuple[float, float]:
    """Look up (p_miss, p_fa) at any threshold. rates: as metrics.rates.error_rates returns."""
    thresholds, p_miss, p_fa = rates
    i = np.searchsorted(thresholds, threshold)
    return p_miss[i], p_fa[i]


def false_accepts(summary: AnySummary) -> dict[str, Rates]:
    """Collect the rates whose false accepts the table of thresholds shows, by their columns."""
    if not isinstance(summary, SasvSummary):
        return {"P_fa": summary.rates}
    columns = {"P_fa,non": "SV-EER", "P_fa,spf": "SPF-EER"}
    rates = summary.all_rates
    return {name: rates[eer] for name, eer in columns.items() if eer in rates}


def threshold_table(run: ReportedRun, far: Sequence[float]) -> Element:
    """Make the table of the thresholds of a run and their error rates."""
    accepts = false_accepts(run.summary)
    rows = []
    for name, threshold in operating_points(run.summary, far):
        number = svg.minus(threshold_text(threshold, run.summary.rates[0]))
        p_miss, _ = rates_at(run.summary.rates, threshold)
        shares = [f"{100 * rates_at(rates, threshold)[1]:.3f}" for rates in accepts.values()]
        rows.append((name, number, f"{100 * p_miss:.2f}", *shares))
    head = ["Operating point", "Threshold", "P_miss, %", *(f"{name}, %" for name in accepts)]
    return tag("div", tag("h3", *run_heading(run)), html_table(head, rows))


def thresholds_section(runs: Sequence[ReportedRun], far: Sequence[float]) -> Element:
    """Make the tables of the thresholds of all runs. far: see operating_points."""
    text = THRESHOLDS_INTRO
    look = SMALL_GRID
    if any_spoofing_aware(runs):
        text += SASV_THRESHOLDS_INTRO
        look = "grid"
    tables = [threshold_table(run, far) for run in runs]
    return section("Thresholds", text, side_by_side(tables, look))
