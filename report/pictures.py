"""Writing pictures, and recognising the pictures of this program."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.writing import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The title in a picture. Other pictures of matplotlib do not have it.
TITLE = "Speaker verification: curves"
# What matplotlib stores in the formats that can name a title at their beginning. Without the date
# equal figures make identical files.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Title": TITLE},
    "svg": {"Title": TITLE, "Date": None},
    "eps": {"Creator": TITLE},
    "ps": {"Creator": TITLE},
}
DEFAULT_FORMAT = "png"


def save_picture(figure: Figure, path: str | Path, **settings: Any) -> None:
    """Write a figure, whose canvas exists, in the format of the extension, or as PNG without one.

    settings: of Figure.savefig(). Raises ValueError for an unknown format, and InputError if the
    file cannot be written.
    """
    form = Path(path).suffix.lower().lstrip(".") or DEFAULT_FORMAT
    data = io.BytesIO()
    figure.savefig(data, format=form, metadata=METADATA.get(form), **settings)
    write_atomically(path, data.getbuffer(), flush=False)


def is_picture(head: bytes) -> bool:
    """Return whether a file that begins with `head` is a picture of this program."""
    return TITLE.encode() in head
