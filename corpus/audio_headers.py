"""The length that the header of an audio file states, compared with the samples in the file.

libsndfile reads a file that is cut off as a shorter one, without an error. Its log has the numbers.
A recorder that stops without closing a file leaves the length 0 in the header.
"""

import io
import os
import re

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
def repaired(path: str | os.PathLike) -> io.BytesIO | None:
    """Returns a file whose header states the length 0 with the real length in its header.

    Returns None if the file contains no samples, or has another format than WAV, RF64 and AU.
    """
    with open(path, "rb") as file:
        data = bytearray(file.read())
    if data[:4] == b".snd" and len(data) > int.from_bytes(data[4:8], "big"):
        data[8:12] = b"\xff\xff\xff\xff"
        return io.BytesIO(data)
    if data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        return None
    position = data_chunk(data)
    length = len(data) - position - 8
    if length < 1 or is_chunks(data, position + 8):
        return None
    if data[:4] == b"RF64":
        # The chunk ds64 has the lengths.
        data[20:28] = (len(data) - 8).to_bytes(8, "little")
        data[28:36] = length.to_bytes(8, "little")
    else:
        largest = 0xFFFFFFFF
        data[4:8] = min(len(data) - 8, largest).to_bytes(4, "little")
        data[position + 4 : position + 8] = min(length, largest).to_bytes(4, "little")
    return io.BytesIO(data)


def data_chunk(data: bytes | bytearray) -> int:
    """Returns the position of the chunk with the samples of a WAV. len(data): there is none."""
    position = 12
    while position < len(data) and data[position : position + 4] != b"data":
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length + length % 2
    return min(position, len(data))


def is_chunks(data: bytes | bytearray, position: int) -> bool:
    """Whether a WAV consists of chunks from a position to its end. Samples look different."""
    while position < len(data):
        name = data[position : position + 4]
        if len(name) < 4 or not all(32 <= byte < 127 for byte in name):
            return False
        length = int.from_bytes(data[position + 4 : position + 8], "little")
        position += 8 + length
        # Some programs omit the byte that pads a chunk of odd length.
        if position < len(data):
            position += length % 2
    return position == len(data)
