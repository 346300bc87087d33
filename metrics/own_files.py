"""How the files begin that the metrics and the evaluation write."""

import math

from metrics.scores import SCORES_FORMATS, UNLABELLED_FORMAT


def is_scores(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is a scores file."""
    words = head.decode(errors="replace").partition("\n")[0].split()
    formats = (*SCORES_FORMATS.values(), UNLABELLED_FORMAT)
    if not any(line_format.accepts(words) for line_format in formats):
        return False
    try:
        return math.isfinite(float(words[-1]))
    except ValueError:
        return False


def is_calibration(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is a calibration in JSON."""
    return head.lstrip().startswith(b"{") and b'"inputs"' in head


def is_fusion(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is a fusion with a countermeasure."""
    return head.lstrip().startswith(b"{") and b'"fusion"' in head[:20]


def is_qualities(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is a table of quality measures."""
    return head.startswith(b"trial\t")


def is_backend(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is a back end of metrics/backends.py."""
    return head.startswith(b"PK") and b"facts.npy" in head
