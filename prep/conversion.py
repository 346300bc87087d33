"""Converts compressed speech, such as VoxCeleb2, to 16 kHz mono WAV or FLAC of 16 bits by ffmpeg.

The trainer reads these formats. Starting ffmpeg needs more time than converting one utterance.
Therefore each call of ffmpeg converts BATCH files. If a call fails, its files are converted again
one by one.
"""

import contextlib
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

from common.constants import COMPRESSED_SUFFIXES, SAMPLE_RATE
from common.errors import InputError
from corpus.audio import whole_length
from corpus.ffmpeg import find_ffmpeg, one_line
from prep.constants import CODECS
from prep.output import exclusive_access, report_failures, require_folder
from prep.workers import STOPS, in_parallel

log = logging.getLogger(__name__)
# Bytes per second of converted speech. The value for FLAC is typical of speech with some noise.
BYTES_PER_SECOND = {"wav": 2 * SAMPLE_RATE, "flac": 1.25 * SAMPLE_RATE}
# Number of files per call of ffmpeg.
BATCH = 16
# Number of files whose duration is read to estimate the disk space of all files.
PROBED = 20
FAILED = "convert_failed.txt"

# A compressed file and the path of its converted file.
FilePair = tuple[str, str]


# ---------------------------------------------------------------------- ffmpeg
def run_ffmpeg(words: list[str]) -> tuple[int, str]:
    """Runs a program. Returns its exit code and its messages on stderr.

    The program never outlives this process when a signal ends this process. Signals are blocked
    until the process of the program is known.
    """
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
        messages = process.communicate()[1]
        return process.returncode, messages
    finally:
        if process:
            # kill does nothing if the program has ended.
            process.kill()
            process.wait()


def temporary_name(target: str) -> str:
    """The name of a file that is not complete yet."""
    return f"{target}.part"


def output_options(format: str, index: int, target: str) -> list[str]:
    """The options of ffmpeg for the output file of input number `index`."""
    audio = ["-map", f"{index}:a:0", "-ac", "1", "-ar", str(SAMPLE_RATE)]
    codec = ["-c:a", CODECS[format], "-sample_fmt", "s16"]
    # No metadata and bitexact: the file contains no date and no name of a program.
    reproducible = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    return [*audio, *codec, *reproducible, "-f", format, f"file:{temporary_name(target)}"]


def call_ffmpeg(ffmpeg: str, format: str, pairs: list[FilePair]) -> str:
    """Converts files with one call. The converted files get their temporary names.

    Returns the messages of ffmpeg, "" if there are none. Raises InputError if the disk is full.
    """
    words = [ffmpeg, "-v", "error", "-nostdin", "-y"]
    for source, _ in pairs:
        words += ["-threads", "1", "-i", f"file:{source}"]
    for index, (_, target) in enumerate(pairs):
        words += output_options(format, index, target)
    code, messages = run_ffmpeg(words)
    if "No space left on device" in messages:
        raise InputError(
            f"{os.path.dirname(pairs[0][1])}: the disk is full. Free some space and run the same "
            "command again. It resumes the conversion."
        )
    messages = one_line(messages)
    if code and not messages:
        return f"ffmpeg ended with exit code {code}"
    return messages


# ---------------------------------------------------------------------- files and disk space
def raise_error(error: OSError) -> None:
    """For os.walk, which ignores errors by default."""
    raise error


def find_pairs(folder: Path, output: Path, format: str) -> list[FilePair]:
    """Finds the compressed files below a folder, and their places below `output`, sorted.

    Raises InputError if there are no files, or if two files would have the same place.
    """
    sources: dict[str, str] = {}
    for parent, _, names in os.walk(folder, onerror=raise_error):
        for name in names:
            stem, suffix = os.path.splitext(name)
            if suffix.lower() not in COMPRESSED_SUFFIXES:
                continue
            source = os.path.join(parent, name)
            target_folder = os.path.join(output, os.path.relpath(parent, folder))
            target = os.path.normpath(os.path.join(target_folder, f"{stem}.{format}"))
            if target in sources:
                raise InputError(
                    f"{source}: this file and {sources[target]} would both become {target}. Remove "
                    "one of the two files."
                )
            sources[target] = source
    if not sources:
        raise InputError(
            f"{folder}: expected compressed audio ({', '.join(COMPRESSED_SUFFIXES)}) in this "
            "folder, found none. Choose the folder of the files to convert."
        )
    return sorted((source, target) for target, source in sources.items())


def seconds_of(ffmpeg: str, source: str) -> float | None:
    """Returns the duration of a file according to its header, or None if the header has none."""
    _, messages = run_ffmpeg([ffmpeg, "-nostdin", "-i", f"file:{source}"])
    found = re.search(r"Duration: (\d+):(\d+):([\d.]+)", messages)
    if not found:
        return None
    return 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])


def estimated_bytes(ffmpeg: str, sources: list[str], format: str) -> float:
    """Estimates the size of all converted files from the durations of PROBED files.

    Returns 0 if no duration is known: damaged files need no space.
    """
    indices = np.linspace(0, len(sources) - 1, min(len(sources), PROBED)).astype(int)
    seconds = 0.0
    size = 0
    for index in indices:
        duration = seconds_of(ffmpeg, sources[index])
        if duration:
            seconds += duration
            size += os.path.getsize(sources[index])
    if not seconds:
        return 0.0
    return sum(map(os.path.getsize, sources)) * seconds / size * BYTES_PER_SECOND[format]


