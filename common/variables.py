"""Environment variables in YAML files: `${NAME}` and `${NAME:-default}`.

`$${NAME}` is the text `${NAME}`, and each further dollar sign is kept.
"""

import re
from typing import Any

# Further dollar signs, the name and the default.
VARIABLE = re.compile(r"\$(\$*)\{(\w+)(?::-([^}]*))?\}")


def escaped(value: Any) -> Any:
    """Returns a value of YAML whose texts are read back as they are, without replacements."""
    if isinstance(value, (list, tuple)):
        return [escaped(each) for each in value]
    return VARIABLE.sub(lambda found: f"${found[0]}", value) if isinstance(value, str) else value


def unescaped(value: Any) -> Any:
    """Returns the value that escaped() got."""
    if isinstance(value, list):
        return [unescaped(each) for each in value]
    if not isinstance(value, str):
        return value
    return VARIABLE.sub(lambda found: found[0][1:] if found[1] else found[0], value)
