"""The formats of the lines of scores files. metrics/scores.py reads the files."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from common.trial_kinds import FILE_KINDS, SPOOF, TRIAL_KINDS


class ScoresFormat(NamedTuple):
    """A format of the lines of a scores file.

    length: number of words in a line.
    key_place: index of the word that gives the kind of trial.
    keys: the possible values of that word. No values mean that the format has no labels.
    score_place: index of the score, -1 if it is the last word.
    is_variant: whether errors do not name the format, which has the same words in another order.
    """

    length: int
    key_place: int
    keys: tuple[str, ...]
    score_place: int = -1
    is_variant: bool = False

    @property
    def is_spoofing_aware(self) -> bool:
        """Whether the kinds of trials are TRIAL_KINDS."""
        return self.keys == TRIAL_KINDS

    @property
    def is_of_files(self) -> bool:
        """Whether a line is a single file, which a countermeasure scored."""
        return self.keys == FILE_KINDS

    @property
    def word_places(self) -> dict[str, int]:
        """{name of a field of metrics.scores.Scores: index of its word}, for attacks and others."""
        if self.is_of_files:
            return (
                {"attacks": 1} if self.length == 4 else {"speakers": 1, "codecs": 2, "attacks": 3}
            )
        return {"attacks": 2} if self.is_spoofing_aware and self.length == 5 else {}

    @property
    def side_places(self) -> tuple[int, ...]:
        """Indices of the two sides of a trial, () for a single file."""
        if self.is_of_files:
            return ()
        others = {self.score_place % self.length, self.key_place if self.keys else self.length}
        return tuple(place for place in range(self.length) if place not in others)[:2]

    @property
    def attack_place(self) -> int | None:
        """Index of the attack, or None if lines have none."""
        return self.word_places.get("attacks")

    @property
    def has_attacks(self) -> bool:
        """Whether a line names the attack."""
        return self.attack_place is not None

    def accepts(self, words: Sequence[str]) -> bool:
        """Returns whether the words of one line have this format."""
        if len(words) != self.length:
            return False
        return not self.keys or words[self.key_place] in self.keys


FILE_LINE = "<file> <attack>|- bonafide|spoof <score>"
CODEC_LINE = "<file> <speaker> <codec> <attack>|- bonafide|spoof <score>"
# A line whose score is 0 or 1 fits both formats.
LABEL_OR_SCORE = ("<file> <file> <score> 1|0", "<file> <file> 1|0 <score>")
# What a line looks like -> its format.
SCORES_FORMATS = {
    LABEL_OR_SCORE[0]: ScoresFormat(4, 3, ("0", "1"), score_place=2, is_variant=True),
    LABEL_OR_SCORE[1]: ScoresFormat(4, 2, ("0", "1"), is_variant=True),
    "<file> <file> <score> target|nontarget|spoof": ScoresFormat(
        4, 3, TRIAL_KINDS, score_place=2, is_variant=True
    ),
    "1|0 <file> <file> <score>": ScoresFormat(4, 0, ("0", "1")),
    "<speaker> <file> bonafide|<attack> target|nontarget|spoof <score>": ScoresFormat(
        5, 3, TRIAL_KINDS
    ),
    # Countermeasure scores, as the baselines of ASVspoof 2019 write them
    FILE_LINE: ScoresFormat(4, 2, FILE_KINDS),
    # Countermeasure scores of files that were sent through codecs
    CODEC_LINE: ScoresFormat(6, 4, FILE_KINDS),
    "<speaker> <file> target|nontarget|spoof <score>": ScoresFormat(4, 2, TRIAL_KINDS),
}
UNLABELLED_LINE = "<file> <file> <score>"
UNLABELLED_FORMAT = ScoresFormat(3, 0, ())


def are_files(lines: Iterable[str]) -> bool:
    """Returns whether lines of four words are files of a countermeasure, and not trials.

    The third word decides, but `spoof` is a word of both.
    """
    words = (line.split() for line in lines)
    found = next((each[2] for each in words if len(each) == 4 and each[2] != SPOOF), None)
    return found == "bonafide"


def label_order(path: str | Path, lines: Iterable[str]) -> str:
    """Returns which of LABEL_OR_SCORE a file has whose first line fits both.

    The first line with another number than 0 and 1 decides. Raises ValueError if there is none.
    """
    for line in lines:
        fitting = [name for name in LABEL_OR_SCORE if SCORES_FORMATS[name].accepts(line.split())]
        if len(fitting) == 1:
            return fitting[0]
    raise ValueError(
        f"{path}: expected scores with other values than labels, found only 0 and 1 in both of the "
        "last two columns. Write the label first: '1|0 <file> <file> <score>'."
    )


def without_score(line: str) -> str:
    """Returns the trial of a line: all words but the last, with one blank between words."""
    return " ".join(line.split()[:-1])


def trial_of(line_format: ScoresFormat, line: str, plain: bool) -> str:
    """Returns the trial of a line without the score, '1|0 <file> <file>' if it is plain."""
    words = line.split()
    score = line_format.score_place % line_format.length
    if not plain:
        return " ".join(word for i, word in enumerate(words) if i != score)
    key = line_format.key_place
    a, b = (word for i, word in enumerate(words) if i not in (score, key))
    return f"{int(words[key] in ('1', 'target'))} {a} {b}"
