"""Trains, resumes, evaluates and uses a speaker-verification network.

python trainSpeakerNet.py --config configs/demo.yaml                              trains; the same command again resumes
python trainSpeakerNet.py --eval --initial_model exps/demo/model/best.model --test_list trials.txt --test_path wav
python trainSpeakerNet.py --verify a.wav b.wav --initial_model exps/demo/model/best.model            (--help: all options)
"""
import argparse
import ctypes
import inspect
import json
import logging
import math
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

if os.environ.get("RANK", "0") != "0":                                          # of several processes the first one tells; read when tqdm is loaded
    os.environ["TQDM_DISABLE"] = "1"
# Read when torch is loaded: threads that wait for each other must not spin on a core that a loader process wants; large pages for tensors on the CPU.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import numpy as np
import torch
import yaml
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

import parallel
from checkpoints import read_checkpoint, with_head_for, write_checkpoint
from corpus import InputError, write_atomically
from corpus.augment import mixed
from corpus.cohort import the_cohort
from corpus.listing import shared_speakers, speakers_by_folder
from corpus.lists import classes_of
from DatasetLoader import LoadingError, batches, train_loader
from memory import largest_batch, remedy
from options.choices import build_net, source_of, the_device
from options.parser import build, configuration, contradictions, find, parse
from parallel.launch import already_told, launch, number_of_processes
from report.tensorboard import open_board, write_line, write_trials, writer_class
from sampling import GroupSampler, QuotaSampler, every_group
from SpeakerNet import NonFiniteLoss, Trainer
from use.checkpoint import ACTIONS
from use.evaluation import Stopped, check_stop, embed_cohort, evaluate, numbered, read_tests, refuse_pairwise

log = logging.getLogger("trainSpeakerNet")
HERE = Path(__file__).parent
MUCH_WAITING = 0.2                                                              # share of the time
RUN_PROGRESS = ("best", "stale", "validated", "result")                         # of a Run, in its checkpoints


def keep_freed_memory():
    """glibc hands large blocks back to the system as soon as they are free, and getting them again, page by page, takes a fifth of a step on a CPU."""
    libc = ctypes.CDLL(None)
    if platform.libc_ver()[0] == "glibc":
        libc.mallopt(-4, 0)                                                     # M_MMAP_MAX: large blocks come from the heap, which
        libc.mallopt(-1, 2**31 - 1)                                             # M_TRIM_THRESHOLD: is kept


