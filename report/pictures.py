"""Writing pictures, and recognising the pictures of this program."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.writing import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The title in a picture. Other pictures of matplotlib do not have it.
TITLE = "Speaker verification: curves"
# What matplotlib stores in the formats that can name a title. Without the date equal figures make
# identical files.
METADATA: dict[str, dict[str, Any]] = {
    "png": {"Title": TITLE},
    "svg": {"Title": TITLE, "Date": None},
    "pdf": {"Title": TITLE, "CreationDate": None},
    "eps": {"Creator": TITLE},
    "ps": {"Creator": TITLE},
}
# The same in the formats of photos.
PHOTO_METADATA: dict[str, dict[str, Any]] = {
    "jpg": {"comment": TITLE},
    "jpeg": {"comment": TITLE},
    "tif": {"description": TITLE},
    "tiff": {"description": TITLE},
}
# Bytes at each end of a file that can contain the title.
END = 4096
DEFAULT_FORMAT = "png"


def save_picture(figure: Figure, path: str | Path, **settings: Any) -> None:
    """Write a figure, whose canvas exists, in the format of the extension, or as PNG without one.

    settings: of Figure.savefig(). Raises ValueError for an unknown format, and InputError if the
    file cannot be written.
    """
    form = Path(path).suffix.lower().lstrip(".") or DEFAULT_FORMAT
    data = io.BytesIO()
    more = {"pil_kwargs": PHOTO_METADATA[form]} if form in PHOTO_METADATA else {}
    figure.savefig(data, format=form, metadata=METADATA.get(form), **more, **settings)
    write_atomically(path, data.getbuffer(), flush=False)


def is_picture(path: str | Path) -> bool:
    """Return whether an existing file is a picture of this program."""
    with open(path, "rb") as file:
        ends = file.read(END)
        # PDF names the title at the end.
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - END, 0))
        ends += file.read()
    return TITLE.encode() in ends


def check_of_picture(path: str | Path) -> Callable[[bytes], bool]:
    """Return is_picture(path) in the form that check_output() needs."""
    return lambda head: is_picture(path)
