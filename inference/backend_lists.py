"""Back ends of a command: read from a file, or estimated from a list of files.

The options are --backend, --mean_subtraction and --estimate_backend, see options/backend.py.
"""

import argparse
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import distributed
from common.errors import InputError
from common.outputs import check_output, input_files
from corpus.file_lists import speakers_of_real_speech
from inference.backends import digest_of, require_embeddings
from inference.evaluation import gathered, represent_files
from inference.networks import load_scorer
from inference.overview import log_rows, log_use
from inference.score_paths import OUTPUTS
from inference.scorer import Scorer
from inference.sources import DataSource, source_of
from metrics.backend_options import warn_of_settings
from metrics.backend_stages import Settings
from metrics.backends import BackEnd, check_stages, estimate, load_backend
from metrics.own_files import is_backend

log = logging.getLogger("trainSpeakerNet")
# Value of --mean_subtraction: the mean of the evaluated files.
OWN = "own"


class ListToEmbed(NamedTuple):
    """The files that a back end is estimated from.

    source: the list. speakers: of the files of the data set, or [] if the list names none.
    """

    source: str
    speakers: list[str]
    dataset: Any


class BackEndPlan(NamedTuple):
    """What a command does with its embeddings: one of the three, or none of them.

    place: the option, for messages.
    """

    place: str = ""
    backend: BackEnd | None = None
    to_embed: ListToEmbed | None = None
    own_mean: bool = False


def plan_backend(options: argparse.Namespace, source: DataSource) -> BackEndPlan:
    """Reads the back end of --backend, or the list of --mean_subtraction, and checks its files.

    source: reads the files for the model. Raises InputError if they cannot be used.
    """
    if not options.backend and not options.mean_subtraction:
        return BackEndPlan()
    refuse_other_options(options)
    if isinstance(options.backend, BackEnd):
        return BackEndPlan("--backend", backend=options.backend)
    if options.backend:
        return BackEndPlan(f"--backend {options.backend}", backend=load_backend(options.backend))
    place = f"--mean_subtraction {options.mean_subtraction}"
    if options.mean_subtraction == OWN:
        return BackEndPlan(place, own_mean=True)
    listed = read_list(options.mean_subtraction, options.mean_path, "--mean_path", options, source)
    return BackEndPlan(place, to_embed=listed)


def refuse_other_options(options: argparse.Namespace) -> None:
    """Raises InputError for options that do not work with a back end."""
    place = "--backend" if options.backend else "--mean_subtraction"
    if options.backend and options.mean_subtraction:
        raise InputError(
            "--mean_subtraction: expected no --backend next to it, because a back end may subtract "
            f"a mean itself, found --backend {options.backend}. Leave one of them out."
        )
    refuse_scoring(place, options)
    if options.backend and options.check:
        raise InputError(
            "--backend: --check scales embeddings to length 1 first, so the back end of a network "
            "does not fit. Score the embeddings with `python tuneThreshold.py score`."
        )
    has_trials = options.eval or options.check or options.all_pairs
    if options.mean_subtraction == OWN and not has_trials:
        raise InputError(
            "--mean_subtraction own: expected --eval or --all_pairs, whose files have a mean, "
            "found another command. Give --mean_subtraction LIST."
        )


def refuse_scoring(place: str, options: argparse.Namespace) -> None:
    """Raises InputError for a --scoring next to a back end. place: the option of the back end."""
    if options.scoring != "similarity":
        raise InputError(
            f"{place}: a back end has a score of its own, so --scoring {options.scoring} is not "
            "possible. Give --scoring similarity."
        )


def read_list(
    list_file: str, root: str, root_option: str, options: argparse.Namespace, source: DataSource
) -> ListToEmbed:
    """Reads the list that a back end is estimated from, and checks its files.

    root: their folder. root_option: its option, for messages.
    """
    speakers = speakers_of_real_speech(list_file)
    found = source.check_files(root, speakers, list_file, options, root_option)
    dataset = source.eval_dataset([*dict.fromkeys(found.values())], root, options)
    speaker_of = {found[name]: speaker for name, speaker in speakers.items()}
    named = [speaker for path in dataset.paths if (speaker := speaker_of[path]) is not None]
    return ListToEmbed(list_file, named, dataset)


def prepare_backend(scorer: Scorer, plan: BackEndPlan, options: argparse.Namespace) -> None:
    """Makes a scorer use the planned back end, which is estimated first if needed."""
    scorer.own_mean = plan.own_mean
    backend = plan.backend
    if plan.to_embed:
        backend = estimated(scorer, plan.to_embed, ["mean"], options)
    if backend:
        scorer.use_backend(backend, plan.place)
        log_rows([("Back end", str(backend))])
    elif plan.own_mean:
        log_rows([("Back end", "mean of the evaluated files")])


def estimated(
    scorer: Scorer, listed: ListToEmbed, stages: list[str], options: argparse.Namespace
) -> BackEnd:
    """Embeds the files of a list, and returns a back end that is estimated from them.

    The embedding of a file is the mean over its crops.
    """
    means = {}
    for path, rep in represent_files(scorer, listed.dataset, options):
        means[path] = rep.double().mean(0).numpy()
    of_all_files = gathered(means)
    return distributed.on_rank_zero(estimate_of_list, scorer, of_all_files, listed, stages, options)


def estimate_of_list(
    scorer: Scorer,
    means: Mapping[str, np.ndarray],
    listed: ListToEmbed,
    stages: Sequence[str],
    options: argparse.Namespace,
) -> BackEnd:
    """Returns a back end of embedded files. means: {path: mean over the crops of the file [D]}."""
    settings = {name: getattr(options, name) for name in Settings._fields}
    return estimate(
        np.stack([means[path] for path in listed.dataset.paths]),
        listed.speakers,
        stages,
        source=listed.source,
        network=digest_of(scorer.net.model),
        **settings,
    )


def run_estimate_backend(options: argparse.Namespace, state: dict | None) -> None:
    """Estimates a back end from --backend_list, and writes it."""
    if not options.backend_list:
        raise InputError(
            "--estimate_backend needs --backend_list LIST with lines '<speaker> <file>'. Give it, "
            "and --backend_path DIR for the folder of the files."
        )
    check_stages(options.backend_stages)
    warn_of_settings(options.given, options.backend_stages)
    path = Path(options.estimate_backend)
    distributed.on_rank_zero(check_file, path, options)
    listed = distributed.on_rank_zero(list_of_backend, options)
    scorer = load_scorer(options, state)
    require_embeddings(scorer.net.model, "--estimate_backend")
    log_use(options, scorer.net, scorer.device)
    backend = estimated(scorer, listed, options.backend_stages, options)
    distributed.on_rank_zero(backend.save, path)
    log.info("Wrote %s: %s.", path, backend)


def list_of_backend(options: argparse.Namespace) -> ListToEmbed:
    """Reads --backend_list."""
    source = source_of(options)
    return read_list(options.backend_list, options.backend_path, "--backend_path", options, source)


def check_file(path: Path, options: argparse.Namespace) -> None:
    """Raises InputError if the file of a back end would overwrite a file of others."""
    inputs = input_files(vars(options), OUTPUTS)
    check_output(f"--estimate_backend {path}", path, inputs, is_backend)
