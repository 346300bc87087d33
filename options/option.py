"""What the declaration of one option holds."""

from typing import Any, NamedTuple


class Option(NamedTuple):
    """One option of the command line and of YAML.

    kind: its type, or a Literal of its values. least: the smallest value allowed.
    nargs: as in argparse. placeholder: the word for its value in --help, see PLACEHOLDERS in
    help_text.py for the defaults. daily: --help shows the option, not only --help-all.
    """

    name: str
    kind: Any
    default: Any
    help: str
    least: float | None = None
    nargs: str | int | None = None
    placeholder: str = ""
    daily: bool = False
