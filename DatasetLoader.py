"""From utterances to batches: data sets of speech, and loaders.

Crops and noises are drawn from (seed, epoch, row of the list). So batches depend neither on the
number of workers nor on where a run resumes. Crop lengths and evaluation crops are as in
voxceleb_trainer (Chung et al. 2020, arXiv:2003.11982). The data sets of embeddings are in
corpus/embedding_datasets.py.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from common.constants import CROP_MARGIN, HOP, SAMPLE_RATE
from common.errors import InputError
from common.trial_kinds import SPOOF
from corpus.audio import FILLS, repeat
from corpus.audio_spec import audio_spec
from corpus.augment import Augment, Plan
from corpus.features import FeatureInput
from corpus.loader_processes import init_worker, watched
from corpus.resampling import as_fraction, played, played_length
from corpus.utterances import Utterance, Utterances, classes_of
from corpus.waves import Waves
from corpus.weak_speech import Limits, level_of

# Samples in a batch of evaluation, at most: 250 s.
EVAL_SAMPLES = 4_000_000
# Bytes of the crops of one file, at most.
CROPS_BYTES = 2**30
# Frames of the shortest batch of --randomSlicing.
SHORTEST_SLICE = 200
# Frames per second.
FRAME_RATE = 100
# Changes a crop [T] by draws -> [T]: RawBoost, CodecAugment.
Effect = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class LoadingError(InputError):
    """A file of a batch cannot be used.

    Only one of several processes that train together raises this error. Any other InputError is
    raised in all processes.
    """


# ---------------------------------------------------------------------- training batches
class TrainDataset(Dataset):
    """Training batches of speech. An item is (epoch, groups): B lists of M rows of the list.

    A batch has x [B, M, T] float32, or [B, M, T, F] for features. It also has label [B] int64,
    spoof [B] bool and index [B, M] int64, the rows of the list.

    utterances, root: the list, and the folder or pack of its files. classes: {speaker: class}, by
    default numbered from the list. max_frames: frames of a crop. augment: draws noises and rooms
    for the crops. augment_later: put the draws of `augment` into the batch, for mixed() of
    corpus/augment.py, instead of mixing them. effects: change the crops after `augment`, one after
    another. crop_margin: see audio_spec(). short_files: a name of FILLS. features: the features
    that the network expects, None for audio. random_slicing: cut every batch to a length between
    SHORTEST_SLICE frames and max_frames.

    Raises InputError if the parameters do not fit together. If the files of an item cannot be read,
    the item is the InputError, see batches().
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        root: str,
        classes: dict[str, int] | None = None,
        *,
        max_frames: int,
        seed: int,
        augment: Augment | None = None,
        crop_margin: int = CROP_MARGIN,
        short_files: str = "repeat",
        features: FeatureInput | None = None,
        random_slicing: bool = False,
        augment_later: bool = False,
        effects: Sequence[Effect] = (),
    ):
        self.utterances = Utterances.of(utterances)
        classes = classes or classes_of(self.utterances)
        self.seed = seed
        self.augment = augment
        self.augment_later = bool(augment) and augment_later
        self.effects = effects
        self.fill = short_files
        first_paths = [utterance.path for utterance in self.utterances[:1]]
        self.spec = audio_spec(root, first_paths, crop_margin, features)
        is_changed = augment or effects or self.utterances.has_copies()
        if self.spec.unit_shape and is_changed:
            raise InputError(
                "--augment, --codec_augment, --rawboost, --speed_perturb: expected audio files in "
                "the train list, found features. Remove these options, or list audio files."
            )
        if random_slicing and max_frames < SHORTEST_SLICE:
            raise InputError(
                f"--max_frames: expected at least {SHORTEST_SLICE} frames for --randomSlicing, "
                f"found {max_frames}. Raise --max_frames, or remove --randomSlicing."
            )
        self.max_frames = max_frames
        self.random_slicing = random_slicing
        self.length = self.spec.length(max_frames)
        # The class of the real speech of each speaker, and of spoofed speech.
        self.class_of_speaker = np.array(
            [classes.get(name, -1) for name in self.utterances.speakers]
        )
        self.class_of_spoof = classes.get(SPOOF, -1)

    def __len__(self) -> int:
        return len(self.utterances)

    def __getitem__(self, item: tuple[int, Any]) -> dict[str, torch.Tensor] | InputError:
        epoch, groups = item
        index = np.array(groups)  # [B, M]
        try:
            x, entries = self.crops(epoch, index)  # [B, M, T, ...]
        except InputError as error:
            # batches() raises it. A worker that raises it would add a traceback to its message.
            return error
        length = self.length
        if self.random_slicing:
            # The first row is in only one batch of an epoch, so batches have different lengths.
            rng = np.random.default_rng((self.seed, epoch, len(self) + 1, index.flat[0]))
            frames = int(rng.integers(SHORTEST_SLICE, self.max_frames, endpoint=True))
            length = self.spec.length(frames)
        if self.augment_later:
            entries["tail"] = x[:, :, length:]
        first = index[:, 0]
        spoof = self.utterances.is_spoofed(first)
        label = self.class_of_speaker[self.utterances.speaker[first]]
        batch = {
            "x": x[:, :, :length],
            "label": np.where(spoof, self.class_of_spoof, label),
            "spoof": spoof,
            "index": index,
        } | entries
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def crops(self, epoch: int, index: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Draws the crops of a batch, and the noises and rooms for the crops.

        index [B, M]: rows of the list. Returns x [B, M, T, ...] float32, and the entries of
        Augment.entries() if the crops are augmented later, else {}.
        """
        x = np.empty((*index.shape, self.length, *self.spec.unit_shape), np.float32)
        plans: list[Plan] = []
        for row, i in zip(x.reshape(-1, *x.shape[2:]), index.flat, strict=True):
            rng = np.random.default_rng((self.seed, epoch, i))
            row[:] = self.crop(self.utterances[i], rng)
            if self.augment:
                plan = self.augment.plan(self.length, rng)
                if self.augment_later:
                    plans.append(plan)
                else:
                    self.augment.mix(row, plan)
            for effect in self.effects:
                row[:] = effect(row, rng)
        if self.augment and self.augment_later:
            return x, self.augment.entries(plans, self.length)
        return x, {}

    def crop(self, utterance: Utterance, rng: np.random.Generator) -> np.ndarray:
        """Draws one crop of an utterance, played at its speed -> float32 [T, ...]."""
        speed = as_fraction(utterance.speed)
        with self.spec.open(utterance.path) as recording:
            x = recording.crop(math.ceil(self.length * speed), rng, self.fill)
        return played(x, speed)[: self.length]


# ---------------------------------------------------------------------- evaluation batches
class EvalDataset(Dataset):
    """Evaluation batches of speech.

    An item is (numbers of n files, x [n, K, T] float32, or [n, K, T, F] for features). Its files
    have inputs of the same length, at most EVAL_SAMPLES in total. Each file is in one item. The
    largest items come first. So a lack of memory shows at once, and processes that share the items
    end at the same time.

    eval_frames > 0: num_eval crops of eval_frames frames, evenly spaced, as in voxceleb_trainer.
    eval_frames 0: the complete file, K = 1. bucket_frames: complete files are repeated up to a
    multiple of bucket_frames, so that many files have the same length; 0 leaves them unchanged.
    limits: see with_problems(). speed: at which the files are played, see corpus/resampling.py. For
    the other parameters see TrainDataset. Raises InputError if the parameters do not fit together.
    """

    def __init__(
        self,
        paths: Sequence[str],
        root: str | Waves,
        *,
        eval_frames: int,
        num_eval: int,
        crop_margin: int = CROP_MARGIN,
        short_files: str = "repeat",
        features: FeatureInput | None = None,
        bucket_frames: int = 0,
        limits: Limits | None = None,
        speed: float = 1.0,
    ):
        self.paths = paths
        self.fill = short_files
        self.limits = limits
        self.speed = as_fraction(speed)
        self.spec = audio_spec(root, paths, crop_margin, features)
        if self.spec.unit_shape and self.speed != 1:
            raise InputError(
                f"--eval_speed {speed:g}: expected audio files, found features, which have a fixed "
                "speed. Leave out --eval_speed, or list audio files."
            )
        self.num_crops = num_eval if eval_frames else 1
        self.length = self.spec.length(eval_frames) if eval_frames else None
        self.bucket = max(bucket_frames * self.spec.units_per_frame, 1)
        self.check_size()
        # Units of the input of each file.
        if self.length is None:
            self.lengths = np.array([self.whole_length(path) for path in paths])
        else:
            self.lengths = np.full(len(paths), self.length)
        self.group_by_length()

    def check_size(self) -> None:
        """Raises InputError if the crops of one file are larger than CROPS_BYTES."""
        if self.length is None:
            return
        most = CROPS_BYTES // (4 * self.length * math.prod(self.spec.unit_shape))
        if self.num_crops > most:
            raise InputError(
                f"--num_eval: expected at most {most:,} crops of this length, which need "
                f"{CROPS_BYTES / 1e9:.1f} GB for each file, found {self.num_crops:,}. Give fewer "
                "crops, or --eval_frames 0 for complete files."
            )

    def group_by_length(self, most: int | None = None) -> None:
        """Decides which files are in which item. The largest items come first.

        most: largest number of files in an item, None for no other limit than EVAL_SAMPLES.
        """
        items: list[list[int]] = []
        for length in np.unique(self.lengths):
            files = np.flatnonzero(self.lengths == length)
            samples = HOP * length * self.num_crops
            size = max(EVAL_SAMPLES * self.spec.units_per_frame // samples, 1)
            size = min(size, most or size)
            for start in range(0, len(files), size):
                items.append(files[start : start + size].tolist())
        items.sort(key=lambda files: len(files) * self.lengths[files[0]], reverse=True)
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, item: int) -> tuple[list[int], torch.Tensor] | InputError:
        found = self.with_problems(item)
        return found if isinstance(found, InputError) else found[:2]

    def with_problems(
        self, item: int
    ) -> tuple[list[int], torch.Tensor, dict[str, str]] | InputError:
        """Returns an item, and {file: problem} of its files that are beyond the limits."""
        inputs = []
        problems = {}
        try:
            for i in self.items[item]:
                x = self.whole(self.paths[i])
                if problem := self.problem_of(x):
                    problems[self.paths[i]] = problem
                inputs.append(self.cut(played(x, self.speed), i))
            x = torch.from_numpy(np.stack(inputs))
        except InputError as error:
            # See TrainDataset.
            return error
        except MemoryError:
            return InputError(
                f"{self.paths[self.items[item][0]]}: this file does not fit into the memory. Cut "
                "the file, or give a lower --num_eval or --nDataLoaderThread."
            )
        return self.items[item], x, problems

    def problem_of(self, x: np.ndarray) -> str | None:
        """Returns why the contents x [T, ...] of a file are beyond the limits, or None."""
        if not self.limits:
            return None
        if self.spec.unit_shape:
            return self.limits.problem(len(x) / FRAME_RATE)
        return self.limits.problem(len(x) / SAMPLE_RATE, level_of(x))

    def seconds(self) -> dict[str, float] | None:
        """Returns {file: duration of the complete file in seconds}."""
        found = {}
        for path in self.paths:
            with self.spec.open(path) as recording:
                found[path] = recording.frames / (FRAME_RATE * self.spec.units_per_frame)
        return found

    def largest_bytes(self, number: int) -> int:
        """Returns the size of the inputs in the first `number` items, which are the largest."""
        units = 0
        for files in self.items[:number]:
            units += len(files) * self.num_crops * int(self.lengths[files[0]])
        return 4 * units * math.prod(self.spec.unit_shape)

    def whole_length(self, path: str) -> int:
        """Returns the number of units of the input that is made of a complete file."""
        with self.spec.open(path) as recording:
            length = max(played_length(recording.frames, self.speed), self.spec.shortest)
        return math.ceil(length / self.bucket) * self.bucket

    def whole(self, path: str) -> np.ndarray:
        """Reads a complete file -> float32 [T, ...]."""
        with self.spec.open(path) as recording:
            return recording.read(0, recording.frames)

    def cut(self, x: np.ndarray, i: int) -> np.ndarray:
        """Makes the input of file number i from its samples x [T, ...] -> float32 [K, T, ...]."""
        if self.length is None:
            return repeat(x, self.lengths[i])[None]
        if len(x) <= self.length:
            # The references lengthen a short file to one sample more than a crop; kept.
            x = FILLS[self.fill](x, self.length + 1)
        starts = np.linspace(0, len(x) - self.length, self.num_crops).astype(int)
        return np.stack([x[start : start + self.length] for start in starts])


# ---------------------------------------------------------------------- loaders
def init_loader_process(number: int) -> None:
    """Prepares a worker process of a loader. It uses one CPU core."""
    init_worker(number)
    torch.set_num_threads(1)


def train_loader(
    dataset: Dataset, sampler: Iterable, *, workers: int, pin_memory: bool = False
) -> DataLoader:
    """Returns a loader of training batches, which batches() iterates over.

    sampler: yields items (epoch, groups). Since they contain the epoch, the workers live longer
    than an epoch.
    """
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=sampler,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        worker_init_fn=init_loader_process,
        generator=torch.Generator(),
    )


def eval_loader(
    dataset: Dataset,
    *,
    workers: int,
    items: Sequence[int] | None = None,
    pin_memory: bool = False,
) -> DataLoader:
    """Returns a loader of evaluation batches, which batches() iterates over.

    items: the numbers of the items to load, by default all.
    """
    items = range(len(dataset)) if items is None else items
    return DataLoader(
        dataset,
        batch_size=None,
        sampler=items,
        num_workers=min(workers, len(items)),
        worker_init_fn=init_loader_process,
        pin_memory=pin_memory,
        generator=torch.Generator(),
    )


def batches(loader: Iterable) -> Iterator:
    """Yields the batches of a loader.

    Raises a LoadingError, in the main process, if a data set returned an InputError in place of a
    batch, or if a worker process has ended.
    """
    try:
        for batch in watched(loader):
            if isinstance(batch, InputError):
                raise batch
            yield batch
    except InputError as error:
        raise LoadingError(*error.args) from error
