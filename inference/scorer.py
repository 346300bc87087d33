"""Scorer: computes representations from files, and scores from representations, without a trainer.

Legend of the shapes: F files, n trials, K crops of a file, C members of a cohort, D = dim, L and R
files on the left and right side of a score matrix.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import nn

from common.errors import InputError
from corpus.lists import Trials
from inference.backends import BackEndLayers, check_network, own_mean
from metrics.backends import BackEnd
from network.devices import is_out_of_memory, make_autocast, memory_problem
from SpeakerNet import SpeakerNet, prepare_for_inference

# Numbers of trials and files that are processed at once. They fit into the cache of the CPU.
TRIALS_AT_ONCE = 1024
FILES_AT_ONCE = 64
# Numbers that are computed at once for the differences between two sets of embeddings.
NUMBERS_AT_ONCE = 2**22
# Scores of a matrix that are computed at once.
SCORES_AT_ONCE = 2**24

Representations = dict[str, torch.Tensor]


class Scorer:
    """Represents files with a net on one device, and scores trials.

    mixedprec: autocast to bfloat16 where the device has it, else to float16, while files are
    represented. Scores are always computed in float32. backend: replaces the similarity of the
    loss. Representations stay the ones of the net, see transform().
    """

    def __init__(
        self,
        net: SpeakerNet,
        *,
        device: torch.device | str = "cpu",
        mixedprec: bool = False,
        backend: BackEnd | None = None,
    ):
        self.device = torch.device(device)
        self.net = net.to(self.device, memory_format=torch.channels_last)
        self.autocast = make_autocast(self.device, mixedprec)
        self.backend: BackEndLayers | None = None
        # Whether the mean of the evaluated files is subtracted, see prepare_for().
        self.own_mean = False
        if backend:
            self.use_backend(backend)

    def use_backend(self, backend: BackEnd, place: str = "--backend") -> None:
        """Scores with a back end from now on.

        place: the option of the back end, for messages. Raises InputError if it is the back end of
        another network.
        """
        check_network(backend, self.net.model, place)
        self.backend = BackEndLayers(backend).to(self.device)

    @property
    def fusion(self) -> float:
        """The weight of bonafide() in the score of a trial."""
        return self.net.loss.fusion

    @torch.inference_mode()
    def fuse(self, speaker: np.ndarray, bonafide: np.ndarray) -> np.ndarray:
        """Returns the scores [n] of trials with speaker scores and bona fide scores [n]."""
        parts = [torch.from_numpy(part).to(self.device) for part in (speaker, bonafide)]
        return self.net.loss.fuse(*parts).cpu().numpy()

    @property
    def pairwise(self) -> bool:
        """Whether the model pools every pair of utterances jointly."""
        return self.net.model.pairwise

    # ------------------------------------------------------------------ representations
    @torch.inference_mode()
    def represent(
        self, batches: Iterable[tuple[Sequence[int], torch.Tensor]], dtype=torch.float32
    ) -> Iterator[tuple[Sequence[int], torch.Tensor]]:
        """Represents files batch by batch.

        Reads (numbers of n files, x [n, K, T]) and yields (numbers, representations [n, K, ...])
        of the given type on the CPU.
        """
        prepare_for_inference(self.net)
        for index, x in batches:
            reps = self._represent(x.flatten(0, 1)).to(dtype)
            yield index, reps.unflatten(0, x.shape[:2])

    def _represent(self, x: torch.Tensor) -> torch.Tensor:
        """Represents x [N, ...] -> [N, ...] on the CPU.

        A batch that does not fit into the device's memory is halved, down to single rows. Raises
        torch.OutOfMemoryError if one row does not fit.
        """
        try:
            with self.autocast:
                # forward() and not a call, which may be compiled for the length of training crops.
                return self.net.model.forward(x.to(self.device, non_blocking=True)).cpu()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if len(x) == 1:
                raise torch.OutOfMemoryError(memory_problem(error)) from None
        # Outside the except clause, where the memory of the failed attempt is free again.
        return torch.cat([self._represent(half) for half in x.chunk(2)])

    @torch.inference_mode()
    def references(self, models: Sequence[Sequence[str]], reps: Representations) -> torch.Tensor:
        """Merges the files of each model [C] as an enrolment is merged -> [C, K, ...]."""
        merged = []
        for names in models:
            merged.append(self.net.model.merge(torch.stack([reps[name] for name in names])))
        return torch.stack(merged)

    def prepare_for(self, reps: Representations) -> None:
        """Subtracts the mean of the files of reps from now on, if own_mean is set."""
        if self.own_mean:
            self.use_backend(own_mean(reps), "--mean_subtraction own")

    @torch.inference_mode()
    def transform(self, rep: torch.Tensor) -> torch.Tensor:
        """Maps embeddings [..., D] as the back end does -> [..., D'] on the CPU, in their type.

        Without a back end, they stay as they are.
        """
        if not self.backend:
            return rep
        return self.backend(rep.float().to(self.device)).cpu().to(rep.dtype)

    # ------------------------------------------------------------------ trials
    @torch.inference_mode()
    def score(
        self,
        trials: Trials,
        reps: Representations,
        scoring: str = "similarity",
        pairs_at_once: int = 32,
    ) -> np.ndarray:
        """Scores trials: higher means the same speaker.

        A score is the mean over all pairs of crops of the loss's method `scoring`. reps holds a
        representation [K, ...] of every file. pairs_at_once: number of trials in memory at a time
        with a pair-wise pooling. Returns float32 [n].
        """
        self.net.eval()
        # bank: F of [K, ...]; enrol and test: rows of the bank.
        bank, enrol, test = self._bank(trials, reps)
        if self._is_linear(scoring):
            # For an inner product, the mean over pairs of crops is the product of the means.
            return self._score_by_products(self._mean_projections(bank), enrol, test)
        stacked = torch.stack(bank).to(self.device)

        def one_trial(ref, qry):
            ref, qry = self.net.model.pair(ref.float(), qry.float())
            return getattr(self.net.loss, scoring)(ref, qry).mean()

        at_once = pairs_at_once if self.pairwise else TRIALS_AT_ONCE
        return score_in_parts(torch.vmap(one_trial), stacked, enrol, test, at_once)

    def _score_by_products(
        self, projections: torch.Tensor, enrol: torch.Tensor, test: torch.Tensor
    ) -> np.ndarray:
        """Inner products of rows enrol [n] and test [n] of projections [F, D] -> float32 [n].

        If the trials fill a good part of the matrix of all files, the complete matrix is faster.
        """
        left, enrol_row = torch.unique(enrol, return_inverse=True)
        right, test_row = torch.unique(test, return_inverse=True)
        if len(left) * len(right) <= 64 * len(enrol):
            queries = self._for_tests(projections[right]).T
            found = products_at(projections[left], queries, enrol_row, test_row)
            return found.cpu().numpy()

        def product(ref, qry):
            return (ref * self._for_tests(qry)).sum(1)

        return score_in_parts(product, projections, enrol, test, TRIALS_AT_ONCE)

    @torch.inference_mode()
    def cohort_moments(
        self,
        trials: Trials,
        reps: Representations,
        cohort: torch.Tensor,
        scoring: str = "similarity",
        top_n: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores the two sides of each trial against a cohort [C, K, ...], see references().

        Returns the mean and the (population) standard deviation of the top_n highest scores of
        each side, or of all scores: two float32 arrays [n, 2], columns enrolment and test. Only for
        instance-wise models: with a pair-wise pooling every pair is a pass through the network.
        """
        self.net.eval()
        bank, enrol, test = self._bank(trials, reps)
        # Each file is scored once, because similarities are symmetric.
        files, place = torch.unique(torch.stack([enrol, test], 1), return_inverse=True)
        variances = []
        means = []
        bank_of_files = [bank[i] for i in files.tolist()]
        for scores in self.matrix(bank_of_files, list(cohort), scoring):
            if top_n:
                scores = scores.topk(top_n, sorted=False).values
            variance, mean = torch.var_mean(scores, 1, correction=0)
            variances.append(variance)
            means.append(mean)
        mean = torch.cat(means)[place].cpu()
        deviation = torch.cat(variances)[place].cpu().sqrt()
        return mean.numpy(), deviation.numpy()

    @torch.inference_mode()
    def norms(self, trials: Trials, reps: Representations) -> np.ndarray:
        """Returns the lengths of the embeddings of each trial: float32 [n, 2], enrolment and test.

        The length of a file's embedding is the mean over its crops. A back end is applied up to its
        first stage that scales embeddings.
        """
        bank, enrol, test = self._bank(trials, reps)
        embeddings = torch.stack(bank).to(self.device).float()
        norms = self.backend.norms(embeddings) if self.backend else embeddings.norm(dim=-1)
        lengths = norms.mean(1)
        return lengths[torch.stack([enrol, test], 1)].cpu().numpy()

    @torch.inference_mode()
    def bonafide(self, trials: Trials, reps: Representations) -> np.ndarray | None:
        """Returns the loss's spoofing score of each trial's test file: float32 [n].

        Higher means bona fide rather than spoofed speech. The score of a file is the mean over its
        crops. Returns None if the loss does not learn about spoofed speech.
        """
        self.net.eval()
        scores = []
        for name in trials.files:
            score = self.net.loss.bonafide(reps[name].float().to(self.device))
            if score is None:
                return None
            scores.append(score.mean())
        return torch.stack(scores)[torch.from_numpy(trials.test)].cpu().numpy()

    # ------------------------------------------------------------------ matrices
    @torch.inference_mode()
    def matrix(
        self,
        left: Sequence[torch.Tensor],
        right: Sequence[torch.Tensor],
        scoring: str = "similarity",
    ) -> Iterator[torch.Tensor]:
        """Scores all pairs of L and R files, given as representations [K, ...].

        Yields the matrix [L, R] in blocks of rows, in their order. scoring: see score(). Only for
        instance-wise models.
        """
        self.net.eval()
        if self._is_linear(scoring):
            rows, score_block = self._linear_blocks(right)
        else:
            rows, score_block = self._pair_blocks(right, scoring)
        for first in range(0, len(left), rows):
            yield score_block(left[first : first + rows])

    def _linear_blocks(self, right: Sequence[torch.Tensor]) -> tuple[int, Callable]:
        """Returns the number of rows of a block, and the function that scores a block."""
        rows = max(min(SCORES_AT_ONCE // len(right), 16 * FILES_AT_ONCE), 1)
        # [D, R]
        projections = self._for_tests(self._mean_projections(right)).T

        def score_block(files):
            return self._mean_projections(files) @ projections

        return rows, score_block

    def _pair_blocks(self, right: Sequence[torch.Tensor], scoring: str) -> tuple[int, Callable]:
        """Does the same for similarities that are not inner products."""
        crops, dim = right[0].shape
        rows = max(FILES_AT_ONCE // crops, 1)
        size = max(NUMBERS_AT_ONCE // (rows * crops * crops * dim), 1)
        parts = torch.stack(list(right)).to(self.device).split(size)

        def score_block(files):
            files = torch.stack(list(files)).to(self.device).float()
            scores = [self._mean_similarities(files, part.float(), scoring) for part in parts]
            return torch.cat(scores, 1)

        return rows, score_block

    def _mean_similarities(
        self, ref: torch.Tensor, qry: torch.Tensor, scoring: str
    ) -> torch.Tensor:
        """Means over all pairs of crops of ref [R, K, D] and qry [Q, K, D] -> [R, Q]."""
        pair = self.net.model.pair(ref.flatten(0, 1), qry.flatten(0, 1))
        # [Q * K, R * K]
        similarities = getattr(self.net.loss, scoring)(*pair)
        similarities = similarities.unflatten(1, ref.shape[:2]).unflatten(0, qry.shape[:2])
        return similarities.mean((1, 3)).T

    def _is_linear(self, scoring: str) -> bool:
        """Returns whether scores are inner products of projected embeddings."""
        if self.backend:
            if scoring != "similarity":
                raise InputError(
                    f"--scoring {scoring}: a back end has a score of its own. Leave out --scoring, "
                    "or leave out the back end."
                )
            return True
        return scoring == "similarity" and self.net.loss.linear and not self.pairwise

    def _mean_projections(self, reps: Sequence[torch.Tensor]) -> torch.Tensor:
        """Projects F embeddings [K, D] and averages over crops -> [F, D]."""
        project = self.backend.project if self.backend else self.net.loss.project
        projections = []
        for first in range(0, len(reps), FILES_AT_ONCE):
            part = torch.stack(list(reps[first : first + FILES_AT_ONCE])).to(self.device)
            projections.append(project(part.float()).mean(1))
        return torch.cat(projections)

    def _for_tests(self, projections: torch.Tensor) -> torch.Tensor:
        """Turns the projections [F, D] of files into the projections of test files."""
        return self.backend.for_tests(projections) if self.backend else projections

    def _bank(
        self, trials: Trials, reps: Representations
    ) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        """Collects all representations that the trials compare.

        Returns F representations [K, ...], padded with zeros to the longest, and the rows of the
        two sides of each trial, int64 [n] each on the device. The enrolments of several files are
        merged and follow the files.
        """
        row = {name: i for i, name in enumerate(reps)}
        bank = padded(list(reps.values()))
        merged = []
        enrol_rows = []
        for names in trials.models:
            if len(names) == 1:
                enrol_rows.append(row[names[0]])
                continue
            enrol_rows.append(len(bank) + len(merged))
            enrolment = torch.stack([bank[row[name]] for name in names])
            merged.append(self.net.model.merge(enrolment))
        test_rows = [row[name] for name in trials.files]
        enrol = torch.tensor(enrol_rows)[torch.from_numpy(trials.enrol)]
        test = torch.tensor(test_rows)[torch.from_numpy(trials.test)]
        return padded(bank + merged), enrol.to(self.device), test.to(self.device)


def score_in_parts(
    compare: Callable, bank: torch.Tensor, enrol: torch.Tensor, test: torch.Tensor, at_once: int
) -> np.ndarray:
    """Compares rows enrol [n] and test [n] of a bank [F, ...], at_once rows together -> [n]."""
    scores = []
    for e, t in zip(enrol.split(at_once), test.split(at_once), strict=True):
        scores.append(compare(bank[e], bank[t]).cpu())
    return torch.cat(scores).numpy()


def products_at(
    left: torch.Tensor, right: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor
) -> torch.Tensor:
    """Numbers at rows [n] and columns [n] of the product of left [L, D] and right [D, R] -> [n].

    The product is computed in blocks of rows.
    """
    found = torch.empty(len(rows), device=left.device)
    size = max(SCORES_AT_ONCE // right.shape[1], 1)
    if size >= len(left):
        return (left @ right)[rows, columns]
    for first in range(0, len(left), size):
        in_block = ((rows >= first) & (rows < first + size)).nonzero().squeeze(1)
        block = left[first : first + size] @ right
        found[in_block] = block[rows[in_block] - first, columns[in_block]]
    return found


def padded(reps: list[torch.Tensor]) -> list[torch.Tensor]:
    """Pads the last axis of representations with zeros to the longest one.

    Representations of the longest length are not copied.
    """
    longest = max(rep.shape[-1] for rep in reps)
    result = []
    for rep in reps:
        missing = longest - rep.shape[-1]
        result.append(nn.functional.pad(rep, (0, missing)) if missing else rep)
    return result
