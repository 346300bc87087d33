"""Small corpora for a first real experiment, Mini LibriSpeech (OpenSLR 31) and speechocean762 (OpenSLR 101): one command each from nothing to lists.

python dataprep.py --mini_librispeech data/mini_librispeech
python dataprep.py --speechocean762 data/speechocean762
"""

import logging

import numpy as np

from common.errors import InputError
from common.writing import write_atomically
from corpus.files import audio_below
from prep.kaldi import read_kaldi_table
from prep.obtain import obtain
from prep.trees import read_speaker_table
from prep.trial_drawing import draw_trials

log = logging.getLogger(__name__)


def write_lists(folder, train, test, genders, trials, seed, paths):
    """train, test: {speaker: files}; paths: folders of the two. Test speakers are other ones, of whom two of one gender are needed."""
    if both := sorted(train.keys() & test.keys()):
        raise InputError(
            f"{folder}: want other speakers to test than to train, got {', '.join(both)} in both; download the archives again"
        )
    if unknown := sorted(speaker for speaker in test if speaker not in genders):
        raise InputError(
            f"{folder}: want the gender of all test speakers, got none of {', '.join(unknown)}; download the archives again"
        )
    lists = {
        "train_list.txt": [
            f"{speaker} {file}" for speaker in sorted(train) for file in train[speaker]
        ],
        "trials.txt": draw_trials(np.random.default_rng(seed), test, trials, genders),
    }
    for name, lines in lists.items():
        write_atomically(folder / name, "".join(f"{line}\n" for line in lines).encode())
    targets = sum(line.startswith("1") for line in lists["trials.txt"])
    log.info(
        "%s: %d speakers and %s files to train, %d speakers to test, %s target and %s non-target trials of the same gender; train with --train_list %s "
        "--train_path %s --test_list %s --test_path %s",
        folder,
        len(train),
        f"{len(lists['train_list.txt']):,}",
        len(test),
        f"{targets:,}",
        f"{len(lists['trials.txt']) - targets:,}",
        folder / "train_list.txt",
        paths[0],
        folder / "trials.txt",
        paths[1],
    )


# ---------------------------------------------------------------------- Mini LibriSpeech
def speakers_below(folder):
    """A tree of speaker/.../file -> {speaker: files}, relative to it."""
    files = {}
    for path in audio_below(folder):
        files.setdefault(path.split("/")[0], []).append(path)
    return files


def make_mini_librispeech(request, trials, seed):
    obtain(request)
    folder = request.folder
    paths = folder / "train" / "train-clean-5", folder / "test" / "dev-clean-2"
    write_lists(
        folder,
        *map(speakers_below, paths),
        read_speaker_table(folder / "test" / "SPEAKERS.TXT"),
        trials,
        seed,
        paths,
    )


# ---------------------------------------------------------------------- speechocean762
def speakers_of_tables(folder):
    """wav.scp and utt2spk of a folder -> {speaker: files}."""
    files, speakers = read_kaldi_table(folder / "wav.scp"), read_kaldi_table(folder / "utt2spk")
    if files.keys() != speakers.keys():
        raise InputError(
            f"{folder}: want the same utterances in wav.scp and utt2spk, got {len(files):,} and {len(speakers):,}; extract the archive again"
        )
    table = {}
    for utterance in sorted(files):
        table.setdefault(speakers[utterance], []).append(files[utterance])
    return table


def make_speechocean(request, trials, seed):
    obtain(request)
    folder = request.folder
    train, test = (speakers_of_tables(folder / part) for part in ("train", "test"))
    write_lists(
        folder,
        train,
        test,
        read_speaker_table(folder / "test" / "spk2gender"),
        trials,
        seed,
        (folder, folder),
    )
