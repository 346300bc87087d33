"""Which utterances make a batch: speakers with some utterances each, real and spoofed speech in proportion, the same draws whatever the number of processes.

An epoch is drawn from (seed, epoch), so that a run may go on within it.
"""

import logging

import numpy as np
from torch.utils.data import Sampler

from common.errors import InputError
from corpus.lists import counted

log = logging.getLogger(__name__)


def numbered(names):
    """Names, any iterable -> the number of each in their sorted order, int64 [n]."""
    seen = {}
    appearance = np.fromiter((seen.setdefault(name, len(seen)) for name in names), np.int64)
    rank = np.empty(len(seen), np.int64)
    rank[[seen[name] for name in sorted(seen)]] = np.arange(len(seen))
    return rank[appearance]


def place_in_run(x):
    """x [n], equal values side by side -> 0, 1, ... within each run of them."""
    begins = np.append(True, x[1:] != x[:-1])
    return np.arange(len(x)) - np.maximum.accumulate(np.where(begins, np.arange(len(x)), 0))


def members(files, count, owner, m):
    """files: rows by owner, count of them for each [owners]; owner of each group [G], equal ones side by side -> rows [G, m], none twice."""
    # first of each owner in `files`
    begin = np.cumsum(count) - count
    return files[(begin[owner] + m * place_in_run(owner))[:, None] + np.arange(m)]


