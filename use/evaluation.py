"""From lists of trials to scores and metrics: each file is embedded once, then all trials are scored."""
import logging

import numpy as np
import torch
from tqdm import tqdm

import parallel
import tuneThreshold
from corpus import InputError, write_atomically
from corpus.lists import Trials, described_trials, read_clients_and_impostors, read_trials
from DatasetLoader import batches, eval_loader

log = logging.getLogger("trainSpeakerNet")


class Stopped(Exception):
    """A stop was requested in the middle of something that is done again when the run goes on."""


def extract(trainer, dataset, options, stop=None):
    """Evaluation data set -> yields (file, representation [K, ...]) of this process's share, in batches of equal lengths."""
    paths, items = dataset.paths, parallel.share(range(len(dataset)))
    loaded = batches(eval_loader(dataset, workers=options.nDataLoaderThread, items=items))
    with tqdm(total=len(paths), desc="embed", unit="file", disable=None, leave=False) as bar:
        for index, reps in trainer.extract(loaded, getattr(torch, options.cache_precision)):
            if stop and stop.requested:
                break
            bar.update(min(len(index) * parallel.world(), bar.total - bar.n))
            yield from ((paths[i], rep) for i, rep in zip(index, reps, strict=True))
    check_stop(stop)


def check_stop(stop):
    """Raises Stopped in all processes where a stop was requested in any of them."""
    if stop and any(parallel.anyone(stop.requested)):
        raise Stopped


def score(trainer, trials, reps, options, path=None):
    """Scores of the trials -> [n], written to `path`; of a loss that knows spoofed speech also its two parts, *_speaker.txt and *_bonafide.txt."""
    scores = {"": trainer.score(trials, reps, options.scoring, options.trials_at_once)}
    bonafide = trainer.bonafide(trials, reps)
    if bonafide is not None:
        scores = {"": scores[""] + trainer.net.loss.fusion * bonafide, "_speaker": scores[""], "_bonafide": bonafide}
    for part, values in scores.items() if path else ():
        text = "".join(f"{line} {value:.7g}\n" for line, value in zip(trials.lines, values.tolist(), strict=True))
        write_atomically(path.with_name(f"{path.stem}{part}{path.suffix}"), text.encode())
    return scores[""]


def evaluate(trainer, trials, dataset, options, scores_path, stop=None):
    """Scores the trials of the data set's files, writes the scores file, returns the metrics: none where the trials have no labels."""
    parts = parallel.collect(dict(extract(trainer, dataset, options, stop)))

    def score_and_summarize():
        scores = score(trainer, trials, {file: rep for part in parts for file, rep in part.items()}, options, scores_path)
        return None if trials.label is None else summarize(scores, trials, options)

    return parallel.first(score_and_summarize)


def summarize(scores, trials, options):
    try:
        if trials.kinds is not None:
            return tuneThreshold.summarize_sasv(scores, trials.kinds, trials.attacks, p_fa=options.far, definition=options.eer)
        return tuneThreshold.summarize(scores, trials.label, p_target=options.dcf_p_target, c_miss=options.dcf_c_miss, c_fa=options.dcf_c_fa, p_fa=options.far,
                                       definition=options.eer)
    except ValueError as error:
        raise InputError(f"evaluation: {error}") from error


def read_tests(options, source):
    """Trials of every --test_list, or of --valid_clients and --valid_impostors, and the data set of their files, which are checked
    -> [(trials, data set)]."""
    lists, roots = [name for name in options.test_list or [] if name], options.test_path or [""]
    pairs = [options.valid_clients, options.valid_impostors]
    if any(pairs) and (not all(pairs) or lists):
        raise InputError("want both --valid_clients and --valid_impostors, and then no --test_list")
    if any(pairs):
        lists = [" and ".join(pairs)]
    if len(roots) not in (1, max(len(lists), 1)):
        raise InputError(f"--test_path: want one folder, or one for each of {len(lists)} lists, got {len(roots)}: {' '.join(roots)}")
    roots = (roots * len(lists))[:len(lists)]
    if options.test_list_libri:
        lists, roots = [*lists, options.test_list_libri], [*roots, options.test_path_libri]
    if lists:                                                                   # of impossible priors, costs and rates it complains
        summarize(np.arange(2.0), Trials.of_pairs([("", "")] * 2, label=np.array([False, True])), options)
    tests = []
    for list_file, root in zip(lists, roots, strict=True):
        trials = (read_clients_and_impostors(*pairs) if any(pairs) and not tests
                  else read_trials(list_file, options.enroll_list, options.spk_meta_eval))
        log.info("%s: %s", list_file, described_trials(trials))
        trials = trials.renamed(source.check_files(root, trials.paths(), list_file, options))
        tests.append((trials, source.eval_dataset(trials.paths(), root, options)))
    return tests


def numbered(path, number):
    """The file of the first, second, ... list of trials: scores.txt, scores_2.txt, ..."""
    return path if number == 1 else path.with_name(f"{path.stem}_{number}{path.suffix}")
