"""What a run may change when it resumes, and what it refuses."""

import argparse
import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch.optim.lr_scheduler import LambdaLR

from common.errors import InputError
from corpus.lists import Trials
from corpus.utterances import Utterances
from options.plugins import find, options_of
from options.run_options import configuration, contradictions
from SpeakerNet import Trainer
from training.task import Task

log = logging.getLogger("trainSpeakerNet")
# What a run keeps, besides its model, and what a checkpoint without this entry was trained with.
KEPT = {"trainfunc": None, "optimizer": None, "sampling": "complete"}
NEW_RUN = "To start a new run, give a new --save_path"


def require_same_components(options: argparse.Namespace, stored: dict, path: Path) -> None:
    """Raises InputError if the options of a run choose other components than its checkpoint.

    stored: the options of the checkpoint in `path`.
    """
    contradictions(vars(options), stored, options, path)
    for name, formerly in KEPT.items():
        value = getattr(options, name)
        before = stored.get(name, formerly or value)
        if value != before:
            raise InputError(
                f"--{name} {value} contradicts {path}, which was trained with --{name} {before}. "
                f"To resume this run, give --{name} {before}. {NEW_RUN}."
            )


def require_same_data(task: Task, lists: dict[str, str], state: dict, path: Path) -> None:
    """Raises InputError if the lists of a run differ from the lists of its checkpoint.

    lists: their descriptions. state: the checkpoint in `path`. Checkpoints of earlier versions do
    not describe the lists.
    """
    options = task.options
    if state["classes"] != task.classes:
        raise InputError(
            f"{path}: this run was trained on other speakers. Its train list had "
            f"{len(state['classes'])}, and {options.train_list} has "
            f"{len(task.classes)}. Choose another --save_path."
        )
    before = state.get("lists", {})
    for name, found in lists.items():
        expected = before.get(name, found)
        place = getattr(options, name)
        place = place[0] if isinstance(place, list) else place
        if found != expected:
            raise InputError(
                f"{place}: {path} was trained with another --{name}. Expected {expected}, found "
                f"{found}. To resume this run, give the same lines in the same order. {NEW_RUN}; "
                f"--initial_model {path} takes over the weights."
            )


def descriptions_of_lists(task: Task) -> dict[str, str]:
    """Returns {option: description} of the lists that a run depends on. Checkpoints store it.

    Further lists of trials decide nothing, so they may change.
    """
    described_lists = {"train_list": described_utterances(task.dataset.utterances)}
    if task.valid:
        described_lists["valid_list"] = described_utterances(task.valid.utterances)
    if task.tests:
        name = "test_list" if task.options.test_list else "valid_clients"
        described_lists[name] = digest_of_trials(task.tests[0][0])
    return described_lists


def described_utterances(utterances: Sequence) -> str:
    """Returns the number of the utterances, and a digest of all columns of their list."""
    if isinstance(utterances, Utterances):
        return digest_text(len(utterances), utterances.texts())
    columns = zip(*utterances, strict=True)
    parts = ["\n".join(map(str, column)).encode() for column in columns]
    return digest_text(len(utterances), whole(parts))


def digest_of_trials(trials: Trials) -> str:
    """Returns the number of the trials, and a digest of them."""
    models = "\n".join(" ".join(files) for files in trials.models)
    parts = [models.encode(), "\n".join(trials.files).encode()]
    parts += [trials.enrol.tobytes(), trials.test.tobytes()]
    if trials.label is not None:
        parts.append(trials.label.tobytes())
    return digest_text(len(trials.enrol), whole(parts))


