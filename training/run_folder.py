"""The folder of a training run, and the files in it. Only rank 0 writes."""

import argparse
import json
import logging
import platform
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
import yaml

import distributed
from common.errors import InputError, naming
from common.run_paths import (
    CHECKPOINTS,
    COMMAND,
    CONFIG,
    LAST_CHECKPOINT,
    LOG,
    NUMBERED_CHECKPOINTS,
    SCORES,
)
from common.writing import write_atomically
from network.checkpoints import write_checkpoint
from options.parser import configuration
from report import tensorboard

log = logging.getLogger("trainSpeakerNet")
ROOT = Path(__file__).parent.parent


def last_checkpoint(options: argparse.Namespace) -> Path:
    """Returns the path of the checkpoint that a run resumes from."""
    return Path(options.save_path, LAST_CHECKPOINT)


class RunFolder:
    """The folder --save_path of a run.

    path: the folder. last: its last checkpoint. scores: the scores file of the first list of
    trials. Raises InputError if the folder contains a run and --no-requeue was given. Also raises
    InputError if --tensorboard was given and TensorBoard is not installed. Creating the object
    changes nothing on the disk.
    """

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.path = Path(options.save_path)
        self.last = last_checkpoint(options)
        self.scores = self.path / SCORES
        self.board = None
        if self.last.exists() and not options.requeue:
            raise InputError(
                f"{self.last}: this folder contains a run, and --no-requeue does not resume it. "
                "Choose another --save_path, or leave out --no-requeue."
            )
        if options.tensorboard:
            # Fails if TensorBoard is not installed.
            tensorboard.writer_class()

    def open(self, argv: list[str]) -> None:
        """Writes config.yaml and command.txt, which document how the run was started."""
        if distributed.rank():
            return
        for folder in (self.path / CHECKPOINTS, self.scores.parent):
            folder.mkdir(parents=True, exist_ok=True)
        config = yaml.safe_dump(configuration(self.options), sort_keys=False)
        write_atomically(self.path / CONFIG, config.encode())
        git = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        command = shlex.join(["python", *sys.argv[:1], *argv])
        versions = (
            f"# revision {git.stdout.strip() or 'unknown'}, python {platform.python_version()}, "
            f"torch {torch.__version__}, numpy {np.__version__}"
        )
        with naming(self.path / COMMAND), (self.path / COMMAND).open("a") as file:
            file.write(f"{command}\n{versions}\n")

    def trim_log(self, epoch: int, validated: int) -> None:
        """Removes the lines of log.jsonl that the resumed run will write again.

        The lines of `epoch` and of later epochs are removed, except for evaluations within an epoch
        up to step `validated`. The last line may be incomplete.
        """
        path = self.path / LOG
        if distributed.rank() or not path.exists():
            return
        kept = []
        for text in path.read_text().splitlines(keepends=True):
            if not text.endswith("\n"):
                continue
            line = json.loads(text)
            if line["epoch"] < epoch or 0 < line["step"] <= validated:
                kept.append(text)
        write_atomically(path, "".join(kept).encode())

    def open_board(self) -> None:
        """Opens the files for TensorBoard, if --tensorboard was given."""
        if self.options.tensorboard and not distributed.rank():
            self.board = tensorboard.open_board(self.path)

    def close(self) -> None:
        """Closes the files for TensorBoard."""
        if self.board:
            self.board.close()

    def place_of_best(self, best: float, name: str) -> int | None:
        """Returns the epoch or the step of the evaluation whose EER or validation loss was `best`.

        name: "epoch" or "step". Returns None if log.jsonl has no such evaluation. The evaluation of
        the untrained network does not count.
        """
        path = self.path / LOG
        if distributed.rank() or not path.exists():
            return None
        for text in path.read_text().splitlines():
            line = json.loads(text)
            if line["step"] and line.get("EER", line.get("valid_loss")) == best:
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
        """Removes all numbered checkpoints except for the last --keep ones."""
        if distributed.rank():
            return
        numbered = sorted(self.path.glob(NUMBERED_CHECKPOINTS))
        for old in numbered[: -self.options.keep]:
            old.unlink()
