"""The best checkpoint of a run, which is written again if a fault has left an older one."""

import logging
import math
from pathlib import Path

from common.errors import InputError
from common.run_paths import BEST_CHECKPOINT, LAST_CHECKPOINT, NUMBERED_CHECKPOINTS
from common.writing import write_atomically
from network.checkpoints import read_checkpoint

log = logging.getLogger("trainSpeakerNet")


def error_of(results: dict) -> float:
    """Returns the number that chooses the best checkpoint: the EER, or else the validation loss.

    It is infinite if the results have neither.
    """
    return results.get("EER", results.get("valid_loss", math.inf))


def repair_best(folder: Path, best: float) -> None:
    """Writes best.model again if it is missing, damaged or worse than the best evaluation.

    A full disk or a kill can come after last.model was written and before best.model was.

    best: the lowest error of the run's evaluations.
    """
    path = folder / BEST_CHECKPOINT
    found = state_of(path).get("best", math.inf)
    if found <= best:
        return
    problem = f": its best evaluation had {found:g}" if found < math.inf else " cannot be read"
    if not path.exists():
        problem = " is missing"
    problem = f"warning: {path}{problem}, and the best evaluation of the run had {best:g}."
    for source in (folder / LAST_CHECKPOINT, *sorted(folder.glob(NUMBERED_CHECKPOINTS))[::-1]):
        if is_of_evaluation(state_of(source), best):
            write_atomically(path, source.read_bytes())
            log.warning("%s It was written again from %s.", problem, source)
            return
    log.warning(
        "%s No other checkpoint of the run has these weights. Compare the checkpoints that are "
        "left with --eval.",
        problem,
    )


def state_of(path: Path) -> dict:
    """Returns the contents of a checkpoint, {} if it is missing or damaged."""
    try:
        return read_checkpoint(path)
    except InputError:
        return {}


def is_of_evaluation(state: dict, error: float) -> bool:
    """Returns whether a checkpoint has the weights of an evaluation with this error.

    A checkpoint can be saved some updates after its last evaluation.
    """
    if "step" not in state or error_of(state["result"]) != error:
        return False
    # Checkpoints of earlier versions do not store the step of the evaluation.
    at_end = state["position"] == 0 or state["validated"] == state["step"]
    return state["evaluated"] == state["step"] if "evaluated" in state else at_end
