"""Names, tables and default values that the help of dataprep.py shows.

The module imports nothing heavy, so that `dataprep.py --help` starts fast. The modules that do the
work import their constants from it.
"""

from pathlib import Path
from typing import NamedTuple

from common.constants import SAMPLE_RATE

# Folder of the lists of files to download.
CATALOGUES = Path(__file__).parent / "catalogues"
# Lists that are written for a corpus.
TRAIN_LIST = "train_list.txt"
TEST_LIST = "test_list.txt"
TRIALS = "trials.txt"

# ---------------------------------------------------------------------- conversion
# Extensions of compressed audio that --convert reads.
COMPRESSED_SUFFIXES = (
    ".m4a", ".m4b", ".mp4", ".aac", ".mp3", ".opus", ".wma",
    ".amr", ".ac3", ".3gp", ".mov", ".mkv", ".mka", ".webm",
)  # fmt: skip
# Format of the converted files, and the name of its codec in ffmpeg.
CODECS = {"wav": "pcm_s16le", "flac": "flac"}

# ---------------------------------------------------------------------- check
CHECK_REPORT = "check.json"
# Root mean square in dB relative to full scale. Speech has -45 to -15 dB.
SILENT = -70.0
# Share of the samples that equal the highest or lowest value of the file. Clear speech has at
# most 0.003.
CLIPPED = 0.01
PROBLEM_KINDS = {
    "missing": "there is no such file",
    "unreadable": "not audio",
    "format": f"not {SAMPLE_RATE} Hz, 1 channel",
    "truncated": "the end is missing, or damaged",
    "empty": "without samples",
    "not finite": "NaN or infinity",
    "silent": f"below {SILENT:g} dB",
    "clipped": f"over {CLIPPED:.0%} of the samples at the highest and lowest value",
    "short": "shorter than a crop of --max_frames",
    "duplicate": "the samples of a file before it",
    "listed twice": "is in the train list before",
    "shared file": "of a train list, is in a test list too",
    "shared speaker": "of a train list, is in a test list too",
    "few": "speakers with fewer sound utterances than --nPerSpeaker",
}

# ---------------------------------------------------------------------- copy synthesis
# The protocol that lists original files and copies, and the link to the folder of the originals.
COPY_PROTOCOL = "cm.train.trn.txt"
COPY_ORIGINALS = "bonafide"


# ---------------------------------------------------------------------- features and embeddings
class FeatureType(NamedTuple):
    """A front end whose features can be written to files.

    text: the description in --help.
    transposed: the front end returns [N, bands, T] instead of [N, T, bands].
    """

    text: str
    transposed: bool


FEATURE_TYPES = {
    "mfsc": FeatureType(
        "logarithm of mel bands of magnitudes, of double multi-head attention", False
    ),
    "logmel": FeatureType("logarithm of mel bands of powers, of voxceleb_trainer", True),
    "sasv2": FeatureType("the same with pre-emphasis, 20 to 7600 Hz, of SASV 2022", True),
    "log_before_mel": FeatureType("mel bands of log magnitudes, of MFA-Conformer's authors", True),
}


class ListSizes(NamedTuple):
    """Sizes of the lists of embeddings. A size of 0 omits the list or the kind of trial.

    same, different: number of target and non-target trials of each file.
    others: number of triplets of each file.
    pairs: number of pairs of each speaker within one session, and again across two sessions.
    """

    same: int = 4
    different: int = 4
    others: int = 1
    pairs: int = 20
