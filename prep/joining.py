"""Joins short utterances of one speaker and one genre to longer ones, in new FLAC files.

Crops of several seconds from short utterances would repeat the same speech. wespeaker joins the
short utterances of CN-Celeb for this reason.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from common.constants import SAMPLE_RATE
from common.errors import InputError
from common.writing import write_atomically
from corpus.audio import Audio, read_int16, whole_length
from prep.output import audio_bytes

# Format of the samples that are joined without a loss.
SUBTYPE = "PCM_16"


class Joining(NamedTuple):
    """How the utterances of a corpus are joined.

    root: the folder that the paths are relative to. output: folder of the joined files, below the
    root. seconds: utterances below this length are joined.
    """

    root: Path
    output: str
    seconds: int


class SpeakerPaths(NamedTuple):
    """The utterances of one speaker, as paths relative to the root, sorted.

    folder: the folder of the speaker, relative to the root.
    """

    speaker: str
    folder: str
    paths: list[str]


class Joined(NamedTuple):
    """The utterances of one speaker after the joining.

    short: number of utterances that were joined. files: number of joined files. failed: path of a
    file that cannot be used -> message.
    """

    speaker: str
    paths: list[str]
    short: int
    files: int
    failed: dict[str, str]


def genre_of(path: str) -> str:
    """Returns the genre of a file of CN-Celeb: 'singing' of 'id00012/singing-01-002.flac'."""
    return Path(path).name.partition("-")[0]


def utterance_groups(frames: Mapping[str, int], least: int) -> list[list[str]]:
    """Returns the short utterances of one genre in groups of at least `least` samples.

    frames: utterance -> number of samples, in the order of joining. An utterance of `least` samples
    or more is in no group. A rest below `least` samples belongs to the group before it. It is a
    group by itself if there is none.
    """
    groups: list[list[str]] = []
    group: list[str] = []
    total = 0
    for path, count in frames.items():
        if count >= least:
            continue
        group.append(path)
        total += count
        if total >= least:
            groups.append(group)
            group = []
            total = 0
    if group and groups:
        groups[-1] += group
    elif group:
        groups.append(group)
    return groups


def read_samples(path: Path) -> np.ndarray:
    """Returns the samples of a 16-bit file, int16 [T]. Raises InputError for other files."""
    with Audio(path) as audio:
        # Audio() raises InputError for another sample rate and for several channels.
        subtype = soundfile.info(path).subtype
        samples = read_int16(audio)
    if subtype != SUBTYPE:
        raise InputError(
            f"{path}: expected samples of 16 bits ({SUBTYPE}), found {subtype}. Convert this file."
        )
    return samples


def join_group(joining: Joining, group: list[str], folder: str, frames: int) -> str:
    """Writes one joined file, unless it is complete. Returns its path relative to the root.

    folder: the folder of the speaker. frames: number of samples of the joined file. The name has
    the first file of the group and the number of further files.
    """
    path = f"{joining.output}/{folder}/{Path(group[0]).stem}+{len(group) - 1}.flac"
    target = joining.root / path
    if not target.exists() or whole_length(target) != frames:
        x = np.concatenate([read_samples(joining.root / name) for name in group])
        write_atomically(target, audio_bytes(x, "FLAC"), flush=False)
    return path


def lengths_of(root: Path, paths: Iterable[str]) -> tuple[dict[str, int], dict[str, str]]:
    """Returns path -> number of samples, and path -> message of the files that cannot be used."""
    frames = {}
    failed = {}
    for path in paths:
        try:
            with Audio(root / path) as audio:
                frames[path] = audio.frames
        except InputError as error:
            failed[path] = str(error)
    return frames, failed


def join_speaker(joining: Joining, speaker: SpeakerPaths) -> Joined:
    """Joins the short utterances of one speaker.

    The paths of the result are sorted. They are the long utterances, the joined files, and a short
    utterance that has no other one of its genre.
    """
    frames, failed = lengths_of(joining.root, speaker.paths)
    least = joining.seconds * SAMPLE_RATE
    genres: dict[str, dict[str, int]] = {}
    for path, count in frames.items():
        genres.setdefault(genre_of(path), {})[path] = count
    paths = [path for path, count in frames.items() if count >= least]
    short = 0
    files = 0
    for lengths in genres.values():
        for group in utterance_groups(lengths, least):
            if len(group) == 1:
                paths += group
                continue
            total = sum(lengths[path] for path in group)
            try:
                paths.append(join_group(joining, group, speaker.folder, total))
            except (InputError, soundfile.LibsndfileError) as error:
                failed[group[0]] = f"{joining.root / group[0]} and further files: {error}"
                continue
            short += len(group)
            files += 1
    return Joined(speaker.speaker, sorted(paths), short, files, failed)
