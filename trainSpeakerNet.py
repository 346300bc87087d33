"""Trains a speaker-verification network, resumes the training, and evaluates and uses the network.

Train the demo; the same command resumes a stopped run:
    python trainSpeakerNet.py --config configs/demo.yaml
Score a list of trials with a checkpoint:
    python trainSpeakerNet.py --eval --initial_model exps/demo/model/best.model \\
        --test_list trials.txt --test_path wav
Compare two files:
    python trainSpeakerNet.py --verify a.wav b.wav --initial_model exps/demo/model/best.model
"""

from common.interrupts import (
    INTERRUPTED,
    end_at_interrupt,
    end_with_launcher,
    raise_at_interrupt,
)

if __name__ == "__main__":
    # The imports take seconds.
    end_at_interrupt()
    end_with_launcher()
import argparse
import logging
import os
import sys

# Of several processes only rank 0 shows a progress bar. Read when tqdm is loaded.
if os.environ.get("RANK", "0") != "0":
    os.environ["TQDM_DISABLE"] = "1"
# Read when torch is loaded. Waiting threads must not spin on a core that a loader process needs;
# large pages speed up tensors on the CPU.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

import distributed
from common.errors import InputError, file_problem
from common.terminal import run_program, start_logging, write_error
from DatasetLoader import LoadingError
from distributed.launch import (
    LOST_CONNECTION,
    is_launched,
    is_repeated,
    launch,
    number_of_processes,
)
from inference.actions import ACTIONS
from network.checkpoints import MisfitError, read_checkpoint
from network.devices import is_out_of_memory, memory_problem
from network.suggestions import explain_misfit
from options.parser import parse
from options.typed import TypedSpellings, option_of_file
from training.memory import keep_freed_memory, memory_remedy
from training.run import TrainingRun

log = logging.getLogger("trainSpeakerNet")


class Command:
    """One command line.

    spellings: the options as they were typed. options: None until they are read. action: what the
    options select, or None for training.
    """

    def __init__(self, argv: list[str]):
        self.argv = argv
        self.spellings = TypedSpellings(argv, os.environ)
        self.options: argparse.Namespace | None = None
        self.action: str | None = None

    def run(self) -> int | None:
        """Runs the command. Returns the exit code; None means 0."""
        # Read the options; only one process warns about them.
        logging.disable(logging.WARNING if is_repeated(os.environ) else logging.NOTSET)
        options, state = parse(self.argv, os.environ, __doc__, read_checkpoint)
        self.options = options
        logging.disable(logging.NOTSET)
        self.action = next((name for name in ACTIONS if getattr(options, name)), None)
        # Start further processes, which run this command line again.
        processes = number_of_processes(options, self.argv)
        if processes > 1:
            words = [__file__, *self.argv]
            return launch(processes, options.port, words, saves=not self.action)
        distributed.join()
        # Do what the options ask for.
        if self.action:
            ACTIONS[self.action](options, state)
        else:
            TrainingRun(options, state, self.argv).train()
        distributed.leave()
        return None

    def message(self, error: Exception) -> str:
        """Returns the text of an error, in the user's spelling of the options."""
        options = self.options
        text = str(error)
        if options and is_out_of_memory(error):
            remedy = memory_remedy(options, in_training=self.action is None)
            text = f"{memory_problem(error)}. {remedy}"
        elif isinstance(error, MisfitError) and options:
            text = explain_misfit(error, options, self.spellings.names, in_use=bool(self.action))
        elif isinstance(error, OSError) and error.filename:
            option = option_of_file(error.filename, vars(options) if options else {})
            place = f"--{option} {error.filename}" if option else error.filename
            text = f"{place}: {file_problem(error)}"
        return self.spellings.in_text(text)


def main(argv: list[str]) -> int | None:
    """Runs the command line. Returns the exit code; None means 0."""
    start_logging()
    keep_freed_memory()
    command = Command(argv)
    log.addFilter(command.spellings)
    try:
        raise_at_interrupt()
        return command.run()
    except InputError as error:
        # All processes meet the same InputErrors, except for LoadingErrors.
        if isinstance(error, LoadingError) or not distributed.rank_zero_reports():
            write_error(command.message(error))
        return 2
    except RuntimeError as error:
        if distributed.is_lost_connection(error):
            # The launcher reports a process that has been killed.
            if not is_launched(os.environ):
                write_error("another process of this run has ended. It says why.")
            return LOST_CONNECTION
        if not is_out_of_memory(error):
            raise
        write_error(command.message(error))
        return 2
    except (MemoryError, OSError) as error:
        write_error(command.message(error))
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        log.removeFilter(command.spellings)


if __name__ == "__main__":
    try:
        run_program(lambda: main(sys.argv[1:]))
    except SystemExit as end:
        if end.code and distributed.is_connected():
            # An error left the connection open. Its threads would abort a usual end.
            os._exit(end.code)
        raise
