"""A training run: the epoch loop, evaluations and checkpoints."""

import argparse
import logging
import math
import time
from collections.abc import Iterable

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

import distributed
from common.errors import InputError
from common.foreign_files import foreign_file
from DatasetLoader import batches, train_loader
from inference.evaluation import (
    LostBatch,
    Stopped,
    check_stop,
    evaluate_trials,
    path_of_list,
    represent_cohort,
    until_end,
)
from inference.scorer import Scorer
from network.checkpoints import load_weights
from options.run_options import configuration
from SpeakerNet import NonFiniteLoss
from training.best import error_of, repair_best
from training.divergence import (
    explained,
    non_finite_text,
    require_finite_weights,
    warn_of_skipped,
)
from training.epoch_lines import Best, EpochLines
from training.initial_weights import read_pretrained_part, start_from_weights
from training.lost_batches import complete
from training.overview import log_overview
from training.progress import Clock, StopRequest, show_terms, warn_of_waiting
from training.resume import (
    apply_changes,
    descriptions_of_lists,
    log_changes,
    position_now,
    refuse_late_changes,
    require_resumable,
    require_same_components,
    settings_of,
)
from training.run_folder import RunFolder
from training.task import Task

log = logging.getLogger("trainSpeakerNet")
# Attributes of a TrainingRun that its checkpoints store.
RUN_PROGRESS = ("best", "stale", "validated", "evaluated", "result")


