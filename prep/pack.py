"""Packs: the recordings of lists in few large files, so that training from a network disk opens no file for each crop.

python dataprep.py --pack data/train_list.txt data/trials.txt --path data/voxceleb2 --output data/pack      then --train_path data/pack
What a pack looks like, and reading it: corpus/roots.py. Samples are not compressed: in 16 bits where that loses nothing, in float32 where it would.
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
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from common.constants import SAMPLE_RATE
from common.errors import InputError
from common.writing import write_atomically
from corpus.audio import decode
from corpus.features import SUFFIXES
from corpus.file_lists import read_speakers
from corpus.files import audio_below, check_present, find_files
from corpus.lists import read_trials
from corpus.records import begin_record, check_record
from corpus.roots import AGAIN, COLUMNS, INDEX, MARK, SETTINGS, Pack, is_pack, open_root, shard_file
from prep.output import report_failures

log = logging.getLogger(__name__)
FAILED = "failed.txt"
# files whose lengths tell how large the pack will be
SAMPLED = 1000
# a loader process keeps each of them open
MOST_SHARDS = 500
MB = 10**6


class PackOptions(NamedTuple):
    """lists: of files, utterances or trials; none for all audio below path. shard_size: bytes. enroll_list, spk_meta: of spoofing-aware trials, see
    read_enrolment. threads: files that are read at once."""

    lists: list
    path: Path
    output: Path
    shard_size: int
    threads: int
    enroll_list: list | None = None
    spk_meta: Path | None = None


class Shard(NamedTuple):
    """What a shard holds, as its JSON file tells it. recordings: (name, frames, bits of a sample) in their order. crc32: of all bytes."""

    recordings: list
    crc32: int

    @property
    def bytes(self):
        return sum(frames * bits // 8 for _, frames, bits in self.recordings)


# ---------------------------------------------------------------------- what goes in
def recordings_of(options):
    """{file below --path: its speaker, "" where no list tells}, all there."""
    if not options.lists:
        return dict.fromkeys(audio_below(options.path), "")
    speaker_of = {}
    for list_file in options.lists:
        speakers = read_speakers(list_file, options.enroll_list, options.spk_meta)
        first = next(iter(speakers.values()))
        # no speaker but a file: lines '<file> <file>', trials without labels
        if first and find_files(options.path, [first])[first]:
            speakers = dict.fromkeys(read_trials(list_file).paths(), "")
        if arrays := [name for name in speakers if name.endswith(SUFFIXES)]:
            raise InputError(
                f"{list_file}: want audio, got features or embeddings ({', '.join(arrays[:3])}); leave them as they are, and list audio"
            )
        found = check_present(options.path, speakers, list_file)
        speaker_of = {found[name]: speaker for name, speaker in speakers.items()} | speaker_of
    return speaker_of


def read_whole(root, name):
    """A recording -> (its name, bits of a sample, all samples as bytes, what is wrong with it or None)."""
    try:
        with root.open(name) as recording:
            x = recording.read(0, recording.frames)  # [T]
    except InputError as error:
        return name, 0, b"", str(error)
    whole = np.clip(x * 32768, -32768, 32767).astype("<i2")
    # to the bit
    if np.array_equal(decode(whole.tobytes(), 16).view(np.int32), x.view(np.int32)):
        return name, 16, whole.tobytes(), None
    return name, 32, x.astype("<f4").tobytes(), None


def in_order(work, jobs, threads):
    """Yields work(job) in the order of the jobs, a few of which are worked on ahead: threads, because disks and decoders release Python's lock."""
    with ThreadPoolExecutor(threads) as pool:
        ahead = deque()
        for job in jobs:
            ahead.append(pool.submit(work, job))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def frames_of(root, name):
    try:
        with root.open(name) as recording:
            return recording.frames
    except InputError:
        # which is told when it is packed
        return 0


