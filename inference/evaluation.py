"""Scores and metrics of lists of trials: represents each file once, then scores all trials."""

import argparse
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

import distributed
from common.errors import InputError
from common.outputs import is_special
from corpus.cohort import Cohort
from corpus.lists import Trials
from corpus.loader_processes import PREFETCHED, check_shared_memory
from corpus.missing import first_names
from DatasetLoader import LoadingError, batches, eval_loader
from inference.scorer import Scorer
from metrics import sasv
from metrics.countermeasure import summarize_plain
from metrics.direction import OF_NETWORK, warn_of_direction
from metrics.qualities import quality_measures, write_qualities
from metrics.score_norm import normalise_scores
from metrics.scores import write_scores

log = logging.getLogger("trainSpeakerNet")


class Stopped(Exception):
    """A stop was requested during work that is repeated when the run resumes."""


class NonFiniteScores(InputError):
    """Scores are NaN or infinite. problem: the sentence that says so."""

    def __init__(self, scores: np.ndarray, lines: Sequence[str]):
        bad = ~np.isfinite(scores)
        self.problem = (
            f"Expected finite scores, found NaN or infinity in {np.count_nonzero(bad):,} of "
            f"{len(scores):,} trials, first in '{lines[int(bad.argmax())]}'."
        )
        super().__init__(
            f"{self.problem} No scores file was written. Give another checkpoint, or check the "
            "options of the network."
        )


class LostBatch(InputError):
    """A batch cannot be loaded. All processes raise it after the same update, and can save."""


def until_end(items: Iterable, stop, caught: list[InputError]) -> Iterator:
    """Yields items until a stop is requested, or until an item cannot be loaded.

    stop: an object with a bool `requested`, or None. With it the error is appended to `caught`, for
    check_stop(). Without it the error is raised.
    """
    try:
        for item in items:
            if stop and stop.requested:
                return
            yield item
    except InputError as error:
        if not stop:
            raise
        caught.append(error)


def check_stop(stop, error: InputError | None = None) -> None:
    """Raises Stopped in all processes if a stop was requested in any of them.

    Otherwise raises LostBatch in all processes if any of them has an error. A stop comes first,
    because its signal may have ended the loader processes too.

    stop: an object with a bool `requested`.
    """
    stopped, lost = distributed.any_rank(stop.requested, error is not None)
    if stopped:
        raise Stopped
    if lost:
        raise LostBatch(*distributed.first_of_ranks(error).args)


# ---------------------------------------------------------------------- representations
def evaluation_bytes(dataset, options: argparse.Namespace) -> int:
    """Returns the shared memory that the loaders of an evaluation data set need at most.

    It is the size of the prefetched batches, of the batch in use and of one that is on the way. It
    is 0 without loader processes.
    """
    if not options.nDataLoaderThread:
        return 0
    batches_at_once = PREFETCHED * options.nDataLoaderThread + 2
    return dataset.largest_bytes(batches_at_once * distributed.local_world_size())


def represent_files(
    scorer: Scorer, dataset, options: argparse.Namespace, stop=None, progress: bool = True
) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields (file, representation [K, ...]) of this process's share of an evaluation data set.

    progress: whether a terminal shows the progress.
    """
    paths = dataset.paths
    loader = eval_loader(
        WithProblems(dataset) if dataset.limits else dataset,
        workers=options.nDataLoaderThread,
        items=distributed.shard(range(len(dataset))),
        pin_memory=scorer.device.type == "cuda",
    )
    # Numbers of the files of the batch that is being represented.
    current: list[int] = []
    problems: dict[str, str] = {}
    caught: list[InputError] = []

    def watched():
        check_shared_memory(evaluation_bytes(dataset, options), options.nDataLoaderThread)
        for index, x, *found in batches(loader):
            current[:] = index
            for problems_of_item in found:
                problems.update(problems_of_item)
            yield index, x

    dtype = getattr(torch, options.cache_precision)
    hidden = None if progress else True
    with tqdm(total=len(paths), desc="embed", unit="file", disable=hidden, leave=False) as bar:
        try:
            for index, reps in scorer.represent(until_end(watched(), stop, caught), dtype):
                bar.update(min(len(index) * distributed.world_size(), bar.total - bar.n))
                for i, rep in zip(index, reps, strict=True):
                    yield paths[i], rep
        except torch.OutOfMemoryError:
            error = too_long(paths[current[0]], scorer.device)
            if not stop:
                raise error from None
            caught.append(error)
    if stop:
        check_stop(stop, *caught)
    if dataset.limits:
        report_problems(dataset, distributed.gather(problems))


def too_long(path: str, device: torch.device) -> LoadingError:
    """Returns the error about a file whose evaluation needs too much memory of a device."""
    remedy = "Cut the file, or use crops (--eval_frames)."
    if device.type != "cpu":
        remedy = "Cut the file, use crops (--eval_frames), or use --device cpu."
    return LoadingError(f"{path}: this file is too long for the memory of {device}. {remedy}")


class WithProblems(Dataset):
    """An evaluation data set whose items also have {file: problem}."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: int):
        return self.dataset.with_problems(item)


