"""Copy synthesis: spoofed copies of bona fide speech, made by vocoders.

A network first learns the traces of vocoders in the voices of thousands of speakers. Then it learns
the attacks themselves. This is stage 2 of the SASV 2022 baseline (Mun et al., arXiv:2305.19051).

The output folder contains a link `bonafide` to the originals. The copies of every attack are in a
folder with the name of the attack. A protocol lists originals and copies.
"""

import hashlib
import itertools
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from common.constants import SAMPLE_RATE
from common.errors import InputError
from common.writing import remove_parts, write_atomically
from corpus.audio import Audio, whole_length
from corpus.files import check_present
from corpus.lists import Utterance, read_train_list
from corpus.records import begin_record, check_record
from corpus.roots import refuse_pack
from prep.constants import COPY_ORIGINALS, COPY_PROTOCOL
from prep.output import (
    FORMATS,
    encode_lines,
    protocol_line,
    report_failures,
    require_folder,
    write_audio,
)
from prep.workers import in_parallel
from synthesis.copies import COPIES, Vocoder, prepare_vocoders

log = logging.getLogger(__name__)
FAILED = "failed.txt"
RECORD = "copy_synthesis.json"
# Samples of the shortest original.
SHORTEST = SAMPLE_RATE // 10
# Smallest standard deviation of an original: one step of 16 bits.
FAINTEST = 1 / 32768
# Largest sample of a copy.
LOUDEST = 0.99
# Raise this number when the same seed would give other samples.
VERSION = 1


class CopyOptions(NamedTuple):
    """Options of copy synthesis.

    `list_file` is a training list, and `path` is the folder of its files. `vocoders` are names in
    COPIES. `limit` is the number of utterances of a speaker that are copied, None for all.
    `keep_spoofed`: the protocol also has the spoofed files of the list.
    """

    list_file: Path
    path: Path
    output: Path
    vocoders: tuple[str, ...]
    seed: int
    limit: int | None
    keep_spoofed: bool = False