def whole(parts: Iterable[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Yields the parts of a list for digest_text()."""
    for part in parts:
        yield len(part), [part]


def digest_text(number: int, parts: Iterable[tuple[int, Iterable]]) -> str:
    """Returns a number of lines, and the digest of the parts of a list.

    parts: the number of bytes of each part, and the pieces that make it.
    """
    digest = hashlib.sha256()
    for size, pieces in parts:
        # The length separates the parts.
        digest.update(b"%d\n" % size)
        for piece in pieces:
            digest.update(piece)
    return f"{number:,} lines with the digest {digest.hexdigest()[:16]}"


def log_changes(options: argparse.Namespace, stored: dict) -> None:
    """Prints every option that differs from the options of the checkpoint."""
    for name, value in configuration(options).items():
        before = stored.get(name)
        if value != before:
            log.info("--%s was %s before and is %s from now on.", name, before, value)


# ---------------------------------------------------------------------- optimizer and schedule
def changed_options(options: argparse.Namespace, stored: dict) -> list[str]:
    """Returns the options of the optimizer and of the schedule that differ from a checkpoint's."""
    names = ["scheduler", "max_epoch", "test_interval", "head_weight_decay"]
    names += find("model", options.model).update_options
    for part in ("optimizer", "scheduler"):
        names += [option.name for option in options_of(part, getattr(options, part))]
    return [name for name in names if getattr(options, name) != stored.get(name)]


def shown_options(names: Sequence[str], stored: dict) -> str:
    """Returns how to give options the values that they have in a checkpoint."""
    given = [f"--{name} {stored[name]}" for name in names if stored.get(name) is not None]
    left_out = [f"--{name}" for name in names if stored.get(name) is None]
    parts = []
    if given:
        parts.append(f"give {', '.join(given)}")
    if left_out:
        parts.append(f"leave out {', '.join(left_out)}")
    return " and ".join(parts)


def require_applicable(task: Task, state: dict, path: Path) -> None:
    """Raises InputError if changed options have no clear meaning in the middle of a run.

    state: the checkpoint in `path`. Checkpoints of earlier versions lack the updates per epoch.
    """
    trainer = task.trainer
    updates = state.get("steps_per_epoch", task.steps_per_epoch)
    if updates != task.steps_per_epoch:
        raise InputError(
            f"{path}: this run has {updates} updates per epoch, and these options make "
            f"{task.steps_per_epoch}, so that epochs and schedule would not fit. To resume this "
            "run, give the same --batch_size, --nPerSpeaker, --max_seg_per_spk and --accumulate, "
            "and with --sampling published also the same --seed and number of processes. "
            "With another number of processes, change --batch_size so that the updates stay the "
            f"same. {NEW_RUN}; --initial_model {path} takes over the weights."
        )
    stored = state["options"]
    changed = changed_options(task.options, stored)
    if not changed:
        return
    sizes = [len(group["params"]) for group in trainer.optimizer.param_groups]
    before = [len(group["params"]) for group in state["optimizer"]["param_groups"]]
    by_step = isinstance(trainer.scheduler, LambdaLR)
    known = by_step or hasattr(trainer.scheduler, "watch")
    if sizes != before or by_step != ("lr_lambdas" in state["scheduler"]) or not known:
        raise InputError(
            f"{path}: optimizer or schedule of this run cannot change to the new options. To "
            f"resume this run, {shown_options(changed, stored)}. {NEW_RUN}; --initial_model {path} "
            "takes over the weights."
        )


def settings_of(optimizer: torch.optim.Optimizer) -> list[dict]:
    """Returns the settings of every group of parameters, which the options have chosen."""
    settings = []
    for group in optimizer.param_groups:
        settings.append({name: value for name, value in group.items() if name != "params"})
    return settings


def apply_changes(
    trainer: Trainer, settings: list[dict], options: argparse.Namespace, stored: dict
) -> None:
    """Applies changed options of optimizer and schedule to a trainer that was resumed.

    settings: of its optimizer before that, see settings_of(). stored: options of the checkpoint. A
    learning rate that depends on the step becomes the rate that the new options have at this step.
    A schedule that follows results keeps its reductions so far.
    """
    if not changed_options(options, stored):
        return
    groups = trainer.optimizer.param_groups
    scheduler = trainer.scheduler
    by_step = isinstance(scheduler, LambdaLR)
    for group, chosen in zip(groups, settings, strict=True):
        reductions = 1.0
        if not by_step:
            # A group with a rate of its own stores the rate from which it started.
            reductions = group["lr"] / group.get("initial_lr", stored["lr"])
        group |= chosen | {"lr": chosen["lr"] * reductions}
    if by_step:
        scheduler.base_lrs = [group["initial_lr"] for group in groups]
        factors = [factor(scheduler.last_epoch) for factor in scheduler.lr_lambdas]
        for group, base, factor in zip(groups, scheduler.base_lrs, factors, strict=True):
            group["lr"] = base * factor
    scheduler._last_lr = [group["lr"] for group in groups]
