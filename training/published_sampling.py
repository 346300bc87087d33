"""The sampler of voxceleb_trainer, whose epochs differ in length."""

from collections.abc import Iterator

import numpy as np
import torch

from training.sampling import GroupSampler, Item, rows_of_groups


class PublishedSampler(GroupSampler):
    """Samples batches by the rule of voxceleb_trainer (clovaai, train_dataset_sampler).

    All groups are shuffled and go into the batches in this order. A group is dropped if its speaker
    is in the current batch already, so the number of batches depends on the draw. The draws
    equal the draws of the original with the same seed and the same list.

    With several processes every process gets its own part of the batches of an epoch, one after
    another. So a speaker can be in the batches of two processes at the same time, and the draws
    depend on the number of processes.
    """

    varies = True

    def __init__(self, *args, **kwargs):
        # Epoch -> its number of batches in each process.
        self.lengths: dict[int, int] = {}
        super().__init__(*args, **kwargs)

    def number_of_batches(self) -> int:
        """Returns the number of batches of the first epoch."""
        return self.batches_of(1)

    def batches_of(self, epoch: int) -> int:
        if epoch not in self.lengths:
            self.lengths[epoch] = len(self.batches_of_rank(epoch))
        return self.lengths[epoch]

    def __iter__(self) -> Iterator[Item]:
        for batch in self.batches_of_rank(self.epoch)[self.skip :]:
            yield self.epoch, batch.tolist()

    def batches_of_rank(self, epoch: int) -> np.ndarray:
        """Draws the rows of all batches of this process in an epoch, [K, B, M]."""
        rank, world = self.processes
        rows = self.kept_groups(torch.Generator().manual_seed(self.seed + epoch))
        per_rank = len(rows) // self.batch_size
        share = rows[: per_rank * self.batch_size].reshape(world, per_rank, -1, self.nPerSpeaker)
        return share[rank]

    def kept_groups(self, generator: torch.Generator) -> np.ndarray:
        """Draws the groups of an epoch in order and returns the rows of the kept ones, [G, M]."""
        files = torch.randperm(len(self.speaker), generator=generator).numpy()
        files = files[np.argsort(self.speaker[files], kind="stable")]
        owner = np.repeat(np.arange(len(self.count)), self.groups)
        rows = rows_of_groups(files, self.count, owner, self.nPerSpeaker)
        order = torch.randperm(len(rows), generator=generator).numpy()
        size = self.batch_size // self.processes[1]
        return rows[order[first_in_their_batch(owner[order], size)]]


def first_in_their_batch(owner: np.ndarray, batch_size: int) -> np.ndarray:
    """Returns the indices of the groups that are not dropped.

    owner: the speaker of every group, in the order in which the groups go into the batches [G]. A
    group is dropped if its speaker is in the current batch already.
    """
    kept = []
    in_batch: set[int] = set()
    for index, speaker in enumerate(owner.tolist()):
        if speaker in in_batch:
            continue
        in_batch.add(speaker)
        kept.append(index)
        if len(in_batch) == batch_size:
            in_batch.clear()
    return np.array(kept, np.int64)
