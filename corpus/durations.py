"""Durations of audio files."""

import os
from collections.abc import Iterable

from common.constants import SAMPLE_RATE
from corpus.audio import Audio
from corpus.files import check_present


def read_durations(root: str, names: Iterable[str], place: str) -> dict[str, float]:
    """Returns the seconds of the audio files `names` below root.

    place: where the names come from, for errors. Raises InputError for missing or damaged files.
    """
    seconds = {}
    for name, found in check_present(root, dict.fromkeys(names), place).items():
        with Audio(os.path.join(root, found)) as audio:
            seconds[name] = audio.frames / SAMPLE_RATE
    return seconds
