"""Trains, resumes, evaluates and uses a speaker-verification network.

python trainSpeakerNet.py --config configs/demo.yaml                              trains; the same command again resumes
python trainSpeakerNet.py --eval --initial_model exps/demo/model/best.model --test_list trials.txt --test_path wav
python trainSpeakerNet.py --verify a.wav b.wav --initial_model exps/demo/model/best.model            (--help: all options)
"""
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
from corpus import InputError, write_atomically
from DatasetLoader import LoadingError, batches, train_loader
from options.parser import configuration, contradictions, parse
from parallel.launch import already_told, launch, number_of_processes
from report.tensorboard import open_board, write_line, write_trials, writer_class
from SpeakerNet import NonFiniteLoss
from training.checkpoints import read_checkpoint, with_head_for, write_checkpoint
from training.memory import keep_freed_memory, remedy
from training.task import Task, last_of
from use.checkpoint import ACTIONS
from use.evaluation import Stopped, check_stop, embed_cohort, evaluate, numbered

log = logging.getLogger("trainSpeakerNet")
HERE = Path(__file__).parent
MUCH_WAITING = 0.2                                                              # share of the time
RUN_PROGRESS = ("best", "stale", "validated", "result")                         # of a Run, in its checkpoints


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
        self.last = last_of(options)
        if self.last.exists() and not options.requeue:
            raise InputError(f"{self.last}: there is a run already, which --no-requeue does not go on with; choose another --save_path, or leave it out")
        if options.tensorboard:
            writer_class()                                                      # complains where it is not installed
        self.task = Task(options)
        self.trainer = self.task.trainer
        # stale: evaluations since the best one; validated: step of the last evaluation within an epoch
        self.best, self.stale, self.validated, self.result, self.saved = math.inf, 0, 0, {}, time.monotonic()
        self.warned = False
        self.open_folder(argv)
        self.begin(state)

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
            if state["classes"] != self.task.classes:
                raise InputError(f"{last}: this run had other speakers ({len(state['classes'])}, now {len(self.task.classes)}); choose another --save_path")
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
            state = with_head_for(self.task.classes, state, self.trainer.net)
            for problem in self.trainer.load(state, self.options.initial_model, self.options.partial, head):
                log.info("%s: left out: %s", self.options.initial_model, problem)
        self.trim_log()
        self.board = open_board(self.folder) if self.options.tensorboard and not parallel.rank() else None
        parallel.anyone(False)                                                  # all have read before one writes

    def train(self):
        options, trainer = self.options, self.trainer
        log.info("%s, %s: %s parameters; %d classes, %d utterances, %d steps an epoch of %d utterances; %s%s", options.model, options.trainfunc,
                 f"{sum(p.numel() for p in trainer.net.parameters()):,}", len(self.task.classes), len(self.task.dataset.utterances), self.task.steps_per_epoch,
                 self.task.sampler.utterances * options.accumulate, trainer.device, f", {parallel.world()} processes" * (parallel.world() > 1))
        loader = train_loader(self.task.dataset, self.task.sampler, workers=options.nDataLoaderThread, pin_memory=trainer.device.type == "cuda")
        total = min(options.max_epoch * self.task.steps_per_epoch, options.max_steps or math.inf)
        try:
            with self.stop, logging_redirect_tqdm(), tqdm(total=total, initial=trainer.step, unit="step", disable=None) as bar:
                if options.eval_first and not trainer.step and (self.task.tests or self.task.valid):
                    self.write_log({"epoch": 0, "step": 0} | self.test())
                open_epoch = trainer.step < total or trainer.position           # a stop may have come before its evaluation
                while open_epoch and not self.stalled():
                    self.epoch(loader, bar, total)
                    open_epoch = trainer.step < total
        except Stopped:
            self.save("last")
            log.info("stopped at step %d and saved; the same command goes on from here", trainer.step)
        except NonFiniteLoss as error:
            files = [self.task.dataset.utterances[i].path for i in error.index]
            raise InputError(f"{error}, in one of {len(files)} files: {', '.join(files)}; look at them, lower --lr, set --clip or tolerate it with "
                             "--skip_nonfinite N; the last checkpoint is untouched") from None
        except RuntimeError as error:
            from torch._dynamo.exc import TorchDynamoException  # here: it takes a second to load
            if not (self.stop.requested and isinstance(error, TorchDynamoException)):
                raise
            log.info("stopped while --compile was at work; the last checkpoint is untouched")           # Ctrl-C has ended its compilers
            raise KeyboardInterrupt from None
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
        return every and trainer.step % every == 0 and self.validated < trainer.step and 0 < trainer.position < len(self.task.sampler)

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
            self.task.sampler.set_epoch(trainer.epoch, skip=trainer.position)
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
        line = self.so_far() | clock.report((trainer.position - begun) * self.task.sampler.utterances)
        self.warn_of_waiting(line)
        every, done = (options.validate_every, trainer.step) if options.validate_every else (options.test_interval, trainer.epoch)
        due = done % every == 0 or trainer.step >= total
        if due:
            line |= self.test()
        self.write_log(line)
        if trainer.position >= len(self.task.sampler):
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
        if self.task.valid:
            loader = train_loader(self.task.valid, parallel.share(self.task.valid_items), workers=self.options.nDataLoaderThread)
            result = {f"valid_{name}": value for name, value in self.trainer.validate(self.until_stop(batches(loader))).items()}
            check_stop(self.stop)
        cohort = embed_cohort(self.trainer, self.task.cohort if self.task.tests else None, self.options, self.stop)
        for number, (trials, dataset) in enumerate(self.task.tests, 1):
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
        state = self.trainer.state() | {"options": configuration(self.options), "classes": self.task.classes}
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
