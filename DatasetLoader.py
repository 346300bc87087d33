"""From utterances to batches: data sets and loaders.

Crops and noises are drawn from (seed, epoch, row of the list), so that batches depend neither on the number of workers nor on where a
run resumes. Crop lengths and evaluation crops are those of voxceleb_trainer (Chung et al. 2020, arXiv:2003.11982).
"""

import logging
import math
import os
import signal
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.signal
import torch
from torch.utils.data import DataLoader, Dataset

from common.constants import CROP_MARGIN, HOP, WINDOW
from common.errors import InputError
from corpus.audio import FILLS, repeat
from corpus.embeddings import load_embeddings, load_targets
from corpus.features import SUFFIXES
from corpus.lists import class_of, classes_of
from corpus.roots import open_root

log = logging.getLogger(__name__)
# seconds that a worker lives on after SIGTERM
GRACE = 10
# most samples in a batch of evaluation: 250 s
EVAL_SAMPLES = 4_000_000
# frames
SHORTEST_SLICE = 200


class LoadingError(InputError):
    """Of a file of one batch: of several processes that train together one meets it, all other InputErrors are met by all."""


# ---------------------------------------------------------------------- files
class AudioSpec(NamedTuple):
    """How files are read. open: name on the list -> Recording. frame: units of its length in a frame of 10 ms. margin: units beyond the frames of a crop.
    least: units in a file, at least. shape: of a unit."""

    open: Callable
    frame: int
    margin: int
    least: int
    shape: tuple

    def length(self, frames):
        return frames * self.frame + self.margin


def audio_spec(root, paths, crop_margin, features):
    """The AudioSpec of the files of a list below root, which are features, normalised as the FeatureInput `features` says, or audio."""
    if paths and paths[0].endswith(SUFFIXES):
        return AudioSpec(partial(open_root(root).open, wanted=features), 1, 0, 1, (features.bands,))
    # the front end wants a window at least
    return AudioSpec(open_root(root).open, HOP, crop_margin, WINDOW, ())


# ---------------------------------------------------------------------- training batches
class TrainDataset(Dataset):
    """Item (epoch, groups), groups B lists of M rows of the list -> a whole batch:
    x [B, M, T] float32, of features [B, M, T, F], label [B] int64, spoof [B] bool, index [B, M] int64 (the rows).

    features: a FeatureInput, where the files may be features. random_slicing: every batch is cut to a length between SHORTEST_SLICE frames and max_frames.
    augment_later: what `augment` draws is not mixed but put into the batch, for mixed() of corpus/augment.py.
    """

    def __init__(
        self,
        utterances,
        root,
        classes=None,
        *,
        max_frames,
        seed,
        augment=None,
        crop_margin=CROP_MARGIN,
        short_files="repeat",
        features=None,
        random_slicing=False,
        augment_later=False,
    ):
        classes = classes or classes_of(utterances)
        self.utterances, self.seed, self.augment, self.augment_later, self.fill = (
            utterances,
            seed,
            augment,
            bool(augment) and augment_later,
            short_files,
        )
        self.spec = audio_spec(root, [u.path for u in utterances[:1]], crop_margin, features)
        if self.spec.shape and (augment or any(u.speed != 1 for u in utterances)):
            raise InputError(
                "--augment and --speed_perturb change audio, but the files of the train list are features; leave them out, or list audio"
            )
        if random_slicing and max_frames < SHORTEST_SLICE:
            raise InputError(
                f"--randomSlicing: cuts batches to {SHORTEST_SLICE} frames or more; want at least so many by --max_frames, got {max_frames}"
            )
        self.max_frames, self.random_slicing, self.length = (
            max_frames,
            random_slicing,
            self.spec.length(max_frames),
        )
        self.label = np.fromiter((classes[class_of(u)] for u in utterances), np.int64)
        self.spoof = np.fromiter((u.spoofed for u in utterances), bool)

    def __len__(self):
        return len(self.utterances)

    def __getitem__(self, item):
        epoch, groups = item
        index = np.array(groups)  # [B, M]
        x = np.empty((*index.shape, self.length, *self.spec.shape), np.float32)  # [B, M, T, ...]
        plans, length = [], self.length
        try:
            for row, i in zip(x.reshape(-1, *x.shape[2:]), index.flat, strict=True):
                rng = np.random.default_rng((self.seed, epoch, i))
                row[:] = self.example(self.utterances[i], rng)
                if self.augment_later:
                    plans.append(self.augment.plan(length, rng))
                elif self.augment:
                    self.augment.mix(row, self.augment.plan(length, rng))
            later = self.augment.entries(plans, length) if self.augment_later else {}
        except InputError as error:
            # for batches() to raise: a worker would wrap it in a traceback
            return error
        # the first row is in one batch of an epoch alone
        if self.random_slicing:
            rng = np.random.default_rng((self.seed, epoch, len(self) + 1, index.flat[0]))
            length = self.spec.length(rng.integers(SHORTEST_SLICE, self.max_frames, endpoint=True))
        if self.augment_later:
            later["tail"] = x[:, :, length:]
        batch = {
            "x": x[:, :, :length],
            "label": self.label[index[:, 0]],
            "spoof": self.spoof[index[:, 0]],
            "index": index,
        } | later
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def example(self, utterance, rng):
        """One crop, at its speed -> [T, ...] float32."""
        ratio = 1 if utterance.speed == 1 else Fraction(utterance.speed).limit_denominator(100)
        with self.spec.open(utterance.path) as recording:
            x = recording.crop(math.ceil(self.length * ratio), rng, self.fill)
        return (
            x
            if ratio == 1
            else scipy.signal.resample_poly(x, ratio.denominator, ratio.numerator)[: self.length]
        )


