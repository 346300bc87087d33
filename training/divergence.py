"""A network that has diverged: its loss, its weights or its scores are not finite any more."""

import logging

from common.errors import InputError
from inference.evaluation import NonFiniteScores
from network.checkpoints import is_finite
from SpeakerNet import NonFiniteLoss, Trainer

log = logging.getLogger("trainSpeakerNet")
# No trained network has weights above this size.
LARGE_WEIGHT = 1e6
REMEDY = "Lower --lr, or limit the gradient with --clip. The last checkpoint is unchanged."


def weights_problem(trainer: Trainer) -> str:
    """Returns what is wrong with the learned weights, a sentence, or "" if they look normal.

    Batch statistics do not count: one wrong file changes them before the loss is known.
    """
    weights = dict(trainer.net.named_parameters())
    bad = [name for name, value in weights.items() if not is_finite(value)]
    if bad:
        return (
            f"NaN or infinity is in {len(bad)} of {len(weights)} weights, first in {bad[0]}, so "
            "the network has diverged."
        )
    largest = max(weight.detach().abs().max().item() for weight in weights.values())
    if largest > LARGE_WEIGHT:
        return f"The largest weight is {largest:.2g}, so the network has diverged."
    return ""


def non_finite_text(error: NonFiniteLoss, trainer: Trainer, files: list[str]) -> str:
    """Returns the message about a loss that is not finite. files: of the batch."""
    diverged = weights_problem(trainer)
    if diverged:
        return f"{error}, in epoch {trainer.epoch}. {diverged} {REMEDY}"
    return (
        f"{error}, in epoch {trainer.epoch}. The weights are still finite. The batch contains "
        f"{len(files)} files: {', '.join(files)}. Check these files, lower --lr, set --clip, or "
        "skip such updates with --skip_nonfinite N. The last checkpoint is unchanged."
    )


def evaluation_error(trainer: Trainer, problem: str) -> InputError:
    """Returns the error about an evaluation that is not possible. problem: a sentence."""
    since = ""
    if trainer.bad_since is not None:
        since = f" Since step {trainer.bad_since} the loss or its gradient is not finite."
    return InputError(
        f"The evaluation at step {trainer.step} is not possible.{since} {problem} {REMEDY}"
    )


def require_finite_weights(trainer: Trainer) -> None:
    """Raises InputError before an evaluation if weights are NaN or infinite."""
    state = trainer.eval_net.state_dict()
    bad = [name for name, value in state.items() if not is_finite(value)]
    if bad:
        problem = weights_problem(trainer)
        if not problem:
            problem = f"The statistics of the batches are not finite, first in {bad[0]}."
        raise evaluation_error(trainer, problem)


def explained(error: InputError, trainer: Trainer) -> InputError:
    """Returns the error of an evaluation. Scores that are not finite are a sign of divergence."""
    if not isinstance(error, NonFiniteScores):
        return error
    return evaluation_error(trainer, f"{error.problem} {weights_problem(trainer)}".rstrip())


def warn_of_skipped(trainer: Trainer) -> None:
    """Warns at the end of an epoch if its last updates were skipped, see --skip_nonfinite."""
    if trainer.bad_since is not None:
        log.warning(
            "warning: all updates since step %d were skipped, because the loss or its gradient is "
            "not finite. Lower --lr or set --clip.",
            trainer.bad_since,
        )
