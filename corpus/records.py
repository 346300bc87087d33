"""The record of the options that a folder was filled with: a JSON file in the folder."""

import json
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.writing import write_atomically


def check_record(record: Path, options: dict[str, Any], what: str) -> None:
    """Raises InputError unless the JSON file `record` contains the given options.

    what: the kind of corpus in the folder, for errors.
    """
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise InputError(
            f"{record}: expected the options of a {what} in JSON, found another content. Choose "
            "another folder, or remove this folder."
        ) from None
    if found == options:
        return
    differences = []
    for name, value in options.items():
        recorded = found.get(name) if isinstance(found, dict) else found
        if not isinstance(found, dict) or recorded != value:
            differences.append(f"{name} {recorded} (now {value})")
    raise InputError(
        f"{record.parent}: this folder contains a {what} with other options: "
        f"{', '.join(differences)}. Choose another folder, or remove this folder."
    )


def begin_record(record: Path, options: dict[str, Any]) -> None:
    """Writes the options to the JSON file `record`, before its folder is filled with data.

    Raises InputError if the folder is not empty.
    """
    folder = record.parent
    if folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: expected a new or empty folder, found other files in it. Choose another "
            "folder."
        )
    write_atomically(record, json.dumps(options, indent=1).encode())
