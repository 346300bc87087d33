"""Charts as SVG: a frame with two scales, and what is drawn into it. Colours and type are those of report/page.css; text stays text."""

from typing import NamedTuple

import numpy as np

from report.markup import colour, tag

# of a frame, in the units of the drawing: pixels where it is 440 wide
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 12, 46
SHAPES = (
    "m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
    "m-2.7-2.7h5.4v5.4h-5.4z",
    "m0-3.8l3.8 3.8l-3.8 3.8l-3.8-3.8z",
    "m0-3.4l3.6 6.2h-7.2z",
    "m-3.6-1.2h2.4v-2.4h2.4v2.4h2.4v2.4h-2.4v2.4h-2.4v-2.4h-2.4z",
)


class Scale(NamedTuple):
    """low and high end, {position: text} of the ticks, name of the axis."""

    low: float
    high: float
    ticks: dict
    name: str


class Frame(NamedTuple):
    x: Scale
    y: Scale
    width: int = 440
    height: int = 320

    def at(self, x, y):
        """Positions on the scales -> pixels [n, 2] with one decimal; what is beyond a scale is at its end."""
        across = (np.clip(x, self.x.low, self.x.high) - self.x.low) / (self.x.high - self.x.low)
        up = (np.clip(y, self.y.low, self.y.high) - self.y.low) / (self.y.high - self.y.low)
        return np.round(
            np.column_stack(
                [
                    LEFT + across * (self.width - LEFT - RIGHT),
                    self.height - BOTTOM - up * (self.height - TOP - BOTTOM),
                ]
            ),
            1,
        )


def linear(values, name, from_zero=False, whole=False):
    """Scale with round ticks, whole numbers if so wanted, that holds all values."""
    from matplotlib.ticker import MaxNLocator

    low, high = float(min(values)), float(max(values))
    low = min(low, 0.0) if from_zero else low
    if low == high:
        low, high = low - 0.5, high + 0.5
    margin = 0 if from_zero else 0.02 * (high - low)
    low, high = low - margin, high + 0.02 * (high - low)
    ticks = MaxNLocator(
        6, steps=[1, 2, 5, 10] if whole else [1, 2, 2.5, 5, 10], integer=whole
    ).tick_values(low, high)
    return Scale(
        low,
        high,
        {float(tick): minus(f"{tick:.10g}") for tick in ticks if low <= tick <= high},
        name,
    )


def minus(text):
    """With the sign that is as wide as a digit."""
    return text.replace("-", "−")


def chart(frame, *marks, label):
    """The marks, within the frame's grid and axes; label: what is shown, for those who cannot see it."""
    right, bottom = frame.width - RIGHT, frame.height - BOTTOM
    middle = (TOP + bottom) / 2
    grid, text, last = [], [], 0
    for tick, name in frame.x.ticks.items():
        x = frame.at([tick], [frame.y.low])[0, 0]
        grid.append(f"M{x:g} {TOP}V{bottom}")
        # else two names would run into each other
        if x - last > 24:
            text.append(tag("text", name, x=f"{x:g}", y=bottom + 16, text_anchor="middle"))
            last = x
    for tick, name in frame.y.ticks.items():
        y = frame.at([frame.x.low], [tick])[0, 1]
        grid.append(f"M{LEFT} {y:g}H{right}")
        text.append(tag("text", name, x=LEFT - 7, y=f"{y + 4:g}", text_anchor="end"))
    text.append(
        tag(
            "text",
            frame.x.name,
            x=(LEFT + right) / 2,
            y=frame.height - 8,
            text_anchor="middle",
            class_="name",
        )
    )
    text.append(
        tag(
            "text",
            frame.y.name,
            x=0,
            y=0,
            text_anchor="middle",
            class_="name",
            transform=f"translate(13 {middle:g}) rotate(-90)",
        )
    )
    return drawing(
        frame.width,
        frame.height,
        tag("path", d="".join(grid), class_="rules"),
        *text,
        tag("path", d=f"M{LEFT} {TOP}V{bottom}H{right}", class_="axes"),
        *marks,
        label=label,
    )


def drawing(width, height, *marks, label):
    return tag(
        "svg",
        *marks,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=label,
        class_="chart",
    )


def points(places):
    """Pixels [n, 2] -> 'x y x y ...', each place once in a row."""
    kept = np.append(True, np.any(places[1:] != places[:-1], axis=1))
    return " ".join(f"{x:g} {y:g}" for x, y in places[kept])


