"""Development trials of training speakers who are held out.

A fusion of a speaker network with a countermeasure learns from trials whose speakers neither
network knows. Small corpora with spoofed speech have no such trials.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from common.errors import InputError
from corpus.lists import Utterance, read_train_list
from prep.constants import DEV_ENROLMENTS, DEV_FILES, DEV_TRIALS, REST_LIST
from prep.output import protocol_line, write_lists

log = logging.getLogger(__name__)


def hold_out(list_file: Path, count: int, output: Path) -> None:
    """Splits a train list with spoofed speech into a train list and development lists.

    The last `count` speakers by name are held out. Every bona fide file of such a speaker is the
    enrolment of one claimed speaker. Raises InputError if there would be no training or no trials.
    """
    utterances = list(read_train_list(list_file))
    speakers = sorted({u.speaker for u in utterances})
    if count >= len(speakers):
        raise InputError(
            f"--speakers: expected less than the {len(speakers)} speakers of {list_file}, found "
            f"{count}. Hold out fewer speakers."
        )
    held = set(speakers[-count:])
    development = [u for u in utterances if u.speaker in held]
    enrolments = dict(enrolments_of(development))
    trials = list(trials_of_speakers(development, enrolments))
    for kind in ("target", "nontarget", "spoof"):
        if not any(line.endswith(f" {kind}") for line in trials):
            raise InputError(
                f"{list_file}: expected {kind} trials of the {count} held-out speakers, found "
                "none. The list needs spoofed speech, and several bona fide files of a speaker. "
                "Hold out more speakers."
            )
    write_lists(
        {
            output / REST_LIST: lines_of_protocol(u for u in utterances if u.speaker not in held),
            output / DEV_FILES: lines_of_protocol(development),
            output / DEV_ENROLMENTS: [f"{name} {u.path}" for name, u in enrolments.items()],
            output / DEV_TRIALS: trials,
        }
    )
    log.info(
        "Wrote %s with %s speakers, and %s with %s trials of %s other speakers.",
        output / REST_LIST,
        f"{len(speakers) - count:,}",
        output / DEV_TRIALS,
        f"{len(trials):,}",
        f"{count:,}",
    )


def lines_of_protocol(utterances: Iterable[Utterance]) -> list[str]:
    """Returns the lines of a protocol of countermeasures."""
    return [protocol_line(u.speaker, u.path, u.attack) for u in utterances]


def enrolments_of(utterances: Sequence[Utterance]) -> Iterator[tuple[str, Utterance]]:
    """Yields the name of a claimed speaker and its file, for each bona fide file."""
    numbers: dict[str, int] = defaultdict(int)
    for utterance in utterances:
        if not utterance.spoofed:
            numbers[utterance.speaker] += 1
            yield f"{utterance.speaker}-{numbers[utterance.speaker]}", utterance


def trials_of_speakers(
    utterances: Sequence[Utterance], enrolments: dict[str, Utterance]
) -> Iterator[str]:
    """Yields lines '<claimed speaker> <file> bonafide|<attack> target|nontarget|spoof'.

    All bona fide files are tested, except for the enrolment itself. Spoofed files are tested
    against their own speaker, except for a copy of the enrolment.
    """
    for name, enrolment in enrolments.items():
        for tested in utterances:
            own = tested.speaker == enrolment.speaker
            if tested.path == enrolment.path or is_copy(tested, enrolment):
                continue
            if not tested.spoofed:
                yield f"{name} {tested.path} bonafide {'target' if own else 'nontarget'}"
            elif own:
                yield f"{name} {tested.path} {tested.attack} spoof"


def is_copy(utterance: Utterance, original: Utterance) -> bool:
    """Whether copy synthesis made an utterance of the original: G01/NAME of bonafide/NAME."""
    name = PurePosixPath(original.path).parts[1:]
    return utterance.spoofed and bool(name) and PurePosixPath(utterance.path).parts[1:] == name