class TrainingRun:
    """A training run in the folder --save_path.

    Everything is checked when the run is created. train() starts or resumes it, from any point, and
    continues to the end or until a stop is requested.

    best: lowest EER (or validation loss) so far. best_number: epoch or step of its evaluation, None
    if it is unknown. stale: number of evaluations since then. validated: step of the last
    evaluation within an epoch. evaluated, result: step and result of the last evaluation.
    lists: descriptions of the lists, see training/resume.py.
    """

    def __init__(self, options: argparse.Namespace, state: dict | None, argv: list[str]):
        """state: the checkpoint of --initial_model, or None. argv: the command line."""
        if not options.train_list:
            raise InputError(
                "--train_list is missing. Give --train_list FILE and --train_path DIR to train, or "
                "--eval, --extract or --verify to use a checkpoint."
            )
        self.options = options
        self.stop = StopRequest()
        self.folder = RunFolder(options)
        stored = self.folder.read_last()
        part = read_pretrained_part(options, stored, state)
        if stored:
            require_same_components(options, stored["options"], self.folder.last)
        self.task = Task(options)
        self.trainer = self.task.trainer
        self.lines = EpochLines(
            self.task.terms, options.max_epoch, self.last_step, by_step=bool(options.validate_every)
        )
        self.best = math.inf
        self.best_number: int | None = None
        self.stale = 0
        self.validated = 0
        self.evaluated = 0
        self.result: dict = {}
        # Thresholds of the last evaluation, with the digits that decide.
        self.threshold_texts: dict[str, str] = {}
        self.saved_at = time.monotonic()
        self.warned_of_waiting = False
        self.lists = distributed.on_rank_zero(descriptions_of_lists, self.task)
        # Everything is checked before the folder is changed.
        if stored:
            self.resume(stored)
        else:
            start_from_weights(self.task, state, part)
        # A barrier: all processes have read the folder before one of them writes to it.
        distributed.any_rank(False)
        self.begin(argv)

    # ------------------------------------------------------------------ start
    def begin(self, argv: list[str]) -> None:
        """Prepares the folder. Nothing was written to it before."""
        distributed.on_rank_zero(self.folder.open, argv)
        # The lines of the current epoch will be written again.
        self.folder.trim_log(self.trainer.epoch if self.trainer.step else 0, self.validated)
        self.best_number = self.folder.place_of_best(self.best, self.name_of_number())
        if not distributed.rank() and self.best < math.inf:
            repair_best(self.folder.path, self.best)
        self.folder.open_board()

    def resume(self, state: dict) -> None:
        """Continues the run that is in the folder, from its last checkpoint."""
        last = self.folder.last
        trainer = self.trainer
        self.lists = require_resumable(self.task, self.lists, state, last)
        load_weights(trainer.net, state, last)
        trainer.start_average()
        settings = settings_of(trainer.optimizer)
        with foreign_file(last, "the state of the training cannot be used ({}).".format):
            trainer.resume(state)
        trainer.position = position_now(state, self.options.accumulate)
        apply_changes(trainer, settings, self.options, state["options"])
        for name in RUN_PROGRESS:
            setattr(self, name, state.get(name, getattr(self, name)))
        if trainer.step >= self.last_step or self.stalled():
            refuse_late_changes(self.options, state, last)
        log_changes(self.options, state["options"])
        log.info("Resuming %s at epoch %d, step %d.", last, trainer.epoch, trainer.step)

    # ------------------------------------------------------------------ the loop
    @property
    def last_step(self) -> int:
        """Number of updates of the run."""
        return min(self.task.last_step(), self.options.max_steps or math.inf)

    def train(self) -> None:
        """Trains to the end, or until a stop is requested."""
        log_overview(self.task)
        # A further signal must not end the program while it saves.
        with self.stop:
            try:
                self.train_epochs()
            except (Stopped, OSError) as error:
                self.stop.raise_if_unrelated(error)
                self.save("last")
                step = self.trainer.step
                log.info("Stopped at step %d and saved. Run the same command to resume.", step)
            except LostBatch:
                self.save("last")
                log.info("Saved at step %d.", self.trainer.step)
                raise
            except NonFiniteLoss as error:
                self.keep_line(error.step)
                files = [self.task.dataset.utterances[i].path for i in error.index]
                raise InputError(non_finite_text(error, self.trainer, files)) from None
            except RuntimeError as error:
                self.stop.end_if_compiling(error)
                raise
            else:
                if self.stalled():
                    log.info("Stopped early after %d evaluations without a better EER.", self.stale)
                log.info("Done: %s", self.folder.path)
            finally:
                self.folder.close()

    def train_epochs(self) -> None:
        """The epoch loop."""
        options = self.options
        trainer = self.trainer
        loader = train_loader(
            self.task.dataset,
            self.task.sampler,
            workers=options.nDataLoaderThread,
            pin_memory=trainer.device.type == "cuda",
        )
        with (
            logging_redirect_tqdm(),
            tqdm(total=self.last_step, initial=trainer.step, unit="step", disable=None) as bar,
        ):
            # Evaluate the untrained network, with --eval_first.
            if options.eval_first and not trainer.step and (self.task.tests or self.task.valid):
                self.write_line({"epoch": 0, "step": 0}, self.evaluate())
            # A run may have been stopped after its last step, before the evaluation.
            unfinished = trainer.step < self.last_step or trainer.position > 0
            while unfinished and not self.stalled():
                self.train_epoch(loader, bar)
                unfinished = trainer.step < self.last_step

    def train_epoch(self, loader: Iterable, bar: tqdm) -> None:
        """Trains for the rest of the current epoch, evaluates, writes the log, saves."""
        trainer = self.trainer
        clock = Clock()
        first = trainer.position
        # Make the updates that are left of the epoch.
        if trainer.step < self.last_step:
            self.train_steps(loader, bar, clock)
        if self.stalled():
            return
        # Collect the log line: means of the losses, speed, waiting time.
        utterances = (trainer.position - first) * self.task.sampler.utterances
        line = self.losses_so_far() | clock.report(utterances)
        self.warn_of_waiting(line)
        warn_of_skipped(trainer)
        # Evaluate, if an evaluation is due.
        due, number = self.evaluation_due()
        results = self.results_after(line) if due else {}
        # Write the log line.
        self.write_line(line, results)
        # Start the next epoch.
        if trainer.position >= self.task.sampler.batches_of(trainer.epoch):
            trainer.next_epoch(line | results)
        # Save the last, the best and the numbered checkpoint.
        if due:
            self.save_checkpoints(number)

    def train_steps(self, loader: Iterable, bar: tqdm, clock: Clock) -> None:
        """Makes the updates that are left of the epoch. Raises Stopped if a stop is requested."""
        options = self.options
        trainer = self.trainer
        self.task.sampler.set_epoch(trainer.epoch, skip=trainer.position)
        bar.total = self.last_step
        bar.set_description(f"epoch {trainer.epoch}/{options.max_epoch}")
        # A stop may have come between an update and its evaluation.
        if self.validation_due():
            self.validate()
        for terms in trainer.train_epoch(clock.watch(complete(batches(loader), self.stop))):
            self.task.align_schedule()
            # Show progress.
            show_terms(bar, terms, clock)
            # Stop, if requested in any process.
            seconds = time.monotonic() - self.saved_at
            stop, save = distributed.any_rank(
                self.stop.requested, seconds > 60 * options.save_minutes
            )
            if stop:
                raise Stopped
            # Print the losses every --print_every updates.
            if options.print_every and trainer.step % options.print_every == 0:
                log.info(self.lines.of_update(trainer.epoch, trainer.step, trainer.sync()))
            if trainer.step >= self.last_step:
                break
            # Evaluate every --validate_every updates.
            if self.validation_due():
                self.validate()
            if self.stalled():
                return
            # Save every --save_minutes.
            if save:
                self.save("last")

    # ------------------------------------------------------------------ evaluation
    def stalled(self) -> bool:
        """Returns whether --early_stopping ends the run."""
        return 0 < self.options.early_stopping <= self.stale

    def validation_due(self) -> bool:
        """Returns whether an evaluation within the epoch is due.

        train_epoch() evaluates at the end of the epoch.
        """
        every = self.options.validate_every
        trainer = self.trainer
        if not every or trainer.step % every or self.validated >= trainer.step:
            return False
        return 0 < trainer.position < self.task.sampler.batches_of(trainer.epoch)

    def name_of_number(self) -> str:
        """Returns what numbers the evaluations: "step" with --validate_every, else "epoch"."""
        return "step" if self.options.validate_every else "epoch"

    def evaluation_due(self) -> tuple[bool, int]:
        """Returns whether an evaluation is due at the end of an epoch, and its number."""
        every = self.options.validate_every or self.options.test_interval
        number = getattr(self.trainer, self.name_of_number())
        return number % every == 0 or self.trainer.step >= self.last_step, number

    def validate(self) -> None:
        """Evaluates within an epoch."""
        line = self.losses_so_far()
        results = self.results_after(line)
        self.write_line(line, results)
        self.trainer.follow(results)
        self.validated = line["step"]
        self.save_checkpoints(line["step"])

    def results_after(self, line: dict) -> dict:
        """Returns evaluate(). The log line is kept if the network has diverged."""
        try:
            require_finite_weights(self.trainer)
            return self.evaluate()
        except InputError as error:
            self.write_line(line, {})
            raise explained(error, self.trainer) from None

    def evaluate(self) -> dict:
        """Returns the validation loss and the metrics of every list of trials.

        The names of the second and later lists end in their number. The checkpoints store the
        result.
        """
        task = self.task
        trainer = self.trainer
        result = {}
        if task.valid:
            result = self.validation_losses()
        scorer = Scorer(trainer.eval_net, device=trainer.device, mixedprec=self.options.mixedprec)
        cohort = task.cohort if task.tests else None
        cohort_reps = represent_cohort(scorer, cohort, self.options, self.stop)
        for number, (trials, dataset) in enumerate(task.tests, 1):
            path = path_of_list(self.folder.scores, number)
            reps: dict = {}
            summaries = evaluate_trials(
                scorer, trials, dataset, self.options, path, self.stop, cohort_reps, reps
            )
            suffix = "" if number == 1 else f"_{number}"
            for part, summary in summaries.items():
                for name, value in summary.results().items():
                    result[f"{name}{part}{suffix}"] = value
                self.threshold_texts[f"threshold{part}{suffix}"] = summary.eer_threshold_text
            self.folder.write_trials(number, summaries.get(""), reps, trainer.step)
        self.evaluated = trainer.step
        self.result = result
        return result

    def validation_losses(self) -> dict:
        """Returns the losses of --valid_list, with names that begin with valid_."""
        items = distributed.shard(self.task.valid_items)
        loader = train_loader(self.task.valid, items, workers=self.options.nDataLoaderThread)
        caught: list[InputError] = []
        losses = self.trainer.validate(until_end(batches(loader), self.stop, caught))
        check_stop(self.stop, *caught)
        return {f"valid_{name}": value for name, value in losses.items()}

    # ------------------------------------------------------------------ checkpoints and log
    def save_checkpoints(self, number: int) -> None:
        """Saves after an evaluation: the last, the best and the last --keep numbered ones."""
        error = error_of(self.result)
        names = ["last", f"model{number:09d}"]
        if error < self.best:
            names.append("best")
            self.best = error
            self.stale = 0
        else:
            self.stale += 1
        self.save(*names)
        self.folder.remove_old_checkpoints()

    def save(self, *names: str) -> None:
        """Writes the state of the run to checkpoints with the given names."""
        state = self.trainer.state()
        state["options"] = configuration(self.options)
        state["classes"] = self.task.classes
        state["lists"] = self.lists
        state["steps_per_epoch"] = self.task.steps_per_epoch
        for name in RUN_PROGRESS:
            state[name] = getattr(self, name)
        self.saved_at = time.monotonic()
        self.folder.write_checkpoints(state, *names)

    def losses_so_far(self) -> dict:
        """Returns the beginning of a log line: the means over the epoch so far."""
        line = {"epoch": self.trainer.epoch, "step": self.trainer.step}
        return line | self.trainer.means()

    # ------------------------------------------------------------------ messages
    def write_line(self, line: dict, results: dict) -> None:
        """Writes and prints the log line of an epoch or of an evaluation.

        results: of the evaluation, empty without one. They do not change `best` yet.
        """
        trainer = self.trainer
        error = error_of(results)
        if line["step"] and error < self.best:
            self.best_number = line[self.name_of_number()]
        best = Best(min(error, self.best), self.best_number)
        lr = trainer.terms.get("lr", trainer.optimizer.param_groups[0]["lr"])
        shown = best if line["step"] and best.value < math.inf else None
        text = self.lines.of_epoch(line, results, lr, shown, self.threshold_texts)
        self.folder.write_log(line | results, text)

    def keep_line(self, step: int) -> None:
        """Writes the log line of an epoch that ended at a loss that is not finite."""
        self.trainer.pending.clear()
        self.write_line(self.losses_so_far() | {"step": step}, {})

    def warn_of_waiting(self, line: dict) -> None:
        """Warns once if training spends much of its time waiting for data."""
        if not self.warned_of_waiting:
            self.warned_of_waiting = warn_of_waiting(line, self.options.nDataLoaderThread)