def within(frame, x, y):
    """The part of a curve that is in the frame, and one point more at either end."""
    inside = np.flatnonzero(
        (frame.x.low < x) & (x < frame.x.high) & (frame.y.low < y) & (y < frame.y.high)
    )
    part = slice(max(inside[0] - 1, 0), inside[-1] + 2) if len(inside) else slice(0)
    return x[part], y[part]


def curve(frame, x, y, look, title=None):
    """A line through the points, which has dots where they are few; look: its classes."""
    places = frame.at(x, y)
    dots = [dot(*place, look) for place in places] if len(places) < 20 else []
    line = tag(
        "path",
        *([tag("title", title)] if title else []),
        d=f"M{points(places)}",
        class_=f"line {look}",
    )
    return tag("g", line, *dots)


def dot(x, y, look, size=3):
    return tag("circle", cx=f"{x:g}", cy=f"{y:g}", r=size, class_=f"dot {look}")


def steps(frame, edges, heights, look):
    """A histogram as one filled outline."""
    x, y = np.repeat(edges, 2), np.concatenate([[0], np.repeat(heights, 2), [0]])
    return tag("path", d=f"M{points(frame.at(x, y))}Z", class_=f"area {look}")


def upright(frame, x, text):
    """A dashed line at x from bottom to top, named on the side where there is room."""
    across = frame.at([x], [frame.y.low])[0, 0]
    left = across > frame.width / 2
    return tag(
        "g",
        tag("path", d=f"M{across:g} {TOP}V{frame.height - BOTTOM}", class_="mark"),
        tag(
            "text",
            text,
            x=f"{across + (-6 if left else 6):g}",
            y=TOP + 10,
            text_anchor="end" if left else "start",
            class_="halo",
        ),
    )


def clusters(places, names, groups, size=440):
    """Map of points [n, 2] of the groups [n], numbers into the names: colour and shape tell the groups apart, and each has its name above it."""
    low, high = places.min(0), places.max(0)
    places = np.round(10 + (size - 20) * (places - low) / np.maximum(high - low, 1e-9), 1)
    marks, labels = [], []
    for group, name in enumerate(names):
        mine = places[groups == group]
        d = "".join(f"M{x:g} {y:g}{SHAPES[group % len(SHAPES)]}" for x, y in mine)
        marks.append(tag("path", tag("title", name), d=d, class_=f"blob {colour(group)}"))
        x, y = np.median(mine, axis=0)
        above = mine[np.abs(mine - (x, y)).max(1) < 20][:, 1].min(initial=y) - 6
        x, y = np.clip(x, 26, size - 26), max(above, 10)
        labels.append(
            tag(
                "text",
                short(name),
                x=f"{x:.1f}",
                y=f"{y:.1f}",
                text_anchor="middle",
                class_="halo small",
            )
        )
    return drawing(
        size,
        size,
        *marks,
        *labels,
        label=f"Map of {len(places)} utterances of {len(names)} speakers",
    )


def short(name, length=10):
    return name if len(name) <= length else f"{name[: length - 1]}…"


def heat_map(rows, columns, share, titles, label):
    """Cells [rows, columns] of shares between 0 and 1, in per cent; NaN leaves a cell empty. titles: what a cell tells when pointed at."""
    left, top, width = 76, 66, 440
    cell = min((width - left) / len(columns), 60)
    height = min(cell, 30)
    marks = [
        tag(
            "text",
            short(name),
            x=left - 6,
            y=f"{top + (r + 0.5) * height + 4:.1f}",
            text_anchor="end",
        )
        for r, name in enumerate(rows)
    ]
    for c, name in enumerate(columns):
        marks.append(
            tag(
                "text",
                short(name),
                transform=f"translate({left + (c + 0.5) * cell + 4:.1f} {top - 6}) rotate(-60)",
            )
        )
    for r, c in np.argwhere(~np.isnan(share)).tolist():
        x, y = left + c * cell, top + r * height
        marks.append(
            tag(
                "g",
                tag("title", titles[r][c]),
                tag(
                    "rect",
                    x=f"{x + 0.5:.1f}",
                    y=f"{y + 0.5:.1f}",
                    width=f"{cell - 1:.1f}",
                    height=f"{height - 1:.1f}",
                    fill_opacity=f"{0.06 + 0.94 * share[r, c]:.2f}",
                    class_="heat",
                ),
                tag(
                    "text",
                    f"{100 * share[r, c]:.0f}",
                    x=f"{x + cell / 2:.1f}",
                    y=f"{y + height / 2 + 4:.1f}",
                    text_anchor="middle",
                    class_="on" if share[r, c] > 0.5 else "cell",
                ),
            )
        )
    return drawing(width, top + len(rows) * height + 4, *marks, label=label)