class EmbeddingDataset(Dataset):
    """Embeddings for their enhancement. Item (epoch, groups), groups B lists of rows of the list, as many in each -> a whole batch: x [B, M, D] float32,
    M files, two for each row of a list of pairs; label [B], spoof [B], index [B, rows] as in TrainDataset; target [B, D], that of the speaker;
    other [B, D], that of the other speaker of the group's first row, of lists that name one; session [B, M] int64, of pairs: equal for two of one session."""

    def __init__(self, examples, root, classes=None, *, flag):
        classes = classes or classes_of(examples)
        self.utterances = examples
        sides = [[e.path for e in examples], [e.second for e in examples]][
            : 2 if examples[0].second else 1
        ]
        row = {
            name: i for i, name in enumerate(dict.fromkeys(name for side in sides for name in side))
        }
        self.x = load_embeddings(root, list(row))  # [files, D]
        self.rows = np.array([[row[name] for name in side] for side in sides]).T  # [list, 1 or 2]
        self.label = np.array([classes[e.speaker] for e in examples])
        number = {
            name: i
            for i, name in enumerate(
                dict.fromkeys(name for e in examples for name in (e.speaker, e.other) if name)
            )
        }
        self.targets = load_targets(root, list(number), flag, self.x.shape[1])  # [speakers, D]
        self.target = np.array([number[e.speaker] for e in examples])
        self.other = np.array([number[e.other] for e in examples]) if examples[0].other else None
        self.same = np.array([e.same_session for e in examples]) if examples[0].second else None

    def __len__(self):
        return len(self.utterances)

    def __getitem__(self, item):
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
        # numbers 2i, 2i or 2i, 2i + 1 for row i
        if self.same is not None:
            batch["session"] = (
                2 * index[:, :, None] + np.stack([np.zeros_like(index), ~self.same[index]], 2)
            ).reshape(len(index), -1)
        return {name: torch.from_numpy(value) for name, value in batch.items()}


