"""From lists of trials to scores and metrics: each file is embedded once, then all trials are scored."""
import logging

import numpy as np
import torch
from tqdm import tqdm

import parallel
from corpus import InputError
from corpus.lists import Trials, described_trials, read_clients_and_impostors, read_trials
from DatasetLoader import LoadingError, batches, eval_loader
from report import rates, sasv
from report.qualities import measure, write_qualities
from report.score_norm import normalise
from report.scores import write_scores

log = logging.getLogger("trainSpeakerNet")


class Stopped(Exception):
    """A stop was requested in the middle of something that is done again when the run goes on."""


def extract(trainer, dataset, options, stop=None):
    """Evaluation data set -> yields (file, representation [K, ...]) of this process's share, in batches of equal lengths."""
    paths, items = dataset.paths, parallel.share(range(len(dataset)))
    loaded = batches(eval_loader(dataset, workers=options.nDataLoaderThread, items=items, pin_memory=trainer.device.type == "cuda"))
    begun = []                                                                  # numbers of the files of each batch
    watched = (begun.append(batch[0]) or batch for batch in loaded)
    with tqdm(total=len(paths), desc="embed", unit="file", disable=None, leave=False) as bar:
        try:
            for index, reps in trainer.extract(watched, getattr(torch, options.cache_precision)):
                if stop and stop.requested:
                    break
                bar.update(min(len(index) * parallel.world(), bar.total - bar.n))
                yield from ((paths[i], rep) for i, rep in zip(index, reps, strict=True))
        except torch.OutOfMemoryError:
            raise LoadingError(f"{paths[begun[-1][0]]}: too long for the memory of {trainer.device}, even alone; cut it, take crops (--eval_frames), or "
                               "--device cpu") from None
    check_stop(stop)


def check_stop(stop):
    """Raises Stopped in all processes where a stop was requested in any of them."""
    if stop and any(parallel.anyone(stop.requested)):
        raise Stopped


def refuse_pairwise(trainer, options):
    """Score norms, quality measures and matrices are of embeddings, which a pair-wise pooling makes of two utterances together."""
    for name in ("score_norm", "qualities", "all_pairs"):
        if getattr(options, name) and trainer.net.model.pairwise:
            raise InputError(f"--{name}: works on embeddings of single utterances, but --encoder_type {options.encoder_type} pools every pair of utterances "
                             "anew; leave it out, or take a model with another pooling")


def embed_cohort(trainer, cohort, options, stop=None):
    """-> representations of its members [C, K, ...] in the first process; None in others and without a cohort."""
    reps = cohort and embed(trainer, cohort.dataset, options, stop)
    return reps and trainer.references(cohort.members, reps)


def moments_of(trainer, trials, reps, options, cohort):
    """Mean and deviation of the scores against the representations of a cohort, see Trainer.cohort_moments; None without a cohort."""
    top_n = options.top_n if options.score_norm == "asnorm" else None
    return None if cohort is None else trainer.cohort_moments(trials, reps, cohort, options.scoring, top_n)


def score(trainer, trials, reps, options, path=None, moments=None):
    """Scores of the trials, written to `path` -> {"": [n]}, with `moments` {"": [n], "_asnorm": [n]} or as the norm is called, which is in the name of its
    file too. Of a loss that knows spoofed speech also the two parts of the raw score are written, *_speaker.txt and *_bonafide.txt."""
    parts = {"": trainer.score(trials, reps, options.scoring, options.trials_at_once)}
    if moments:
        parts[f"_{options.score_norm}"] = normalise(parts[""], *moments, options.score_norm)
    written, bonafide = {}, trainer.bonafide(trials, reps)
    if bonafide is not None:
        written = {"_speaker": parts[""], "_bonafide": bonafide}
        parts = {part: values + trainer.used.loss.fusion * bonafide for part, values in parts.items()}
    for part, values in (parts | written).items() if path else ():
        write_scores(beside(path, part), trials.lines, values)
    return parts


def beside(path, part):
    return path.with_name(f"{path.stem}{part}{path.suffix}")


def embed(trainer, dataset, options, stop=None):
    """-> {file: representation} of the whole data set in the first process; in others None."""
    parts = parallel.collect(dict(extract(trainer, dataset, options, stop)))
    return parts and {file: rep for part in parts for file, rep in part.items()}


def evaluate(trainer, trials, dataset, options, scores_path, stop=None, cohort=None, kept=None):
    """Scores the trials of the data set's files, writes the scores files -> the metrics under the names of score(): none where the trials have no labels.
    cohort: of embed_cohort(). kept: a dict that gets the representations, in the first process."""
    reps = embed(trainer, dataset, options, stop)
    if kept is not None and reps:
        kept.update(reps)

    def score_and_summarize():
        moments = moments_of(trainer, trials, reps, options, cohort)
        scores = score(trainer, trials, reps, options, scores_path, moments)
        if options.qualities:
            write_qualities(beside(scores_path, "_qualities"), trials.lines, measure(trainer, trials, dataset, reps, moments))
        return {} if trials.label is None else {part: summarize(values, trials, options) for part, values in scores.items()}

    return parallel.first(score_and_summarize)


def summarize(scores, trials, options):
    try:
        if trials.kinds is not None:
            return sasv.summarize_sasv(scores, trials.kinds, trials.attacks, p_fa=options.far, definition=options.eer)
        return rates.summarize(scores, trials.label, p_target=options.dcf_p_target, c_miss=options.dcf_c_miss, c_fa=options.dcf_c_fa, p_fa=options.far,
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
