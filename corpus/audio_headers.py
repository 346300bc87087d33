"""The length that the header of an audio file states, compared with the samples in the file.

libsndfile reads a file that is cut off as a shorter one, without an error. Its log has the numbers.
A recorder that stops without closing a file leaves the length 0 in the header.
"""

import io
import os
import re
from typing import Literal, NamedTuple

import soundfile

# Programs that write to a pipe state a length of at least this number of bytes.
UNKNOWN_BYTES = 0x7FFFF000
# libsndfile reports at least this number of frames if the header does not state the length.
UNKNOWN_FRAMES = 1 << 48
# Bytes that a container may lack at its end: W64 pads chunks to multiples of 8 bytes.
PADDING = 7
# Lines of libsndfile's log with the stated and the real number of bytes of the samples.
DATA_BYTES = {
    "WAV": re.compile(r"^data : (\d+) \(should be (\d+)\)", re.M),
    "WAVEX": re.compile(r"^data : (\d+) \(should be (\d+)\)", re.M),
    "AIFF": re.compile(r"^ SSND : (\d+) \(should be (\d+)\)", re.M),
    "AU": re.compile(r"^  Data Size   : (\d+) \(should be (\d+)\)", re.M),
    "SVX": re.compile(r"^ BODY : (\d+) \(should be (\d+)\)", re.M),
    "CAF": re.compile(r"^data : (\d+) \(should be (\d+)\)", re.M),
}
# The same numbers for all chunks of a file together.
FILE_BYTES = {
    "W64": re.compile(r"^riff : (\d+) \(should be (\d+)\)", re.M),
    "RF64": re.compile(r"^  Riff size : (\d+) \(should be (\d+)\)", re.M),
}
# Lines with the stated number of bytes, and the size of the chunk's header in this number.
STATED_BYTES = {
    "W64": (re.compile(r"^data : (\d+)", re.M), 24),
    "RF64": (re.compile(r"^  Data size : (\d+)", re.M), 0),
}
# Lines with the stated number of samples. The last one of a file counts.
STATED_SAMPLES = {
    "AVR": re.compile(r"^  Frames      : (\d+)", re.M),
    "MPC2K": re.compile(r"^  Frames       : (\d+)", re.M),
    "MAT4": re.compile(r"^ Cols  : (\d+)", re.M),
    "MAT5": re.compile(r"    Cols : (\d+)"),
}
# What libsndfile says about a VOC file without its end.
VOC_WITHOUT_END = "Seems to be a truncated file"
# What the end of a file lacks.
NO_MARK = "expected a mark at the end of the file, found no mark"
# Size of the largest page of an OGG file, and the flag of the last page of a stream.
OGG_PAGE_BYTES = 65_307
OGG_LAST = 4
BYTES_PER_SAMPLE = {"PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8}
# The header of NIST SPHERE is text.
SPHERE_BYTES = 1024
SPHERE_SAMPLES = re.compile(rb"^sample_count -i (\d+)", re.M)
# What libsndfile says about a WAV that it reads to its end, because the header has no length.
REPAIRED = "wasn't closed properly"
# What libsndfile says about an MP3 without a header. It guesses the length from the first frame.
GUESSED = re.compile(r"^  bitrate mode   : constant", re.M)


def cut_off(sound: soundfile.SoundFile, path: str | os.PathLike) -> str | None:
    """Returns what the header states and what the file has, if the end of a file is missing."""
    if sound.format == "FLAC":
        # Only reading the end shows that it is missing.
        return None
    log = sound.extra_info
    for table, slack in ((DATA_BYTES, 0), (FILE_BYTES, PADDING)):
        found = sound.format in table and table[sound.format].search(log)
        if found and int(found[2]) + slack < int(found[1]) < UNKNOWN_BYTES:
            return f"expected {found[1]} bytes of samples, as its header states, found {found[2]}"
    stated = stated_samples(sound, log, path)
    if stated and sound.frames < stated < UNKNOWN_FRAMES:
        return f"expected {stated} samples, as its header states, found {sound.frames}"
    without_end = sound.format == "VOC" and VOC_WITHOUT_END in log
    if without_end or (sound.format == "OGG" and is_cut_off_ogg(path)):
        return NO_MARK
    return None


def guesses_length(sound: soundfile.SoundFile) -> bool:
    """Whether libsndfile guesses the length of a file, which may be much longer or shorter."""
    return sound.format == "MP3" and bool(GUESSED.search(sound.extra_info))


def missing_end(path: str | os.PathLike) -> str | None:
    """Returns what a compressed file lacks at its end, None if libsndfile finds nothing missing.

    ffmpeg decodes a file that is cut off as a shorter one. libsndfile reads MP3
    and OGG too, and the number of samples that their headers state.
    """
    try:
        with soundfile.SoundFile(path) as sound:
            if cut := cut_off(sound, path):
                return cut
            if sound.format == "MP3" and not guesses_length(sound) and not has_last_sample(sound):
                return f"expected {sound.frames} samples, as its header states, found fewer"
    except (soundfile.SoundFileError, TypeError):
        return NO_MARK if is_cut_off_ogg(path) else None
    return None


def has_last_sample(sound: soundfile.SoundFile) -> bool:
    """Whether the last sample can be read."""
    try:
        sound.seek(sound.frames - 1)
        return len(sound.read(1)) == 1
    except (soundfile.SoundFileError, ValueError):
        # soundfile raises ValueError if a damaged file ends before the place that it seeks.
        return False


def is_cut_off_ogg(path: str | os.PathLike) -> bool:
    """Whether a file is OGG and its last page is not complete or does not end a stream."""
    with open(path, "rb") as file:
        if file.read(4) != b"OggS":
            return False
        file.seek(max(0, os.fstat(file.fileno()).st_size - OGG_PAGE_BYTES))
        tail = file.read()
    position = tail.rfind(b"OggS")
    header = tail[position : position + 27]
    if position < 0 or len(header) < 27:
        return True
    lengths = tail[position + 27 : position + 27 + header[26]]
    end = position + 27 + header[26] + sum(lengths)
    is_complete = len(lengths) == header[26] and end <= len(tail)
    return not (is_complete and header[5] & OGG_LAST)


def states_no_length(sound: soundfile.SoundFile) -> bool:
    """Whether libsndfile reads a file to its end, because its header states the length 0."""
    if sound.format == "FLAC":
        return False
    log = sound.extra_info
    for table in (DATA_BYTES, FILE_BYTES):
        found = sound.format in table and table[sound.format].search(log)
        if found and int(found[1]) == 0:
            return True
    return sound.format in ("WAV", "WAVEX") and REPAIRED in log


def stated_samples(sound: soundfile.SoundFile, log: str, path: str | os.PathLike) -> int | None:
    """Returns the number of samples that the header states, None if it is not known."""
    if sound.format == "NIST":
        with open(path, "rb") as file:
            found = SPHERE_SAMPLES.search(file.read(SPHERE_BYTES))
        return int(found[1]) if found else None
    if sound.format in STATED_SAMPLES:
        numbers = STATED_SAMPLES[sound.format].findall(log)
        return int(numbers[-1]) if numbers else None
    if sound.format in STATED_BYTES and sound.subtype in BYTES_PER_SAMPLE:
        pattern, header = STATED_BYTES[sound.format]
        numbers = pattern.findall(log)
        if numbers:
            return (int(numbers[-1]) - header) // BYTES_PER_SAMPLE[sound.subtype]
    return None


# ---------------------------------------------------------------------- unfinished files
class Chunks(NamedTuple):
    """The chunks of a format, each of them with a name of 4 bytes and its length.

    first: position of the first chunk. samples: name of the chunk of samples. skipped: bytes in it
    before the samples. size, order: of a length, in bytes. padded: whether a chunk of odd length
    has one byte more. has_total: whether bytes 4 to 8 are the length of the file.
    """

    first: int
    samples: bytes
    skipped: int
    size: int
    order: Literal["little", "big"]
    padded: bool = True
    has_total: bool = True

    def length(self, data: bytes | bytearray, position: int) -> int:
        """Returns the length that the chunk at a position states."""
        start = position + 4
        return int.from_bytes(data[start : start + self.size], self.order)

    def find(self, data: bytes | bytearray) -> int:
        """Returns the position of the chunk of samples. len(data): there is none."""
        position = self.first
        while position < len(data) and data[position : position + 4] != self.samples:
            length = self.length(data, position)
            position += 4 + self.size + length + (length % 2 if self.padded else 0)
        return min(position, len(data))

    def fill(self, data: bytes | bytearray, position: int) -> bool:
        """Whether data consist of chunks from a position to the end. Samples look different."""
        while position < len(data):
            name = data[position : position + 4]
            if len(name) < 4 or not all(32 <= byte < 127 for byte in name):
                return False
            length = self.length(data, position)
            position += 4 + self.size + length
            # Some programs omit the byte that pads a chunk of odd length.
            if self.padded and position < len(data):
                position += length % 2
        return position == len(data)


WAV_CHUNKS = Chunks(12, b"data", skipped=0, size=4, order="little")
AIFF_CHUNKS = Chunks(12, b"SSND", skipped=8, size=4, order="big")
# {(bytes 0 to 4, bytes 8 to 12 or nothing): the chunks of the format}
CHUNKS = {
    (b"RIFF", b"WAVE"): WAV_CHUNKS,
    (b"RF64", b"WAVE"): WAV_CHUNKS,
    (b"FORM", b"AIFF"): AIFF_CHUNKS,
    (b"FORM", b"AIFC"): AIFF_CHUNKS,
    (b"caff", b""): Chunks(
        8, b"data", skipped=4, size=8, order="big", padded=False, has_total=False
    ),
}


def repaired(path: str | os.PathLike) -> io.BytesIO | None:
    """Returns a file whose header states the length 0 with the real length in its header.

    Returns None if the file contains no samples, or has another format than WAV, RF64, AU, AIFF
    and CAF.
    """
    with open(path, "rb") as file:
        data = bytearray(file.read())
    if data[:4] == b".snd" and len(data) > int.from_bytes(data[4:8], "big"):
        data[8:12] = b"\xff\xff\xff\xff"
        return io.BytesIO(data)
    chunks = CHUNKS.get((bytes(data[:4]), bytes(data[8:12])), CHUNKS.get((bytes(data[:4]), b"")))
    if not chunks:
        return None
    position = chunks.find(data)
    start = position + 4 + chunks.size + chunks.skipped
    length = len(data) - start
    if length < 1 or chunks.fill(data, start):
        return None
    if data[:4] == b"RF64":
        # The chunk ds64 has the lengths.
        data[20:28] = (len(data) - 8).to_bytes(8, "little")
        data[28:36] = length.to_bytes(8, "little")
        return io.BytesIO(data)
    # A chunk of samples whose number of bytes is too large ends with the file.
    largest = (1 << 8 * chunks.size) - 1
    stated = min(length + chunks.skipped, largest).to_bytes(chunks.size, chunks.order)
    data[position + 4 : position + 4 + chunks.size] = stated
    if chunks.has_total:
        data[4:8] = min(len(data) - 8, largest).to_bytes(4, chunks.order)
    return io.BytesIO(data)
