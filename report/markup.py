"""Elements of HTML and SVG, made so that any text in them is escaped; tables, figures and legends of a report. Their looks: report/page.css."""

from xml.etree.ElementTree import Element, tostring

from report.det import COLOURS


def tag(name, /, *children, **attributes):
    """Element `name` with these children, text or elements. `class_` and `text_anchor` stand for class and text-anchor; None leaves one out."""
    made = Element(
        name,
        {
            key.rstrip("_").replace("_", "-"): str(value)
            for key, value in attributes.items()
            if value is not None
        },
    )
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def html(element):
    return "<!DOCTYPE html>\n" + tostring(element, encoding="unicode", method="html") + "\n"


def colour(i):
    """The class of the i-th run, speaker or kind: one of COLOURS."""
    return f"c{i % len(COLOURS)}"


def swatch(look):
    """A short stroke or a small square for a legend; look: its classes, such as 'line c0 d1'."""
    width, path = (30, "M0 5H30") if "line" in look else (10, "M0 0H10V10H0Z")
    return tag(
        "svg",
        tag("path", d=path, class_=look),
        viewBox=f"0 0 {width} 10",
        width=width,
        height=10,
        class_="swatch",
        aria_hidden="true",
    )


def legend(entries):
    """[(look, text)] -> list of swatches."""
    return tag(
        "ul",
        *(tag("li", swatch(look), tag("span", text)) for look, text in entries),
        class_="legend",
    )


def figure(drawing, caption, title=None, entries=(), look=None):
    """look: 'beside' puts the legend and the caption to the right of the drawing where there is room."""
    heading = [tag("h3", *title)] if title else []
    text = [*([legend(entries)] if entries else []), tag("figcaption", caption)]
    return (
        tag("figure", drawing, tag("div", *heading, *text), class_=look)
        if look
        else tag("figure", *heading, drawing, *text)
    )


def table(head, rows, look=None):
    """head: texts; rows: of each its name and its cells, texts or elements -> table in a box that scrolls where it is too wide."""

    def line(name, *cells):
        return tag(
            "tr",
            tag("th", name, scope="row"),
            *(tag("td", cell) if isinstance(cell, str) else cell for cell in cells),
        )

    columns = [tag("th", text, scope="col") for text in head]
    body = tag("tbody", *(line(*row) for row in rows))
    return tag(
        "div",
        tag("table", tag("thead", tag("tr", *columns)), body, class_=look),
        class_="scroll",
        tabindex="0",
    )


def section(name, intro, *content):
    return tag("section", tag("h2", name), *([tag("p", intro)] if intro else []), *content)


def side_by_side(figures, look="grid"):
    """look: 'grid small' for three in a row where there is room."""
    return tag("div", *figures, class_=look)