def report_problems(dataset, parts: list[dict[str, str]] | None) -> None:
    """Warns once about the files of a data set that are silent or too short.

    parts: {file: problem} of all processes, None on ranks above 0.
    """
    limits = dataset.limits
    # Files do not change, so the next evaluation does not measure them again.
    dataset.limits = None
    found = []
    for part in parts or []:
        found += [f"{path} is {problem}" for path, problem in part.items()]
    if found:
        log.warning(
            "warning: expected speech with %s, found other files: %s of %s. Their embeddings and "
            "scores mean nothing: %s. Remove them from the list.",
            limits,
            f"{len(found):,}",
            f"{len(dataset.paths):,}",
            first_names(sorted(found)),
        )


def represent_all(
    scorer: Scorer, dataset, options: argparse.Namespace, stop=None
) -> dict[str, torch.Tensor] | None:
    """Returns {file: representation} of the complete data set on rank 0, None on other ranks."""
    return gathered(dict(represent_files(scorer, dataset, options, stop)))


def gathered(found: dict[str, Any]) -> dict[str, Any] | None:
    """Returns what all processes have found for their files on rank 0, None on other ranks."""
    parts = distributed.gather(found)
    if parts is None:
        return None
    everything = {}
    for part in parts:
        everything |= part
    return everything


def represent_cohort(
    scorer: Scorer, cohort: Cohort | None, options: argparse.Namespace, stop=None
) -> torch.Tensor | None:
    """Returns the representations [C, K, ...] of a cohort's members on rank 0.

    Returns None on other ranks and without a cohort.
    """
    if cohort is None:
        return None
    reps = represent_all(scorer, cohort.dataset, options, stop)
    return None if reps is None else scorer.references(cohort.members, reps)


def refuse_pairwise(pairwise: bool, options: argparse.Namespace) -> None:
    """Raises InputError for options that need an embedding of each file.

    pairwise: whether the pooling makes embeddings of two files together.
    """
    for name in ("score_norm", "qualities", "all_pairs"):
        if getattr(options, name) and pairwise:
            raise pairwise_problem(f"--{name}", options)


def pairwise_problem(place: str, options: argparse.Namespace) -> InputError:
    """Returns the error about an option that needs an embedding of each file."""
    return InputError(
        f"{place} works on embeddings of single utterances, but --encoder_type "
        f"{options.encoder_type} pools every pair of utterances jointly. Leave out {place}, or use "
        "a model with another pooling."
    )


# ---------------------------------------------------------------------- scores
def moments_of(scorer: Scorer, trials: Trials, reps, options: argparse.Namespace, cohort):
    """Returns Scorer.cohort_moments() against a represented cohort, None without a cohort."""
    if cohort is None:
        return None
    top_n = options.top_n if options.score_norm == "asnorm" else None
    return scorer.cohort_moments(trials, reps, cohort, options.scoring, top_n)


