"""Lists of embeddings in files, for tuneThreshold.py backend and tuneThreshold.py score."""

from typing import NamedTuple

import numpy as np

from corpus.embeddings import check_embeddings, load_table
from corpus.file_lists import speakers_of_real_speech
from corpus.lists import Trials, read_trials
from corpus.recognition import TRIALS, Expected, require_kind

# The option that names the folder of the embeddings.
FOLDER = "--embeddings"


class TrainingEmbeddings(NamedTuple):
    """The embeddings x [n, D] of a list, and their speakers, or [] if the list names none."""

    x: np.ndarray
    speakers: list[str]


def read_training(list_file: str, folder: str) -> TrainingEmbeddings:
    """Reads the embeddings of a train list or of lines '<file>', without spoofed speech.

    folder: contains their .npy files. The embedding of a file is the mean over its crops. Raises
    InputError if a file is missing or cannot be used.
    """
    speakers = speakers_of_real_speech(list_file)
    found = check_embeddings(folder, speakers, list_file, FOLDER)
    paths = [found[name] for name in speakers]
    x = load_table(folder, paths, lambda x, _: x.mean(0, dtype=np.float64))
    return TrainingEmbeddings(x, [each for each in speakers.values() if each is not None])


def read_tested(list_file: str, folder: str) -> tuple[Trials, dict[str, np.ndarray]]:
    """Reads trials, and the embeddings {file: [K, D]} of the crops of their files.

    folder: contains their .npy files. Raises InputError if a file is missing or cannot be used.
    """
    require_kind(list_file, Expected("TRIALS", TRIALS))
    trials = read_trials(list_file)
    found = check_embeddings(folder, trials.paths(), list_file, FOLDER)
    trials = trials.renamed(found)
    paths = trials.paths()
    table = load_table(folder, paths, lambda x, _: x)
    return trials, dict(zip(paths, table, strict=True))
