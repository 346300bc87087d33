"""How the files begin that the metrics and the evaluation write."""

import math

from metrics.scores import SCORES_FORMATS, UNLABELLED_FORMAT

# A name in every calibration and fusion.
TRAINED_ON = b'"trained_on"'


def is_scores(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is a scores file of this program.

    This program writes the score as the last word. A list of embeddings '<speaker> <file> <file>
    1|0' looks like another order of the words, which this program only reads.
    """
    complete = head[: head.rfind(b"\n") + 1] or head
    lines = [line.split() for line in complete.decode(errors="replace").splitlines()]
    words = lines[0] if lines else []
    formats = [each for each in SCORES_FORMATS.values() if not each.is_variant]
    if not any(line_format.accepts(words) for line_format in [*formats, UNLABELLED_FORMAT]):
        return False
    if len(words) == UNLABELLED_FORMAT.length and is_list_of_trials(lines):
        return False
    try:
        return math.isfinite(float(words[-1]))
    except ValueError:
        return False


def is_list_of_trials(lines: list[list[str]]) -> bool:
    """Returns whether lines '<file> <file> <number>' have labels 1 and 0 instead of scores."""
    return all(words[-1] in ("0", "1") for words in lines if words)


def is_calibration(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is a calibration in JSON."""
    return head.lstrip().startswith(b"{") and b'"inputs"' in head and TRAINED_ON in head


def is_fusion(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is a fusion with a countermeasure."""
    return head.lstrip().startswith(b"{") and b'"fusion"' in head[:20]


def is_qualities(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is a table of quality measures."""
    return head.startswith(b"trial\t")


def is_backend(head: bytes) -> bool:
    """Returns whether a file that begins with `head` is a back end of metrics/backends.py."""
    return head.startswith(b"PK") and b"facts.npy" in head
