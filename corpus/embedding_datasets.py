"""Data sets of embeddings, to train and evaluate embedding enhancement.

All embeddings are kept in memory.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from corpus.embeddings import Example, load_embeddings, load_targets
from corpus.lists import classes_of


class EmbeddingDataset(Dataset):
    """Training batches of embeddings for embedding enhancement.

    An item is (epoch, groups): B lists of rows of the list, all of the same length. A batch has
    x [B, M, D] float32, label [B], spoof [B] and index [B, rows] as in TrainDataset, and target
    [B, D]: the targets of the speakers. M is the number of files: a row of a list of pairs names
    two files.

    other [B, D]: target of the other speaker that the first row of a group names, if the list names
    other speakers. session [B, M] int64, for a list of pairs: equal for two files of one session.

    examples, root: the list, and the folder of its files. classes: {speaker: class}, by default
    numbered from the list. flag: --multiple_embedding_flag.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        root: str,
        classes: dict[str, int] | None = None,
        *,
        flag: str,
    ):
        classes = classes or classes_of(examples)
        self.utterances = examples
        columns = [[example.path for example in examples]]
        if examples[0].second:
            columns.append([example.second for example in examples])
        row_of_file: dict[str, int] = {}
        for column in columns:
            for name in column:
                row_of_file.setdefault(name, len(row_of_file))
        self.x = load_embeddings(root, list(row_of_file))  # [files, D]
        rows = []
        for names in zip(*columns, strict=True):
            rows.append([row_of_file[name] for name in names])
        # Rows of self.x that each line of the list names.
        self.rows = np.array(rows)  # [list, 1 or 2]
        self.label = np.array([classes[example.speaker] for example in examples])
        row_of_speaker: dict[str, int] = {}
        for example in examples:
            row_of_speaker.setdefault(example.speaker, len(row_of_speaker))
            if example.other:
                row_of_speaker.setdefault(example.other, len(row_of_speaker))
        dim = self.x.shape[1]
        self.targets = load_targets(root, list(row_of_speaker), flag, dim)  # [speakers, D]
        # Rows of self.targets that each line of the list names.
        self.target = np.array([row_of_speaker[example.speaker] for example in examples])
        self.other = None
        self.same = None
        if examples[0].other:
            self.other = np.array([row_of_speaker[example.other] for example in examples])
        if examples[0].second:
            self.same = np.array([example.same_session for example in examples])

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, item: tuple[int, Any]) -> dict[str, torch.Tensor]:
        index = np.array(item[1])  # [B, rows]
        first = index[:, 0]
        batch = {
            "x": self.x[self.rows[index].reshape(len(index), -1)],
            "label": self.label[first],
            "spoof": np.zeros(len(index), bool),
            "index": index,
            "target": self.targets[self.target[first]],
        }
        if self.other is not None:
            batch["other"] = self.targets[self.other[first]]
        if self.same is not None:
            # Row i has the sessions 2i and 2i, or 2i and 2i + 1.
            offsets = np.stack([np.zeros_like(index), ~self.same[index]], 2)
            sessions = 2 * index[:, :, None] + offsets
            batch["session"] = sessions.reshape(len(index), -1)
        return {name: torch.from_numpy(value) for name, value in batch.items()}


class EmbeddingEvalDataset(Dataset):
    """Evaluation batches of embeddings.

    An item is (numbers of n files, x [n, 1, D] float32). A file's embedding is the mean over its
    crops, scaled to length 1.
    """

    FILES_PER_ITEM = 1000
    # The level and the duration of the speech are not known from embeddings.
    limits = None

    def __init__(self, paths: Sequence[str], root: str):
        self.paths = paths
        self.x = torch.from_numpy(load_embeddings(root, paths)).unsqueeze(1)

    def seconds(self) -> dict[str, float] | None:
        """Returns None: the duration of the speech is not known from embeddings."""
        return None

    def __len__(self) -> int:
        return math.ceil(len(self.paths) / self.FILES_PER_ITEM)

    def __getitem__(self, item: int) -> tuple[list[int], torch.Tensor]:
        start = item * self.FILES_PER_ITEM
        files = range(start, min(start + self.FILES_PER_ITEM, len(self.paths)))
        # A copy, because a loader process hands over the complete memory behind a tensor.
        return list(files), self.x[files.start : files.stop].clone()

    def largest_bytes(self, number: int) -> int:
        """Returns the size of the embeddings in the first `number` items."""
        return self.x[: number * self.FILES_PER_ITEM].nbytes
