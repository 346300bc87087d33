"""The error of everything that a user can correct."""


class InputError(ValueError):
    """An option, a list or a file of the user cannot be used.

    The message says where the problem is, what was expected, what was found and what to do. The
    programs print it without a traceback.
    """
