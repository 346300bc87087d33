"""The record of the options that a folder was filled with, a JSON file in it."""

import json

from common.errors import InputError
from common.writing import write_atomically


def check_record(record, options, what):
    """InputError unless the JSON file `record` holds these options; what: the kind of corpus, for users."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except ValueError:
        raise InputError(
            f"{record}: want the options of a {what} in JSON; choose another folder, or remove this one"
        ) from None
    if found != options:
        differ = ", ".join(
            f"{k} {found.get(k) if isinstance(found, dict) else found} (now {v})"
            for k, v in options.items()
            if not isinstance(found, dict) or found.get(k) != v
        )
        raise InputError(
            f"{record.parent}: holds a {what} with other options: {differ}; choose another folder, or remove this one"
        )


def begin_record(record, options):
    """Marks the folder of the JSON file `record` as being filled with these options. InputError if anything else is in it."""
    folder = record.parent
    if folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"{folder}: want a new or empty folder, got one with other files in it; choose another"
        )
    write_atomically(record, json.dumps(options, indent=1).encode())
