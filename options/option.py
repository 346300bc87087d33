"""What the declaration of one option holds."""

from collections.abc import Callable
from typing import Any, NamedTuple

# The largest size of a number for which an option states no other bound.
LARGEST = 2**31 - 1


class Option(NamedTuple):
    """One option of the command line and of YAML.

    kind: its type, or a Literal of its values. least, most: the smallest and the largest value
    allowed. nargs: as in argparse. placeholder: the word for its value in --help, see PLACEHOLDERS
    in help_text.py for the defaults. daily: --help shows the option, not only --help-all. between:
    whether least and most themselves are not allowed.
    """

    name: str
    kind: Any
    default: Any
    help: str
    least: float = -LARGEST
    nargs: str | int | None = None
    placeholder: str = ""
    daily: bool = False
    most: float = LARGEST
    between: bool = False

    def expected(self, value: Any, shown: Callable[[float], str] = str) -> str | None:
        """Returns the numbers that are allowed, if a value is not one of them.

        value: a number, several numbers, or a value without bounds. shown: writes a bound.
        """
        for number in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                continue
            if not self.least <= number or (self.between and number == self.least):
                return f"{'more than' if self.between else 'at least'} {shown(self.least)}"
            if not number <= self.most or (self.between and number == self.most):
                return f"{'less than' if self.between else 'at most'} {shown(self.most)}"
        return None
