"""DET plot: misses against false accepts on normal-deviate axes (Martin et al., The DET curve in assessment of detection task performance, 1997)."""

import numpy as np

from metrics.rates import corners, probit

# per cent
TICKS = np.array([0.001, 0.01, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 40, 60, 80, 95])
# told apart by colour-blind readers (Okabe & Ito)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vP*"
DASHES = ("-", "--", ":")


def axis(eers):
    """EERs in per cent -> (limits of an axis that shows them, probits; ticks in per cent)."""
    low = (
        TICKS[min(2, np.searchsorted(TICKS, min(eers) / 2, "right") - 1)] if min(eers) > 0 else 0.1
    )
    high = 50 if max(eers) < 30 else 95
    return probit(np.array([0.9 * low, high]) / 100), TICKS[(low <= TICKS) & (high >= TICKS)]


def plot_det(path, systems, title="Detection error trade-off", bands=None):
    """Draws DET curves into the image file `path`, with EER points and their values in the legend.

    systems: {name: {EER's name: (EER in per cent, (threshold, p_miss, p_fa) of report.rates.error_rates)}}; up to three curves a system, which has
    a colour and a marker. bands: {name: {EER's name: (p_miss [2, G], p_fa [2, G])}}, lower and upper edge of what is shaded.
    """
    # here: the metrics need numpy alone
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    limits, ticks = axis([eer for curves in systems.values() for eer, _ in curves.values()])
    figure = Figure(figsize=(6.4, 6.4), dpi=150)
    axes = figure.add_subplot(aspect="equal")
    axes.plot(limits, limits, color="0.8", linewidth=0.8, zorder=1)
    for i, (system, curves) in enumerate(systems.items()):
        colour, marker = COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]
        for (name, (eer, (_, p_miss, p_fa))), dashes in zip(curves.items(), DASHES, strict=False):
            kept = corners(p_miss, p_fa)
            if name in (bands or {}).get(system, {}):
                # there and back
                edges = np.array(
                    [np.concatenate([low, high[::-1]]) for low, high in bands[system][name][::-1]]
                )
                axes.fill(*probit(edges), color=colour, alpha=0.15, linewidth=0, zorder=1)
            axes.plot(
                probit(p_fa[kept]),
                probit(p_miss[kept]),
                dashes,
                color=colour,
                linewidth=1.6,
                zorder=2,
            )
            at = np.clip(probit(eer / 100), *limits)
            axes.plot(
                at,
                at,
                marker,
                color=colour,
                markeredgecolor="white",
                markersize=8,
                zorder=3,
                clip_on=False,
            )
            axes.plot(
                [],
                [],
                dashes,
                color=colour,
                marker=marker,
                markeredgecolor="white",
                markersize=8,
                label=f"{system}: {name} {eer:.2f} %",
            )
    axes.set(xlim=limits, ylim=limits, xlabel="False accepts (%)", ylabel="Misses (%)", title=title)
    axes.set_xticks(probit(ticks / 100), [f"{tick:g}" for tick in ticks])
    axes.set_yticks(probit(ticks / 100), [f"{tick:g}" for tick in ticks])
    axes.tick_params(labelsize=8)
    axes.grid(color="0.92", linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    # long enough to show the dashes
    axes.legend(frameon=False, loc="upper right", handlelength=3.5)
    FigureCanvasAgg(figure).print_figure(path, bbox_inches="tight")
