"""The folder of a training run, and the files in it. Only rank 0 writes."""

import argparse
import fcntl
import json
import logging
import math
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import IO

import numpy as np
import torch

import distributed
from common.errors import InputError, naming
from common.foreign_files import are_numbers
from common.outputs import check_output, input_files
from common.run_paths import (
    BEST_CHECKPOINT,
    CHECKPOINTS,
    COMMAND,
    CONFIG,
    LAST_CHECKPOINT,
    LOG,
    NUMBERED_CHECKPOINTS,
    SCORES,
    TENSORBOARD,
)
from common.writing import remove_parts, write_atomically
from inference.evaluation import path_of_list, path_of_part
from inference.score_paths import OUTPUTS
from inference.trial_lists import lists_and_roots
from metrics.own_files import is_scores
from network.checkpoints import read_run, write_checkpoint
from options.run_options import config_text
from report import tensorboard
from training.best import error_of
from training.ownership import REVISION, is_ours, require_own_files

log = logging.getLogger("trainSpeakerNet")
ROOT = Path(__file__).parent.parent


def last_checkpoint(options: argparse.Namespace) -> Path:
    """Returns the path of the checkpoint that a run resumes from."""
    return Path(options.save_path, LAST_CHECKPOINT)


def scores_of_run(options: argparse.Namespace) -> list[Path]:
    """Returns the scores files that a run writes: raw ones, and normalised ones if asked for."""
    paths = []
    for number, _ in enumerate(lists_and_roots(options)[0], 1):
        path = path_of_list(Path(options.save_path, SCORES), number)
        paths.append(path)
        if options.score_norm:
            paths.append(path_of_part(path, f"_{options.score_norm}"))
    return paths


def lines_of_command(argv: list[str]) -> str:
    """Returns the lines of command.txt about this command: the command itself, and versions."""
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    command = shlex.join(["python", *sys.argv[:1], *argv])
    versions = (
        f"{REVISION}{git.stdout.strip() or 'unknown'}, python {platform.python_version()}, "
        f"torch {torch.__version__}, numpy {np.__version__}"
    )
    return f"{command}\n{versions}\n"


