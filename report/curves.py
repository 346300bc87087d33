"""Curves of training runs: losses and EERs by epoch, read from log.jsonl."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.run_paths import LOG
from common.terminal import printable
from report.det import COLOURS
from report.pictures import save_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ("-", "--", ":", "-.")
# A curve with fewer epochs shows its points.
POINTS_SHOWN = 20
# Python reads longer integers from JSON, which are no floating-point numbers.
LARGEST_INTEGER = 2**63

LogLine = dict[str, Any]
# The epochs and the values of a curve.
Curve = tuple[tuple[int, ...], tuple[float, ...]]
# {name of the panel: {name of the curve: curve}}
Panels = dict[str, dict[str, Curve]]


def read_log(save_path: str | Path) -> list[LogLine]:
    """Read the lines of log.jsonl in a run folder, one dict per epoch.

    An incomplete last line is left out. Raises ValueError if the file is missing, contains no
    complete line, or contains a line that does not belong to a training log.
    """
    path = Path(save_path, LOG)
    if not path.is_file():
        raise ValueError(
            f"{path}: there is no such file. Give the run folder of a training (its --save_path)."
        )
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(keepends=True), 1):
        # A line without an end is incomplete: the run is writing it, or was killed.
        if not text.endswith("\n"):
            break
        lines.append(parse_log_line(text, f"{path}:{number}"))
    if not lines:
        raise ValueError(
            f"{path}: the log has no complete line yet. Wait for the end of the first epoch."
        )
    return lines


def parse_log_line(text: str, place: str) -> LogLine:
    """Parse one line of a log. Raises ValueError unless it has an epoch and only numbers."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        line = None
    if (
        not isinstance(line, dict)
        or "epoch" not in line
        or not all(map(can_be_drawn, line.values()))
    ):
        raise ValueError(
            f"{place}: expected the JSON line of an epoch in a training log, "
            f"found {text.strip()[:60]!r}."
        )
    return line


def can_be_drawn(value: object) -> bool:
    """Return whether a value of JSON is a number that matplotlib can draw."""
    if type(value) is int:
        return abs(value) < LARGEST_INTEGER
    return type(value) is float


def curves_of(lines: Sequence[LogLine]) -> Panels:
    """Collect the losses and all EERs of a log by epoch. A panel without curves is left out."""
    panels = {"Loss": {"training": "loss", "validation": "valid_loss"}, "EER (%)": {}}
    for line in lines:
        for name in line:
            if "EER" in name:
                panels["EER (%)"][name.replace("_", " ")] = name
    found: Panels = {}
    for panel, curves in panels.items():
        for curve, name in curves.items():
            epochs = tuple(line["epoch"] for line in lines if name in line)
            values = tuple(line[name] for line in lines if name in line)
            if epochs:
                found.setdefault(panel, {})[curve] = epochs, values
    return found


def plot_curves(stem: str | Path, runs: Mapping[str, Sequence[LogLine]]) -> list[Path]:
    """Draw the curves of all runs over each other into the images `stem`.png and `stem`.svg.

    runs: {name of the run: lines of its log}. Each run has a colour, and each kind of curve has
    its dashes. A panel is drawn if any run has curves for it. Returns the paths of the images.
    Raises ValueError if the logs contain neither losses nor EERs.
    """
    # Imported here, because the metrics need only numpy.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves = {name: curves_of(lines) for name, lines in runs.items()}
    panels: dict[str, None] = {}
    for run_panels in curves.values():
        panels.update(dict.fromkeys(run_panels))
    if not panels:
        raise ValueError(
            f"{', '.join(runs)}: the logs have neither losses nor EERs. Give other runs."
        )
    figure = Figure(figsize=(6.0 * len(panels), 4.4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, panel in zip(all_axes, panels, strict=True):
        draw_panel(axes, {name: found.get(panel, {}) for name, found in curves.items()})
        style_panel(axes, panel)
    return save_images(figure, stem)


def draw_panel(axes: Axes, runs: Mapping[str, Mapping[str, Curve]]) -> None:
    """Draw the curves of all runs into one panel. runs: {name of the run: {kind: curve}}."""
    kinds: list[str] = []
    for curves in runs.values():
        kinds += [kind for kind in curves if kind not in kinds]
    for number, (name, curves) in enumerate(runs.items()):
        for kind, (epochs, values) in curves.items():
            axes.plot(
                epochs,
                values,
                DASHES[kinds.index(kind) % len(DASHES)],
                color=COLOURS[number % len(COLOURS)],
                linewidth=1.6,
                marker="o" if len(epochs) < POINTS_SHOWN else "",
                markersize=3.5,
                label=printable(f"{name}: {kind}"),
            )


def style_panel(axes: Axes, name: str) -> None:
    """Set the labels, the grid and the legend of a panel."""
    axes.set(xlabel="Epoch", ylabel=name)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(labelsize=8)
    axes.grid(color="0.92", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    # The handles are long enough to show the dashes.
    axes.legend(frameon=False, fontsize=8, handlelength=3.5)


def save_images(figure: Figure, stem: str | Path) -> list[Path]:
    """Write a figure to `stem`.png and `stem`.svg. Returns the two paths."""
    from matplotlib import rc_context

    image = Path(f"{stem}.png")
    drawing = Path(f"{stem}.svg")
    # The fixed salt makes the files of equal figures identical.
    with rc_context({"svg.hashsalt": "curves", "svg.fonttype": "none"}):
        save_picture(figure, image)
        save_picture(figure, drawing)
    return [image, drawing]