class GroupSampler(Sampler):
    """Batches of batch_size groups, each of nPerSpeaker utterances of one speaker, no speaker twice in a batch; item: (epoch, rows [B][M]).

    Spoofed copies of a speaker's voice count as a speaker of their own. An epoch has no utterance twice, at most max_seg_per_spk of a speaker,
    and as many full batches as these rules allow: the same number every epoch. InputError if that is none.
    processes: (this one's number, how many there are): batches are so many times larger, and this process gets its share of each.
    """

    size_option = "batch_size"

    def __init__(
        self, utterances, *, batch_size, nPerSpeaker, max_seg_per_spk, seed, processes=(0, 1)
    ):
        self.speaker = numbered((u.speaker, u.spoofed) for u in utterances)
        self.count = np.bincount(self.speaker)  # [speakers]
        # other than any row's, see TrainDataset
        self.stream = len(self.speaker)
        self.groups = np.minimum(self.count, max_seg_per_spk) // nPerSpeaker  # [speakers]
        self.batch_size, self.nPerSpeaker, self.seed, self.processes = (
            batch_size * processes[1],
            nPerSpeaker,
            seed,
            processes,
        )
        usable = np.count_nonzero(self.groups)
        if not usable:
            most = min(self.count.max(), max_seg_per_spk)
            raise InputError(
                f"--nPerSpeaker {nPerSpeaker}: want speakers with so many utterances, got at most {most} "
                f"(--max_seg_per_spk {max_seg_per_spk}); lower --nPerSpeaker"
            )
        if usable < self.batch_size:
            raise InputError(
                f"--{self.size_option} {batch_size}{f' in each of {processes[1]} processes' * (processes[1] > 1)}: want so many speakers with "
                f"{nPerSpeaker} utterances (--nPerSpeaker) or more, got {usable} of {len(self.count)} speakers; lower --{self.size_option} to "
                f"{usable // processes[1]} or less"
            )
        if usable < len(self.count):
            log.warning(
                "warning: left out: %d of %d speakers, who have fewer than %d utterances (--nPerSpeaker)",
                len(self.count) - usable,
                len(self.count),
                nPerSpeaker,
            )
        # K batches can be filled if and only if the speakers, with at most K groups each, have K * batch_size groups
        low, high = 1, self.groups.sum() // self.batch_size
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (
                (middle, high)
                if np.minimum(self.groups, middle).sum() >= middle * self.batch_size
                else (low, middle - 1)
            )
        self.batches = int(low)
        self.set_epoch(1)

    def set_epoch(self, epoch, skip=0):
        """Chooses the epoch that the next iteration goes through, and how many of its batches are done already."""
        self.epoch, self.skip = epoch, skip

    def __len__(self):
        return self.batches

    @property
    def utterances(self):
        """Utterances in a batch, those of all processes."""
        return self.batch_size * self.nPerSpeaker

    def __iter__(self):
        rng = np.random.default_rng((self.seed, self.epoch, self.stream))
        rank, world = self.processes
        for batch in self.table(rng)[self.skip :, rank::world]:
            yield self.epoch, batch.tolist()

    def table(self, rng):
        """All rows of the epoch, [K, B, M]."""
        k, b, m = self.batches, self.batch_size, self.nPerSpeaker
        # by speaker, each one's shuffled
        files = np.lexsort((rng.random(len(self.speaker)), self.speaker))
        # speaker of each group
        offered = np.repeat(np.arange(len(self.count)), np.minimum(self.groups, k))
        # groups of each speaker
        taken = np.bincount(rng.choice(offered, k * b, replace=False), minlength=len(self.count))
        order = rng.permutation(len(self.count))
        speaker = np.repeat(order, taken[order])  # [K * B], each one's side by side
        rows, nth = (
            members(files, self.count, speaker, m),
            place_in_run(speaker),
        )  # [K * B, M], [K * B]
        # Column by column, K groups in a row go to the K batches. A speaker has at most K of them, which lie in one column or in two
        # neighbours: those in the second go to batches that the speaker is not yet in.
        # of each group
        batch = np.empty(k * b, np.int64)
        for first in range(0, k * b, k):
            # where who goes on here is already
            begun = batch[first - nth[first] : first]
            going_on = taken[speaker[first]] - nth[first] if nth[first] else 0
            own = rng.permutation(np.setdiff1d(np.arange(k), begun))[:going_on]
            batch[first : first + k] = np.concatenate(
                [own, rng.permutation(np.setdiff1d(np.arange(k), own))]
            )
        table = np.empty((k, b), np.int64)
        table[batch, np.arange(k * b) // k] = np.arange(k * b)
        return rows[rng.permuted(table, axis=1)]  # [K, B, M]


class QuotaSampler(GroupSampler):
    """Batches of batch_size utterances: num_spk groups of real speech, chosen as by GroupSampler, before groups of spoofed speech, each of one speaker.

    The batches of the SASV 2022 baseline (Mun et al., arXiv:2305.19051). Spoofed groups are drawn at random; with balance_attacks each is of
    one attack, and the attacks take turns. InputError if not a single batch can be filled.
    """

    size_option = "num_spk"

    def __init__(
        self,
        utterances,
        *,
        num_spk,
        batch_size,
        nPerSpeaker,
        max_seg_per_spk,
        seed,
        processes=(0, 1),
        balance_attacks=False,
    ):
        spoofed = np.array([u.spoofed for u in utterances])
        self.real, self.spoofed = np.flatnonzero(~spoofed), np.flatnonzero(spoofed)
        counts = f"the list has {len(self.real):,} utterances of real speech, {len(self.spoofed):,} spoofed ones"
        if not len(self.real) or not len(self.spoofed):
            raise InputError(
                f"--num_spk {num_spk}: want real and spoofed speech on the train list, but {counts}; without --num_spk the speakers "
                "of a batch are chosen by --batch_size alone"
            )
        self.quota = (batch_size // nPerSpeaker - num_spk) * processes[1]
        if batch_size % nPerSpeaker or self.quota < 1:
            raise InputError(
                f"--batch_size {batch_size}: with --num_spk it counts utterances; want a multiple of --nPerSpeaker {nPerSpeaker}, above "
                f"--num_spk {num_spk} times that: the rest is for spoofed speech"
            )
        super().__init__(
            [utterances[i] for i in self.real],
            batch_size=num_spk,
            nPerSpeaker=nPerSpeaker,
            max_seg_per_spk=max_seg_per_spk,
            seed=seed,
            processes=processes,
        )
        self.stream, self.balance_attacks = len(utterances), balance_attacks
        attacks = [utterances[i].attack for i in self.spoofed]
        self.owner = numbered(
            [
                (utterances[i].speaker, attack if balance_attacks else "")
                for i, attack in zip(self.spoofed, attacks, strict=True)
            ]
        )
        self.spoofed_count = np.bincount(self.owner)
        first = np.unique(self.owner, return_index=True)[1]
        groups = np.minimum(self.spoofed_count, max_seg_per_spk) // nPerSpeaker
        self.group_owner = np.repeat(np.arange(len(groups)), groups)  # [G]
        # of its owner, where attacks are kept apart
        self.group_attack = numbered(attacks)[first][self.group_owner]
        if len(self.group_owner) < self.quota:
            raise InputError(
                f"--batch_size {batch_size}: want {self.quota} groups of {nPerSpeaker} spoofed utterances of one speaker a batch, got "
                f"{len(self.group_owner)}: {counts}, {counted(attacks)}; lower --batch_size or --nPerSpeaker"
            )
        self.batches = min(self.batches, len(self.group_owner) // self.quota)

    @property
    def utterances(self):
        return (self.batch_size + self.quota) * self.nPerSpeaker

    def table(self, rng):
        real = self.real[super().table(rng)]  # [K, num_spk, M]
        files = np.lexsort((rng.random(len(self.owner)), self.owner))
        rows = self.spoofed[
            members(files, self.spoofed_count, self.group_owner, self.nPerSpeaker)
        ]  # [G, M]
        order = rng.permutation(len(rows))
        # all attacks' first groups, all their second ones, ...
        if self.balance_attacks:
            by_attack = order[np.argsort(self.group_attack[order], kind="stable")]
            order = by_attack[np.argsort(place_in_run(self.group_attack[by_attack]), kind="stable")]
        chosen = rows[order[: len(real) * self.quota]].reshape(len(real), self.quota, -1)
        return np.concatenate([real, rng.permutation(chosen)], 1)  # [K, B, M]


def every_group(utterances, *, batch_size, nPerSpeaker):
    """Items that go once through all groups of nPerSpeaker utterances of a speaker, in the order of the list: first those of all speakers, then second
    ones, and so on, at most batch_size in a batch and no speaker twice. For validation: the same every time. InputError if there are none."""
    speaker = numbered((u.speaker, u.spoofed) for u in utterances)
    rows = np.argsort(speaker, kind="stable")
    place = place_in_run(speaker[rows])
    whole = place < (np.bincount(speaker) // nPerSpeaker * nPerSpeaker)[speaker[rows]]
    groups, turn = rows[whole].reshape(-1, nPerSpeaker), place[whole][::nPerSpeaker]
    if not len(groups):
        raise InputError(
            f"--nPerSpeaker {nPerSpeaker}: no speaker of the validation list has so many utterances; lower it, or take another list"
        )
    groups, turn = (x[np.argsort(turn, kind="stable")] for x in (groups, turn))
    turns = np.split(groups, np.flatnonzero(np.diff(turn)) + 1)
    return [
        (0, part[i : i + batch_size].tolist())
        for part in turns
        for i in range(0, len(part), batch_size)
    ]
