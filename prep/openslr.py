"""Small corpora for a first real experiment: Mini LibriSpeech and speechocean762.

Each command downloads one corpus (OpenSLR 31 or 101) and makes its lists.

python dataprep.py mini-librispeech data/mini_librispeech
python dataprep.py speechocean762 data/speechocean762
"""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import InputError
from corpus.files import audio_below
from corpus.missing import first_names
from prep.constants import TRAIN_LIST, TRIALS
from prep.kaldi import read_kaldi_table
from prep.obtain import Request, obtain
from prep.output import write_lists
from prep.trees import read_speaker_table
from prep.trial_drawing import draw_trials

log = logging.getLogger(__name__)


class SpeakerFiles(NamedTuple):
    """A part of a corpus.

    folder: the folder of the files. Their paths are relative to it.
    files: speaker -> files.
    """

    folder: Path
    files: dict[str, list[str]]


def check_speakers(
    folder: Path, train: SpeakerFiles, test: SpeakerFiles, genders: dict[str, str]
) -> None:
    """Raises InputError if a test speaker is a training speaker or has no known gender."""
    both = sorted(train.files.keys() & test.files.keys())
    if both:
        raise InputError(
            f"{folder}: expected different speakers for training and for tests, found "
            f"{first_names(both)} in both. Download the archives again."
        )
    unknown = sorted(test.files.keys() - genders.keys())
    if unknown:
        raise InputError(
            f"{folder}: the gender is unknown for the test speakers {first_names(unknown)}. "
            "Download the archives again."
        )


def write_corpus_lists(
    folder: Path,
    train: SpeakerFiles,
    test: SpeakerFiles,
    genders: dict[str, str],
    trials: int,
    seed: int,
) -> None:
    """Writes the train list and the trials of a corpus.

    genders: speaker -> gender. Both speakers of a non-target trial have the same gender.
    trials: number of trials.
    Raises InputError for wrong test speakers.
    """
    check_speakers(folder, train, test, genders)
    train_lines = []
    for speaker in sorted(train.files):
        train_lines += [f"{speaker} {file}" for file in train.files[speaker]]
    trial_lines = draw_trials(np.random.default_rng(seed), test.files, trials, genders)
    write_lists({folder / TRAIN_LIST: train_lines, folder / TRIALS: trial_lines})
    targets = sum(line.startswith("1") for line in trial_lines)
    log.info(
        "Wrote %s with %d speakers and %s files.",
        folder / TRAIN_LIST,
        len(train.files),
        f"{len(train_lines):,}",
    )
    log.info(
        "Wrote %s with %d speakers, %s target trials and %s non-target trials. Both speakers of "
        "a non-target trial have the same gender.",
        folder / TRIALS,
        len(test.files),
        f"{targets:,}",
        f"{len(trial_lines) - targets:,}",
    )
    log.info(
        "Options of trainSpeakerNet.py: --train_list %s --train_path %s --test_list %s "
        "--test_path %s",
        folder / TRAIN_LIST,
        train.folder,
        folder / TRIALS,
        test.folder,
    )


# ---------------------------------------------------------------------- Mini LibriSpeech
def speakers_below(folder: Path) -> SpeakerFiles:
    """Returns the speakers of a tree speaker/.../file."""
    files: dict[str, list[str]] = {}
    for path in audio_below(folder):
        speaker = path.split("/")[0]
        files.setdefault(speaker, []).append(path)
    return SpeakerFiles(folder, files)


def make_mini_librispeech(request: Request, trials: int, seed: int) -> None:
    """Obtains Mini LibriSpeech and makes its lists."""
    obtain(request)
    folder = request.folder
    train = speakers_below(folder / "train" / "train-clean-5")
    test = speakers_below(folder / "test" / "dev-clean-2")
    genders = read_speaker_table(folder / "test" / "SPEAKERS.TXT")
    write_corpus_lists(folder, train, test, genders, trials, seed)


# ---------------------------------------------------------------------- speechocean762
def speakers_of_tables(folder: Path) -> dict[str, list[str]]:
    """Returns speaker -> files of the tables wav.scp and utt2spk in a folder.

    Raises InputError if the two tables have different utterances.
    """
    files = read_kaldi_table(folder / "wav.scp")
    speakers = read_kaldi_table(folder / "utt2spk")
    if files.keys() != speakers.keys():
        raise InputError(
            f"{folder}: expected the same utterances in wav.scp and utt2spk, found different "
            f"utterances ({len(files):,} and {len(speakers):,}). Remove this folder and run the "
            "same command again."
        )
    table: dict[str, list[str]] = {}
    for utterance in sorted(files):
        table.setdefault(speakers[utterance], []).append(files[utterance])
    return table


def make_speechocean(request: Request, trials: int, seed: int) -> None:
    """Obtains speechocean762 and makes its lists."""
    obtain(request)
    folder = request.folder
    train = SpeakerFiles(folder, speakers_of_tables(folder / "train"))
    test = SpeakerFiles(folder, speakers_of_tables(folder / "test"))
    genders = read_speaker_table(folder / "test" / "spk2gender")
    write_corpus_lists(folder, train, test, genders, trials, seed)
