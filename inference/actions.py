"""The actions of trainSpeakerNet.py besides training: a function run_* for each.

The arguments of an action are the options and the checkpoint of --initial_model, as
read_checkpoint() returned it, or None.
"""

import argparse
import json
import logging
import math
from pathlib import Path

import torch

import distributed
from common.constants import SAMPLE_RATE
from common.errors import InputError
from common.outputs import is_special
from common.writing import write_atomically
from corpus.cohort import Cohort, load_cohort
from inference.all_pairs import evaluate_pairs, is_matrix, read_files
from inference.averaging import average, checkpoints_of
from inference.backend_lists import plan_backend, prepare_backend, run_estimate_backend
from inference.backends import WithBackEnd
from inference.embedding import one_root, run_extract, run_generate
from inference.evaluation import (
    evaluate_represented,
    path_of_part,
    refuse_pairwise,
    represent_cohort,
)
from inference.export import OPSET, TOLERANCE, largest_difference, require_packages, to_onnx
from inference.fused_verification import run_verify
from inference.networks import load_scorer
from inference.overview import log_use
from inference.publishing import run_publish
from inference.score_paths import (
    QUALITIES,
    check_results,
    path_of_pairs,
    paths_of_baseline,
    scores_paths,
)
from inference.scorer import Scorer
from inference.shared_files import represent_lists
from inference.sources import SOURCES, DataSource, source_of
from inference.stages import run_stages
from inference.trial_lists import lists_and_roots, read_tests
from loss import Loss
from metrics.backends import BackEnd
from metrics.own_files import is_scores
from models._linear import Identity
from network.checkpoints import write_checkpoint
from network.devices import resolve_device
from options.plugins import options_of_network
from SpeakerNet import SpeakerNet

log = logging.getLogger("trainSpeakerNet")


def print_scores(
    scorer: Scorer,
    tests: list,
    options: argparse.Namespace,
    paths: list[Path],
    cohort: Cohort | None,
    source: DataSource,
) -> None:
    """Evaluates every list of trials; prints the metrics and the paths of the scores files.

    paths: of the scores file of each list. source: reads the files for the model. Raises InputError
    if the scores files cannot be written.
    """
    parts = [""]
    if cohort is not None:
        parts.append(f"_{options.score_norm}")
    files = [*parts]
    if scorer.fusion:
        files += ["_speaker", "_bonafide"]
    if options.qualities:
        files.append(QUALITIES)
    distributed.on_rank_zero(check_results, paths, options, files)
    refuse_pairwise(scorer.pairwise, options)
    represented_cohort = represent_cohort(scorer, cohort, options)
    represented = represent_lists(scorer, tests, lists_and_roots(options)[1], options, source)
    for path, (trials, dataset), reps in zip(paths, tests, represented, strict=True):
        summaries = evaluate_represented(
            scorer, trials, dataset, reps, options, path, represented_cohort
        )
        without_metric = f"{len(trials.lines):,} trials without labels, so there is no metric."
        for part in parts:
            log.info("%s", summaries.get(part, without_metric))
            log.info("Scores: %s", path_of_part(path, part))


def run_eval(options: argparse.Namespace, state: dict | None) -> None:
    """Scores the lists of trials with a checkpoint."""
    if options.stages:
        run_stages(options, state)
        return
    source = source_of(options)
    tests = distributed.on_rank_zero(read_tests, options, source)
    if not tests:
        raise InputError(
            "--eval needs trials. Give --test_list FILE and --test_path DIR, or --valid_clients "
            "FILE and --valid_impostors FILE."
        )
    cohort = distributed.on_rank_zero(load_cohort, options, source)
    plan = distributed.on_rank_zero(plan_backend, options, source)
    scorer = load_scorer(options, state)
    log_use(options, scorer.net, scorer.device)
    prepare_backend(scorer, plan, options)
    print_scores(scorer, tests, options, scores_paths(options), cohort, source)


def run_baseline(options: argparse.Namespace, _: dict | None) -> None:
    """Scores embeddings without a network: the baseline of an enhancement."""
    source = SOURCES[Identity.takes]
    tests = distributed.on_rank_zero(read_tests, options, source)
    if not tests:
        raise InputError(
            "--check needs trials. Give --test_list FILE with trials of embeddings, and "
            "--test_path DIR."
        )
    cohort = distributed.on_rank_zero(load_cohort, options, source)
    plan = distributed.on_rank_zero(plan_backend, options, source)
    scorer = Scorer(SpeakerNet(Identity(), Loss()), device=resolve_device(options.device))
    prepare_backend(scorer, plan, options)
    print_scores(scorer, tests, options, paths_of_baseline(options), cohort, source)


