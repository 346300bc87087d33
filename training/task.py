"""The task of a training run: data, network, trials.

Everything about them is checked when the task is created, before the run's folder is touched.
"""

import argparse
import logging
import math
import mmap
from collections.abc import Sequence

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR

import distributed
from common.errors import InputError
from corpus.augment import mixed
from corpus.cohort import load_cohort
from corpus.lists import classes_of
from corpus.loader_processes import PREFETCHED, check_shared_memory
from corpus.missing import first_names
from corpus.raw_lists import shared_speakers, speakers_by_folder
from corpus.utterances import Utterances
from DatasetLoader import batches
from distributed.shared import shared_from_rank_zero
from inference.evaluation import evaluation_bytes, refuse_pairwise
from inference.networks import build_net, refuse_other_scores
from inference.sources import source_of
from inference.trial_lists import read_tests
from network.checkpoints import read_run
from network.components import build
from network.devices import resolve_device
from network.parameter_groups import Freezing, for_optimizer, parameter_groups_of
from options.rules import SPEECH_AUGMENTATIONS
from SpeakerNet import Trainer
from training.fit import (
    check_entries,
    check_pooling,
    check_terms,
    check_validation_terms,
    classifies,
    refusing_single_values,
    warn_without_classifier,
)
from training.memory import largest_batch
from training.published_sampling import PublishedSampler
from training.run_folder import last_checkpoint
from training.sampling import GroupSampler, QuotaSampler, every_group

log = logging.getLogger("trainSpeakerNet")
# Parts of the messages of torch about a layer whose input has too few frames.
TOO_SHORT = ("Output size is too small", "Kernel size can't be greater")


