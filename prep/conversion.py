"""Compressed speech, as VoxCeleb2 comes, to what the trainer reads: 16 kHz mono WAV or FLAC of 16 bits, by ffmpeg.

An ffmpeg takes longer to start than to convert an utterance: each call converts BATCH files, and one by one those of a call that fails.
"""

import contextlib
import fcntl
import logging
import os
import re
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from common.constants import SAMPLE_RATE
from common.errors import InputError
from corpus.audio import whole_length
from prep.output import report_failures
from prep.workers import STOPS, in_parallel

log = logging.getLogger(__name__)
SUFFIXES = (
    ".m4a",
    ".m4b",
    ".mp4",
    ".aac",
    ".mp3",
    ".opus",
    ".wma",
    ".amr",
    ".ac3",
    ".3gp",
    ".mov",
    ".mkv",
    ".mka",
    ".webm",
)
CODECS = {"wav": "pcm_s16le", "flac": "flac"}
# FLAC: of speech with some noise
BYTES_A_SECOND = {"wav": 2 * SAMPLE_RATE, "flac": 1.25 * SAMPLE_RATE}
BATCH = 16
# files whose length tells how much room the others will take
PROBED = 20
FAILED, LOCK = "convert_failed.txt", ".convert.lock"
PACKAGE = "imageio-ffmpeg==0.8.1"


