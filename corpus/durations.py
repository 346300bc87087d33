"""Durations of audio files."""

import os
from collections.abc import Iterable

from common.constants import SAMPLE_RATE
from corpus.audio import Audio
from corpus.files import check_present


def read_durations(root: str, names: Iterable[str], place: str) -> dict[str, float]:
    """Returns {name: duration in seconds} of audio files below root.

    place: the list or option that gives the names, for errors. Raises InputError for missing or
    damaged files.
    """
    seconds = {}
    found_files = check_present(root, dict.fromkeys(names), place, root_option="--path")
    for name, found in found_files.items():
        with Audio(os.path.join(root, found)) as audio:
            seconds[name] = audio.frames / SAMPLE_RATE
    return seconds
