"""Suggestions for misspelt names."""

import difflib
from collections.abc import Iterable

# Least similarity of a suggestion, from 0 to 1, see difflib.get_close_matches.
SIMILAR = 0.6


def closest(word: str, known: Iterable[str]) -> str | None:
    """Returns the known word that resembles `word` most, or None if no word does."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=SIMILAR)
    return found[0] if found else None


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """Returns the sentence "Did you mean X?", or `otherwise` if no known word is close."""
    found = closest(word, known)
    return f"Did you mean {found}?" if found else otherwise