class Stop:
    """Within it SIGTERM and Ctrl-C only set `requested`; the second one is not held back."""

    def __init__(self):
        self.requested = False

    def __enter__(self):
        self.before = {number: signal.signal(number, self.request) for number in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def request(self, number, _):
        self.requested = True
        signal.signal(number, signal.default_int_handler)


def warn_of_shared_speakers(utterances, tests):
    originals = [u for u in utterances if u.speed == 1]
    level, folders = speakers_by_folder([u.speaker for u in originals], [u.path for u in originals])
    for trials, _ in tests:
        if shared := shared_speakers(level, folders, trials.paths()):
            log.warning("warning: %d speakers of the trials are in the train list too (%s%s): the EER will be lower than that of unknown speakers",
                        len(shared), ", ".join(shared[:5]), ", ..." if len(shared) > 5 else "")


class Clock:
    """Measures a stretch of training: seconds in all, and the part of them spent waiting for data."""

    def __init__(self):
        self.start, self.waited = time.monotonic(), 0.0

    def watch(self, items):
        before = time.monotonic()
        for item in items:
            self.waited += time.monotonic() - before
            yield item
            before = time.monotonic()

    def waiting(self):
        """The share of the time."""
        return self.waited / (time.monotonic() - self.start)

    def report(self, utterances):
        seconds = time.monotonic() - self.start
        return {"utt_per_s": round(utterances / seconds, 1), "seconds": round(seconds, 2), "waiting": round(self.waiting(), 4)}


class Run:
    """A training run in its folder: everything is checked when it is made; train() goes on to the end or to a stop, from any point."""

    def __init__(self, options, state, argv):
        self.options, self.stop, self.folder = options, Stop(), Path(options.save_path)
        if not options.train_list:
            raise InputError("want --train_list FILE (and --train_path FOLDER) to train, or --eval, --extract, --verify to use a checkpoint")
        self.last = self.folder / "model" / "last.model"
        if self.last.exists() and not options.requeue:
            raise InputError(f"{self.last}: there is a run already, which --no-requeue does not go on with; choose another --save_path, or leave it out")
        if not options.ema < 1:
            raise InputError(f"--ema: want a decay below 1, for instance 0.999, or 0 for no average, got {options.ema:g}")
        if options.tensorboard:
            writer_class()                                                      # complains where it is not installed
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
        # stale: evaluations since the best one; validated: step of the last evaluation within an epoch
        self.best, self.stale, self.validated, self.result, self.saved = math.inf, 0, 0, {}, time.monotonic()
        self.warned = False
        self.open_folder(argv)
        self.begin(state)

    def fitting_batch(self, utterances):
        """--batch_size auto: that of the run that is gone on with, or as many speakers as updates of a trainer that is thrown away leave room for."""
        options = self.options
        if self.last.exists():
            return read_checkpoint(self.last)["options"]["batch_size"]
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

    def open_folder(self, argv):
        """config.yaml and command.txt tell how the run came about."""
        if parallel.rank():
            return
        for name in ("model", "result"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        write_atomically(self.folder / "config.yaml", yaml.safe_dump(configuration(self.options), sort_keys=False).encode())
        git = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False).stdout.strip()
        with (self.folder / "command.txt").open("a") as file:
            file.write(f"{shlex.join(['python', *sys.argv[:1], *argv])}\n# revision {git or 'unknown'}, python {platform.python_version()}, "
                       f"torch {torch.__version__}, numpy {np.__version__}\n")

    def begin(self, state):
        """From the folder's last checkpoint, else from --initial_model, else from nothing."""
        last = self.last
        if last.exists():
            state = read_checkpoint(last)
            contradictions(vars(self.options), state["options"], self.options, last)
            if state["classes"] != self.classes:
                raise InputError(f"{last}: this run had other speakers ({len(state['classes'])}, now {len(self.classes)}); choose another --save_path")
            self.trainer.load(state, last)
            self.trainer.resume(state)
            for name in RUN_PROGRESS:
                setattr(self, name, state.get(name, getattr(self, name)))
            for name, value in configuration(self.options).items():
                if value != state["options"].get(name):
                    log.info("changed since: --%s %s -> %s", name, state["options"].get(name), value)
            log.info("going on with %s: epoch %d, step %d", last, self.trainer.epoch, self.trainer.step)
        elif state:
            head = "wanted" if "options" in state else "optional"               # published weights are there to be trained on, with other speakers
            state = with_head_for(self.classes, state, self.trainer.net)
            for problem in self.trainer.load(state, self.options.initial_model, self.options.partial, head):
                log.info("%s: left out: %s", self.options.initial_model, problem)
        self.trim_log()
        self.board = open_board(self.folder) if self.options.tensorboard and not parallel.rank() else None
        parallel.anyone(False)                                                  # all have read before one writes

    def train(self):
        options, trainer = self.options, self.trainer
        log.info("%s, %s: %s parameters; %d classes, %d utterances, %d steps an epoch of %d utterances; %s%s", options.model, options.trainfunc,
                 f"{sum(p.numel() for p in trainer.net.parameters()):,}", len(self.classes), len(self.dataset.utterances), self.steps_per_epoch,
                 self.sampler.utterances * options.accumulate, trainer.device, f", {parallel.world()} processes" * (parallel.world() > 1))
        loader = train_loader(self.dataset, self.sampler, workers=options.nDataLoaderThread, pin_memory=trainer.device.type == "cuda")
        total = min(options.max_epoch * self.steps_per_epoch, options.max_steps or math.inf)
        try:
            with self.stop, logging_redirect_tqdm(), tqdm(total=total, initial=trainer.step, unit="step", disable=None) as bar:
                if options.eval_first and not trainer.step and (self.tests or self.valid):
                    self.write_log({"epoch": 0, "step": 0} | self.test())
                open_epoch = trainer.step < total or trainer.position           # a stop may have come before its evaluation
                while open_epoch and not self.stalled():
                    self.epoch(loader, bar, total)
                    open_epoch = trainer.step < total
        except Stopped:
            self.save("last")
            log.info("stopped at step %d and saved; the same command goes on from here", trainer.step)
        except NonFiniteLoss as error:
            files = [self.dataset.utterances[i].path for i in error.index]
            raise InputError(f"{error}, in one of {len(files)} files: {', '.join(files)}; look at them, lower --lr, set --clip or tolerate it with "
                             "--skip_nonfinite N; the last checkpoint is untouched") from None
        else:
            log.info("done%s: %s", f", after {self.stale} evaluations without a better EER" if self.stalled() else "", self.folder)
        finally:
            if self.board:
                self.board.close()

    def stalled(self):
        return 0 < self.options.early_stopping <= self.stale

    def validation_due(self):
        """Within an epoch; what is due at its end is done there."""
        every, trainer = self.options.validate_every, self.trainer
        return every and trainer.step % every == 0 and self.validated < trainer.step and 0 < trainer.position < len(self.sampler)

    def validate(self, line):
        """An evaluation within an epoch; line: of the log, what is known without it."""
        results = self.test()
        self.write_log(line | results)
        self.trainer.watch(results)
        self.validated = line["step"]
        self.keep_checkpoints(line["step"])

    def epoch(self, loader, bar, total):
        """What is left of the epoch in progress: updates, evaluations when they are due, a line of the log, checkpoints."""
        options, trainer = self.options, self.trainer
        clock, begun = Clock(), trainer.position
        if trainer.step < total:
            self.sampler.set_epoch(trainer.epoch, skip=trainer.position)
            bar.set_description(f"epoch {trainer.epoch}/{options.max_epoch}")
            if self.validation_due():                                           # a stop came before it
                self.validate(self.so_far())
            for terms in trainer.train_epoch(clock.watch(batches(loader))):
                bar.update()
                bar.set_postfix({name: f"{value:.3g}" for name, value in terms.items()} | {"waiting": f"{clock.waiting():.0%}"}, refresh=False)
                stop, save = parallel.anyone(self.stop.requested, time.monotonic() - self.saved > 60 * options.save_minutes)
                if stop:
                    raise Stopped
                if options.print_every and trainer.step % options.print_every == 0:
                    log.info("step %d  %s", trainer.step,
                             "  ".join(f"{name} {value:.6g}" for name, value in trainer.settle().items()))
                if trainer.step >= total:
                    break
                if self.validation_due():
                    self.validate(self.so_far())
                if self.stalled():
                    return
                if save:
                    self.save("last")
        line = self.so_far() | clock.report((trainer.position - begun) * self.sampler.utterances)
        self.warn_of_waiting(line)
        every, done = (options.validate_every, trainer.step) if options.validate_every else (options.test_interval, trainer.epoch)
        due = done % every == 0 or trainer.step >= total
        if due:
            line |= self.test()
        self.write_log(line)
        if trainer.position >= len(self.sampler):
            trainer.next_epoch(line)
        if due:
            self.keep_checkpoints(done)

    def warn_of_waiting(self, line):
        """Once, of an epoch that is long enough to tell."""
        if self.warned or line["seconds"] < 10 or line["waiting"] <= MUCH_WAITING:
            return
        self.warned, threads, cores = True, self.options.nDataLoaderThread, (os.cpu_count() or 1) // parallel.world()
        remedies = [f"raise --nDataLoaderThread (now {threads}, of {cores} cores)"] * (threads < cores) + [
            "read a pack on a fast disk (dataprep.py --pack)", "WAV files instead of FLAC"]
        log.warning("warning: %.0f %% of the time training waits for data: %s", 100 * line["waiting"], ", or ".join(remedies))

    def so_far(self):
        """The beginning of a line of the log: means over the epoch as far as it went."""
        return {"epoch": self.trainer.epoch, "step": self.trainer.step} | self.trainer.means()

    def keep_checkpoints(self, number):
        """Saves after an evaluation: the last, the best, and the last --keep numbered ones."""
        error = self.result.get("EER", self.result.get("valid_loss", math.inf))
        best = ["best"] if error < self.best else []
        self.best, self.stale = min(self.best, error), 0 if best else self.stale + 1
        self.save("last", f"model{number:09d}", *best)
        if parallel.rank():
            return
        for old in sorted((self.folder / "model").glob("model?????????.model"))[:-self.options.keep]:
            old.unlink()

    def test(self):
        """Validation loss and metrics of every list of trials, from the second on with its number; what came out is remembered in the checkpoints."""
        result = {}
        if self.valid:
            loader = train_loader(self.valid, parallel.share(self.valid_items), workers=self.options.nDataLoaderThread)
            result = {f"valid_{name}": value for name, value in self.trainer.validate(self.until_stop(batches(loader))).items()}
            check_stop(self.stop)
        cohort = embed_cohort(self.trainer, self.cohort if self.tests else None, self.options, self.stop)
        for number, (trials, dataset) in enumerate(self.tests, 1):
            path, reps = numbered(self.folder / "result" / "scores.txt", number), {}
            summaries = evaluate(self.trainer, trials, dataset, self.options, path, self.stop, cohort, reps)
            for part, summary in summaries.items():
                result |= {f"{name}{part}" if number == 1 else f"{name}{part}_{number}": value for name, value in summary.results().items()}
            if self.board:
                write_trials(self.board, number, summaries.get(""), reps, self.trainer.step)
        self.result = result
        return result

    def until_stop(self, items):
        for item in items:
            if self.stop.requested:
                return
            yield item

    def save(self, *names):
        state = self.trainer.state() | {"options": configuration(self.options), "classes": self.classes}
        state |= {name: getattr(self, name) for name in RUN_PROGRESS}
        self.saved = time.monotonic()
        if parallel.rank():
            return
        write_checkpoint(state, *(self.folder / "model" / f"{name}.model" for name in names))

    def write_log(self, line):
        """Appends a line to log.jsonl and tells it."""
        if parallel.rank():
            return
        if self.board:
            write_line(self.board, line)                                        # before, see report/tensorboard.py
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        log.info("  ".join(f"{name} {value:.6g}" for name, value in line.items()))

    def trim_log(self):
        """Drops the lines that will be written again: those of this epoch but for evaluations within it that are done. The last one may be torn."""
        epoch = self.trainer.epoch if self.trainer.step else 0
        path = self.folder / "log.jsonl"
        if path.exists() and not parallel.rank():
            lines = [text for text in path.read_text().splitlines(keepends=True) if text.endswith("\n")]
            kept = [text for text in lines if (line := json.loads(text))["epoch"] < epoch or 0 < line["step"] <= self.validated]
            write_atomically(path, "".join(kept).encode())


def main(argv):
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    keep_freed_memory()
    try:
        logging.disable(logging.WARNING if already_told(os.environ) else logging.NOTSET)
        options, state = parse(argv, os.environ, __doc__)
        logging.disable(logging.NOTSET)
        processes = number_of_processes(options)
        if processes > 1:
            return launch(processes, options.port, [__file__, *argv])
        parallel.join()
        act = next((act for mode, act in ACTIONS.items() if getattr(options, mode)), None)
        if act:
            act(options, state)
        else:
            Run(options, state, argv).train()
        parallel.leave()
    except InputError as error:
        if not parallel.rank() or isinstance(error, LoadingError):              # others are met by all processes
            sys.stderr.write(f"error: {error}\n")
        return 2
    except torch.OutOfMemoryError as error:                                      # of a GPU
        sys.stderr.write(f"error: {str(error).partition('. ')[0]}; {remedy(options, act)}\n")
        return 2
    except OSError as error:
        sys.stderr.write(f"error: {error.filename}: {error.strerror}\n" if error.filename else f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
