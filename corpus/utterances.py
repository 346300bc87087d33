"""The utterances of a train list, in columns.

A Python object for each of ten million lines would need 2 GB in every process. Every loader process
would soon have a copy of its own, because using a Python object writes to its memory. So a list is
a few arrays, which all processes of a machine share, see distributed/shared.py.

Shapes: N utterances, L lines of the list, S speakers.
"""

import operator
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from common.errors import InputError
from common.text import LINES_AT_ONCE, NumberedNames, TextLines, without_garbage_collection
from common.trial_kinds import SPOOF

REAL = "-"
# Bytes of a text.
Buffer = bytes | memoryview
# A block of lines: the names of the speakers, the paths and, for spoofing-aware lists, the attacks.
Block = tuple[Sequence[str], Sequence[str], Sequence[str] | None]


class Utterance(NamedTuple):
    """A line of a train list.

    attack: "-" for real speech, or the name of the attack. speed: factor of tempo and pitch, see
    speed_copies().
    """

    speaker: str
    path: str
    attack: str = REAL
    speed: float = 1.0

    @property
    def spoofed(self) -> bool:
        """Whether the speech is spoofed."""
        return self.attack != REAL


class Utterances(Sequence):
    """A train list. It is used like a list of Utterances, which are made on demand.

    paths: the path in each line [L]. speakers: the names of the speakers, sorted. speaker: index of
    the speaker of every utterance, int32 [N]. attacks: the names of the attacks, first REAL.
    attack: index of the attack in each line, int32 [L], or None if all speech is real. speeds: the
    speeds that occur, first 1. speed: index of the speed of every utterance, int8 [N], or None if
    all speeds are 1. With copies at other speeds, the lines are repeated: N is a multiple of L.
    """

    def __init__(
        self,
        paths: TextLines,
        speakers: list[str],
        speaker: np.ndarray,
        attacks: list[str],
        attack: np.ndarray | None = None,
        speeds: Sequence[float] = (1.0,),
        speed: np.ndarray | None = None,
    ):
        self.paths = paths
        self.speakers = speakers
        self.speaker = speaker
        self.attacks = attacks
        self.attack = attack
        self.speeds = speeds
        self.speed = speed

    # ------------------------------------------------------------------ construction
    @classmethod
    def of_blocks(cls, blocks: Iterable[Block], padded: bool = False) -> "Utterances":
        """Makes a list of its blocks.

        padded: pad the names of the speakers with zeros to one length, so that the order of numbers
        as names is their order.
        """
        names = NumberedNames()
        attacks = NumberedNames()
        attacks.numbers_of([REAL])
        numbers = [np.empty(0, np.int32)]
        attack = []
        text = bytearray()
        for speakers, paths, attacks_of_block in blocks:
            numbers.append(names.numbers_of(speakers).astype(np.int32))
            if attacks_of_block is not None:
                attack.append(attacks.numbers_of(attacks_of_block).astype(np.int32))
            text += "\n".join(paths).encode() + b"\n"
        width = max(map(len, names), default=0) if padded else 0
        speakers, rank = names_in_order([name.zfill(width) for name in names])
        return cls(
            # The last line end is no part of the text.
            TextLines(np.frombuffer(text, np.uint8)[:-1], str),
            speakers,
            rank[np.concatenate(numbers)],
            list(attacks),
            np.concatenate(attack) if len(attacks) > 1 else None,
        )

    @classmethod
    def of(cls, utterances: Sequence) -> "Utterances":
        """Returns a sequence of Utterances, or of Examples of corpus/embeddings.py, in columns."""
        if isinstance(utterances, cls):
            return utterances
        attacks = [getattr(utterance, "attack", REAL) for utterance in utterances]
        speakers = [utterance.speaker for utterance in utterances]
        made = cls.of_blocks([(speakers, [utterance.path for utterance in utterances], attacks)])
        speed = [utterance.speed for utterance in utterances]
        if set(speed) - {1.0}:
            made.speeds = [1.0, *sorted(set(speed) - {1.0})]
            made.speed = np.array([made.speeds.index(value) for value in speed], np.int8)
        return made

    def with_paths(self, changed: dict[int, str]) -> "Utterances":
        """Returns the same list with other paths. changed: {line: path}."""
        if not changed:
            return self

        def blocks() -> Iterator[bytes]:
            for first, last in self.paths.blocks():
                lines = self.paths.items(first, last)
                for i in range(first, last):
                    lines[i - first] = changed.get(i, lines[i - first])
                yield "\n".join(lines).encode()

        text = np.frombuffer(b"\n".join(blocks()), np.uint8)
        return Utterances(**vars(self) | {"paths": TextLines(text, str)})

    def with_speeds(self, factors: Sequence[float]) -> "Utterances":
        """Returns the list with a copy at every speed after it, see speed_copies()."""
        names = list(self.speakers)
        for factor in factors:
            names += [f"{speaker}@{factor:g}" for speaker in self.speakers]
        speakers, rank = names_in_order(names)
        shifts = len(self.speakers) * np.arange(1 + len(factors), dtype=np.int32)
        speeds = [*self.speeds, *factors]
        # All utterances have the first speed if no speed is stored.
        own_speed = np.zeros(len(self), np.int8) if self.speed is None else self.speed
        copied = np.arange(len(self.speeds), len(speeds), dtype=np.int8)
        return Utterances(
            self.paths,
            speakers,
            np.concatenate([rank[self.speaker + shift] for shift in shifts]),
            self.attacks,
            self.attack,
            speeds,
            np.concatenate([own_speed, np.repeat(copied, len(self))]),
        )

    # ------------------------------------------------------------------ sequence
    def __len__(self) -> int:
        return len(self.speaker)

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, slice):
            return [self[row] for row in range(*i.indices(len(self)))]
        # Indexing a range handles negative numbers and raises IndexError.
        row = range(len(self))[i]
        line = row % len(self.paths)
        return Utterance(
            self.speakers[self.speaker[row]],
            self.paths[line],
            REAL if self.attack is None else self.attacks[self.attack[line]],
            1.0 if self.speed is None else self.speeds[self.speed[row]],
        )

    def __iter__(self) -> Iterator[Utterance]:
        for start in range(0, len(self), len(self.paths)):
            for first, last in self.paths.blocks():
                yield from self.items(start, first, last)

    def items(self, start: int, first: int, last: int) -> Iterator[Utterance]:
        """Yields the utterances of lines first, ..., last - 1. start: row of the first line."""
        rows = slice(start + first, start + last)
        speakers = [self.speakers[i] for i in self.speaker[rows].tolist()]
        attacks = [REAL] * (last - first)
        if self.attack is not None:
            attacks = [self.attacks[i] for i in self.attack[first:last].tolist()]
        speeds = [1.0] * (last - first)
        if self.speed is not None:
            speeds = [self.speeds[i] for i in self.speed[rows].tolist()]
        return map(Utterance, speakers, self.paths.items(first, last), attacks, speeds)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return False
        return all(map(operator.eq, self, other))

    # ------------------------------------------------------------------ columns
    def is_spoofed(self, rows: np.ndarray) -> np.ndarray:
        """Returns whether utterances are spoofed, bool. rows: their numbers, of any shape."""
        if self.attack is None:
            return np.zeros(rows.shape, bool)
        return self.attack[rows % len(self.paths)] > 0

    def spoofed(self) -> np.ndarray:
        """Returns whether each utterance is spoofed, bool [N]."""
        if self.attack is None:
            return no_numbers(self, bool)
        return self.is_spoofed(np.arange(len(self)))

    def has_copies(self) -> bool:
        """Returns whether utterances have other speeds than 1."""
        return self.speed is not None

    def real_speakers(self) -> np.ndarray:
        """Returns whether there is real speech of each speaker, bool [S]."""
        if self.attack is None:
            return np.ones(len(self.speakers), bool)
        return counts(self.speaker[~self.spoofed()], len(self.speakers)) > 0

    def owner(self) -> np.ndarray:
        """Returns the index of the owner of each utterance [N].

        Owners are pairs (speaker, whether the speech is spoofed), sorted.
        """
        if self.attack is None:
            return self.speaker
        pairs = 2 * self.speaker.astype(np.int64) + self.spoofed()
        return np.unique(pairs, return_inverse=True)[1].reshape(-1)

    def number_of_copied_owners(self, owner: np.ndarray) -> int:
        """Returns the number of owners of utterances at other speeds than 1. owner: see owner()."""
        if self.speed is None:
            return 0
        copied = np.zeros(int(owner.max()) + 1, bool)
        for start in range(0, len(owner), LINES_AT_ONCE):
            rows = slice(start, start + LINES_AT_ONCE)
            copied[owner[rows][self.speed[rows] > 0]] = True
        return np.count_nonzero(copied)

    def ends_of_speakers(self) -> list[Utterance]:
        """Returns the first and the last utterance of each speaker at the speed 1."""
        # The first speed is 1.
        rows = np.flatnonzero(self.speed_numbers() == 0)
        ends = np.full((2, len(self.speakers)), -1)
        # If an index is repeated, the last value counts.
        ends[0, self.speaker[rows[::-1]]] = rows[::-1]
        ends[1, self.speaker[rows]] = rows
        return [self[row] for row in np.unique(ends[ends >= 0]).tolist()]

    def texts(self) -> Iterator[tuple[int, Iterable[Buffer]]]:
        """Yields for each column of an Utterance its words with line ends between them.

        A text is (number of bytes, parts). It is the same for the same utterances.
        """
        yield text_of(self.speakers, self.speaker)
        repeats = len(self) // max(len(self.paths), 1)
        text = memoryview(self.paths.text)
        pieces = [text, *[memoryview(b"\n"), text] * (repeats - 1)]
        yield sum(piece.nbytes for piece in pieces), iter(pieces)
        attack = no_numbers(self.paths) if self.attack is None else self.attack
        yield text_of(self.attacks, attack, repeats)
        yield text_of(list(map(str, self.speeds)), self.speed_numbers())

    def speed_numbers(self) -> np.ndarray:
        """Returns the index of the speed of every utterance [N]."""
        return no_numbers(self) if self.speed is None else self.speed


