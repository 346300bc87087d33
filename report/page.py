"""One self-contained HTML page about several runs: results, DET curves, scores, thresholds, training, embeddings, speakers, configurations.

python tuneThreshold.py --report exps/demo exps/longer --output report.html
It needs no network and no scripts, and says so to the browser. Trials: report/trials.py; charts: report/svg.py; elements: report/markup.py.
"""

from pathlib import Path

import numpy as np

from common.writing import write_atomically
from report import svg
from report import trial_plots as trials
from report.confusion import confusion, map_of
from report.curves import curves_of
from report.det import COLOURS
from report.markup import figure, html, section, side_by_side, table, tag

# nothing is fetched, nothing is run
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
# colours that a dark page would hide
DARK = {"#000000": "#ffffff", "#0072B2": "#3c96d0"}


def listed(names):
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


# ---------------------------------------------------------------------- training, embeddings, speakers
def curve_chart(panel, runs):
    """runs: [(run, {curve: (epochs, values)})] -> chart of all their curves, or None where no curve has two points."""
    drawn = [(run, kind, *line) for run, lines in runs for kind, line in lines.items()]
    if all(len(epochs) < 2 for _, _, epochs, _ in drawn):
        return None
    dashes = {
        kind: f"d{k % 4}" for k, kind in enumerate(dict.fromkeys(kind for _, kind, _, _ in drawn))
    }
    x, y = (np.concatenate([line[k] for line in drawn]) for k in (2, 3))
    frame = svg.Frame(svg.linear(x, "Epoch", whole=True), svg.linear(y, panel, from_zero=True))
    names = [f"{run.name}: {kind}" for run, kind, _, _ in drawn]
    looks = [f"{run.colour} {dashes[kind]}" for run, kind, _, _ in drawn]
    marks = [
        svg.curve(frame, epochs, values, look, name)
        for (_, _, epochs, values), look, name in zip(drawn, looks, names, strict=True)
    ]
    caption = (
        "Mean loss of each epoch; losses of different functions do not compare."
        if panel == "Loss"
        else "Equal error rates of the evaluations during the training."
    )
    entries = [(f"line {look}", name) for look, name in zip(looks, names, strict=True)]
    return figure(svg.chart(frame, *marks, label=f"{panel} by epoch"), caption, (panel,), entries)


def training(runs):
    curves = [(run, curves_of(run.log)) for run in runs]
    panels = dict.fromkeys(panel for _, found in curves for panel in found)
    charts = [
        curve_chart(panel, [(run, found[panel]) for run, found in curves if panel in found])
        for panel in panels
    ]
    charts = [chart for chart in charts if chart is not None]
    intro = None if charts else "No curves: want a run folder with the log of two epochs or more."
    return section("Training", intro, side_by_side(charts))


def embedding_map(folder):
    found = map_of(folder)
    part = (
        f"all {found.total} speakers"
        if found.total == len(found.names)
        else f"{len(found.names)} of {found.total} speakers"
    )
    caption = (
        f"{len(found.places):,} utterances of {part}. Near each other is alike, by the cosine of their embeddings; distances between groups "
        "say little (t-SNE). A speaker's name stands above its utterances; colours and shapes repeat."
    )
    return figure(
        svg.clusters(found.places, found.names, found.speaker),
        caption,
        (str(folder),),
        look="beside",
    )


def embedding_maps(folders):
    intro = (
        None
        if folders
        else "No map: none were given. --embeddings takes the folder that trainSpeakerNet.py --extract wrote."
    )
    return section("Embeddings", intro, *map(embedding_map, folders))


def confusion_map(run):
    try:
        found = confusion(run.scores, run.summary.eer_threshold)
    except ValueError as error:
        return tag("p", f"{run.name}: no confusions between speakers: {error}.")
    titles = [
        [
            f"{row}, {column}: {found.accepted[r, c]:.0f} of {found.trials[r, c]:.0f} accepted"
            for c, column in enumerate(found.columns)
        ]
        for r, row in enumerate(found.rows)
    ]
    who = (
        f"the {len(found.rows)} of {found.speakers} speakers with the most errors (mean over the kinds of trials)"
        if len(found.rows) < found.speakers
        else f"all {found.speakers} speakers"
    )
    what = (
        "A row is a claimed speaker, a column a kind of trial: under target it should be 100, else 0."
        if run.scores.kinds is not None
        else "On the diagonal it should be 100; off it are false accepts."
    )
    caption = f"Share of trials accepted at the EER threshold, in per cent, of {who}, worst first. {what} Empty: no such trials."
    drawing = svg.heat_map(
        found.rows, found.columns, found.share, titles, f"Confusions of {run.name}"
    )
    return figure(drawing, caption, trials.title(run))


# ---------------------------------------------------------------------- configuration
def options_table(runs, names):
    def text(run, name):
        value = run.config.get(name, "–")
        return " ".join(map(str, value)) if isinstance(value, list) else str(value)

    return table(
        ["Option", *(run.name for run in runs)],
        [(name, *(text(run, name) for run in runs)) for name in names],
        "options",
    )


def configuration(runs):
    """The commands, the options that differ between the runs, all options."""
    configured = [run for run in runs if run.config]
    names = list(dict.fromkeys(name for run in configured for name in run.config))
    differ = [
        name
        for name in names
        if any(run.config.get(name) != configured[0].config.get(name) for run in configured)
    ]
    parts = [
        part
        for run in runs
        if run.command
        for part in (tag("h3", *trials.title(run)), tag("pre", run.command.strip()))
    ]
    parts += [tag("h3", "Options that differ"), options_table(configured, differ)] if differ else []
    parts += (
        [
            tag(
                "details",
                tag("summary", f"All {len(names)} options"),
                options_table(configured, names),
            )
        ]
        if names
        else []
    )
    bare = [run.name for run in runs if not run.config and not run.command]
    return section(
        "Configuration and commands",
        f"{listed(bare)}: scores alone, without the folder of a run." if bare else None,
        *parts,
    )


# ---------------------------------------------------------------------- the page
def style():
    def rules(change):
        return "".join(
            f".c{i}{{--c:{change.get(value, value)}}}" for i, value in enumerate(COLOURS)
        )

    css = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return f"{rules({})}@media screen and (prefers-color-scheme: dark){{{rules(DARK)}}}\n{css}"


def head(name):
    return tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", name),
        tag("style", style()),
    )


def page(runs, *, far, definition, embeddings=(), tandem=None, command=""):
    """Runs (report.runs) -> the text of the page.

    far: the false-accept rates of the summaries' points. definition: of the EER. embeddings: folders to draw maps of. tandem: {name of a run: text
    about its scores with a countermeasure's}. command: what made the page.
    """
    scored = [run for run in runs if run.summary]
    parts = [tag("p", "No run has scores yet.")]
    if scored:
        parts = [
            trials.results(scored, tandem or {}),
            trials.det(scored),
            trials.histograms(scored),
            trials.thresholds(scored, far),
        ]
    parts += [training([run for run in runs if run.log]), embedding_maps(embeddings)]
    parts += [section("Speakers", None, side_by_side(map(confusion_map, scored)))] if scored else []
    names = listed([run.name for run in runs])
    header = tag(
        "header",
        tag("h1", "Speaker verification"),
        tag("p", f"{names}. Definition of the EER: {definition}."),
    )
    body = tag("body", header, tag("main", *parts, configuration(runs)), tag("footer", command))
    return html(tag("html", head(f"Speaker verification: {names}"), body, lang="en"))


def write_report(path, runs, **options):
    """See page()."""
    write_atomically(path, page(runs, **options).encode("utf-8", "xmlcharrefreplace"))
