"""Charts as SVG: a frame with two scales, and what is drawn into the frame.

Colours and fonts come from report/page.css. Text stays text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from report.markup import Element, colour, tag

# Margins of a frame in units of the drawing. A unit is a pixel where the drawing is 440 wide.
LEFT = 54
RIGHT = 14
TOP = 12
BOTTOM = 46
# Two labels of the horizontal scale that are closer would overlap.
LABEL_DISTANCE = 24
# A curve with fewer points shows its points.
POINTS_SHOWN = 20
# Margins, width and largest cell of a heat map.
HEAT_LEFT = 76
HEAT_TOP = 66
HEAT_WIDTH = 440
HEAT_CELL = 60
HEAT_CELL_HEIGHT = 30
# Paths of the marks of a map: disc, square, diamond, triangle and cross.
SHAPES = (
    "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
    "m-2.7-2.7h5.4v5.4h-5.4z",
    "m0-3.8l3.8 3.8l-3.8 3.8l-3.8-3.8z",
    "m0-3.4l3.6 6.2h-7.2z",
    "m-3.6-1.2h2.4v-2.4h2.4v2.4h2.4v2.4h-2.4v2.4h-2.4v-2.4h-2.4z",
)


class Scale(NamedTuple):
    """The scale of one axis. ticks: {position: text}. name: the label of the axis."""

    low: float
    high: float
    ticks: Mapping[float, str]
    name: str


class Frame(NamedTuple):
    """A drawing with a horizontal scale x and a vertical scale y."""

    x: Scale
    y: Scale
    width: int = 440
    height: int = 320

    def at(self, x: ArrayLike, y: ArrayLike) -> np.ndarray:
        """Convert positions on the scales to pixels [n, 2] with one decimal.

        A position beyond a scale is moved to the end of the scale.
        """
        across = (np.clip(x, self.x.low, self.x.high) - self.x.low) / (self.x.high - self.x.low)
        up = (np.clip(y, self.y.low, self.y.high) - self.y.low) / (self.y.high - self.y.low)
        left = LEFT + across * (self.width - LEFT - RIGHT)
        top = self.height - BOTTOM - up * (self.height - TOP - BOTTOM)
        return np.round(np.column_stack([left, top]), 1)


def linear_scale(
    values: Iterable[float], name: str, from_zero: bool = False, whole: bool = False
) -> Scale:
    """Make a scale with round ticks that contains all values.

    from_zero: the scale starts at zero. whole: the ticks are whole numbers.
    """
    # Imported here, because only a report needs matplotlib.
    from matplotlib.ticker import MaxNLocator

    low, high = float(min(values)), float(max(values))
    if from_zero:
        low = min(low, 0.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    margin = 0 if from_zero else 0.02 * (high - low)
    low, high = low - margin, high + 0.02 * (high - low)
    steps = [1, 2, 5, 10] if whole else [1, 2, 2.5, 5, 10]
    positions = MaxNLocator(6, steps=steps, integer=whole).tick_values(low, high)
    ticks = {}
    for position in positions:
        if low <= position <= high:
            ticks[float(position)] = minus(f"{position:.10g}")
    return Scale(low, high, ticks, name)


def minus(text: str) -> str:
    """Replace hyphens by minus signs, which are as wide as a digit."""
    return text.replace("-", "−")


# ---------------------------------------------------------------------- the chart
def chart(frame: Frame, *marks: Element, label: str) -> Element:
    """Draw the marks within the grid and the axes of a frame.

    label: a description of the chart for readers who cannot see it.
    """
    right, bottom = frame.width - RIGHT, frame.height - BOTTOM
    columns, column_labels = vertical_grid(frame, bottom)
    rows, row_labels = horizontal_grid(frame, right)
    return drawing(
        frame.width,
        frame.height,
        tag("path", d=columns + rows, class_="rules"),
        *column_labels,
        *row_labels,
        *axis_names(frame, right, bottom),
        tag("path", d=f"M{LEFT} {TOP}V{bottom}H{right}", class_="axes"),
        *marks,
        label=label,
    )


def vertical_grid(frame: Frame, bottom: int) -> tuple[str, list[Element]]:
    """Draw the ticks of the horizontal scale. Returns the path of the lines, and the labels."""
    path, labels = "", []
    last = 0
    for tick, name in frame.x.ticks.items():
        x = frame.at([tick], [frame.y.low])[0, 0]
        path += f"M{x:g} {TOP}V{bottom}"
        if x - last > LABEL_DISTANCE:
            labels.append(tag("text", name, x=f"{x:g}", y=bottom + 16, text_anchor="middle"))
            last = x
    return path, labels


def horizontal_grid(frame: Frame, right: int) -> tuple[str, list[Element]]:
    """Draw the ticks of the vertical scale. Returns the path of the lines, and the labels."""
    path, labels = "", []
    for tick, name in frame.y.ticks.items():
        y = frame.at([frame.x.low], [tick])[0, 1]
        path += f"M{LEFT} {y:g}H{right}"
        labels.append(tag("text", name, x=LEFT - 7, y=f"{y + 4:g}", text_anchor="end"))
    return path, labels


def axis_names(frame: Frame, right: int, bottom: int) -> list[Element]:
    """Write the names of both scales next to the frame."""
    middle = (TOP + bottom) / 2
    across = tag(
        "text",
        frame.x.name,
        x=(LEFT + right) / 2,
        y=frame.height - 8,
        text_anchor="middle",
        class_="name",
    )
    up = tag(
        "text",
        frame.y.name,
        x=0,
        y=0,
        text_anchor="middle",
        class_="name",
        transform=f"translate(13 {middle:g}) rotate(-90)",
    )
    return [across, up]


def drawing(width: float, height: float, *marks: Element, label: str) -> Element:
    """Make an svg element that contains the marks. label: its description."""
    return tag(
        "svg",
        *marks,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=label,
        class_="chart",
    )


# ---------------------------------------------------------------------- marks
def path_points(places: np.ndarray) -> str:
    """Write pixels [n, 2] as 'x y x y ...'. A pixel that follows itself is written once."""
    kept = np.append(True, np.any(places[1:] != places[:-1], axis=1))
    return " ".join(f"{x:g} {y:g}" for x, y in places[kept])


def visible_part(frame: Frame, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut a curve to the part inside the frame, plus one point at either end."""
    inside_x = (frame.x.low < x) & (x < frame.x.high)
    inside_y = (frame.y.low < y) & (y < frame.y.high)
    inside = np.flatnonzero(inside_x & inside_y)
    if not len(inside):
        return x[:0], y[:0]
    part = slice(max(inside[0] - 1, 0), inside[-1] + 2)
    return x[part], y[part]


