"""The error of everything that a user can correct."""


class InputError(ValueError):
    """What the user gave cannot be used: the message says where, what is wanted, what was got and what to do."""
