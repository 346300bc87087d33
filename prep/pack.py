"""Packs: the recordings of lists in few large files.

Training from a network disk then does not open a file for each crop. An example:

python dataprep.py pack data/train_list.txt data/trials.txt --path data/vox2 --output data/pack

Afterwards the pack is the folder for --train_path. corpus/roots.py describes the format of a pack
and reads it. Samples are not compressed. They have 16 bits if 16 bits store them exactly, and are
float32 otherwise.
"""

import contextlib
import io
import itertools
import json
import logging
import os
import shutil
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from common.constants import SAMPLE_RATE
from common.errors import InputError
from common.foreign_files import foreign_file
from common.outputs import remove_link
from common.writing import write_atomically
from corpus.audio import decode
from corpus.features import SUFFIXES
from corpus.file_lists import read_speakers
from corpus.files import audio_below, check_present, find_files
from corpus.lists import read_trials
from corpus.pack_index import AGAIN, COLUMNS, INDEX
from corpus.records import begin_record, check_record
from corpus.roots import MARK, SETTINGS, Folder, Pack, open_root, shard_file
from prep.output import exclusive_access, report_failures, require_folder

log = logging.getLogger(__name__)
FAILED = "failed.txt"
# Number of files whose lengths predict the size of the pack.
SAMPLED = 1000
# Largest number of shards, because a loader process keeps all shards open.
MOST_SHARDS = 500
MB = 10**6
# Bits of a sample.
BITS = (16, 32)
# Name, bits of a sample, and all samples of a recording.
Samples = tuple[str, int, bytes]


class PackOptions(NamedTuple):
    """Options of a pack.

    `lists` are lists of files, utterances or trials. Without lists, the pack contains all audio
    below `path`. `shard_size` is in bytes. `threads` is the number of files that are read at once.
    `enroll_list` and `spk_meta` belong to spoofing-aware trials, see read_enrolment.
    """

    lists: list
    path: Path
    output: Path
    shard_size: int
    threads: int
    enroll_list: list | None = None
    spk_meta: Path | None = None


