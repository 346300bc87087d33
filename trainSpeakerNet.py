"""Trains, resumes, evaluates and uses a speaker-verification network.

Train; the same command again resumes:
    python trainSpeakerNet.py --config configs/demo.yaml
Score a list of trials with a checkpoint:
    python trainSpeakerNet.py --eval --initial_model exps/demo/model/best.model \\
        --test_list trials.txt --test_path wav
Compare two files:
    python trainSpeakerNet.py --verify a.wav b.wav --initial_model exps/demo/model/best.model
"""

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

import torch

import distributed
from common.errors import InputError
from DatasetLoader import LoadingError
from distributed.launch import is_repeated, launch, number_of_processes
from inference.actions import ACTIONS
from network.checkpoints import read_checkpoint
from options.parser import parse
from training.memory import keep_freed_memory, memory_remedy
from training.run import TrainingRun


def main(argv: list[str]) -> int | None:
    """Runs the command line. Returns the exit code; None means 0."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout, force=True)
    keep_freed_memory()
    action = None
    try:
        # Read the options; only one process warns about them.
        logging.disable(logging.WARNING if is_repeated(os.environ) else logging.NOTSET)
        options, state = parse(argv, os.environ, __doc__, read_checkpoint)
        logging.disable(logging.NOTSET)
        # Start further processes, which run this command line again.
        processes = number_of_processes(options)
        if processes > 1:
            return launch(processes, options.port, [__file__, *argv])
        distributed.join()
        # Do what the options ask for.
        action = next((name for name in ACTIONS if getattr(options, name)), None)
        if action:
            ACTIONS[action](options, state)
        else:
            TrainingRun(options, state, argv).train()
        distributed.leave()
    except InputError as error:
        # All processes meet the same InputErrors, except for LoadingErrors.
        if not distributed.rank() or isinstance(error, LoadingError):
            sys.stderr.write(f"error: {error}\n")
        return 2
    except torch.OutOfMemoryError as error:
        reason = str(error).partition(". ")[0]
        remedy = memory_remedy(options, in_training=action is None)
        sys.stderr.write(f"error: {reason}. {remedy}\n")
        return 2
    except OSError as error:
        place = f"{error.filename}: {error.strerror}" if error.filename else error
        sys.stderr.write(f"error: {place}\n")
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
