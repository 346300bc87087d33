"""The error of everything that a user can correct."""


class InputError(ValueError):
    """An option, a list or a file of the user cannot be used.

    The message says where the problem is, what was expected, what was found and what to do. The
    programs print it without a traceback.
    """


def file_problem(error: OSError, expected: str = "a file") -> str:
    """Returns a sentence about a file that cannot be read. expected: what it should be."""
    if isinstance(error, IsADirectoryError):
        return f"expected {expected}, found a folder."
    if isinstance(error, FileNotFoundError):
        return "there is no such file. Check the path."
    return f"{error.strerror or error}. Check the path."