class Task:
    """Data, network and trials of a training run.

    classes: {speaker: class}. dataset, sampler: of the train list. valid, valid_items: data set of
    --valid_list or None, and its batches. tests: [(trials, data set)]. cohort: of --score_norm, or
    None. steps_per_epoch: number of updates per epoch. trainer: with the untrained network.
    terms: names of the terms of the loss. Raises InputError if parts of the task do not fit
    together.
    """

    def __init__(self, options: argparse.Namespace):
        self.options = options
        if not options.ema < 1:
            raise InputError(
                f"--ema: expected a decay below 1, found {options.ema:g}. Give for instance 0.999, "
                "or 0 for no moving average."
            )
        check_pooling(options)
        self.source = source_of(options)
        utterances = self.read_lists()
        self.valid = None
        self.valid_items: list = []
        if options.batch_size == "auto":
            options.batch_size = self.fitting_batch_size(utterances)
        if options.valid_list:
            self.valid, self.valid_items = self.read_valid()
        self.sampler = self.make_sampler(utterances)
        # With --sampling published only the first epoch has exactly this number.
        self.steps_per_epoch = self.updates_of(1)
        self.trainer = self.make_trainer()
        self.check_fit()
        if options.compile:
            self.trainer.compile()

    # ------------------------------------------------------------------ data
    def read_lists(self) -> Sequence:
        """Reads train list, trials and cohort; returns the utterances of the train list."""
        options = self.options
        utterances = shared_from_rank_zero(
            self.source.read_train,
            options.train_list,
            options.train_path,
            options,
            "--train_path",
        )
        self.tests = distributed.on_rank_zero(read_tests, options, self.source)
        self.cohort = distributed.on_rank_zero(load_cohort, options, self.source)
        warn_of_shared_speakers(utterances, self.tests)
        self.classes = classes_of(utterances, options.nClasses)
        if options.nClasses and options.nClasses < len(self.classes):
            raise InputError(
                f"--nClasses: expected at least the {len(self.classes)} classes of "
                f"{options.train_list}, found {options.nClasses}. Leave out --nClasses, and the "
                "program counts the classes."
            )
        self.dataset = self.source.train_dataset(
            utterances, options.train_path, self.classes, options
        )
        return utterances

    def read_valid(self) -> tuple:
        """Returns the data set of --valid_list, without augmentation, and its batches.

        Speakers that are not in the train list are numbered after those that are.
        """
        unchanged = dict.fromkeys((*SPEECH_AUGMENTATIONS, "spk_meta_train"))
        options = argparse.Namespace(**vars(self.options) | unchanged)
        utterances = shared_from_rank_zero(
            self.source.read_train,
            options.valid_list,
            options.valid_path,
            options,
            "--valid_path",
        )
        unknown = [name for name in classes_of(utterances) if name not in self.classes]
        if unknown and classifies(self.options.trainfunc):
            raise InputError(
                f"{options.valid_list}: {len(unknown)} speakers are not in {options.train_list}: "
                f"{', '.join(unknown[:10])}. --trainfunc {options.trainfunc} classifies the "
                "training speakers. List utterances of the training speakers, or choose another "
                "loss."
            )
        first = max(self.classes.values()) + 1
        classes = self.classes | {name: i for i, name in enumerate(unknown, first)}
        dataset = self.source.train_dataset(utterances, options.valid_path, classes, options)
        items = every_group(
            utterances, batch_size=options.batch_size, nPerSpeaker=options.nPerSpeaker
        )
        return dataset, items

    def make_sampler(self, utterances: Sequence) -> GroupSampler:
        """Returns the sampler of the train list."""
        options = self.options
        settings = {
            "batch_size": options.batch_size,
            "nPerSpeaker": options.nPerSpeaker,
            "max_seg_per_spk": options.max_seg_per_spk,
            "seed": options.seed,
            "processes": (distributed.rank(), distributed.world_size()),
        }
        if options.sampling == "published":
            refuse_published_sampling(options)
            return PublishedSampler(utterances, **settings)
        if not options.num_spk:
            return GroupSampler(utterances, **settings)
        return QuotaSampler(
            utterances,
            num_spk=options.num_spk,
            balance_attacks=options.balance_attacks,
            **settings,
        )

    def updates_of(self, epoch: int) -> int:
        """Returns the number of updates of an epoch."""
        return math.ceil(self.sampler.batches_of(epoch) / self.options.accumulate)

    def last_step(self) -> int:
        """Returns the number of updates of the run without --max_steps.

        If epochs differ in length, those after the current one count as long as the first one. In
        the last epoch the number is exact.
        """
        trainer = self.trainer
        left = self.options.max_epoch - trainer.epoch
        if not self.sampler.varies:
            return self.options.max_epoch * self.steps_per_epoch
        if left < 0:
            return trainer.step
        done = math.ceil(trainer.position / self.options.accumulate)
        return trainer.step - done + self.updates_of(trainer.epoch) + left * self.steps_per_epoch

    def align_schedule(self) -> None:
        """Moves the schedule to the part of the epoch that is done, if epochs differ in length.

        A schedule counts in epochs of steps_per_epoch updates. A longer epoch gets through its part
        of the schedule in smaller steps, and a shorter one in larger steps.
        """
        trainer = self.trainer
        if not self.sampler.varies or not isinstance(trainer.scheduler, LambdaLR):
            return
        done = math.ceil(trainer.position / self.options.accumulate)
        epochs = trainer.epoch - 1 + done / self.updates_of(trainer.epoch)
        # step() adds the 1 again.
        trainer.scheduler.last_epoch = epochs * self.steps_per_epoch - 1
        trainer.scheduler.step()

    def fitting_batch_size(self, utterances: Sequence) -> int:
        """--batch_size auto: the batch size of the resumed run, or the largest one that fits.

        A trainer that is not used later makes trial updates to find the largest one.
        """
        options = self.options
        last = last_checkpoint(options)
        if last.exists():
            return read_run(last)["options"]["batch_size"]
        if options.num_spk:
            raise InputError(
                "--batch_size: expected a number, found auto, which does not work with --num_spk. "
                "Give a number."
            )
        sampler = GroupSampler(
            utterances,
            batch_size=1,
            nPerSpeaker=options.nPerSpeaker,
            max_seg_per_spk=options.max_seg_per_spk,
            seed=options.seed,
        )
        self.steps_per_epoch = 1
        trainer = self.make_trainer()
        trainer.skip_nonfinite = math.inf
        # Updates need most memory when no parameters are frozen any more.
        trainer.epoch = options.max_epoch
        (batch,) = batches([self.dataset[next(iter(sampler))]])
        check_entries(options, batch, "train_list")
        limit = np.count_nonzero(sampler.groups) // distributed.world_size()
        sizes = distributed.gather(largest_batch(trainer, batch, limit))
        smallest = distributed.on_rank_zero(lambda: min(sizes))
        log.info(
            "--batch_size auto: %d speakers per batch in each process fit into the memory.",
            smallest,
        )
        return smallest

    # ------------------------------------------------------------------ network
    def make_trainer(self) -> Trainer:
        """Builds the network, its optimizer and its schedule."""
        options = self.options
        # All processes build the same network.
        torch.manual_seed(options.seed)
        trainer = Trainer(
            build_net(options, max(self.classes.values()) + 1),
            device=resolve_device(options.device),
            mixedprec=options.mixedprec,
            accumulate=options.accumulate,
            clip=options.clip,
            skip_nonfinite=options.skip_nonfinite,
            tf32=options.tf32,
            ema=options.ema,
            steps_per_epoch=self.steps_per_epoch,
        )
        groups = parameter_groups_of(trainer.net.model, trainer.net.loss, options.head_weight_decay)
        trainer.freezing = Freezing(trainer.net, groups)
        trainer.optimizer = build("optimizer", options, params=for_optimizer(groups, options.lr))
        trainer.scheduler = build(
            "scheduler",
            options,
            optimizer=trainer.optimizer,
            steps_per_epoch=self.steps_per_epoch,
            max_epoch=options.max_epoch,
            test_interval=options.test_interval,
        )
        trainer.distribute(options.gather_embeddings, options.sync_batchnorm)
        if distributed.rank():
            # From here on the processes draw different random numbers.
            torch.manual_seed(options.seed + distributed.rank())
        return trainer

    # ------------------------------------------------------------------ checks
    def check_fit(self) -> None:
        """Raises InputError if options, data, model and loss do not fit together."""
        options = self.options
        refuse_pairwise(self.trainer.net.model.pairwise, options)
        refuse_other_scores(self.trainer.net.loss, options)
        warn_without_classifier(options, self.trainer.net)
        check_terms(options, self.dataset, self.trainer.net)
        epoch, groups = next(iter(self.sampler))
        # The last group is added, because spoofed groups come last.
        tried = [*groups[:2], *groups[2:][-1:]]
        with refusing_single_values(self.trainer.net):
            self.terms = self.try_batch(self.dataset, (epoch, tried), "train_list")
        if self.valid:
            self.valid_items = check_validation_terms(options, self.valid, self.valid_items)
            first_groups = self.valid_items[0][1][:3]
            self.try_batch(self.valid, (0, first_groups), "valid_list")
        self.check_shared_memory((epoch, groups))
        if options.compile and options.randomSlicing:
            raise InputError(
                "--compile: the compiled model accepts crops of one length, and --randomSlicing "
                "makes crops of different lengths. Leave out one of the two options."
            )
        unlabelled = not self.tests or self.tests[0][0].label is None
        if options.early_stopping and not self.valid and unlabelled:
            raise InputError(
                "--early_stopping: expected labelled trials or validation data, found neither. "
                "Give --test_list, --valid_clients and --valid_impostors, or --valid_list."
            )

    def check_shared_memory(self, item: tuple) -> None:
        """Raises InputError if the shared memory is too small for the batches of the run.

        item: a batch of the training data set. Each worker has prefetched batches, an update uses
        `accumulate` batches, and one batch is on the way. An evaluation within an epoch needs
        memory next to them.
        """
        options = self.options
        workers = options.nDataLoaderThread
        if not workers:
            return
        number = (PREFETCHED * workers + options.accumulate + 1) * distributed.local_world_size()
        training = number * bytes_of_batch(self.dataset, item)
        evaluation = 0
        if self.valid:
            evaluation = number * bytes_of_batch(self.valid, self.valid_items[0])
        datasets = [dataset for _, dataset in self.tests]
        if self.tests and self.cohort:
            datasets.append(self.cohort.dataset)
        for dataset in datasets:
            evaluation = max(evaluation, evaluation_bytes(dataset, options))
        both = training + evaluation if options.validate_every else max(training, evaluation)
        check_shared_memory(both, workers)

    def try_batch(self, dataset, item, list_option: str) -> list[str]:
        """Computes the loss of one batch -> names of the terms of the loss.

        Raises InputError if model or loss refuses the batch.

        list_option: the name of the option that names the list, without dashes.
        """
        (batch,) = batches([dataset[item]])
        check_entries(self.options, batch, list_option)
        # In eval mode the batch statistics do not change.
        self.trainer.net.eval()
        try:
            with torch.no_grad():
                return list(self.trainer.net(mixed(self.trainer.on_device(batch))))
        except ValueError as error:
            place = f"{self.options.valid_list}: " if list_option == "valid_list" else ""
            raise InputError(f"{place}{error}") from error
        except RuntimeError as error:
            if not any(text in str(error) for text in TOO_SHORT):
                raise
            raise InputError(
                f"--max_frames {self.options.max_frames}: these crops are too short for --model "
                f"{self.options.model} with its options. Give more frames."
            ) from error


