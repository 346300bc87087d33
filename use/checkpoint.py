"""What can be done with a checkpoint, a function run_* for each mode of the command line: options and what read_checkpoint gave."""
import io
import logging
import os
from pathlib import Path

import numpy as np

import parallel
from corpus import InputError, write_atomically
from corpus.files import is_recording
from corpus.lists import Trials, read_file_list
from DatasetLoader import SOURCES
from loss import Loss
from models._linear import Identity
from options.choices import build_net, source_of, the_device
from SpeakerNet import SpeakerNet, Trainer, load_weights
from use.evaluation import evaluate, extract, numbered, read_tests, score

log = logging.getLogger("trainSpeakerNet")


def load_net(options, state):
    """The net of a checkpoint, for use: its classes are those it was trained with."""
    if not state:
        raise InputError("want --initial_model CHECKPOINT for --eval, --extract and --verify, or the --save_path of a run")
    net = build_net(options, max(state.get("classes", {"": 0}).values(), default=0) + 1)
    load_weights(net, state, options.initial_model, head="wanted" if "options" in state else "unused")    # published heads are of speakers unknown
    return Trainer(net, device=the_device(options.device), mixedprec=options.mixedprec)


def tell_scores(trainer, tests, options, path):
    """Evaluates, prints the metrics and where the scores are."""
    for number, (trials, dataset) in enumerate(tests, 1):
        summary = evaluate(trainer, trials, dataset, options, numbered(path, number))
        log.info("%s", summary or f"{len(trials.lines)} trials without labels: no metric")
        log.info("scores: %s", numbered(path, number))


def run_eval(options, state):
    tests = parallel.first(read_tests, options, source_of(options))
    if not tests:
        raise InputError("--eval: want --test_list FILE (and --test_path FOLDER), or --valid_clients and --valid_impostors")
    tell_scores(load_net(options, state), tests, options, Path(options.output or Path(options.save_path, "result", "scores.txt")))


def run_check(options, _):
    tests = parallel.first(read_tests, options, SOURCES[Identity.takes])
    if not tests:
        raise InputError("--check: want --test_list FILE with trials of embeddings (and --test_path FOLDER)")
    path = Path(options.output or Path(options.save_path, "result", "scores_unprocessed.txt"))
    tell_scores(Trainer(SpeakerNet(Identity(), Loss()), device=the_device(options.device)), tests, options, path)


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
    trainer = load_net(options, state)
    value = score(trainer, trials, dict(extract(trainer, source.eval_dataset(trials.paths(), root, options), options)), options).item()
    threshold = options.threshold if options.threshold is not None else state.get("result", {}).get("threshold")
    if threshold is None:
        log.info("score %.4f; no decision: the checkpoint has seen no trials, give --threshold", value)
    else:
        log.info("score %.4f  threshold %.4f  %s", value, threshold, "same speaker" if value >= threshold else "different speakers")


ACTIONS = {"eval": run_eval, "check": run_check, "generate": run_generate, "extract": run_extract, "verify": run_verify}