def line_curve(
    frame: Frame, x: ArrayLike, y: ArrayLike, look: str, title: str | None = None
) -> Element:
    """Draw a line through the points, with dots if there are few points. look: its classes."""
    places = frame.at(x, y)
    dots = []
    if len(places) < POINTS_SHOWN:
        dots = [dot(*place, look) for place in places]
    titles = [tag("title", title)] if title else []
    line = tag("path", *titles, d=f"M{path_points(places)}", class_=f"line {look}")
    return tag("g", line, *dots)


def dot(x: float, y: float, look: str, size: float = 3) -> Element:
    """Draw a dot at a pixel."""
    return tag("circle", cx=f"{x:g}", cy=f"{y:g}", r=size, class_=f"dot {look}")


def histogram_area(frame: Frame, edges: np.ndarray, heights: np.ndarray, look: str) -> Element:
    """Draw a histogram as one filled outline. edges: [bins + 1]; heights: [bins]."""
    x = np.repeat(edges, 2)
    y = np.concatenate([[0], np.repeat(heights, 2), [0]])
    return tag("path", d=f"M{path_points(frame.at(x, y))}Z", class_=f"area {look}")


def vertical_line(frame: Frame, x: float, text: str) -> Element:
    """Draw a dashed line at x, with a text on the side that has more room."""
    across = frame.at([x], [frame.y.low])[0, 0]
    text_left = across > frame.width / 2
    return tag(
        "g",
        tag("path", d=f"M{across:g} {TOP}V{frame.height - BOTTOM}", class_="mark"),
        tag(
            "text",
            text,
            x=f"{across + (-6 if text_left else 6):g}",
            y=TOP + 10,
            text_anchor="end" if text_left else "start",
            class_="halo",
        ),
    )