def check_space(options, root, names):
    """InputError unless the disk has room for the recordings, and the loader for as many shards as they would make."""
    frames = list(
        in_order(partial(frames_of, root), names[:: len(names) // SAMPLED + 1], options.threads)
    )
    expected = int(2 * np.mean(frames) * len(names))
    free = shutil.disk_usage(options.output).free
    if free < expected:
        raise InputError(
            f"--output {options.output}: want about {expected / MB:,.0f} MB on its disk, got {free / MB:,.0f} MB; make room, or choose another"
        )
    if expected > MOST_SHARDS * options.shard_size:
        raise InputError(
            f"--shard_size {options.shard_size // MB}: want at most {MOST_SHARDS} shards, got about {expected // options.shard_size:,} for "
            f"{expected / MB:,.0f} MB; want {expected // MOST_SHARDS // MB + 1} or more"
        )


# ---------------------------------------------------------------------- shards
def read_shards(folder):
    """-> {number: Shard} of all that are complete."""
    shards = {}
    for path in sorted(Path(folder).glob("[0-9]*.json")):
        try:
            shards[int(path.stem)] = Shard(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path}: want the contents of a shard in JSON, got something else ({error}); remove it, and {AGAIN}"
            ) from None
    return shards


def drop_torn(folder, shards):
    """Takes shards whose samples are not all there off the disk and off `shards`: they are made again. With them goes the index that tells of them."""
    for number in list(shards):
        data = Path(shard_file(folder, number))
        if not data.is_file() or data.stat().st_size != shards[number].bytes:
            log.warning("warning: %s is missing or torn and is made again", data)
            for path in (folder / INDEX, data.with_suffix(".json"), data):
                path.unlink(missing_ok=True)
            del shards[number]


def write_shard(path, recordings, size):
    """Takes (name, bits, samples) off an iterator until they fill `size` bytes, writes them to `path` -> Shard; None if there were none left."""
    part, held, crc = path.with_suffix(".part"), [], 0
    try:
        with part.open("wb") as file:
            for name, bits, samples in recordings:
                file.write(samples)
                crc = zlib.crc32(samples, crc)
                held.append((name, len(samples) * 8 // bits, bits))
                if file.tell() >= size:
                    break
            file.flush()
            os.fsync(file.fileno())
        if not held:
            part.unlink()
            return None
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink()
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); the shards before it stay: make room, and the same command goes on"
        ) from None
    shard = Shard(held, crc)
    write_atomically(path.with_suffix(".json"), json.dumps(shard._asdict()).encode())
    return shard


def write_index(folder, shards):
    """Writes the table of all recordings of {number: Shard}, in the order of the numbers; see roots.COLUMNS."""
    rows = [
        (os.fsencode(name), number, frames, bits)
        for number, shard in shards.items()
        for name, frames, bits in shard.recordings
    ]
    name, shard, frames, bits = map(np.array, zip(*rows, strict=True))
    size = frames * bits // 8
    # as if all shards were one file
    begin = np.cumsum(size) - size
    # less that of the first recording of its shard
    first_byte = begin - begin[shard.searchsorted(shard)]
    order, data = np.argsort(name), io.BytesIO()
    np.savez(
        data,
        **{
            column: x[order]
            for column, x in zip(COLUMNS, (name, shard, first_byte, frames, bits), strict=True)
        },
    )
    write_atomically(folder / INDEX, data.getbuffer())


# ---------------------------------------------------------------------- the modes of dataprep.py
def usable(results, failed, bar):
    """Results of read_whole -> yields (name, bits, samples) of the good ones, puts {name: complaint} of the others into `failed`."""
    for name, bits, samples, complaint in results:
        bar.update()
        if complaint:
            failed[name] = complaint
        else:
            yield name, bits, samples


def make_pack(options):
    """Packs the recordings that the pack does not hold yet, by speaker and name; the number of threads changes nothing.

    Those that cannot be used are left out and named in failed.txt; InputError at the end if there are any.
    """
    speaker_of, mark = recordings_of(options), options.output / MARK
    if mark.exists():
        check_record(mark, SETTINGS, "pack")
    else:
        begin_record(mark, SETTINGS)
    shards = read_shards(options.output)
    drop_torn(options.output, shards)
    there = {name for shard in shards.values() for name, *_ in shard.recordings}
    todo = sorted(speaker_of.keys() - there, key=lambda name: (speaker_of[name], name))
    root, failed = open_root(options.path), {}
    if todo:
        check_space(options, root, todo)
    with tqdm(total=len(todo), unit="file", desc="pack", disable=None) as bar:
        samples = usable(in_order(partial(read_whole, root), todo, options.threads), failed, bar)
        for number in (n for n in itertools.count() if n not in shards):
            if not (
                shard := write_shard(
                    Path(shard_file(options.output, number)), samples, options.shard_size
                )
            ):
                break
            shards[number] = shard
    if shards:
        write_index(options.output, dict(sorted(shards.items())))
    made = len(todo) - len(failed)
    seconds = (
        sum(frames for shard in shards.values() for _, frames, _ in shard.recordings) / SAMPLE_RATE
    )
    log.info(
        "%s: %s recordings (%s packed now), %.2f hours, %s MB, in %d shards; give it as --train_path or --test_path, with the same lists",
        options.output,
        f"{len(there) + made:,}",
        f"{made:,}",
        seconds / 3600,
        f"{sum(shard.bytes for shard in shards.values()) / MB:,.1f}",
        len(shards),
    )
    report_failures(options.output / FAILED, todo, failed)


def checksum(folder, number):
    """-> (number, bytes, crc32) of a shard as it is on the disk; 0 bytes if it cannot be read."""
    size = crc = 0
    with contextlib.suppress(OSError), open(shard_file(folder, number), "rb") as file:
        while block := file.read(MB):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return number, size, crc


def check_pack(folder, threads):
    """Reads a whole pack; InputError if it is not as it was written."""
    if not is_pack(folder):
        raise InputError(
            f"{folder}: want a pack, got none; make one with --pack LIST --path DIR --output {folder}"
        )
    shards, damaged = read_shards(folder), []
    with tqdm(total=len(shards), unit="shard", desc="check", disable=None) as bar:
        for number, size, crc in in_order(partial(checksum, folder), shards, threads):
            if (size, crc) != (shards[number].bytes, shards[number].crc32):
                damaged.append(Path(shard_file(folder, number)))
            bar.update()
    if damaged:
        tables = " ".join(str(path.with_suffix(".json")) for path in damaged)
        raise InputError(
            f"{len(damaged)} of {len(shards)} shards are not as they were written; remove {tables}, and {AGAIN}: it packs them anew"
        )
    log.info(
        "%s: %d shards with %s recordings are as they were written",
        folder,
        len(shards),
        f"{len(Pack(folder).name):,}",
    )
