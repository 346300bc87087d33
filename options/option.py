"""What the declaration of one option holds."""

from typing import Any, NamedTuple


class Option(NamedTuple):
    """One option of the command line and of YAML.

    kind: its type, or a Literal of its values. least: the smallest value allowed.
    nargs: as in argparse.
    """

    name: str
    kind: Any
    default: Any
    help: str
    least: float | None = None
    nargs: str | int | None = None