def refuse_published_sampling(options: argparse.Namespace) -> None:
    """Raises InputError if options contradict --sampling published."""
    if options.num_spk:
        raise InputError(
            "--sampling published: expected no --num_spk, because this rule of voxceleb_trainer "
            f"has no quota of bona fide speech, found --num_spk {options.num_spk}. Leave out one "
            "of the two options."
        )
    if options.gather_embeddings and distributed.world_size() > 1:
        raise InputError(
            "--sampling published: expected no --gather_embeddings, because a speaker can be in "
            "the batches of two processes at the same time. Leave out one of the two options."
        )


def bytes_of_batch(dataset, item: tuple) -> int:
    """Returns the shared memory that a training batch needs: whole pages for each tensor.

    Loads only the first of its groups.
    """
    epoch, groups = item
    (batch,) = batches([dataset[epoch, groups[:1]]])
    sizes = np.array([len(groups) * value.nbytes for value in batch.values()])
    return int(np.sum(-(-sizes // mmap.PAGESIZE)) * mmap.PAGESIZE)


def warn_of_shared_speakers(utterances: Sequence, tests: list) -> None:
    """Warns if training speakers are in the trials too."""
    if distributed.rank():
        return
    originals = Utterances.of(utterances).ends_of_speakers()
    level, folders = speakers_by_folder([u.speaker for u in originals], [u.path for u in originals])
    for trials, _ in tests:
        shared = shared_speakers(level, folders, trials.paths())
        if shared:
            count = "1 speaker is" if len(shared) == 1 else f"{len(shared):,} speakers are"
            log.warning(
                "warning: %s in the train list and in the trials: %s. The EER will be lower than "
                "the EER of new speakers. Use trials of other speakers.",
                count,
                first_names(shared),
            )