def hash_words(seed: int, *words: str) -> int:
    """Returns a number of 64 bits that depends only on the seed and the words.

    The order of a list and earlier random draws do not change it.
    """
    text = " ".join(map(str, (seed, *words)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def select_paths(utterances: Collection[Utterance], seed: int, limit: int | None) -> set[str]:
    """Returns the paths of `limit` utterances of each speaker.

    A higher limit selects the same utterances and more.
    """
    order = sorted(utterances, key=lambda u: (u.speaker, hash_words(seed, u.path), u.path))
    paths = set()
    for _, own in itertools.groupby(order, lambda u: u.speaker):
        paths |= {utterance.path for utterance in itertools.islice(own, limit)}
    return paths


# ---------------------------------------------------------------------- audio
def apply_vocoder(
    vocoder: Vocoder, rng: np.random.Generator, x: np.ndarray, name: str | Path = ""
) -> np.ndarray:
    """Returns the copy [T] of speech x [T].

    The copy has the level of x, or a lower level if it would be clipped. `name` is the file of x,
    for errors. Raises InputError if the copy is silent or not finite.
    """
    y = vocoder.copy(rng, x)
    if not np.isfinite(y).all() or not y.std():
        raise InputError(
            f"{name}: expected speech, but the copy {vocoder.attack} of this file is silent or not "
            "finite. Remove the file from the list."
        )
    y = y * (x.std() / y.std())
    return y * min(1, LOUDEST / np.abs(y).max())


def read_original(path: Path) -> np.ndarray:
    """Reads the samples [T] of an original. Raises InputError if it is too short or silent."""
    with Audio(path) as audio:
        x = audio.read(0, audio.frames)  # [T]
    if len(x) < SHORTEST or x.std() < FAINTEST:
        found = f"{len(x)} samples" if len(x) < SHORTEST else "silence"
        raise InputError(
            f"{path}: expected speech of at least {SHORTEST} samples "
            f"({SHORTEST / SAMPLE_RATE:g} s), found {found}. Remove the file from the list."
        )
    return x


def copy_file(options: CopyOptions, path: str) -> tuple[str, int, str | None]:
    """Writes the missing copies of a file.

    Returns the path, the number of copies, and an error message if the file cannot be used. Raises
    InputError if a copy cannot be written.
    """
    original = options.path / path
    copies = []
    try:
        x = read_original(original)
        missing = []
        for name in options.vocoders:
            vocoder = COPIES[name]
            if whole_length(options.output / vocoder.attack / path) != len(x):
                missing.append(vocoder)
        for vocoder in missing:
            rng = np.random.default_rng(hash_words(options.seed, vocoder.attack, path))
            copies.append((vocoder.attack, apply_vocoder(vocoder, rng, x, original)))
    except InputError as error:
        return path, 0, str(error)
    # Outside of the try block, because a full disk is not an error of this file.
    for attack, y in copies:
        write_audio(options.output / attack / path, y)
    return path, len(copies), None


# ---------------------------------------------------------------------- the output folder
def prepare_output(options: CopyOptions) -> None:
    """Makes the output folder with its record and its link to the originals.

    Raises InputError if --path is not a folder, or if the output is inside --path. Also raises
    InputError if the output folder contains anything except copies with the same options.
    """
    path = options.path.resolve()
    output = options.output
    remedy = f"Give the folder of the files of {options.list_file}."
    require_folder(options.path, remedy, "--path")
    if path in (output.resolve(), *output.resolve().parents):
        raise InputError(
            f"--output: expected a folder outside of --path {options.path}, found {output}. Choose "
            "another folder, because nothing is written to --path."
        )
    record = output / RECORD
    settings = {"seed": options.seed, "version": VERSION}
    if record.exists():
        check_record(record, settings, "copy synthesis")
        remove_parts(output.rglob("*.part"))
    else:
        begin_record(record, settings)
    link_originals(output, path, options.path)


def link_originals(output: Path, path: Path, path_option: Path) -> None:
    """Makes the link `bonafide` to the folder `path` of the originals.

    `path_option` is the folder as the user wrote it. A link to a folder that does not exist any
    more is replaced. Raises InputError if the link leads to other speech or cannot be created.
    """
    link = output / COPY_ORIGINALS
    if link.is_symlink() and not link.exists():
        link.unlink()
    if link.is_symlink() and link.resolve() != path:
        raise InputError(
            f"{output}: this folder contains copies of the speech in {link.resolve()}, not of "
            f"--path {path_option}. Choose another --output."
        )
    # A folder in place of the link is accepted: it is a copy of the originals.
    if not link.exists():
        try:
            link.symlink_to(path, target_is_directory=True)
        except OSError as error:
            raise InputError(
                f"{link}: the link to {path} cannot be created ({error.strerror}). Choose an "
                "--output on a file system that supports links."
            ) from None


# ---------------------------------------------------------------------- lists
def copy_protocol_lines(
    options: CopyOptions,
    utterances: Sequence[Utterance],
    copied: Collection[str],
    failed: Collection[str],
) -> Iterator[str]:
    """Yields the lines of the protocol, with paths relative to the output folder.

    Every bona fide file is followed by its copies. `copied` contains the paths of files with
    copies. Files in `failed` are left out. Spoofed files keep their attack.
    """
    attacks = [COPIES[name].attack for name in options.vocoders]
    for utterance in utterances:
        speaker, path = utterance.speaker, utterance.path
        if path in failed:
            continue
        yield protocol_line(speaker, f"{COPY_ORIGINALS}/{path}", utterance.attack)
        if path in copied:
            for attack in attacks:
                yield protocol_line(speaker, f"{attack}/{path}", attack)


def read_protocol_files(options: CopyOptions) -> list[Utterance]:
    """Reads the utterances of the protocol, with the paths of the files on disk.

    Raises InputError if a file is missing, has another format, or is outside --path. The copy of a
    file outside --path would be outside the output folder.
    """
    refuse_pack(options.path)
    listed = read_train_list(options.list_file)
    utterances = [u for u in listed if options.keep_spoofed or not u.spoofed]
    if all(u.spoofed for u in utterances):
        raise InputError(
            f"{options.list_file}: expected bona fide speech to copy, found only spoofed speech. "
            "Add bona fide speech to the list."
        )
    names = [u.path for u in utterances]
    found = check_present(options.path, names, options.list_file, root_option="--path")
    for path in found.values():
        below = os.path.normpath(path) == path and not path.startswith(("/", "../"))
        if Path(path).suffix.lower() not in FORMATS or not below:
            raise InputError(
                f"{options.list_file}: expected {' or '.join(FORMATS)} files inside --path, found "
                f"{path}. Convert the file, or correct the list."
            )
    return [u._replace(path=found[u.path]) for u in utterances]


def make_copies(options: CopyOptions, processes: int | None = None) -> None:
    """Makes the missing copies and the protocol.

    `processes` is the number of worker processes, None for all cores. The number does not change
    the copies. Files that cannot be used are left out of the protocol, and failed.txt names them.
    Raises InputError at the end if there are any.
    """
    prepare_vocoders(options.vocoders)
    utterances = read_protocol_files(options)
    bonafide = [u for u in utterances if not u.spoofed]
    prepare_output(options)
    copied = select_paths(bonafide, options.seed, options.limit)
    jobs = [u.path for u in bonafide if u.path in copied]
    log.info("Making copies of %s files by %s.", f"{len(jobs):,}", ", ".join(options.vocoders))
    made = 0
    failed = {}
    with tqdm(total=len(jobs), unit="file", desc="vocode", disable=None) as bar:
        for path, count, message in in_parallel(partial(copy_file, options), jobs, processes):
            made += count
            if message:
                failed[path] = message
            bar.update()
    lines = copy_protocol_lines(options, utterances, copied, failed)
    write_atomically(options.output / COPY_PROTOCOL, encode_lines(lines))
    log.info(
        "Wrote %s with %s bona fide files and %s copies (%s made now).",
        options.output / COPY_PROTOCOL,
        f"{len(bonafide) - len(failed):,}",
        f"{(len(copied) - len(failed)) * len(options.vocoders):,}",
        f"{made:,}",
    )
    log.info(
        "Options of trainSpeakerNet.py: --train_list %s --train_path %s",
        options.output / COPY_PROTOCOL,
        options.output,
    )
    report_failures(options.output / FAILED, jobs, failed)