def no_numbers(items: Sequence, kind: type = np.int8) -> np.ndarray:
    """Returns zeros for all items [n], which need no memory."""
    return np.broadcast_to(np.zeros((), kind), len(items))


def counts(numbers: np.ndarray, size: int) -> np.ndarray:
    """Returns how often each of 0, ..., size - 1 occurs in numbers [n], int64 [size].

    np.bincount() converts all numbers to 64 bits at once.
    """
    total = np.zeros(size, np.int64)
    for start in range(0, len(numbers), LINES_AT_ONCE):
        total += np.bincount(numbers[start : start + LINES_AT_ONCE], minlength=size)
    return total


def names_in_order(names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Returns the distinct names, sorted, and the index of each name in them, int32 [n]."""
    distinct = sorted(set(names))
    index = {name: i for i, name in enumerate(distinct)}
    return distinct, np.array([index[name] for name in names], np.int32)


def text_of(
    names: Sequence[str], numbers: np.ndarray, repeats: int = 1
) -> tuple[int, Iterable[Buffer]]:
    """Returns the text of a column, see Utterances.texts().

    numbers: index of the name in each line. repeats: how often all lines are repeated.
    """
    lengths = np.array([len(name.encode()) for name in names], np.int64)
    rows = repeats * len(numbers)
    size = repeats * int(counts(numbers, len(names)) @ lengths) + max(rows - 1, 0)

    def parts() -> Iterator[bytes]:
        separator = ""
        for _ in range(repeats):
            for start in range(0, len(numbers), LINES_AT_ONCE):
                block = numbers[start : start + LINES_AT_ONCE].tolist()
                yield (separator + "\n".join(map(names.__getitem__, block))).encode()
                separator = "\n"

    return size, parts()


def rows_with_repeated_paths(utterances: Utterances) -> np.ndarray:
    """Returns the lines whose path may be in another line too, int64 [n].

    Only the hashes of the paths are compared. So nearly always the result is exact.
    """
    paths = utterances.paths
    hashes = np.fromiter(map(hash, paths), np.int64, len(paths))
    ordered = np.sort(hashes)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    return np.flatnonzero(np.isin(hashes, repeated)) if len(repeated) else repeated


# ---------------------------------------------------------------------- summaries
def counted(names: Iterable[str]) -> str:
    """Returns how often each name occurs, sorted by name: 'A01 3,800, A02 3,800'."""
    return counted_text(Counter(names))


def counted_text(numbers: Counter) -> str:
    """Returns counted() of names that are counted already. numbers: {name: how often it occurs}."""
    return ", ".join(f"{name} {count:,}" for name, count in sorted(numbers.items()))


def described(utterances: Sequence) -> str:
    """Summarises a train list: speakers and utterances, and the attacks of spoofed speech.

    utterances: Utterances, or Examples of corpus/embeddings.py.
    """
    columns = Utterances.of(utterances)
    spoofed = np.count_nonzero(columns.spoofed())
    speakers = np.count_nonzero(columns.real_speakers())
    text = f"{speakers:,} speakers, {len(columns) - spoofed:,} utterances"
    if not spoofed:
        return text
    attack = columns.attack
    assert attack is not None
    repeats = len(columns) // len(columns.paths)
    numbers = (counts(attack, len(columns.attacks)) * repeats).tolist()
    attacks = Counter(dict(zip(columns.attacks[1:], numbers[1:], strict=True)))
    return f"{text}; {spoofed:,} spoofed: {counted_text(attacks)}"


# ---------------------------------------------------------------------- classes
def classes_of(utterances: Sequence, size: int | None = None) -> dict[str, int]:
    """Numbers the classes of the training speakers -> {speaker: class}.

    utterances: Utterances, or Examples of corpus/embeddings.py. Classes are counted from 0 in the
    sorted order of the names. All spoofed speech is one class, the last of `size`. Raises
    InputError if a speaker has the name of that class.
    """
    columns = Utterances.of(utterances)
    real = columns.real_speakers().tolist()
    names = [name for name, is_real in zip(columns.speakers, real, strict=True) if is_real]
    classes = {name: i for i, name in enumerate(names)}
    if columns.attack is not None:
        if SPOOF in classes:
            raise InputError(
                f"--train_list: a speaker is named {SPOOF!r}, which is the name of the class of "
                "spoofed speech. Rename the speaker in the list."
            )
        classes[SPOOF] = max((size or 0) - 1, len(names))
    return classes


@without_garbage_collection
def speed_copies(utterances: Sequence[Utterance], factors: Sequence[float]) -> Utterances:
    """Adds a copy of all utterances at every speed, after the utterances themselves.

    A copy with another pitch and tempo counts as another speaker, with the name 'id@0.9'
    (Yamamoto et al. 2019). Raises InputError if factors are equal to each other or to 1.
    """
    if len({1.0, *factors}) <= len(factors):
        raise InputError(
            "--speed_factors: expected different factors other than 1, found "
            f"{' '.join(f'{factor:g}' for factor in factors)}. Remove the factor 1 and repeated "
            "factors."
        )
    return Utterances.of(utterances).with_speeds(factors)
