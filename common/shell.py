"""Commands in messages, which users paste into a shell."""

import shlex


def shell_command(*words: str) -> str:
    """Returns a command in quotation marks, in which names are quoted for the shell."""
    command = shlex.join(words)
    mark = '"' if "'" in command else "'"
    return f"{mark}{command}{mark}"
