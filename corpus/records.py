"""The record of the options that a folder was filled with: a JSON file in the folder."""

import json
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.writing import write_atomically


def check_record(record: Path, options: dict[str, Any], what: str) -> None:
    """Raises InputError unless the JSON file `record` contains these options.

    what: the kind of corpus in the folder, for errors.
    """
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(
            f"{record}: want the options of a {what} in JSON; choose another folder, or remove "
            "this one"
        ) from None
    if found == options:
        return
    differences = []
    for name, value in options.items():
        recorded = found.get(name) if isinstance(found, dict) else found
        if not isinstance(found, dict) or recorded != value:
            differences.append(f"{name} {recorded} (now {value})")
    raise InputError(
        f"{record.parent}: holds a {what} with other options: {', '.join(differences)}; choose "
        "another folder, or remove this one"
    )


def begin_record(record: Path, options: dict[str, Any]) -> None:
    """Writes the JSON file `record`: from now on its folder is being filled with these options.

    Raises InputError if there is anything else in the folder.
    """
    folder = record.parent
    if folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: want a new or empty folder, got one with other files in it; choose another"
        )
    write_atomically(record, json.dumps(options, indent=1).encode())
