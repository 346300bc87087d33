"""DET plot: misses against false accepts on normal-deviate axes.

Source: Martin et al., The DET curve in assessment of detection task performance, 1997.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common.terminal import printable
from metrics.rates import corners, probit
from report.pictures import save_picture

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

# Possible ticks of both axes, in per cent.
TICKS = np.array([0.001, 0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 95])
# Colours that colour-blind readers can distinguish (Okabe and Ito).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*"
DASHES = ("-", "--", ":")

# Threshold, p_miss and p_fa of metrics.rates.error_rates, each [k + 1].
Rates = tuple[np.ndarray, np.ndarray, np.ndarray]
# {name of the EER: (EER in per cent, rates)}
DetCurves = Mapping[str, tuple[float, Rates]]
# The lower and the upper edge of a band: p_miss [2, G] and p_fa [2, G].
Band = tuple[np.ndarray, np.ndarray]


def det_axis(eers: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Choose an axis that shows all EERs (in per cent).

    Returns the two limits of the axis in probits, and the ticks in per cent.
    """
    low = 0.1
    if min(eers) > 0:
        below = np.searchsorted(TICKS, min(eers) / 2, "right") - 1
        low = TICKS[min(2, below)]
    high = 50 if max(eers) < 30 else 95
    limits = probit(np.array([0.9 * low, high]) / 100)
    return limits, TICKS[(low <= TICKS) & (high >= TICKS)]


def plot_det(
    path: str | Path | io.BytesIO,
    systems: Mapping[str, DetCurves],
    title: str = "Detection error trade-off",
    bands: Mapping[str, Mapping[str, Band]] | None = None,
) -> None:
    """Draw DET curves into the image file `path`, with EER points and a legend with the EERs.

    The legend is below the plot.

    systems: {name of the system: {name of the EER: (EER in per cent, rates)}}. A system has up to
    three curves, one colour and one marker.
    bands: {name of the system: {name of the EER: (p_miss [2, G], p_fa [2, G])}}. The area between
    the lower and the upper edge is shaded.
    """
    # Imported here, because the metrics need only numpy.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    eers: list[float] = []
    for curves in systems.values():
        eers += [eer for eer, _ in curves.values()]
    limits, ticks = det_axis(eers)
    figure = Figure(figsize=(6.4, 6.4), dpi=150)
    axes = figure.add_subplot(aspect="equal")
    axes.plot(limits, limits, color="0.8", linewidth=0.8, zorder=1)
    for number, (system, curves) in enumerate(systems.items()):
        look = {
            "color": COLOURS[number % len(COLOURS)],
            "marker": MARKERS[number % len(MARKERS)],
        }
        system_bands = (bands or {}).get(system, {})
        for (name, (eer, rates)), dashes in zip(curves.items(), DASHES, strict=False):
            if name in system_bands:
                draw_band(axes, system_bands[name], look["color"])
            draw_curve(axes, rates, look["color"], dashes)
            draw_eer(axes, eer, limits, look)
            # A dollar would start a formula.
            label = printable(f"{system}: {name} {eer:.2f} %").replace("$", r"\$")
            draw_legend_entry(axes, label, look, dashes)
    style_axes(axes, limits, ticks, title)
    FigureCanvasAgg(figure)
    if isinstance(path, io.BytesIO):
        figure.savefig(path, bbox_inches="tight")
    else:
        save_picture(figure, path, bbox_inches="tight")


def draw_band(axes: Axes, band: Band, colour: str) -> None:
    """Shade the area between the two edges of a band."""
    p_miss, p_fa = band
    # The outline follows the lower edge forwards and the upper edge backwards.
    across = np.concatenate([p_fa[0], p_fa[1][::-1]])
    up = np.concatenate([p_miss[0], p_miss[1][::-1]])
    edges = np.array([across, up])
    axes.fill(*probit(edges), color=colour, alpha=0.15, linewidth=0, zorder=1)


def draw_curve(axes: Axes, rates: Rates, colour: str, dashes: str) -> None:
    """Draw a DET curve through the corners of the rates."""
    _, p_miss, p_fa = rates
    kept = corners(p_miss, p_fa)
    across = probit(p_fa[kept])
    axes.plot(across, probit(p_miss[kept]), dashes, color=colour, linewidth=1.6, zorder=2)


def draw_eer(axes: Axes, eer: float, limits: np.ndarray, look: Mapping[str, str]) -> None:
    """Mark the EER (in per cent) on the diagonal."""
    place = np.clip(probit(eer / 100), *limits)
    axes.plot(
        place,
        place,
        look["marker"],
        color=look["color"],
        markeredgecolor="white",
        markersize=8,
        zorder=3,
        clip_on=False,
    )


def draw_legend_entry(axes: Axes, label: str, look: Mapping[str, Any], dashes: str) -> None:
    """Add an entry to the legend: an empty curve with the dashes and the marker of a system."""
    axes.plot([], [], dashes, **look, markeredgecolor="white", markersize=8, label=label)


def style_axes(axes: Axes, limits: np.ndarray, ticks: np.ndarray, title: str) -> None:
    """Set the limits, the ticks (in per cent), the grid and the legend of a DET plot."""
    axes.set(xlim=limits, ylim=limits, xlabel="False accepts (%)", ylabel="Misses (%)", title=title)
    axes.set_xticks(probit(ticks / 100), [f"{tick:g}" for tick in ticks])
    axes.set_yticks(probit(ticks / 100), [f"{tick:g}" for tick in ticks])
    axes.tick_params(labelsize=8)
    axes.grid(color="0.92", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    # The legend is below the plot, so it covers no curve. Its handles show the dashes.
    axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), handlelength=3.5)
