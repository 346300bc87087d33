"""One self-contained HTML page about several runs.

python tuneThreshold.py report exps/demo exps/longer --output report.html

The page shows results, DET curves, scores, thresholds, training, embeddings, speakers and
configurations. It needs no network and no scripts, and its policy forbids the browser both.
The sections about trials are in report/trial_plots.py, the charts in report/svg.py and the
elements in report/markup.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.writing import write_atomically
from report import svg, trial_plots
from report.confusion import Confusion, confusion, make_embedding_map
from report.curves import Curve, curves_of
from report.det import COLOURS
from report.markup import Element, figure, html, html_table, section, side_by_side, tag
from report.runs import ReportedRun
from report.trial_plots import eer_name

# The browser loads nothing and runs nothing.
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
# Replacements for colours that are invisible on a dark page.
DARK = {"#000000": "#ffffff", "#0072B2": "#3c96d0"}


def enumeration(names: Sequence[str]) -> str:
    """Write names as 'a', 'a and b' or 'a, b and c'."""
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


# ---------------------------------------------------------------------- training
class RunCurve(NamedTuple):
    """A curve of a run. kind: its name in the panel, such as 'validation'."""

    run: ReportedRun
    kind: str
    epochs: Sequence[int]
    values: Sequence[float]


def panel_chart(
    panel: str, runs: Sequence[tuple[ReportedRun, Mapping[str, Curve]]]
) -> Element | None:
    """Draw the curves of all runs in one panel, or return None if no curve has two points."""
    curves = []
    for run, run_curves in runs:
        curves += [RunCurve(run, kind, *curve) for kind, curve in run_curves.items()]
    if all(len(curve.epochs) < 2 for curve in curves):
        return None
    kinds = list(dict.fromkeys(curve.kind for curve in curves))
    x = np.concatenate([curve.epochs for curve in curves])
    y = np.concatenate([curve.values for curve in curves])
    across = svg.linear_scale(x, "Epoch", whole=True)
    frame = svg.Frame(across, svg.linear_scale(y, panel, from_zero=True))
    marks = []
    entries = []
    for run, kind, epochs, values in curves:
        name = f"{run.name}: {kind}"
        look = f"{run.colour} d{kinds.index(kind) % 4}"
        marks.append(svg.line_curve(frame, epochs, values, look, name))
        entries.append((f"line {look}", name))
    caption = "Equal error rates of the evaluations during the training."
    if panel == "Loss":
        caption = "Mean loss of each epoch. Different loss functions cannot be compared."
    return figure(svg.chart(frame, *marks, label=f"{panel} by epoch"), caption, (panel,), entries)


def training_section(runs: Sequence[ReportedRun]) -> Element:
    """Draw the losses and the EERs of all runs by epoch."""
    run_panels = [(run, curves_of(run.log)) for run in runs]
    panels: dict[str, None] = {}
    for _, found in run_panels:
        panels.update(dict.fromkeys(found))
    charts = []
    for panel in panels:
        curves = [(run, found[panel]) for run, found in run_panels if panel in found]
        chart = panel_chart(panel, curves)
        if chart is not None:
            charts.append(chart)
    intro = None
    if not charts:
        intro = "There are no curves. They need a run folder with the log of at least two epochs."
    return section("Training", intro, side_by_side(charts))


# ---------------------------------------------------------------------- embeddings
def embedding_figure(folder: str | Path) -> Element:
    """Draw the map of the embeddings in a folder."""
    found = make_embedding_map(folder)
    part = f"{len(found.names)} of {found.total} speakers"
    if found.total == len(found.names):
        part = f"all {found.total} speakers"
    caption = (
        f"{len(found.places):,} utterances of {part}. Utterances with similar embeddings (by their "
        "cosine) are near each other. Distances between groups say little in such a map (t-SNE). "
        "The name of a speaker is above the utterances of this speaker. Colours and shapes repeat."
    )
    drawing = svg.cluster_map(found.places, found.names, found.speaker)
    return figure(drawing, caption, (str(folder),), look="beside")


def embeddings_section(folders: Sequence[str | Path]) -> Element:
    """Draw the maps of all folders of embeddings."""
    intro = None
    if not folders:
        intro = (
            "There is no map. The option --embeddings DIR of this report draws the embeddings in a "
            "folder that trainSpeakerNet.py --extract wrote."
        )
    return section("Embeddings", intro, *map(embedding_figure, folders))


# ---------------------------------------------------------------------- speakers
def confusion_figure(run: ReportedRun) -> Element:
    """Draw the confusions between the speakers of a run, or say why there are none."""
    try:
        found = confusion(run.scores, run.summary.eer_threshold)
    except ValueError as error:
        return tag("p", f"{run.name}: there is no table of speakers, because {error}.")
    speakers = f"all {found.speakers} speakers"
    if len(found.rows) < found.speakers:
        speakers = (
            f"the {len(found.rows)} of {found.speakers} speakers with the highest error rates "
            "(mean over the kinds of trials)"
        )
    reading = "The diagonal should be 100. All other cells show false accepts."
    if run.scores.kinds is not None:
        reading = (
            "A row is a claimed speaker, and a column is a kind of trial. The column target should "
            "be 100, and the other columns should be 0."
        )
    caption = (
        "Share of the trials, in per cent, that the threshold of the "
        f"{eer_name(run.summary)} accepts. The table shows {speakers}, the worst speaker first. "
        f"{reading} An empty cell has no trials."
    )
    drawing = svg.heat_map(
        found.rows, found.columns, found.share, cell_titles(found), f"Confusions of {run.name}"
    )
    return figure(drawing, caption, trial_plots.run_heading(run))


def cell_titles(found: Confusion) -> list[list[str]]:
    """Write the numbers of trials of each cell, which the browser shows under the pointer."""
    titles = []
    for r, row in enumerate(found.rows):
        row_titles = []
        for c, column in enumerate(found.columns):
            counts = f"{found.accepted[r, c]:.0f} of {found.trials[r, c]:.0f} accepted"
            row_titles.append(f"{row}, {column}: {counts}")
        titles.append(row_titles)
    return titles


# ---------------------------------------------------------------------- configuration
def option_text(value: Any) -> str:
    """Write the value of an option. The items of a list are separated by blanks."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def options_table(runs: Sequence[ReportedRun], names: Sequence[str]) -> Element:
    """Make a table of options with one column for each run."""
    rows = []
    for name in names:
        rows.append((name, *(option_text(run.config.get(name, "–")) for run in runs)))
    return html_table(["Option", *(run.name for run in runs)], rows, "options")


