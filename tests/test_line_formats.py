"""The contract of the formats of lists, over every format in corpus/line_formats.py.

The name of a format is its pattern, such as '<speaker> <file>'. The tests make lines from the
pattern alone.
"""

import itertools

import pytest

from common.errors import InputError
from corpus.line_formats import TRAIN_FORMATS, TRIAL_FORMATS
from corpus.lists import read_train_list
from corpus.rows import read_rows

# Values of the words of a pattern. All other words in angle brackets may have any value.
VALUES = {"<label>": "7", "<attack>": "a07", "...": "x"}
SPEAKERS = ("11", "12")


def lines_of(pattern, speaker, file):
    """Return every line that a pattern allows for one speaker and one file.

    A word with alternatives, such as bonafide|spoof, gives one line for each of them.
    """
    separator = "," if "," in pattern and " " not in pattern else " "
    choices = []
    for word in pattern.split(separator):
        values = []
        for choice in word.split("|"):
            known = VALUES | {"<speaker>": speaker, "<label>": speaker, "<file>": file}
            values.append(known.get(choice, choice.strip("<>")))
        choices.append(values)
    return [separator.join(words) for words in itertools.product(*choices)]


def fitting_line(formats, pattern, speaker, file):
    """Return the first line of a pattern that its format accepts."""
    separator = "," if "," in pattern and " " not in pattern else None
    for line in lines_of(pattern, speaker, file):
        if formats[pattern].fits(line.split(separator)):
            return line
    raise AssertionError(f"no line of the pattern {pattern!r} passes its own `fits`")


@pytest.mark.parametrize("pattern", TRAIN_FORMATS)
def test_a_train_list_gives_its_speakers_and_files(pattern, tmp_path):
    path = tmp_path / "list.txt"
    lines = []
    for number, speaker in enumerate(SPEAKERS):
        lines.append(fitting_line(TRAIN_FORMATS, pattern, speaker, f"a/{number}.wav"))
    path.write_text("\n".join(lines) + "\n")
    found = [(utterance.speaker, utterance.path) for utterance in read_train_list(path)]
    expected = [("11", "a/0.wav"), ("12", "a/1.wav")]
    assert found == expected, f"set `columns` of {pattern!r} to the columns of speaker and file"


@pytest.mark.parametrize(
    ("formats", "pattern"),
    [(TRAIN_FORMATS, pattern) for pattern in TRAIN_FORMATS]
    + [(TRIAL_FORMATS, pattern) for pattern in TRIAL_FORMATS],
)
def test_a_format_is_recognised_and_every_line_is_checked(formats, pattern, tmp_path):
    path = tmp_path / "list.txt"
    line = fitting_line(formats, pattern, "11", "a/0.wav")
    path.write_text(f"{line}\n{line}\n")
    line_format, _, rows = read_rows(path, formats)
    recognised = line_format.fits is formats[pattern].fits
    assert recognised, f"another format accepts the lines of {pattern!r}"
    assert len(list(rows)) == 2
    path.write_text(f"{line}\nword\n")
    with pytest.raises(InputError, match="list.txt:2: "):
        list(read_rows(path, formats)[2])
