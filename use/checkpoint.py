"""What can be done with a checkpoint, a function run_* for each mode of the command line: options and what read_checkpoint gave."""
import io
import json
import logging
import os
from pathlib import Path

import numpy as np
import torch

import parallel
from corpus import InputError, write_atomically
from corpus.cohort import the_cohort
from corpus.files import is_recording
from corpus.lists import Trials, read_file_list
from DatasetLoader import SOURCES
from loss import Loss
from models._frontend import SAMPLE_RATE
from models._linear import Identity
from options.choices import build_net, source_of, the_device
from options.parser import options_of
from report import calibration
from report.qualities import inputs_of, measure
from SpeakerNet import SpeakerNet, Trainer
from training.checkpoints import load_weights, write_checkpoint
from use import all_pairs
from use.averaging import average, checkpoints_of
from use.evaluation import beside, embed_cohort, evaluate, extract, moments_of, numbered, read_tests, refuse_pairwise, score
from use.export import OPSET, TOLERANCE, difference, to_onnx, want_packages

log = logging.getLogger("trainSpeakerNet")


def load_net(options, state):
    """The net of a checkpoint, for use: its classes are those it was trained with."""
    if not state:
        raise InputError("want --initial_model CHECKPOINT for --eval, --extract and --verify, or the --save_path of a run")
    net = build_net(options, max(state.get("classes", {"": 0}).values(), default=0) + 1)
    load_weights(net, state, options.initial_model, head="wanted" if "options" in state else "unused")    # published heads are of speakers unknown
    return Trainer(net, device=the_device(options.device), mixedprec=options.mixedprec)


def tell_scores(trainer, tests, options, path, cohort):
    """Evaluates, prints the metrics and where the scores are."""
    refuse_pairwise(trainer, options)
    cohort = embed_cohort(trainer, cohort, options)
    for number, (trials, dataset) in enumerate(tests, 1):
        path_of_list = numbered(path, number)
        summaries = evaluate(trainer, trials, dataset, options, path_of_list, cohort=cohort)
        for part in ("",) if cohort is None else ("", f"_{options.score_norm}"):
            log.info("%s", summaries.get(part, f"{len(trials.lines)} trials without labels: no metric"))
            log.info("scores: %s", beside(path_of_list, part))


def run_eval(options, state):
    tests = parallel.first(read_tests, options, source_of(options))
    if not tests:
        raise InputError("--eval: want --test_list FILE (and --test_path FOLDER), or --valid_clients and --valid_impostors")
    cohort = parallel.first(the_cohort, options, source_of(options))
    tell_scores(load_net(options, state), tests, options, Path(options.output or Path(options.save_path, "result", "scores.txt")), cohort)


def run_check(options, _):
    tests = parallel.first(read_tests, options, SOURCES[Identity.takes])
    if not tests:
        raise InputError("--check: want --test_list FILE with trials of embeddings (and --test_path FOLDER)")
    path = Path(options.output or Path(options.save_path, "result", "scores_unprocessed.txt"))
    cohort = parallel.first(the_cohort, options, SOURCES[Identity.takes])
    tell_scores(Trainer(SpeakerNet(Identity(), Loss()), device=the_device(options.device)), tests, options, path, cohort)


def run_extract(options, state):
    """Embeds the files of a list or of a folder, and leaves alone what is there."""
    if not options.output:
        return print_embedding(options, state)
    dataset, target, there = parallel.first(to_embed, options)
    trainer = load_net(options, state)
    for path, rep in extract(trainer, dataset, options) if dataset.paths else ():
        buffer = io.BytesIO()
        np.save(buffer, rep.numpy())
        write_atomically(target[path], buffer.getbuffer())
    log.info("%d embeddings written to %s, %d were there already", len(dataset.paths), options.output, there)


def to_embed(options):
    """-> data set of the files of --extract that have no embedding yet, where each one's goes, how many are there."""
    source, folder = source_of(options), options.extract
    if os.path.isdir(folder):
        root, paths = folder, source.files_below(folder)
    else:
        root, paths = one_root(options), [folder] if is_recording(folder) else read_file_list(folder)
    paths = list(dict.fromkeys(source.check_files(root, paths, folder, options).values()))
    target = {path: Path(options.output, path.lstrip("/")).with_suffix(".npy") for path in paths}
    if len({*target.values()}) < len(paths):
        raise InputError(f"{folder}: has files whose names differ in the extension alone, which would have the same .npy; take one of them off")
    if any(target[path].absolute() == Path(root, path).absolute() for path in paths):
        raise InputError(f"--output {options.output}: holds the embeddings that go in, which are not overwritten; choose another folder")
    todo = [path for path in paths if not target[path].exists()]
    return source.eval_dataset(todo, root, options), target, len(paths) - len(todo)


def print_embedding(options, state):
    """The embedding of one file, a line a crop."""
    if not is_recording(options.extract):
        raise InputError("--extract: want --output FOLDER for the .npy files; without it one file of audio, whose embedding is printed")
    source, root = source_of(options), one_root(options)
    paths = list(source.check_files(root, [options.extract], "--extract", options).values())
    for _, rep in extract(load_net(options, state), source.eval_dataset(paths, root, options), options):
        for row in rep.flatten(1).tolist():
            log.info("%s", " ".join(f"{value:.6g}" for value in row))