def contents_of_line(text: str) -> dict | None:
    """Returns the contents of a line of log.jsonl, or None if it is damaged."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    known = isinstance(line, dict) and isinstance(line.get("epoch"), int)
    known = known and isinstance(line.get("step"), int) and are_numbers(line.values())
    return line if known else None


class RunFolder:
    """The folder --save_path of a run.

    path: the folder. last: its last checkpoint. scores: the scores file of the first list of
    trials. Raises InputError if the folder contains a run and --no-requeue was given, or if it
    contains files of another program, or if another process trains in it. Also raises InputError if
    --tensorboard was given and TensorBoard is not installed. Creating the object changes nothing on
    the disk.
    """

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.path = Path(options.save_path)
        self.last = last_checkpoint(options)
        self.scores = self.path / SCORES
        self.board = None
        # command.txt, which is locked. Only rank 0 holds it.
        self.command: IO[str] | None = None
        distributed.on_rank_zero(self.claim)
        self.is_new = not self.last.exists()
        if self.last.exists() and not options.requeue:
            raise InputError(
                f"{self.last}: this folder contains a run, and --no-requeue does not resume it. "
                "Choose another --save_path, or leave out --no-requeue."
            )
        if options.tensorboard:
            # Fails if TensorBoard is not installed.
            tensorboard.writer_class()

    def claim(self) -> None:
        """Raises InputError if the folder belongs to another program or to a running process."""
        scores = scores_of_run(self.options)
        board = [self.path / TENSORBOARD] if self.options.tensorboard else []
        require_own_files(self.path, [*scores, *board])
        inputs = input_files(vars(self.options), OUTPUTS)
        for path in scores:
            check_output(str(path), path, inputs, is_scores)
        evaluations = [line for _, line in self.lines_of_log() if error_of(line) < math.inf]
        if not self.last.exists():
            self.require_new(evaluations)
        if (self.path / COMMAND).exists():
            self.lock()

    def require_new(self, evaluations: list[dict]) -> None:
        """Raises InputError if the folder, which has no last checkpoint, has had one.

        evaluations: their log lines. A checkpoint is written after every evaluation in training, so
        only the last of them may be without one.
        """
        weights = [self.path / BEST_CHECKPOINT, *sorted(self.path.glob(NUMBERED_CHECKPOINTS))]
        weights = [path for path in weights if path.exists()]
        if not weights and sum(line["step"] > 0 for line in evaluations) < 2:
            return
        start = f" To start from its weights, add --initial_model {weights[-1]}." if weights else ""
        raise InputError(
            f"{self.last}: there is no such checkpoint, although this folder contains a run. A new "
            f"run would replace its files. Restore the checkpoint, or choose another --save_path."
            f"{start}"
        )

    def lock(self) -> None:
        """Locks command.txt, so that no other process trains in this folder.

        The lock is released by close(), or when the process ends in any way. Loader processes do
        not inherit it. Closing any other file object of command.txt would release it too, so
        nothing else may open the file from here on. Reading a run does not need the lock.
        """
        file = (self.path / COMMAND).open("a", encoding="utf-8", errors="backslashreplace")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            file.close()
            raise InputError(
                f"{self.path}: another process is training in this folder, see the last command in "
                f"{self.path / COMMAND}. Wait for its end, or choose another --save_path."
            ) from None
        except OSError as error:
            log.warning(
                "warning: %s: this file system has no locks (%s). Do not start another run in this "
                "folder.",
                self.path,
                error.strerror,
            )
        self.command = file

    def open(self, argv: list[str]) -> None:
        """Writes config.yaml and command.txt, which document how the run was started.

        Only rank 0 calls this method. Raises InputError if another process has begun a run in the
        folder since it was checked.
        """
        for folder in (self.path / CHECKPOINTS, self.scores.parent):
            folder.mkdir(parents=True, exist_ok=True)
        lines = lines_of_command(argv)
        if not self.command:
            self.lock()
        if self.is_new and self.last.exists():
            raise InputError(
                f"{self.path}: another process has trained in this folder in the meantime. Choose "
                "another --save_path."
            )
        # Written first, because it marks the folder as a run of this program.
        with naming(self.path / COMMAND):
            self.command.write(lines)
            self.command.flush()
        write_atomically(self.path / CONFIG, config_text(self.options).encode())
        # A process that was killed may have left parts of checkpoints.
        remove_parts((self.path / CHECKPOINTS).glob("*.model.*.part"))

    def read_last(self) -> dict | None:
        """Returns the last checkpoint, or None for a new run."""
        return read_run(self.last) if self.last.exists() else None

    def lines_of_log(self) -> list[tuple[str, dict]]:
        """Returns the lines of log.jsonl, as texts and as contents.

        A kill may have left the last line incomplete, so a last line without its end is left out.
        Raises InputError if another line is damaged.
        """
        path = self.path / LOG
        lines = []
        texts = path.read_text(errors="replace").splitlines(keepends=True) if path.exists() else []
        for number, text in enumerate(texts, 1):
            if not text.endswith("\n"):
                continue
            line = contents_of_line(text)
            if line is None:
                raise InputError(
                    f"{path}:{number}: expected a line of the log with epoch and step, found "
                    f"{text[:40].strip()!r}. The file is damaged. Remove this line, or restore the "
                    "file."
                )
            lines.append((text, line))
        return lines

    def trim_log(self, epoch: int, validated: int) -> None:
        """Removes the lines of log.jsonl that the resumed run will write again.

        The lines of `epoch` and of later epochs are removed, except for evaluations within an epoch
        up to step `validated`.
        """
        path = self.path / LOG
        if distributed.rank() or not path.exists():
            return
        kept = []
        for text, line in self.lines_of_log():
            if line["epoch"] < epoch or 0 < line["step"] <= validated:
                kept.append(text)
        write_atomically(path, "".join(kept).encode())

    def open_board(self) -> None:
        """Opens the files for TensorBoard, if --tensorboard was given."""
        if self.options.tensorboard and not distributed.rank():
            self.board = tensorboard.open_board(self.path)

    def close(self) -> None:
        """Closes the files for TensorBoard, and releases the lock."""
        if self.board:
            self.board.close()
        if self.command:
            self.command.close()

    def place_of_best(self, best: float, name: str) -> int | None:
        """Returns the epoch or the step of the evaluation whose EER or validation loss was `best`.

        name: "epoch" or "step". Returns None if log.jsonl has no such evaluation. The evaluation of
        the untrained network does not count.
        """
        if distributed.rank():
            return None
        for _, line in self.lines_of_log():
            if line["step"] and error_of(line) == best:
                return line[name]
        return None

    def write_log(self, line: dict, text: str) -> None:
        """Appends a line to log.jsonl, and prints its text."""
        if distributed.rank():
            return
        if self.board:
            # Before log.jsonl; report/tensorboard.py says why.
            tensorboard.write_line(self.board, line)
        with naming(self.path / LOG), (self.path / LOG).open("a") as file:
            file.write(json.dumps(line) + "\n")
        log.info(text)

    def write_trials(self, number: int, summary, reps: dict, step: int) -> None:
        """Shows the result of list `number` of trials in TensorBoard."""
        if self.board:
            tensorboard.write_trials(self.board, number, summary, reps, step)

    def write_checkpoints(self, state: dict, *names: str) -> None:
        """Writes the state of the run to checkpoints with the given names."""
        if not distributed.rank():
            folder = self.path / CHECKPOINTS
            write_checkpoint(state, *(folder / f"{name}.model" for name in names))

    def remove_old_checkpoints(self) -> None:
        """Removes all numbered checkpoints of this program except for the last --keep ones."""
        if distributed.rank():
            return
        numbered = [path for path in sorted(self.path.glob(NUMBERED_CHECKPOINTS)) if is_ours(path)]
        for old in numbered[: -self.options.keep]:
            old.unlink()
