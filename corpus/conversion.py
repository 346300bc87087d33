"""Placeholder until the module that converts .m4a is merged."""
from corpus import InputError


def convert(folder, output, format="wav", processes=None):
    if any(folder.rglob("*.m4a")):
        raise InputError(f"{folder}: cannot be converted yet")
