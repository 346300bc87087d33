"""Names, tables and default values that the help of dataprep.py shows.

The module imports nothing heavy, so that `dataprep.py --help` starts fast. The modules that do the
work import their constants from it.
"""

from pathlib import Path
from typing import NamedTuple

from common.constants import SAMPLE_RATE, SILENT

# Folder of the lists of files to download.
CATALOGUES = Path(__file__).parent / "catalogues"
# Number of columns of the help.
WIDTH = 100
# Lists that are written for a corpus.
TRAIN_LIST = "train_list.txt"
TEST_LIST = "test_list.txt"
TRIALS = "trials.txt"
# Steps that make VoxCeleb, in their order.
STEPS = ("download", "concatenate", "extract", "convert")

# ---------------------------------------------------------------------- conversion
# Format of the converted files, and the name of its codec in ffmpeg.
CODECS = {"wav": "pcm_s16le", "flac": "flac"}

# ---------------------------------------------------------------------- check
CHECK_REPORT = "check.json"
# Share of the samples that equal the highest or lowest value of the file. Clear speech has at
# most 0.003.
CLIPPED = 0.01
PROBLEM_KINDS = {
    "missing": "the file does not exist",
    "unreadable": "the file is not audio",
    "format": f"the audio is not {SAMPLE_RATE} Hz with 1 channel",
    "truncated": "the end of the file is missing or damaged",
    "empty": "the file has no samples",
    "not finite": "a sample is NaN or infinite",
    "silent": f"the level is below {SILENT:g} dB relative to full scale",
    "clipped": f"over {CLIPPED:.0%} of the samples have the highest or lowest value of the file",
    "short": "the file is shorter than a crop of --max_frames frames",
    "duplicate": "the samples equal the samples of an earlier file",
    "listed twice": "the file is on an earlier line of the train list",
    "shared file": "the file is in a train list and in a test list",
    "shared speaker": "the speaker is in a train list and in a test list",
    "few": "the speaker has fewer usable utterances than --nPerSpeaker",
}

# ---------------------------------------------------------------------- copy synthesis
# The protocol that lists original files and copies, and the link to the folder of the originals.
COPY_PROTOCOL = "cm.train.trn.txt"
COPY_ORIGINALS = "bonafide"
# Lists of the speakers that remain in the training, and of the speakers that are held out.
REST_LIST = "train.txt"
DEV_FILES = "dev.txt"
DEV_TRIALS = "dev.trl.txt"
DEV_ENROLMENTS = "dev.trn.txt"


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
        "logarithm of mel bands of magnitude spectra, as in double multi-head attention", False
    ),
    "logmel": FeatureType("logarithm of mel bands of power spectra, as in voxceleb_trainer", True),
    "sasv2": FeatureType(
        "logmel with pre-emphasis and bands from 20 to 7600 Hz, as in SASV 2022", True
    ),
    "log_before_mel": FeatureType(
        "mel bands of log magnitude spectra, as in the authors' MFA-Conformer", True
    ),
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
