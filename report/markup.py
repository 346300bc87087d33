"""HTML and SVG elements, tables, figures and legends of a report.

Text is always escaped. The styles of the classes are in report/page.css.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element, tostring

from report.det import COLOURS

# What an element may contain.
Child = str | Element
# The classes of a legend entry, such as "line c0 d1", and its text.
LegendEntry = tuple[str, str]


def tag(name: str, /, *children: Child, **attributes: object) -> Element:
    """Make the element `name` with these children and attributes.

    An underscore in the name of an attribute becomes a hyphen, and one at the end is dropped:
    `class_` becomes class, `text_anchor` becomes text-anchor. If its value is None, an attribute is
    left out.
    """
    element = Element(name)
    for key, value in attributes.items():
        if value is not None:
            element.set(key.rstrip("_").replace("_", "-"), str(value))
    for child in children:
        if not isinstance(child, str):
            element.append(child)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + child
        else:
            element.text = (element.text or "") + child
    return element


def html(element: Element) -> str:
    """Write an element as an HTML document."""
    return "<!DOCTYPE html>\n" + tostring(element, encoding="unicode", method="html") + "\n"


def colour(number: int) -> str:
    """Name the class that gives a run, a speaker or a kind of trials one of COLOURS."""
    return f"c{number % len(COLOURS)}"


def swatch(look: str) -> Element:
    """Draw the swatch of a legend entry: a short stroke for a line, or a small square.

    look: the classes of the swatch, such as 'line c0 d1'.
    """
    width, path = 10, "M0 0H10V10H0Z"
    if "line" in look:
        width, path = 30, "M0 5H30"
    return tag(
        "svg",
        tag("path", d=path, class_=look),
        viewBox=f"0 0 {width} 10",
        width=width,
        height=10,
        class_="swatch",
        aria_hidden="true",
    )


def legend(entries: Iterable[LegendEntry]) -> Element:
    """Make the list of the swatches and their texts."""
    items = [tag("li", swatch(look), tag("span", text)) for look, text in entries]
    return tag("ul", *items, class_="legend")


def figure(
    drawing: Element,
    caption: str,
    title: Sequence[Child] | None = None,
    entries: Sequence[LegendEntry] = (),
    look: str | None = None,
) -> Element:
    """Make a figure with a heading, a drawing, a legend and a caption.

    title: the children of the heading. look: None, or 'beside', which puts the heading, the legend
    and the caption to the right of the drawing if the page is wide enough.
    """
    heading = [tag("h3", *title)] if title else []
    text = [legend(entries)] if entries else []
    text.append(tag("figcaption", caption))
    if look:
        return tag("figure", drawing, tag("div", *heading, *text), class_=look)
    return tag("figure", *heading, drawing, *text)


def html_table(
    head: Iterable[str], rows: Iterable[Sequence[Child]], look: str | None = None
) -> Element:
    """Make a table in a box that scrolls if the table is wider than the page.

    head: texts of the columns. rows: the name of each row, followed by its cells. A cell is a text
    or a td element. look: a class of the table.
    """
    columns = [tag("th", text, scope="col") for text in head]
    body = tag("tbody", *(table_row(*row) for row in rows))
    return tag(
        "div",
        tag("table", tag("thead", tag("tr", *columns)), body, class_=look),
        class_="scroll",
        tabindex="0",
    )


def table_row(name: Child, *cells: Child) -> Element:
    """Make a row of a table."""
    made = [tag("td", cell) if isinstance(cell, str) else cell for cell in cells]
    return tag("tr", tag("th", name, scope="row"), *made)


def section(name: str, intro: str | None, *content: Element) -> Element:
    """Make a section of the page with a heading and, unless `intro` is None, a first paragraph."""
    paragraphs = [tag("p", intro)] if intro else []
    return tag("section", tag("h2", name), *paragraphs, *content)


def side_by_side(figures: Iterable[Element], look: str = "grid") -> Element:
    """Put figures next to each other.

    look: 'grid', or 'grid small' for three in a row if the page is wide enough.
    """
    return tag("div", *figures, class_=look)
