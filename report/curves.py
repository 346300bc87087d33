"""Curves of training runs from their log.jsonl: losses and EERs by epoch."""

import json
from pathlib import Path

from report.det import COLOURS

DASHES = ("-", "--", ":", "-.")


def read_log(save_path):
    """Run folder -> the lines of its log.jsonl, dicts. ValueError where it holds none."""
    path = Path(save_path, "log.jsonl")
    if not path.is_file():
        raise ValueError(
            f"{path}: there is no such file; want the run folder of a training (--save_path)"
        )
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        # torn: the run goes on, or was killed
        if not text.endswith("\n"):
            break
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if not isinstance(line, dict) or "epoch" not in line:
            raise ValueError(
                f"{path}:{number}: want an epoch's line of a training log in JSON, got {text.strip()[:60]!r}"
            )
        lines.append(line)
    if not lines:
        raise ValueError(f"{path}: has no complete line yet; wait for the end of the first epoch")
    return lines


def curves_of(lines):
    """Lines of a log -> {panel: {curve: ([epochs], [values])}}: losses, and every EER there is."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    panels = {
        "Loss": {"training": "loss", "validation": "valid_loss"},
        "EER (%)": {name.replace("_", " "): name for name in names if "EER" in name},
    }
    found = {}
    for panel, curves in panels.items():
        for curve, name in curves.items():
            points = [(line["epoch"], line[name]) for line in lines if name in line]
            if points:
                found.setdefault(panel, {})[curve] = tuple(zip(*points, strict=True))
    return found


def plot_curves(stem, runs):
    """Draws the curves of all runs over each other, into the images `stem`.png and `stem`.svg -> their paths.

    runs: {name: lines of its log}; each has a colour, each kind of curve its dashes. The panels are those that some run has curves for.
    """
    from matplotlib import rc_context

    # here: the metrics need numpy alone
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = {name: curves_of(lines) for name, lines in runs.items()}
    panels = list(dict.fromkeys(panel for run in curves.values() for panel in run))
    if not panels:
        raise ValueError("the logs hold neither losses nor EERs")
    figure = Figure(figsize=(6.0 * len(panels), 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        kinds = list(dict.fromkeys(kind for run in curves.values() for kind in run.get(panel, {})))
        for i, (name, run) in enumerate(curves.items()):
            for kind, (epochs, values) in run.get(panel, {}).items():
                axes.plot(
                    epochs,
                    values,
                    DASHES[kinds.index(kind) % len(DASHES)],
                    color=COLOURS[i % len(COLOURS)],
                    linewidth=1.6,
                    marker="o" if len(epochs) < 20 else "",
                    markersize=3.5,
                    label=f"{name}: {kind}",
                )
        axes.set(xlabel="Epoch", ylabel=panel)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.tick_params(labelsize=8)
        axes.grid(color="0.92", linewidth=0.8, zorder=0)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        # long enough to show the dashes
        axes.legend(frameon=False, fontsize=8, handlelength=3.5)
    paths = [Path(f"{stem}{suffix}") for suffix in (".png", ".svg")]
    # the same picture gives the same file
    with rc_context({"svg.hashsalt": "curves", "svg.fonttype": "none"}):
        for path in paths:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths
