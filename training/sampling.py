"""Samplers: which utterances make a batch.

A batch has some speakers with some utterances each, or bona fide and spoofed speech in proportion.
An epoch is drawn from (seed, epoch). So a run can resume within an epoch, and the draws do not
depend on the number of processes.

Shapes: K batches per epoch, B groups per batch, M utterances per group, G groups.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler

from common.errors import InputError
from corpus.utterances import Utterances, counted, counts
from distributed.shared import shared_from_rank_zero

log = logging.getLogger(__name__)
# With fewer rows for each owner than this, sorting all rows at once is faster.
FEW_ROWS = 16
# An item of a loader: the epoch, and the rows of the list in each group.
Item = tuple[int, list[list[int]]]


def sorted_index(names: Iterable) -> np.ndarray:
    """Returns for every name its index in the sorted list of distinct names, int64 [n]."""
    first_seen: dict = {}
    appearance = []
    for name in names:
        appearance.append(first_seen.setdefault(name, len(first_seen)))
    index = np.empty(len(first_seen), np.int64)
    index[[first_seen[name] for name in sorted(first_seen)]] = np.arange(len(first_seen))
    return index[np.array(appearance, np.int64)]


def position_in_run(x: np.ndarray) -> np.ndarray:
    """Returns the position 0, 1, ... of every element of x [n] within its run of equal values."""
    index = np.arange(len(x))
    is_first = np.append(True, x[1:] != x[:-1])
    return index - np.maximum.accumulate(np.where(is_first, index, 0))


def shuffled_within(owner: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns the rows [n] sorted by owner, in random order within each owner. owner: [n]."""
    draw = rng.random(len(owner))
    sizes = np.bincount(owner)
    if len(owner) < FEW_ROWS * len(sizes) or (owner[1:] < owner[:-1]).any():
        return np.lexsort((draw, owner))
    # In a sorted list the rows of an owner are neighbours. Sorting each part takes a sixth of the
    # time, with the same result.
    rows = np.empty(len(owner), np.int64)
    start = 0
    for size in sizes.tolist():
        part = draw[start : start + size]
        rows[start : start + size] = start + np.argsort(part, kind="stable")
        start += size
    return rows


def rows_of_groups(files: np.ndarray, count: np.ndarray, owner: np.ndarray, m: int) -> np.ndarray:
    """Returns the rows [G, m] of G groups. No row is in two groups.

    files: rows of the list, sorted by owner. count: number of rows of every owner. owner: the owner
    of every group [G]; groups of one owner are adjacent.
    """
    first_of_owner = np.cumsum(count) - count
    first_of_group = first_of_owner[owner] + m * position_in_run(owner)
    return files[first_of_group[:, None] + np.arange(m)]


class GroupSampler(Sampler):
    """Samples batches of batch_size groups. A group has nPerSpeaker utterances of one speaker.

    No speaker is in a batch twice. Spoofed copies of a speaker's voice count as a speaker of their
    own. In an epoch no utterance is used twice, and at most max_seg_per_spk utterances of a speaker
    are used. An epoch has the largest number of full batches that these rules allow. All epochs
    have the same number.

    processes: (rank, world size). A batch is world size times larger, and every process gets its
    share of it. Items are (epoch, rows [B][M]). Raises InputError if no batch can be filled.
    """

    size_option = "batch_size"
    # Whether epochs differ in their number of batches.
    varies = False

    def __init__(
        self,
        utterances: Sequence,
        *,
        batch_size: int,
        nPerSpeaker: int,
        max_seg_per_spk: int,
        seed: int,
        processes: tuple[int, int] = (0, 1),
    ):
        columns = Utterances.of(utterances)
        self.speaker = columns.owner()
        self.count = counts(self.speaker, int(self.speaker.max()) + 1)  # [speakers]
        # The number of speakers that are copies by --speed_perturb.
        self.copies = columns.number_of_copied_owners(self.speaker)
        # Part of the seed. It differs from every row, see TrainDataset.
        self.stream = len(self.speaker)
        # The number of groups that each speaker can fill.
        self.groups = np.minimum(self.count, max_seg_per_spk) // nPerSpeaker  # [speakers]
        self.processes = processes
        self.batch_size = batch_size * processes[1]
        self.nPerSpeaker = nPerSpeaker
        self.seed = seed
        self.check_speakers(batch_size, max_seg_per_spk)
        self.batches = self.number_of_batches()
        # The batches of the last epoch that was drawn.
        self.drawn_epoch: int | None = None
        self.drawn = np.empty((0, 0, 0), np.int64)
        self.set_epoch(1)

    def check_speakers(self, batch_size: int, max_seg_per_spk: int) -> None:
        """Raises InputError if no batch can be filled; warns of speakers that are left out."""
        m = self.nPerSpeaker
        world = self.processes[1]
        speakers = len(self.count)
        usable = np.count_nonzero(self.groups)
        if not usable:
            most = min(self.count.max(), max_seg_per_spk)
            raise InputError(
                f"--nPerSpeaker {m}: expected speakers with at least {m} utterances, found at most "
                f"{most} (--max_seg_per_spk {max_seg_per_spk}). Lower --nPerSpeaker."
            )
        if usable < self.batch_size:
            each = f" in each of {world} processes" if world > 1 else ""
            remedy = "Use fewer processes."
            if usable >= world:
                remedy = f"Lower --{self.size_option} to {usable // world} or less."
            raise InputError(
                f"--{self.size_option} {batch_size}{each}: expected at least {self.batch_size} "
                f"speakers with {m} utterances or more (--nPerSpeaker), found {usable} of "
                f"{speakers}{self.remark_on_copies()}. {remedy}"
            )
        if usable < speakers:
            log.warning(
                "warning: %d of %d speakers%s have fewer than %d utterances (--nPerSpeaker) and "
                "are left out.",
                speakers - usable,
                speakers,
                self.remark_on_copies(),
                m,
            )

    def remark_on_copies(self) -> str:
        """Says how many of the speakers are copies by --speed_perturb, if any of them is."""
        if not self.copies:
            return ""
        listed = len(self.count) - self.copies
        return f" ({listed} of the list, and {self.copies} copies of them by --speed_perturb)"

    def number_of_batches(self) -> int:
        """Returns the largest number of batches that can be filled.

        K batches can be filled if and only if the speakers have K * batch_size groups, where at
        most K groups of each speaker count. The number is found by bisection.
        """
        low = 1
        high = self.groups.sum() // self.batch_size
        while low < high:
            middle = (low + high + 1) // 2
            if np.minimum(self.groups, middle).sum() >= middle * self.batch_size:
                low = middle
            else:
                high = middle - 1
        return int(low)

    def set_epoch(self, epoch: int, skip: int = 0) -> None:
        """Sets the epoch of the next iteration. skip: number of its batches that are done."""
        self.epoch = epoch
        self.skip = skip

    def __len__(self) -> int:
        return self.batches_of(self.epoch)

    def batches_of(self, epoch: int) -> int:
        """Returns the number of batches of an epoch."""
        return self.batches

    @property
    def utterances(self) -> int:
        """Number of utterances in a batch, over all processes."""
        return self.batch_size * self.nPerSpeaker

    def __iter__(self) -> Iterator[Item]:
        rank, world = self.processes
        if self.drawn_epoch != self.epoch:
            # The processes of a run iterate at the same time.
            self.drawn = shared_from_rank_zero(self.draw, self.epoch)
            self.drawn_epoch = self.epoch
        for batch in self.drawn[self.skip :, rank::world]:
            yield self.epoch, batch.tolist()

    def draw(self, epoch: int) -> np.ndarray:
        """Draws the rows of all batches of an epoch, [K, B, M]."""
        return self.table(np.random.default_rng((self.seed, epoch, self.stream)))

    def table(self, rng: np.random.Generator) -> np.ndarray:
        """Draws the rows of all batches of the epoch, [K, B, M]."""
        k = self.batches
        b = self.batch_size
        files = shuffled_within(self.speaker, rng)
        # Draw how many groups each speaker gives.
        available = np.repeat(np.arange(len(self.count)), np.minimum(self.groups, k))
        drawn = rng.choice(available, k * b, replace=False)
        groups_drawn = np.bincount(drawn, minlength=len(self.count))  # [speakers]
        # The speaker of every group. Groups of one speaker are adjacent.
        order = rng.permutation(len(self.count))
        speaker = np.repeat(order, groups_drawn[order])  # [K*B]
        rows = rows_of_groups(files, self.count, speaker, self.nPerSpeaker)  # [K*B, M]
        batch = self.batch_of_groups(rng, speaker, groups_drawn)
        table = np.empty((k, b), np.int64)
        table[batch, np.arange(k * b) // k] = np.arange(k * b)
        return rows[rng.permuted(table, axis=1)]  # [K, B, M]

    def batch_of_groups(
        self, rng: np.random.Generator, speaker: np.ndarray, groups_drawn: np.ndarray
    ) -> np.ndarray:
        """Draws the batch of every group, [K*B], so that no speaker is in a batch twice.

        The table of batches is filled column by column: K consecutive groups go to the K batches. A
        speaker has at most K groups, so the groups are in one column or in two adjacent columns.
        Groups in the second column go to batches that the speaker is not yet in.

        speaker: of every group. groups_drawn: number of groups of every speaker.
        """
        k = self.batches
        nth = position_in_run(speaker)
        batch = np.empty(len(speaker), np.int64)
        for first in range(0, len(speaker), k):
            # Batches that this speaker is already in, from the column before.
            occupied = batch[first - nth[first] : first]
            # Number of groups of this speaker that continue in this column.
            continued = groups_drawn[speaker[first]] - nth[first] if nth[first] else 0
            permitted = rng.permutation(np.setdiff1d(np.arange(k), occupied))[:continued]
            others = rng.permutation(np.setdiff1d(np.arange(k), permitted))
            batch[first : first + k] = np.concatenate([permitted, others])
        return batch


class QuotaSampler(GroupSampler):
    """Samples batches of batch_size utterances with a fixed number of bona fide groups.

    A batch has num_spk groups of bona fide speech, drawn as by GroupSampler. After them come groups
    of spoofed speech, each of one speaker, drawn at random. These are the batches of the SASV 2022
    baseline (Mun et al., arXiv:2305.19051). With balance_attacks each spoofed group
    belongs to one attack, and the attacks alternate. Raises InputError if no batch can be filled.
    """

    size_option = "num_spk"

    def __init__(
        self,
        utterances: Sequence,
        *,
        num_spk: int,
        batch_size: int,
        nPerSpeaker: int,
        max_seg_per_spk: int,
        seed: int,
        processes: tuple[int, int] = (0, 1),
        balance_attacks: bool = False,
    ):
        is_spoofed = Utterances.of(utterances).spoofed()
        self.real = np.flatnonzero(~is_spoofed)
        self.spoofed = np.flatnonzero(is_spoofed)
        counts = (
            f"the list has {len(self.real):,} utterances of real speech "
            f"and {len(self.spoofed):,} of spoofed speech"
        )
        if not len(self.real) or not len(self.spoofed):
            raise InputError(
                f"--num_spk: expected real and spoofed speech in the train list, but {counts}. "
                "Leave out --num_spk, or give a list with both."
            )
        # The number of spoofed groups in a batch.
        self.quota = spoofed_quota(num_spk, batch_size, nPerSpeaker) * processes[1]
        super().__init__(
            [utterances[i] for i in self.real],
            batch_size=num_spk,
            nPerSpeaker=nPerSpeaker,
            max_seg_per_spk=max_seg_per_spk,
            seed=seed,
            processes=processes,
        )
        self.stream = len(utterances)
        self.balance_attacks = balance_attacks
        spoofed = [utterances[i] for i in self.spoofed]
        self.make_spoofed_groups(spoofed, max_seg_per_spk)
        groups = len(self.group_owner)
        if groups < self.quota:
            attacks = counted(u.attack for u in spoofed)
            raise InputError(
                f"--batch_size {batch_size}: expected at least {self.quota} groups of "
                f"{nPerSpeaker} spoofed utterances of one speaker, found {groups}: {counts} "
                f"({attacks}). Lower --batch_size or --nPerSpeaker."
            )
        self.batches = min(self.batches, groups // self.quota)

    def make_spoofed_groups(self, spoofed: list, max_seg_per_spk: int) -> None:
        """Computes the owner and the attack of every group of spoofed utterances.

        An owner is a speaker or, with balance_attacks, a speaker under one attack.
        """
        owners = []
        for u in spoofed:
            owners.append((u.speaker, u.attack if self.balance_attacks else ""))
        self.owner = sorted_index(owners)
        self.spoofed_count = np.bincount(self.owner)
        groups = np.minimum(self.spoofed_count, max_seg_per_spk) // self.nPerSpeaker
        self.group_owner = np.repeat(np.arange(len(groups)), groups)  # [G]
        # The attack of the first utterance of the owner. Used with balance_attacks only, where all
        # utterances of an owner have the same attack.
        first = np.unique(self.owner, return_index=True)[1]
        attack = sorted_index(u.attack for u in spoofed)
        self.group_attack = attack[first][self.group_owner]  # [G]

    @property
    def utterances(self) -> int:
        return (self.batch_size + self.quota) * self.nPerSpeaker

    def table(self, rng: np.random.Generator) -> np.ndarray:
        real = self.real[super().table(rng)]  # [K, num_spk, M]
        files = shuffled_within(self.owner, rng)
        groups = rows_of_groups(files, self.spoofed_count, self.group_owner, self.nPerSpeaker)
        rows = self.spoofed[groups]  # [G, M]
        order = rng.permutation(len(rows))
        if self.balance_attacks:
            # The first groups of all attacks, then the second groups, and so on.
            by_attack = order[np.argsort(self.group_attack[order], kind="stable")]
            nth = position_in_run(self.group_attack[by_attack])
            order = by_attack[np.argsort(nth, kind="stable")]
        drawn = order[: len(real) * self.quota]
        chosen = rows[drawn].reshape(len(real), self.quota, -1)
        return np.concatenate([real, rng.permutation(chosen)], 1)  # [K, B, M]


def spoofed_quota(num_spk: int, batch_size: int, nPerSpeaker: int) -> int:
    """Returns the number of spoofed groups in a batch of batch_size utterances.

    Raises InputError if batch_size is no multiple of nPerSpeaker, or leaves no spoofed group.
    """
    quota = batch_size // nPerSpeaker - num_spk
    if batch_size % nPerSpeaker or quota < 1:
        raise InputError(
            f"--batch_size: expected a multiple of {nPerSpeaker} (--nPerSpeaker) above "
            f"{num_spk * nPerSpeaker} (--num_spk times --nPerSpeaker), found {batch_size}. With "
            "--num_spk, --batch_size counts utterances, and the rest is for spoofed speech."
        )
    return quota


def every_group(utterances: Sequence, *, batch_size: int, nPerSpeaker: int) -> list[Item]:
    """Returns items with every group of nPerSpeaker utterances of a speaker once, for validation.

    The groups follow the order of the list: first the first groups of all speakers, then the second
    groups, and so on. A batch has at most batch_size groups and no speaker twice. The items are the
    same every time. Raises InputError if there are no groups.
    """
    speaker = Utterances.of(utterances).owner()
    rows = np.argsort(speaker, kind="stable")
    position = position_in_run(speaker[rows])
    # Leave out the last utterances of a speaker if they do not fill a group.
    utterances_used = np.bincount(speaker) // nPerSpeaker * nPerSpeaker
    complete = position < utterances_used[speaker[rows]]
    groups = rows[complete].reshape(-1, nPerSpeaker)
    if not len(groups):
        raise InputError(
            f"--nPerSpeaker {nPerSpeaker}: no speaker of the validation list has {nPerSpeaker} "
            "utterances. Lower --nPerSpeaker, or give another --valid_list."
        )
    # Equal for the first groups of all speakers, for the second groups, and so on.
    start = position[complete][::nPerSpeaker]
    order = np.argsort(start, kind="stable")
    rounds = np.split(groups[order], np.flatnonzero(np.diff(start[order])) + 1)
    items = []
    for groups_of_round in rounds:
        for i in range(0, len(groups_of_round), batch_size):
            items.append((0, groups_of_round[i : i + batch_size].tolist()))
    return items