def differing_options(runs: Sequence[ReportedRun], names: Sequence[str]) -> list[str]:
    """Find the options whose values differ between the runs."""
    differing = []
    for name in names:
        first = runs[0].config.get(name)
        if any(run.config.get(name) != first for run in runs):
            differing.append(name)
    return differing


def configuration_section(runs: Sequence[ReportedRun]) -> Element:
    """Show the commands, the options that differ between the runs, and all options."""
    parts = []
    for run in runs:
        if run.command:
            heading = tag("h3", *trial_plots.run_heading(run))
            parts += [heading, tag("pre", run.command.strip())]
    configured = [run for run in runs if run.config]
    names: dict[str, None] = {}
    for run in configured:
        names.update(dict.fromkeys(run.config))
    differing = differing_options(configured, list(names))
    if differing:
        parts.append(tag("h3", "Options that differ"))
        parts.append(options_table(configured, differing))
    if names:
        summary = tag("summary", f"All {len(names)} options")
        parts.append(tag("details", summary, options_table(configured, list(names))))
    intro = None
    scores_alone = [run.name for run in runs if not run.config and not run.command]
    if scores_alone:
        intro = f"No options are shown for scores files: {enumeration(scores_alone)}."
    return section("Configuration and commands", intro, *parts)


# ---------------------------------------------------------------------- the page
def page_style() -> str:
    """Write the CSS of the page: the colours, and report/page.css."""
    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    dark = f"@media screen and (prefers-color-scheme: dark){{{colour_rules(DARK)}}}"
    return f"{colour_rules({})}{dark}\n{css}"


def colour_rules(replacements: Mapping[str, str]) -> str:
    """Write the CSS rules of the classes of COLOURS with some replacements."""
    rules = ""
    for number, value in enumerate(COLOURS):
        rules += f".c{number}{{--c:{replacements.get(value, value)}}}"
    return rules


def page_head(title: str) -> Element:
    """Make the head element of the page."""
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("style", page_style()),
    )


def report_page(
    runs: Sequence[ReportedRun],
    *,
    far: Sequence[float],
    definition: str,
    embeddings: Sequence[str | Path] = (),
    tandem: Mapping[str, str] | None = None,
    command: str = "",
) -> str:
    """Write the text of the page about these runs.

    far: the false-accept rates of the summaries' points. definition: name of the definition of
    the EER. embeddings: folders whose maps are drawn. tandem: {name of a run: text about its
    scores combined with a countermeasure}. command: the command that made the page.
    Raises InputError if a folder of embeddings is unusable.
    """
    scored = [run for run in runs if run.summary]
    if scored:
        parts = [
            trial_plots.results_section(scored, tandem or {}),
            trial_plots.det_section(scored),
            trial_plots.scores_section(scored),
            trial_plots.thresholds_section(scored, far),
        ]
    else:
        parts = [tag("p", "No run has scores yet.")]
    parts.append(training_section([run for run in runs if run.log]))
    parts.append(embeddings_section(embeddings))
    if scored:
        parts.append(section("Speakers", None, side_by_side(map(confusion_figure, scored))))
    parts.append(configuration_section(runs))
    names = enumeration([run.name for run in runs])
    header = tag(
        "header",
        tag("h1", "Speaker verification"),
        tag("p", f"This page is about {names}. Definition of the EER: {definition}."),
    )
    body = tag("body", header, tag("main", *parts), tag("footer", command))
    return html(tag("html", page_head(f"Speaker verification: {names}"), body, lang="en"))


def write_report(path: str | Path, runs: Sequence[ReportedRun], **options: Any) -> None:
    """Write a report to the file `path`. options: the keyword arguments of report_page."""
    write_atomically(path, report_page(runs, **options).encode("utf-8", "xmlcharrefreplace"))