def score_trials(
    scorer: Scorer,
    trials: Trials,
    reps,
    options: argparse.Namespace,
    path: Path | None = None,
    moments=None,
) -> dict[str, np.ndarray]:
    """Scores trials and writes the scores to `path`.

    Returns {"": scores [n]}. With `moments` of the cohort it also returns the normalised scores.
    Their key, such as "_asnorm", is also the end of the name of their file. If the loss learns
    about spoofed speech, the two parts of the raw score are also written, to *_speaker.txt and
    *_bonafide.txt. Trials of single files get the score of the file alone, and so do all trials if
    the loss does not compare speakers.
    """
    bonafide = scorer.bonafide(trials, reps)
    parts = {"": bonafide}
    written = {}
    if trials.models and scorer.net.loss.compares_speakers:
        speaker = scorer.score(trials, reps, options.scoring, options.trials_at_once)
        parts = {"": speaker}
        if moments:
            normalised = normalise_scores(speaker, *moments, options.score_norm)
            parts[f"_{options.score_norm}"] = normalised
        if bonafide is not None:
            written = {"_speaker": speaker, "_bonafide": bonafide}
            for part in parts:
                parts[part] = scorer.fuse(parts[part], bonafide)
    for values in parts.values():
        if not np.isfinite(values).all():
            raise NonFiniteScores(values, trials.lines)
    if path:
        for part, values in (parts | written).items():
            write_scores(path_of_part(path, part), trials.lines, values)
    return parts


def path_of_part(path: Path, part: str) -> Path:
    """scores.txt and "_asnorm" -> scores_asnorm.txt. A device stays the same."""
    if is_special(path):
        return path
    return path.with_name(f"{path.stem}{part}{path.suffix}")


def path_of_list(path: Path, number: int) -> Path:
    """The file of list number 1, 2, ... of trials: scores.txt, scores_2.txt, ..."""
    return path if number == 1 else path_of_part(path, f"_{number}")


def evaluate_trials(
    scorer: Scorer,
    trials: Trials,
    dataset,
    options: argparse.Namespace,
    scores_path: Path,
    stop=None,
    cohort: torch.Tensor | None = None,
    kept: dict | None = None,
) -> dict:
    """Scores the trials of a data set's files and writes the scores files.

    cohort: returned by represent_cohort(). kept: a dict that receives the representations on rank
    0.
    Returns the summary of each part of score_trials(), {} for trials without labels.
    """
    reps = represent_all(scorer, dataset, options, stop)
    if kept is not None and reps:
        kept.update(reps)
    return evaluate_represented(scorer, trials, dataset, reps, options, scores_path, cohort)


def evaluate_represented(
    scorer: Scorer,
    trials: Trials,
    dataset,
    reps: dict[str, torch.Tensor] | None,
    options: argparse.Namespace,
    scores_path: Path,
    cohort: torch.Tensor | None = None,
) -> dict:
    """Does what evaluate_trials() does, with the representations that represent_all() returns."""

    def score_and_summarize():
        scorer.prepare_for(reps)
        moments = moments_of(scorer, trials, reps, options, cohort)
        scores = score_trials(scorer, trials, reps, options, scores_path, moments)
        if options.qualities:
            measures = quality_measures(scorer, trials, dataset, reps, moments)
            write_qualities(path_of_part(scores_path, "_qualities"), trials.lines, measures)
        if trials.label is None:
            return {}
        summaries = {part: summary_of_trials(s, trials, options) for part, s in scores.items()}
        warn_of_direction(scores_path, summaries[""], OF_NETWORK)
        return summaries

    return distributed.on_rank_zero(score_and_summarize)


def summary_of_trials(scores: np.ndarray, trials: Trials, options: argparse.Namespace):
    """Returns the metrics of labelled trials. Raises InputError for impossible costs or rates."""
    try:
        if trials.kinds is not None:
            return sasv.summarize_sasv(
                *(scores, trials.kinds, trials.attacks),
                p_fa=options.far,
                definition=options.eer,
                **sasv.ADCF_SETS[options.adcf],
            )
        return summarize_plain(
            *(scores, trials.label, trials.attacks, trials.codecs),
            p_target=options.dcf_p_target,
            c_miss=options.dcf_c_miss,
            c_fa=options.dcf_c_fa,
            p_fa=options.far,
            definition=options.eer,
        )
    except ValueError as error:
        raise InputError(f"The evaluation is not possible: {error}") from error