def run_generate(options, state):
    if not options.gen_list or not options.gen_target_dir:
        raise InputError("--generate: want --gen_list FILE and --gen_target_dir FOLDER (and --gen_path FOLDER)")
    options.extract, options.test_path, options.output = options.gen_list, [options.gen_path], options.gen_target_dir
    run_extract(options, state)


def one_root(options):
    """The folder that files of --extract and --verify are relative to."""
    roots = options.test_path or [""]
    if len(roots) > 1:
        raise InputError(f"--test_path: want one folder, got {len(roots)}: {' '.join(roots)}")
    return roots[0]


def run_verify(options, state):
    trials = Trials.of_pairs([options.verify])
    source, root = source_of(options), one_root(options)
    trials = trials.renamed(source.check_files(root, trials.paths(), "--verify", options))
    cohort, calibrated = the_cohort(options, source), options.calibration and calibration.load(options.calibration)
    if not 0 < options.prior < 1:
        raise InputError(f"--prior: want a probability between 0 and 1, both excluded, got {options.prior:g}")
    options.qualities = bool(calibrated) and len(calibrated.inputs) > 1
    trainer, dataset = load_net(options, state), source.eval_dataset(trials.paths(), root, options)
    refuse_pairwise(trainer, options)
    reps = dict(extract(trainer, dataset, options))
    moments = moments_of(trainer, trials, reps, options, embed_cohort(trainer, cohort, options))
    part, values = list(score(trainer, trials, reps, options, moments=moments).items())[-1]          # the normalised one, where there is one
    threshold = options.threshold if options.threshold is not None else state.get("result", {}).get(f"threshold{part}")
    if threshold is None:
        log.info("score %.4f; no decision: the checkpoint has seen no trials%s, give --threshold", values[0], part and f" with --score_norm {part[1:]}")
    else:
        log.info("score %.4f  threshold %.4f  %s", values[0], threshold, "same speaker" if values[0] >= threshold else "different speakers")
    if calibrated:
        measures = inputs_of(measure(trainer, trials, dataset, reps, moments)) if options.qualities else {}
        llr = calibrated.llrs({"score": values} | {name: x for name, x in measures.items() if name in calibrated.inputs})[0]
        log.info("probability of the same speaker %.4f  prior %g  log-likelihood ratio %.4f", calibration.posterior(llr, options.prior), options.prior, llr)


def run_all_pairs(options, state):
    source, root = source_of(options), one_root(options)
    files = parallel.first(all_pairs.read_files, options, source, root)
    trainer = load_net(options, state)
    refuse_pairwise(trainer, options)
    path = Path(options.output or Path(options.save_path, "result", "all_pairs.txt"))
    summary = all_pairs.evaluate(trainer, files, source.eval_dataset([*dict.fromkeys(files.paths)], root, options), options, path)
    log.info("%s", summary or f"{len(files.names):,} files, whose list tells no speakers: no metric")
    log.info("scores: %s", path)


def new_file(path, option):
    """The Path of a file to make; InputError if there is one."""
    if Path(path).exists():
        raise InputError(f"{option} {path}: is there already and is not overwritten; give another name, or remove it")
    return Path(path)


def run_average(options, _):
    """The mean of checkpoints of one run, a checkpoint to be used like them."""
    if not options.output:
        raise InputError("--average: want --output FILE for the checkpoint to be made")
    path, files = new_file(options.output, "--output"), checkpoints_of(options.average)
    parallel.first(lambda: write_checkpoint(average(files), path))
    log.info("%s: the mean of %s", path, ", ".join(map(str, files)))


def run_export(options, state):
    """The network as an ONNX file, with what is needed to use it as metadata."""
    path = new_file(options.export, "--export")
    want_packages()
    options.device = "cpu"
    model = load_net(options, state).used.model.eval().to(memory_format=torch.contiguous_format)
    result = state.get("result", {}) | ({} if options.threshold is None else {"threshold": options.threshold})
    network = {option.name: getattr(options, option.name) for option in options_of("model", options.model)}
    facts = {"sample_rate": str(SAMPLE_RATE), "model": options.model, "options": json.dumps(network), "trainfunc": options.trainfunc,
             "scoring": options.scoring} | {name: repr(result[name]) for name in ("threshold", "EER") if name in result}
    try:
        data = to_onnx(model, facts)
    except ValueError as error:
        raise InputError(f"--export: {error}") from error
    found = difference(model, data)
    if not found <= TOLERANCE:
        raise InputError(f"--export: the file would give other embeddings than this network: want a relative difference of at most {TOLERANCE:g}, got "
                         f"{found:.1e}; nothing was written; try other versions of the packages (requirements-optional.txt)")
    parallel.first(lambda: write_atomically(path, data))
    log.info("%s: opset %d, %s", path, OPSET, "  ".join(f"{name} {value}" for name, value in facts.items()))
    log.info("largest relative difference to PyTorch: %.1e", found)


ACTIONS = {"eval": run_eval, "all_pairs": run_all_pairs, "check": run_check, "generate": run_generate, "extract": run_extract, "verify": run_verify,
           "average": run_average, "export": run_export}