def check_disk(ffmpeg: str, sources: list[str], output: Path, format: str) -> None:
    """Raises InputError unless the disk of `output` has enough space for the converted files."""
    needed = estimated_bytes(ffmpeg, sources, format)
    free = shutil.disk_usage(output).free
    if needed > free:
        advice = ", or use --format flac" if format == "wav" else ""
        raise InputError(
            f"{output}: expected {needed / 1e9:.3g} GB of free disk space for {len(sources)} "
            f"{format.upper()} files, found {free / 1e9:.3g} GB. Free some space, or choose "
            f"another --output{advice}."
        )


# ---------------------------------------------------------------------- conversion
def convert_files(ffmpeg: str, format: str, pairs: list[FilePair]) -> dict[str, str | None]:
    """Converts files. Returns source -> error message, or None for a converted file.

    If ffmpeg reports damage in a file, its partial output is not kept.
    """
    try:
        messages = call_ffmpeg(ffmpeg, format, pairs)
        result: dict[str, str | None] = {}
        if messages and len(pairs) > 1:
            for pair in pairs:
                result |= convert_files(ffmpeg, format, [pair])
            return result
        for source, target in pairs:
            message = messages
            if not message and not whole_length(temporary_name(target)):
                message = "the file has no audio"
            if message:
                result[source] = f"{source}: {message}"
            else:
                os.replace(temporary_name(target), target)
                result[source] = None
        return result
    finally:
        for _, target in pairs:
            Path(temporary_name(target)).unlink(missing_ok=True)


def other_program_problem(target: str) -> str | None:
    """Returns a message if the target is complete but has another rate or number of channels.

    Returns None otherwise. A damaged file is converted again.
    """
    with contextlib.suppress(soundfile.LibsndfileError):
        info = soundfile.info(target)
        if (info.samplerate, info.channels) != (SAMPLE_RATE, 1):
            return (
                f"{target}: expected {SAMPLE_RATE} Hz and 1 channel, but this existing file has "
                f"{info.samplerate} Hz and {info.channels} channels. Remove this file, or choose "
                "another --output."
            )
    return None


def convert_batch(
    ffmpeg: str, format: str, pairs: list[FilePair]
) -> tuple[int, dict[str, str | None]]:
    """Converts the files of a batch that are not converted yet.

    Returns the number of pairs, and source -> error message or None for these files.
    """
    result: dict[str, str | None] = {}
    missing = []
    for source, target in pairs:
        if whole_length(target):
            continue
        message = other_program_problem(target)
        result[source] = message
        if not message:
            missing.append((source, target))
    for _, target in missing:
        os.makedirs(os.path.dirname(target), exist_ok=True)
    if missing:
        result |= convert_files(ffmpeg, format, missing)
    return len(pairs), result


def convert_pairs(
    ffmpeg: str, output: Path, format: str, pairs: list[FilePair], processes: int
) -> tuple[int, dict[str, str]]:
    """Converts all files on several cores.

    Returns the number of converted files, and source -> error message of the other files.
    """
    missing = [source for source, target in pairs if not os.path.exists(target)]
    if missing:
        check_disk(ffmpeg, missing, output, format)
    # Smaller batches if there are few files, so that all cores have work.
    size = min(BATCH, -(-len(pairs) // (4 * processes)))
    batches = [pairs[i : i + size] for i in range(0, len(pairs), size)]
    results: dict[str, str | None] = {}
    work = partial(convert_batch, ffmpeg, format)
    with tqdm(total=len(pairs), unit="file", desc="convert", disable=None) as bar:
        for count, result in in_parallel(work, batches, processes):
            results |= result
            bar.update(count)
    failed = {source: message for source, message in results.items() if message}
    return len(results) - len(failed), failed


def convert(folder: Path, output: Path, format: str = "wav", processes: int | None = None) -> None:
    """Converts all compressed files below `folder` to 16 kHz mono audio of 16 bits.

    The files get the same places below `output`, which may be `folder`. Existing converted files
    are kept. convert_failed.txt contains the message of ffmpeg for each file that failed.
    Raises InputError at the end if any file failed.
    """
    require_folder(folder, "Choose the folder of the files to convert.")
    ffmpeg = find_ffmpeg()
    pairs = find_pairs(folder, output, format)
    output.mkdir(parents=True, exist_ok=True)
    processes = processes or os.cpu_count() or 1
    log.info(
        "Converting %s files of %s to %s by ffmpeg (16 kHz, mono, 16 bits).",
        f"{len(pairs):,}",
        folder,
        format.upper(),
    )
    with exclusive_access(output):
        converted, failed = convert_pairs(ffmpeg, output, format, pairs, processes)
    log.info(
        "%s contains %s converted %s files (%s converted now).",
        output,
        f"{len(pairs) - len(failed):,}",
        format.upper(),
        f"{converted:,}",
    )
    report_failures(output / FAILED, [source for source, _ in pairs], failed)