class Shard(NamedTuple):
    """Contents of a shard, as its JSON file describes them.

    `recordings` has (name, frames, bits of a sample) of every recording, in the order of the
    samples. `crc32` is the checksum of all bytes.
    """

    recordings: list
    crc32: int

    @property
    def frames(self) -> int:
        """Number of samples of all recordings."""
        return sum(frames for _, frames, _ in self.recordings)

    @property
    def bytes(self) -> int:
        """Size of the file of samples."""
        return sum(frames * bits // 8 for _, frames, bits in self.recordings)


# ---------------------------------------------------------------------- recordings
def recordings_of(options: PackOptions) -> dict[str, str]:
    """Returns {file below --path: speaker} of all recordings of the lists.

    The speaker is "" if no list names it. Raises InputError if a file is missing or is not audio.
    """
    if not options.lists:
        require_folder(options.path, "Give the folder of the recordings.", "--path")
        return dict.fromkeys(audio_below(options.path), "")
    recordings: dict[str, str] = {}
    for list_file in options.lists:
        speakers = read_speakers(list_file, options.enroll_list, options.spk_meta)
        first = next(iter(speakers.values()))
        # Lines '<file> <file>' look like '<speaker> <file>', but they are trials without labels.
        if first and find_files(options.path, [first])[first]:
            speakers = dict.fromkeys(read_trials(list_file).paths(), "")
        arrays = [name for name in speakers if name.endswith(SUFFIXES)]
        if arrays:
            raise InputError(
                f"{list_file}: expected audio, found features or embeddings "
                f"({', '.join(arrays[:3])}). Use a list of audio files."
            )
        found = check_present(options.path, speakers, list_file, root_option="--path")
        of_list = {found[name]: speaker for name, speaker in speakers.items()}
        # The first list that has a recording names its speaker.
        recordings = of_list | recordings
    return recordings


def read_whole(root: Folder | Pack, name: str) -> tuple[str, int, bytes, str | None]:
    """Reads a recording.

    Returns its name, the bits of a sample, all samples, and an error message if the recording
    cannot be used.
    """
    try:
        with root.open(name) as recording:
            x = recording.read(0, recording.frames)  # [T]
    except InputError as error:
        return name, 0, b"", str(error)
    integers = np.clip(x * 32768, -32768, 32767).astype("<i2")
    data = integers.tobytes()
    # The comparison of bits, not of values, also finds negative zeros.
    if np.array_equal(decode(data, 16).view(np.int32), x.view(np.int32)):
        return name, 16, data, None
    return name, 32, x.astype("<f4").tobytes(), None


def in_threads(work: Callable[[Any], Any], jobs: Iterable, threads: int) -> Iterator[Any]:
    """Yields work(job) in the order of the jobs. Threads work ahead on a few jobs.

    Threads are enough here, because disks and decoders release the lock of Python.
    """
    with ThreadPoolExecutor(threads) as pool:
        futures: deque[Future] = deque()
        for job in jobs:
            futures.append(pool.submit(work, job))
            if len(futures) > 2 * threads:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()


def frames_of_recording(root: Folder | Pack, name: str) -> int:
    """Returns the number of samples, 0 if the recording cannot be opened."""
    try:
        with root.open(name) as recording:
            return recording.frames
    except InputError:
        # read_whole reports the error.
        return 0


def check_pack_space(options: PackOptions, root: Folder | Pack, names: Sequence[str]) -> None:
    """Predicts the size of the pack from the lengths of some recordings.

    Raises InputError if the disk is too small, or if there would be too many shards.
    """
    sampled = names[:: len(names) // SAMPLED + 1]
    frames = list(in_threads(partial(frames_of_recording, root), sampled, options.threads))
    expected = int(2 * np.mean(frames) * len(names))
    free = shutil.disk_usage(options.output).free
    if free < expected:
        raise InputError(
            f"--output {options.output}: expected {expected / MB:,.0f} MB of free disk space, "
            f"found {free / MB:,.0f} MB. Free some space, or choose another folder."
        )
    if expected > MOST_SHARDS * options.shard_size:
        raise InputError(
            f"--shard_size: expected at most {MOST_SHARDS} shards, found about "
            f"{expected // options.shard_size:,} shards of {options.shard_size // MB} MB. Use "
            f"--shard_size {expected // MOST_SHARDS // MB + 1} or more, in MB."
        )


# ---------------------------------------------------------------------- shards
def read_shards(folder: str | Path) -> dict[int, Shard]:
    """Returns {number: Shard} of all shards that have a JSON file.

    Raises InputError if a JSON file is damaged.
    """
    shards = {}
    for path in sorted(Path(folder).glob("[0-9]*.json")):
        with foreign_file(path, not_a_shard):
            shards[int(path.stem)] = shard_of(json.loads(path.read_text(encoding="utf-8")))
    return shards


def not_a_shard(problem: str) -> str:
    """Returns the message about a file that is not the JSON file of a shard."""
    return (
        f"expected the contents of a shard in JSON, found something else ({problem}). Remove this "
        f"file and {AGAIN}."
    )


def shard_of(table: dict[str, Any]) -> Shard:
    """Returns the shard of the contents of a JSON file. Raises an exception if they are wrong."""
    recordings = []
    for name, frames, bits in table["recordings"]:
        # Raises an exception for a name that no file can have.
        os.fsencode(name)
        if type(frames) is not int or not 1 <= frames <= COLUMNS["frames"][2] or bits not in BITS:
            raise ValueError(f"{name} has {frames} samples of {bits} bits")
        recordings.append((name, frames, bits))
    return Shard(recordings, int(table["crc32"]))


def drop_damaged_shards(folder: Path, shards: dict[int, Shard]) -> None:
    """Removes shards with missing samples from the disk and from `shards`.

    The caller makes these shards again. The index is removed too, because it has their recordings.
    """
    for number in list(shards):
        data = Path(shard_file(folder, number))
        if not data.is_file() or data.stat().st_size != shards[number].bytes:
            log.warning("warning: %s: this shard is missing or incomplete. It is made again.", data)
            for path in (folder / INDEX, data.with_suffix(".json"), data):
                path.unlink(missing_ok=True)
            del shards[number]


def write_shard(path: Path, recordings: Iterator[Samples], size: int) -> Shard | None:
    """Writes the next recordings to `path`, until the file has `size` bytes.

    Returns the shard, or None if there was no recording left. Raises InputError if the file cannot
    be written.
    """
    part = path.with_suffix(".part")
    written = []
    crc = 0
    try:
        remove_link(part)
        with part.open("wb") as file:
            for name, bits, samples in recordings:
                file.write(samples)
                crc = zlib.crc32(samples, crc)
                written.append((name, len(samples) * 8 // bits, bits))
                if file.tell() >= size:
                    break
            file.flush()
            os.fsync(file.fileno())
        if not written:
            part.unlink()
            return None
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise InputError(
            f"{path}: this shard cannot be written ({error.strerror}). Free some space and run "
            "the same command again. It keeps the finished shards and resumes the work."
        ) from None
    shard = Shard(written, crc)
    write_atomically(path.with_suffix(".json"), json.dumps(shard._asdict()).encode())
    return shard


def write_shards(
    folder: Path, shards: dict[int, Shard], samples: Iterator[Samples], size: int
) -> None:
    """Writes all samples as shards with unused numbers, and adds the shards to `shards`."""
    for number in itertools.count():
        if number in shards:
            continue
        shard = write_shard(Path(shard_file(folder, number)), samples, size)
        if shard is None:
            return
        shards[number] = shard


def index_of(shards: Mapping[int, Shard]) -> dict[str, np.ndarray]:
    """Returns the table of all recordings of {number: Shard}, with the columns COLUMNS.

    There must be a shard, and the shards must be in the order of their numbers.
    """
    rows = []
    for number, shard in shards.items():
        for name, frames, bits in shard.recordings:
            rows.append((os.fsencode(name), number, frames, bits))
    name, shard_number, frames, bits = map(np.array, zip(*rows, strict=True))
    size = frames * bits // 8
    # Position of a recording as if all shards were one file.
    begin = np.cumsum(size) - size
    # The position within the shard: the first recording of the shard begins at 0.
    first_byte = begin - begin[shard_number.searchsorted(shard_number)]
    order = np.argsort(name)
    columns = (name, shard_number, first_byte, frames, bits)
    return {title: column[order] for title, column in zip(COLUMNS, columns, strict=True)}


def write_index(folder: Path, shards: Mapping[int, Shard]) -> None:
    """Writes the index of shards, see index_of()."""
    data = io.BytesIO()
    np.savez(data, **index_of(shards))
    write_atomically(folder / INDEX, data.getbuffer())


# ---------------------------------------------------------------------- the modes of dataprep.py
def usable_recordings(
    results: Iterable[tuple[str, int, bytes, str | None]], failed: dict[str, str], bar: tqdm
) -> Iterator[Samples]:
    """Yields (name, bits, samples) of the results of read_whole that have no error.

    The error messages of the other results are added to `failed`, {name: message}.
    """
    for name, bits, samples, message in results:
        bar.update()
        if message:
            failed[name] = message
        else:
            yield name, bits, samples


def make_pack(options: PackOptions) -> None:
    """Packs the recordings that are not in the pack yet, in the order of speakers and names.

    The number of threads does not change the pack. Recordings that cannot be used are left out, and
    failed.txt names them. Raises InputError at the end if there are any.
    """
    speakers = recordings_of(options)
    mark = options.output / MARK
    if mark.exists():
        check_record(mark, SETTINGS, "pack")
    else:
        begin_record(mark, SETTINGS)
    with exclusive_access(options.output):
        pack_missing(options, speakers)


def pack_missing(options: PackOptions, speakers: Mapping[str, str]) -> None:
    """Packs the recordings that are not in the pack yet. See make_pack() for the errors."""
    shards = read_shards(options.output)
    drop_damaged_shards(options.output, shards)
    packed: set[str] = set()
    for shard in shards.values():
        packed |= {name for name, *_ in shard.recordings}
    jobs = sorted(speakers.keys() - packed, key=lambda name: (speakers[name], name))
    root = open_root(options.path)
    if jobs:
        check_pack_space(options, root, jobs)
    log.info("Packing %s recordings to %s.", f"{len(jobs):,}", options.output)
    failed: dict[str, str] = {}
    with tqdm(total=len(jobs), unit="file", desc="pack", disable=None) as bar:
        results = in_threads(partial(read_whole, root), jobs, options.threads)
        samples = usable_recordings(results, failed, bar)
        write_shards(options.output, shards, samples, options.shard_size)
    if shards:
        write_index(options.output, dict(sorted(shards.items())))
    made = len(jobs) - len(failed)
    log.info(
        "%s contains %s recordings (%s packed now) with %.2f hours of speech. Size: %s MB. Number "
        "of shards: %d.",
        options.output,
        f"{len(packed) + made:,}",
        f"{made:,}",
        sum(shard.frames for shard in shards.values()) / SAMPLE_RATE / 3600,
        f"{sum(shard.bytes for shard in shards.values()) / MB:,.1f}",
        len(shards),
    )
    log.info("Use this pack for --train_path or --test_path, with the same lists.")
    report_failures(options.output / FAILED, jobs, failed)