# ---------------------------------------------------------------------- evaluation batches
class EvalDataset(Dataset):
    """Item -> (numbers of n files, x [n, K, T] float32, of features [n, K, T, F]), the files of equally long input, EVAL_SAMPLES at most; each file is in
    one item. The largest items come first: memory that does not suffice shows at once, and processes that share them end together.
    features: a FeatureInput, where the files may be features.

    eval_frames > 0: num_eval crops of so many frames, evenly spaced, as voxceleb_trainer makes them; 0: the whole file, K = 1. bucket_frames: whole files
    are repeated up to a multiple of so many frames, so that many are equally long; 0: they stay as they are.
    """

    def __init__(
        self,
        paths,
        root,
        *,
        eval_frames,
        num_eval,
        crop_margin=CROP_MARGIN,
        short_files="repeat",
        features=None,
        bucket_frames=0,
    ):
        self.paths, self.fill = paths, short_files
        self.spec = audio_spec(root, paths, crop_margin, features)
        self.crops = num_eval if eval_frames else 1
        self.length = self.spec.length(eval_frames) if eval_frames else None
        self.bucket = max(bucket_frames * self.spec.frame, 1)
        self.lengths = (
            np.full(len(paths), self.length)
            if eval_frames
            else np.array([self.whole_length(i) for i in range(len(paths))])
        )
        self.items = []
        for length in np.unique(self.lengths):
            files = np.flatnonzero(self.lengths == length)
            size = max(EVAL_SAMPLES * self.spec.frame // (HOP * length * self.crops), 1)
            self.items += [files[i : i + size].tolist() for i in range(0, len(files), size)]
        self.items.sort(key=lambda files: len(files) * self.lengths[files[0]], reverse=True)

    def __len__(self):
        return len(self.items)

    def __getitem__(self, item):
        try:
            return self.items[item], torch.from_numpy(
                np.stack([self.read(i) for i in self.items[item]])
            )
        except InputError as error:
            # see TrainDataset
            return error

    def seconds(self):
        """-> {file: its length}, of the whole file."""
        found = {}
        for path in self.paths:
            with self.spec.open(path) as recording:
                found[path] = recording.frames / (100 * self.spec.frame)
        return found

    def whole_length(self, i):
        with self.spec.open(self.paths[i]) as recording:
            return math.ceil(max(recording.frames, self.spec.least) / self.bucket) * self.bucket

    def read(self, i):
        """File number i -> [K, T, ...] float32."""
        with self.spec.open(self.paths[i]) as recording:
            x = recording.read(0, recording.frames)
        if self.length is None:
            return repeat(x, self.lengths[i])[None]
        if len(x) <= self.length:
            # references have one more than the crop; kept
            x = FILLS[self.fill](x, self.length + 1)
        return np.stack(
            [
                x[s : s + self.length]
                for s in np.linspace(0, len(x) - self.length, self.crops).astype(int)
            ]
        )


class EmbeddingEvalDataset(Dataset):
    """Item -> (numbers of n files, x [n, 1, D] float32), each file's mean embedding over its crops, of length 1; all are in memory."""

    # in an item
    FILES = 1000

    def __init__(self, paths, root):
        self.paths, self.x = paths, torch.from_numpy(load_embeddings(root, paths)).unsqueeze(1)

    def seconds(self):
        """None: embeddings do not tell how long the speech was."""

    def __len__(self):
        return math.ceil(len(self.paths) / self.FILES)

    def __getitem__(self, item):
        files = range(item * self.FILES, min((item + 1) * self.FILES, len(self.paths)))
        return [*files], self.x[files.start : files.stop]


# ---------------------------------------------------------------------- loaders
def in_worker(_):
    """A signal is often sent to all processes: it is for the main one, which wants workers to the end of its step. They leave a while later
    but they do leave: a Python that ends while workers run sends them SIGTERM and waits."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))
    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    torch.set_num_threads(1)


def train_loader(dataset, sampler, *, workers, pin_memory=False):
    """Loader of training batches, to be gone through by batches(). Workers outlive an epoch: its number is in the sampler's items."""
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=in_worker,
        generator=torch.Generator(),
    )


def eval_loader(dataset, *, workers, items=None, pin_memory=False):
    """Loader of evaluation batches, to be gone through by batches(). items: numbers of those wanted (all)."""
    items = range(len(dataset)) if items is None else items
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=items,
        num_workers=min(workers, len(items)),
        worker_init_fn=in_worker,
        pin_memory=pin_memory,
        generator=torch.Generator(),
    )


def batches(loader):
    """The batches of a loader; an InputError met while making one is raised here, in the main process, as a LoadingError."""
    for batch in loader:
        if isinstance(batch, InputError):
            raise LoadingError(*batch.args) from batch
        yield batch


# ---------------------------------------------------------------------- what a model takes