# ---------------------------------------------------------------------- maps
def cluster_map(
    places: np.ndarray, names: Sequence[str], groups: np.ndarray, size: int = 440
) -> Element:
    """Draw a map of points in groups.

    places: [n, 2]. groups: [n], positions in `names`. Each group has a colour, a shape, and its
    name above its points.
    """
    low, high = places.min(0), places.max(0)
    places = np.round(10 + (size - 20) * (places - low) / np.maximum(high - low, 1e-9), 1)
    marks = []
    labels = []
    for group, name in enumerate(names):
        members = places[groups == group]
        shape = SHAPES[group % len(SHAPES)]
        path = "".join(f"M{x:g} {y:g}{shape}" for x, y in members)
        marks.append(tag("path", tag("title", name), d=path, class_=f"blob {colour(group)}"))
        labels.append(cluster_label(members, name, size))
    label = f"Map of {len(places)} utterances of {len(names)} speakers"
    return drawing(size, size, *marks, *labels, label=label)


def cluster_label(members: np.ndarray, name: str, size: int) -> Element:
    """Write the name of a group above the points [n, 2] in its middle."""
    x, y = np.median(members, axis=0)
    near = np.abs(members - (x, y)).max(1) < 20
    above = members[near][:, 1].min(initial=y) - 6
    x, y = np.clip(x, 26, size - 26), max(above, 10)
    return tag(
        "text",
        shorten(name),
        x=f"{x:.1f}",
        y=f"{y:.1f}",
        text_anchor="middle",
        class_="halo small",
    )


def shorten(name: str, length: int = 10) -> str:
    """Cut a name that is longer than `length` characters."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def heat_map(
    rows: Sequence[str],
    columns: Sequence[str],
    share: np.ndarray,
    titles: Sequence[Sequence[str]],
    label: str,
) -> Element:
    """Draw a table of shares as coloured cells with numbers in per cent.

    share: [rows, columns] between 0 and 1. NaN leaves a cell empty. titles: the text of each cell
    that a browser shows under the pointer.
    """
    cell = min((HEAT_WIDTH - HEAT_LEFT) / len(columns), HEAT_CELL)
    height = min(cell, HEAT_CELL_HEIGHT)
    marks = []
    for row, name in enumerate(rows):
        y = f"{HEAT_TOP + (row + 0.5) * height + 4:.1f}"
        marks.append(tag("text", shorten(name), x=HEAT_LEFT - 6, y=y, text_anchor="end"))
    for column, name in enumerate(columns):
        place = f"{HEAT_LEFT + (column + 0.5) * cell + 4:.1f} {HEAT_TOP - 6}"
        marks.append(tag("text", shorten(name), transform=f"translate({place}) rotate(-60)"))
    for row, column in np.argwhere(~np.isnan(share)).tolist():
        corner = HEAT_LEFT + column * cell, HEAT_TOP + row * height
        marks.append(heat_cell(corner, (cell, height), share[row, column], titles[row][column]))
    return drawing(HEAT_WIDTH, HEAT_TOP + len(rows) * height + 4, *marks, label=label)


def heat_cell(
    corner: tuple[float, float], size: tuple[float, float], share: float, title: str
) -> Element:
    """Draw one cell of a heat map. corner: upper left (x, y). size: (width, height)."""
    x, y = corner
    width, height = size
    return tag(
        "g",
        tag("title", title),
        tag(
            "rect",
            x=f"{x + 0.5:.1f}",
            y=f"{y + 0.5:.1f}",
            width=f"{width - 1:.1f}",
            height=f"{height - 1:.1f}",
            fill_opacity=f"{0.06 + 0.94 * share:.2f}",
            class_="heat",
        ),
        tag(
            "text",
            f"{100 * share:.0f}",
            x=f"{x + width / 2:.1f}",
            y=f"{y + height / 2 + 4:.1f}",
            text_anchor="middle",
            class_="on" if share > 0.5 else "cell",
        ),
    )
