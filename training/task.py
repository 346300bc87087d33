"""The task of a training run: data, network, trials. Everything about them is checked when it is made, before the run's folder is touched."""
import argparse
import inspect
import logging
import math
from pathlib import Path

import numpy as np
import torch

import parallel
from corpus import InputError
from corpus.augment import mixed
from corpus.cohort import the_cohort
from corpus.listing import shared_speakers, speakers_by_folder
from corpus.lists import classes_of
from DatasetLoader import batches
from options.choices import build_net, source_of, the_device
from options.parser import build, find
from SpeakerNet import Trainer
from training.checkpoints import read_checkpoint
from training.memory import largest_batch
from training.sampling import GroupSampler, QuotaSampler, every_group
from use.evaluation import read_tests, refuse_pairwise

log = logging.getLogger("trainSpeakerNet")


def last_of(options):
    """The checkpoint that a run goes on from."""
    return Path(options.save_path, "model", "last.model")


def warn_of_shared_speakers(utterances, tests):
    originals = [u for u in utterances if u.speed == 1]
    level, folders = speakers_by_folder([u.speaker for u in originals], [u.path for u in originals])
    for trials, _ in tests:
        if shared := shared_speakers(level, folders, trials.paths()):
            log.warning("warning: %d speakers of the trials are in the train list too (%s%s): the EER will be lower than that of unknown speakers",
                        len(shared), ", ".join(shared[:5]), ", ..." if len(shared) > 5 else "")


class Task:
    """classes: {name: number}. dataset, sampler: of the train list. valid, valid_items: data set of --valid_list or None, and its batches. tests: [(trials,
    data set)]. cohort: what scores are normalised against, or None. trainer: with the network at its start. InputError where anything does not fit."""

    def __init__(self, options):
        self.options = options
        if not options.ema < 1:
            raise InputError(f"--ema: want a decay below 1, for instance 0.999, or 0 for no average, got {options.ema:g}")
        source = source_of(options)
        utterances = parallel.first(source.read_train, options.train_list, options.train_path, options)
        self.tests, self.cohort = parallel.first(read_tests, options, source), parallel.first(the_cohort, options, source)
        warn_of_shared_speakers(utterances, self.tests)
        self.classes = classes_of(utterances, options.nClasses)
        if (options.nClasses or math.inf) < len(self.classes):
            raise InputError(f"--nClasses {options.nClasses}: {options.train_list} has {len(self.classes)} classes; leave the option out to count them")
        self.dataset = source.train_dataset(utterances, options.train_path, self.classes, options)
        if options.batch_size == "auto":
            options.batch_size = self.fitting_batch(utterances)
        self.valid, self.valid_items = self.read_valid(source) if options.valid_list else (None, [])
        size = {"batch_size": options.batch_size, "nPerSpeaker": options.nPerSpeaker, "max_seg_per_spk": options.max_seg_per_spk, "seed": options.seed,
                "processes": (parallel.rank(), parallel.world())}
        self.sampler = (QuotaSampler(utterances, num_spk=options.num_spk, balance_attacks=options.balance_attacks, **size) if options.num_spk
                        else GroupSampler(utterances, **size))
        self.steps_per_epoch = math.ceil(len(self.sampler) / options.accumulate)
        self.trainer = self.make_trainer()
        refuse_pairwise(self.trainer, options)
        epoch, groups = next(iter(self.sampler))
        self.try_out(self.dataset, (epoch, [*groups[:2], groups[-1]]))           # spoofed groups come last
        if self.valid:
            self.try_out(self.valid, (0, self.valid_items[0][1][:3]), f"{options.valid_list}: ")
        if options.compile and options.randomSlicing:
            raise InputError("--compile: makes a program for one length of crops, and --randomSlicing makes all lengths; leave one of them out")
        if options.compile:
            self.trainer.compile()
        if options.early_stopping and not self.valid and (not self.tests or self.tests[0][0].label is None):
            raise InputError("--early_stopping: follows the EER or the validation loss; want labelled trials by --test_list, or --valid_clients and "
                             "--valid_impostors, or a --valid_list")

    def fitting_batch(self, utterances):
        """--batch_size auto: that of the run that is gone on with, or as many speakers as updates of a trainer that is thrown away leave room for."""
        options = self.options
        if last_of(options).exists():
            return read_checkpoint(last_of(options))["options"]["batch_size"]
        if options.num_spk:
            raise InputError("--batch_size auto: counts speakers, and with --num_spk a batch has those of real speech; want a number")
        size = {"nPerSpeaker": options.nPerSpeaker, "max_seg_per_spk": options.max_seg_per_spk, "seed": options.seed}
        sampler, self.steps_per_epoch = GroupSampler(utterances, batch_size=1, **size), 1
        trainer, (batch,) = self.make_trainer(), batches([self.dataset[next(iter(sampler))]])
        trainer.skip_nonfinite = math.inf
        fits = largest_batch(trainer, batch, np.count_nonzero(sampler.groups) // parallel.world())
        found = parallel.collect(fits)
        log.info("--batch_size auto: %d speakers in each process", fits := parallel.first(lambda: min(found)))
        return fits

    def read_valid(self, source):
        """Data set of --valid_list, without augmentation, and its batches. Speakers that are not trained on are numbered after those that are."""
        options = argparse.Namespace(**vars(self.options) | {"augment": False, "speed_perturb": False, "spk_meta_train": None})
        utterances = parallel.first(source.read_train, options.valid_list, options.valid_path, options)
        strangers = [name for name in classes_of(utterances) if name not in self.classes]
        if strangers and "num_classes" in inspect.signature(find("trainfunc", options.trainfunc)).parameters:
            raise InputError(f"{options.valid_list}: {len(strangers)} speakers are not in {options.train_list}, whose speakers --trainfunc {options.trainfunc} "
                             f"classifies: {', '.join(strangers[:10])}; take utterances of the training speakers, or another loss")
        classes = self.classes | {name: i for i, name in enumerate(strangers, max(self.classes.values()) + 1)}
        return (source.train_dataset(utterances, options.valid_path, classes, options),
                every_group(utterances, batch_size=options.batch_size, nPerSpeaker=options.nPerSpeaker))

    def make_trainer(self):
        options = self.options
        torch.manual_seed(options.seed)                                         # the same network in all processes, and then
        trainer = Trainer(build_net(options, max(self.classes.values()) + 1), device=the_device(options.device), mixedprec=options.mixedprec,
                          accumulate=options.accumulate, clip=options.clip, skip_nonfinite=options.skip_nonfinite, tf32=options.tf32, ema=options.ema)
        trainer.optimizer = build("optimizer", options, params=trainer.net.parameters())
        trainer.scheduler = build("scheduler", options, optimizer=trainer.optimizer, steps_per_epoch=self.steps_per_epoch,
                                  max_epoch=options.max_epoch, test_interval=options.test_interval)
        trainer.share(options.gather_embeddings, options.sync_batchnorm)
        if parallel.rank():
            torch.manual_seed(options.seed + parallel.rank())                   # other draws in each
        return trainer

    def try_out(self, dataset, item, place=""):
        """A batch through model and loss: what does not go together says so before the run folder is touched."""
        batch, = batches([dataset[item]])
        self.trainer.net.eval()                                                 # leaves batch statistics alone
        try:
            with torch.no_grad():
                self.trainer.net(mixed(self.trainer.on_device(batch)))
        except ValueError as error:
            raise InputError(f"{place}{error}") from error
