"""Copy synthesis: bona fide speech through vocoders, so that a network meets their traces in the voices of thousands of speakers before it meets
the attacks themselves (stage 2 of the SASV 2022 baseline, Mun et al., arXiv:2305.19051).

The output folder has the originals as a link, `bonafide`, the copies in folders named after their attack, and a protocol for all of them.
"""

import hashlib
import itertools
import logging
import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from common.constants import SAMPLE_RATE
from common.errors import InputError
from common.writing import write_atomically
from corpus.audio import Audio, whole_length
from corpus.files import check_present
from corpus.lists import read_train_list
from corpus.records import begin_record, check_record
from corpus.roots import refuse_pack
from prep.constants import COPY_ORIGINALS, COPY_PROTOCOL
from prep.output import FORMATS, in_parallel, report_failures, write_audio
from prep.vocoders import COPIES

log = logging.getLogger(__name__)
FAILED, RECORD = "failed.txt", "copy_synthesis.json"
SHORTEST = SAMPLE_RATE // 10
# deviation of an original: one step of 16 bits
FAINTEST = 1 / 32768
LOUDEST = 0.99
# raise it when the same seed would give other samples
VERSION = 1


class CopyOptions(NamedTuple):
    """list_file, path: a training list and the folder of its files. vocoders: names in COPIES. limit: utterances of a speaker that are copied, None for all."""

    list_file: Path
    path: Path
    output: Path
    vocoders: tuple
    seed: int
    limit: int | None


def draw(seed, *words):
    """A number that depends on nothing but these: not on the order of a list or on what was done before."""
    return int.from_bytes(
        hashlib.sha256(" ".join(map(str, (seed, *words))).encode()).digest()[:8], "big"
    )


def chosen(utterances, seed, limit):
    """`limit` utterances of each speaker -> set of their paths; those of a lower limit are among those of a higher one."""
    order = sorted(utterances, key=lambda u: (u.speaker, draw(seed, u.path), u.path))
    return {
        u.path
        for _, own in itertools.groupby(order, lambda u: u.speaker)
        for u in itertools.islice(own, limit)
    }


def copied(vocoder, rng, x, name=""):
    """x [T] through the vocoder -> [T] as loud as x, or less where it would be clipped. name: of its file, for complaints."""
    y = vocoder.copy(rng, x)
    if not np.isfinite(y).all() or not y.std():
        raise InputError(
            f"{name}: want speech, got a file whose copy {vocoder.attack} is silent or not finite; take it off the list"
        )
    y = y * (x.std() / y.std())
    return y * min(1, LOUDEST / np.abs(y).max())


def copy_file(options, path):
    """Writes the copies of a file that are not there yet -> (path, their number, what is wrong with the file or None)."""
    original = options.path / path
    try:
        with Audio(original) as audio:
            x = audio.read(0, audio.frames)  # [T]
        if len(x) < SHORTEST or x.std() < FAINTEST:
            got = f"{len(x)} samples" if len(x) < SHORTEST else "silence"
            raise InputError(
                f"{original}: want speech of {SHORTEST} samples or more, got {got}; take it off the list"
            )
        missing = [
            v
            for v in map(COPIES.get, options.vocoders)
            if whole_length(options.output / v.attack / path) != len(x)
        ]
        copies = [
            (
                v.attack,
                copied(v, np.random.default_rng(draw(options.seed, v.attack, path)), x, original),
            )
            for v in missing
        ]
    except InputError as error:
        return path, 0, str(error)
    # a full disk is no fault of this file
    for attack, y in copies:
        write_audio(options.output / attack / path, y)
    return path, len(copies), None


def claim(options):
    """Checks the folders and makes the output folder with its record and its link to the originals. InputError if it holds anything else."""
    path, output = options.path.resolve(), options.output
    if not path.is_dir():
        raise InputError(
            f"--path {options.path}: want the folder of the files of {options.list_file}, got no folder"
        )
    if path in (output.resolve(), *output.resolve().parents):
        raise InputError(
            f"--output {output}: want a folder outside of --path {options.path}, which is only read; choose another"
        )
    record, link = output / RECORD, output / COPY_ORIGINALS
    settings = {"seed": options.seed, "version": VERSION}
    if record.exists():
        check_record(record, settings, "copy synthesis")
    else:
        begin_record(record, settings)
    # the originals were moved
    if link.is_symlink() and not link.exists():
        link.unlink()
    if link.is_symlink() and link.resolve() != path:
        raise InputError(
            f"{output}: holds copies of speech in {link.resolve()}, not in --path {options.path}; choose another folder"
        )
    # a folder in its place is a copy of the originals
    if not link.exists():
        try:
            link.symlink_to(path, target_is_directory=True)
        except OSError as error:
            raise InputError(
                f"{link}: the link to {path} cannot be made ({error.strerror}); choose an output folder on a file system with links"
            ) from None


def protocol(options, utterances, copies, failed):
    """Lines of the cm protocol, names relative to the output folder: bona fide files, each followed by its copies; without the files of `failed`."""
    attacks = [COPIES[name].attack for name in options.vocoders]
    for speaker, path, *_ in utterances:
        if path not in failed:
            yield f"{speaker} {COPY_ORIGINALS}/{path} - - bonafide\n"
            if path in copies:
                yield from (f"{speaker} {attack}/{path} - {attack} spoof\n" for attack in attacks)


def read_bonafide(options):
    """The bona fide utterances of the list, with their files as they are found. InputError if a copy could not lie where it should."""
    refuse_pack(options.path)
    utterances = [u for u in read_train_list(options.list_file) if not u.spoofed]
    if not utterances:
        raise InputError(
            f"{options.list_file}: want bona fide speech to copy, got spoofed speech alone"
        )
    found = check_present(options.path, [u.path for u in utterances], options.list_file)
    for path in found.values():
        if (
            Path(path).suffix.lower() not in FORMATS
            or os.path.normpath(path) != path
            or path.startswith(("/", "../"))
        ):
            raise InputError(
                f"{options.list_file}: want files named *{' or *'.join(FORMATS)}, below --path, got {path}; convert it, or correct the list"
            )
    return [u._replace(path=found[u.path]) for u in utterances]


def make_copies(options, processes=None):
    """Makes the copies that are not there yet, and the protocol. The number of processes changes nothing.

    Files that cannot be used are left out of the protocol and named in failed.txt; InputError at the end if there are any.
    """
    for name in options.vocoders:
        if COPIES[name].needs:
            COPIES[name].needs()
    utterances = read_bonafide(options)
    claim(options)
    copies, made, failed = chosen(utterances, options.seed, options.limit), 0, {}
    jobs = [u.path for u in utterances if u.path in copies]
    with tqdm(total=len(jobs), unit="file", desc="vocode", disable=None) as bar:
        for path, count, complaint in in_parallel(partial(copy_file, options), jobs, processes):
            made += count
            if complaint:
                failed[path] = complaint
            bar.update()
    write_atomically(
        options.output / COPY_PROTOCOL,
        "".join(protocol(options, utterances, copies, failed)).encode(),
    )
    log.info(
        "%s: %s bona fide files, %s copies (%s made now); train with --train_list %s --train_path %s",
        options.output,
        f"{len(utterances) - len(failed):,}",
        f"{(len(copies) - len(failed)) * len(options.vocoders):,}",
        f"{made:,}",
        options.output / COPY_PROTOCOL,
        options.output,
    )
    report_failures(options.output / FAILED, jobs, failed)