def run_all_pairs(options: argparse.Namespace, state: dict | None) -> None:
    """Scores every pair of the files of a list."""
    source = source_of(options)
    root = one_root(options)
    files = distributed.on_rank_zero(read_files, options, source, root)
    plan = distributed.on_rank_zero(plan_backend, options, source)
    path = path_of_pairs(options)
    is_own = is_matrix if path.suffix == ".npy" else is_scores
    distributed.on_rank_zero(check_results, [path], options, ("",), is_own)
    scorer = load_scorer(options, state)
    refuse_pairwise(scorer.pairwise, options)
    log_use(options, scorer.net, scorer.device)
    prepare_backend(scorer, plan, options)
    dataset = source.eval_dataset([*dict.fromkeys(files.paths)], root, options)
    summary = evaluate_pairs(scorer, files, dataset, options, path)
    without_metric = f"{len(files.names):,} files without speakers, so there is no metric."
    log.info("%s", summary or without_metric)
    log.info("Scores: %s", path)


def new_file(path: str, option: str) -> Path:
    """Returns the Path of a file to write. Raises InputError if it exists and is no device."""
    if Path(path).exists() and not is_special(path):
        raise InputError(
            f"{option}: {path} exists and is not overwritten. Give another name, or remove the "
            "file."
        )
    return Path(path)


def run_average(options: argparse.Namespace, _: dict | None) -> None:
    """Writes the mean of checkpoints of one run. The mean is a checkpoint itself."""
    if not options.output:
        raise InputError("--average needs --output FILE, the path of the new checkpoint.")
    path = new_file(options.output, "--output")
    files = checkpoints_of(options.average)
    distributed.on_rank_zero(lambda: write_checkpoint(average(files), path))
    log.info("Wrote %s, the mean of %s.", path, ", ".join(map(str, files)))


def run_export(options: argparse.Namespace, state: dict | None) -> None:
    """Writes the network as an ONNX file, whose metadata say how to use it."""
    path = new_file(options.export, "--export")
    if options.eval_speed != 1:
        raise InputError(
            "--export: an ONNX file embeds samples at their own speed, found --eval_speed "
            f"{options.eval_speed:g}. Give --eval_speed 1."
        )
    require_packages()
    options.device = "cpu"
    plan = plan_backend(options, source_of(options))
    scorer = load_scorer(options, state)
    prepare_backend(scorer, plan, options)
    model = scorer.net.model.eval().to(memory_format=torch.contiguous_format)
    facts = facts_of(options, (state or {}).get("result", {}))
    if scorer.backend:
        model = WithBackEnd(model, scorer.backend)
        facts |= facts_of_backend(scorer.backend.backend)
    try:
        data = to_onnx(model, facts)
    except ValueError as error:
        raise InputError(f"--export: {error}") from error
    found = largest_difference(model, data)
    if not found <= TOLERANCE:
        raise InputError(
            "--export: the embeddings of the ONNX file differ from the embeddings of this network. "
            f"Expected a relative difference of at most {TOLERANCE:g}, found {found:.1e}. No file "
            "was written. Try other versions of the packages (requirements-optional.txt)."
        )
    distributed.on_rank_zero(lambda: write_atomically(path, data))
    shown = "  ".join(f"{name} {value}" for name, value in facts.items())
    log.info("Wrote %s: opset %d, %s", path, OPSET, shown)
    log.info("Largest relative difference to PyTorch: %.1e", found)


def facts_of(options: argparse.Namespace, result: dict) -> dict[str, str]:
    """The metadata of an exported network. result: of the last evaluation in the checkpoint."""
    if options.backend or options.mean_subtraction:
        # The threshold and the EER of the checkpoint belong to scores without a back end.
        result = {}
    if options.threshold is not None:
        result = result | {"threshold": options.threshold}
    network = {}
    for option in options_of_network(vars(options)):
        network[option.name] = getattr(options, option.name)
    facts = {
        "sample_rate": str(SAMPLE_RATE),
        "model": options.model,
        "options": json.dumps(network),
        "trainfunc": options.trainfunc,
        "scoring": options.scoring,
    }
    for name in ("threshold", "EER"):
        # An evaluation that does not separate the trials has an infinite threshold.
        if math.isfinite(result.get(name, math.inf)):
            facts[name] = repr(result[name])
    return facts


def facts_of_backend(backend: BackEnd) -> dict[str, str]:
    """The metadata of the back end of an exported network."""
    facts = {"scoring": "cosine", "backend": str(backend)}
    if backend.psi is not None:
        facts |= {"scoring": "plda", "plda_psi": json.dumps(backend.psi.tolist())}
    return facts


# The option that selects an action -> its function. The first one that is given is run.
ACTIONS = {
    "eval": run_eval,
    "all_pairs": run_all_pairs,
    "check": run_baseline,
    "generate": run_generate,
    "extract": run_extract,
    "verify": run_verify,
    "average": run_average,
    "export": run_export,
    "publish": run_publish,
    "estimate_backend": run_estimate_backend,
}