def find_ffmpeg():
    """-> the program: that of PATH, or else the one that a Python package carries."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        raise InputError(
            f"want the program ffmpeg, found none; install it (apt install ffmpeg, or pip install {PACKAGE})"
        ) from None


def fail(error):
    raise error


def find_pairs(folder, output, format):
    """-> [(file of SUFFIXES below folder, its place below output)], sorted. InputError if there is none, or if two have one place."""
    sources = {}
    for parent, _, names in os.walk(folder, onerror=fail):
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in SUFFIXES:
                source, target = (
                    os.path.join(parent, name),
                    os.path.join(output, os.path.relpath(parent, folder), f"{stem}.{format}"),
                )
                target = os.path.normpath(target)
                if target in sources:
                    raise InputError(
                        f"{sources[target]} and {source}: would both become {target}; remove one of them"
                    )
                sources[target] = source
    if not sources:
        raise InputError(
            f"{folder}: want files to convert ({', '.join(SUFFIXES)}) in this folder, got none; correct the folder"
        )
    return sorted((source, target) for target, source in sources.items())


def run(words):
    """Runs a program -> (its exit code, what it wrote to stderr). It never outlives this process where a signal ends that: none comes until it is known."""
    process = None
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        said = process.communicate()[1]
        return process.returncode, said
    finally:
        if process:
            # does nothing to one that has ended
            process.kill()
            process.wait()


def seconds_of(ffmpeg, source):
    """Length of a file as its header tells it, None if it does not."""
    found = re.search(
        r"Duration: (\d+):(\d+):([\d.]+)", run([ffmpeg, "-nostdin", "-i", f"file:{source}"])[1]
    )
    return found and 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])


def check_disk(ffmpeg, sources, output, format):
    """InputError unless the disk of `output` has room for what these files will be, judged by the lengths of some of them."""
    some = [
        sources[i] for i in np.linspace(0, len(sources) - 1, min(len(sources), PROBED)).astype(int)
    ]
    probed = [
        (seconds, os.path.getsize(source))
        for source in some
        if (seconds := seconds_of(ffmpeg, source))
    ]
    # all broken: no room is needed
    if not probed:
        return
    seconds, size = map(sum, zip(*probed, strict=True))
    need, free = (
        sum(map(os.path.getsize, sources)) * seconds / size * BYTES_A_SECOND[format],
        shutil.disk_usage(output).free,
    )
    if need > free:
        raise InputError(
            f"{output}: want {need / 1e9:.3g} GB for {len(sources)} files in {format.upper()}, got {free / 1e9:.3g} GB free; make room, or choose "
            f"another --output{' or --format flac' if format == 'wav' else ''}"
        )


@contextlib.contextmanager
def alone(output):
    """Waits until no other conversion into this folder is at work, nor a worker that outlived one: their temporary files are the same."""
    with open(output / LOCK, "w") as file:
        # some file systems of clusters know no locks
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def part_of(target):
    """The temporary name."""
    return f"{target}.part"


def call_ffmpeg(ffmpeg, format, pairs):
    """Converts (source, target) pairs, to the temporary names -> its complaints, "" if there are none."""
    words = [ffmpeg, "-v", "error", "-nostdin", "-y"]
    for source, _ in pairs:
        words += ["-threads", "1", "-i", f"file:{source}"]
    # bitexact: no name of a program or date in the file
    for i, (_, target) in enumerate(pairs):
        words += [
            "-map",
            f"{i}:a:0",
            "-ac",
            "1",
            "-ar",
            str(SAMPLE_RATE),
            "-c:a",
            CODECS[format],
            "-sample_fmt",
            "s16",
            "-map_metadata",
            "-1",
            "-fflags",
            "+bitexact",
            "-flags:a",
            "+bitexact",
            "-f",
            format,
            f"file:{part_of(target)}",
        ]
    code, said = run(words)
    if "No space left on device" in said:
        raise InputError(
            f"{os.path.dirname(pairs[0][1])}: the disk is full; make room, and the same command goes on"
        )
    complaints = re.sub(" @ 0x[0-9a-f]+", "", said).strip().replace("\n", "; ")
    return complaints or (f"ffmpeg ended with code {code}" if code else "")


def convert_files(ffmpeg, format, pairs):
    """-> {source: what is wrong with it or None}. Where ffmpeg complains of damage in a file, what it could save of it is not kept."""
    try:
        complaints = call_ffmpeg(ffmpeg, format, pairs)
        if complaints and len(pairs) > 1:
            return {
                source: complaint
                for pair in pairs
                for source, complaint in convert_files(ffmpeg, format, [pair]).items()
            }
        result = {}
        for source, target in pairs:
            complaint = complaints or (
                None if whole_length(part_of(target)) else "there is no audio in it"
            )
            result[source] = complaint and f"{source}: {complaint}"
            if not complaint:
                os.replace(part_of(target), target)
        return result
    finally:
        for _, target in pairs:
            Path(part_of(target)).unlink(missing_ok=True)


def in_the_way(target):
    """Is there a file that is whole, but of another rate or number of channels? -> a complaint or None. What is torn is made again."""
    with contextlib.suppress(soundfile.LibsndfileError):
        info = soundfile.info(target)
        if (info.samplerate, info.channels) != (SAMPLE_RATE, 1):
            return f"{target}: is there already, {info.samplerate} Hz, {info.channels} channels; remove it, or choose another --output"
    return None


def convert_batch(ffmpeg, format, pairs):
    """Converts what is not there yet -> (number of pairs, {source: what is wrong with it or None} of those that were not there)."""
    missing = [(source, target) for source, target in pairs if not whole_length(target)]
    complaints = {source: in_the_way(target) for source, target in missing}
    missing = [(source, target) for source, target in missing if not complaints[source]]
    for _, target in missing:
        os.makedirs(os.path.dirname(target), exist_ok=True)
    return len(pairs), complaints | (convert_files(ffmpeg, format, missing) if missing else {})


def convert(folder: Path, output: Path, format: str = "wav", processes: int | None = None):
    """Every file of SUFFIXES below `folder` becomes 16 kHz mono audio of 16 bits at the same place below `output`, which may be `folder`.

    What is there already stays. Files that fail are named in convert_failed.txt with ffmpeg's message; InputError at the end if there are any.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: want a folder of files to convert, got no folder")
    ffmpeg, pairs = find_ffmpeg(), find_pairs(folder, output, format)
    output.mkdir(parents=True, exist_ok=True)
    with alone(output):
        made, failed = convert_pairs(ffmpeg, output, format, pairs, processes or os.cpu_count())
    log.info(
        "%s: %s files in %s (%s made now)",
        output,
        f"{len(pairs) - len(failed):,}",
        format.upper(),
        f"{made:,}",
    )
    report_failures(output / FAILED, [source for source, _ in pairs], failed)


def convert_pairs(ffmpeg, output, format, pairs, processes):
    """-> (number of files made, {source: what is wrong with it})."""
    if missing := [source for source, target in pairs if not os.path.exists(target)]:
        check_disk(ffmpeg, missing, output, format)
    # so that the cores share a few files too
    size = min(BATCH, -(-len(pairs) // (4 * processes)))
    batches, complaints = [pairs[i : i + size] for i in range(0, len(pairs), size)], {}
    with tqdm(total=len(pairs), unit="file", desc="convert", disable=None) as bar:
        for count, result in in_parallel(
            partial(convert_batch, ffmpeg, format), batches, processes
        ):
            complaints |= result
            bar.update(count)
    failed = {source: complaint for source, complaint in complaints.items() if complaint}
    return len(complaints) - len(failed), failed
