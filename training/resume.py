"""What a run may change when it resumes, and what it refuses."""

import argparse
import hashlib
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch
from torch.optim.lr_scheduler import LambdaLR

from common.errors import InputError
from common.outputs import is_same_file
from corpus.lists import Trials
from corpus.utterances import Utterances
from network.components import build
from options import OPTIONS
from options.plugins import find, options_of, options_of_network
from options.run_options import configuration, contradictions
from SpeakerNet import Trainer
from training.task import Task

log = logging.getLogger("trainSpeakerNet")
# What a run keeps, besides its model, and what a checkpoint without this entry was trained with.
KEPT = {"trainfunc": None, "optimizer": None, "sampling": "complete"}
NEW_RUN = "To start a new run, give a new --save_path"
# Options that name the trials which choose the best checkpoint.
TRIALS = ("test_list", "valid_clients")
# Options that change updates, besides the options of the components.
OF_UPDATES = (
    *("batch_size", "nPerSpeaker", "num_spk", "balance_attacks", "max_seg_per_spk", "seed"),
    *("accumulate", "clip", "ema", "max_frames", "randomSlicing", "augment", "augment_probability"),
    *("codec_augment", "codec_probability", "rawboost", "rawboost_probability"),
)
# {result that chooses the best checkpoint: its name in messages}
CRITERIA = {"EER": "EER of trials", "valid_loss": "loss on --valid_list"}
# Components that a run has besides its network.
UPDATING_PARTS = ("trainfunc", "optimizer", "scheduler")
# Sizes of a loss that is built only to look at its first weights.
CLASSES, DIM = 50, 8


def require_same_components(options: argparse.Namespace, stored: dict, path: Path) -> None:
    """Raises InputError if the options of a run choose other components than its checkpoint.

    stored: the options of the checkpoint in `path`.
    """
    contradictions(vars(options), stored, options, path)
    kept = {name: stored.get(name, before) for name, before in KEPT.items()}
    for name, before in (kept | options_of_first_weights(options, stored, kept)).items():
        value = getattr(options, name)
        if before not in (value, None):
            raise InputError(
                f"--{name} {value} contradicts {path}, which was trained with --{name} {before}. "
                f"To resume this run, give --{name} {before}. {NEW_RUN}."
            )
    require_same_start(options, stored, path)


def options_of_first_weights(
    options: argparse.Namespace, stored: dict, kept: dict
) -> dict[str, object]:
    """Returns the changed options that only choose the weights from which a loss starts.

    A change of such an option has no effect on a run that has begun. Returns {name: value before}.
    stored: the options of the checkpoint. kept: those that may not change.
    """
    if options.trainfunc != kept["trainfunc"]:
        return {}
    first = first_weights(options)
    found = {}
    for name, before in changes(options, stored, names_of("trainfunc", options)).items():
        try:
            others = first_weights(argparse.Namespace(**vars(options) | {name: before}))
        except InputError:
            # The value of before does not fit the other options, so it is no first weight.
            continue
        same_names = first.keys() == others.keys()
        if same_names and any(differ(first[key], others[key]) for key in first):
            found[name] = before
    return found


def first_weights(options: argparse.Namespace) -> dict[str, torch.Tensor]:
    """Returns the weights of a small loss before the training."""
    # The random numbers of the training are not disturbed.
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return build("trainfunc", options, dim=DIM, num_classes=CLASSES).state_dict()


def differ(x: torch.Tensor, y: torch.Tensor) -> bool:
    """Returns whether two weights of one shape have other values."""
    return x.shape == y.shape and not torch.equal(x, y)


def require_same_start(options: argparse.Namespace, stored: dict, path: Path) -> None:
    """Raises InputError if an option names other weights than the run has started from.

    stored: the options of the checkpoint in `path`, which may be given as --initial_model.
    """
    part = find("model", options.model).pretrained
    for name in ("initial_model", part.option if part else "initial_model"):
        value = getattr(options, name)
        before = stored.get(name)
        if not value or value == before:
            continue
        if any(is_same_file(value, file) for file in (before or "", path)):
            continue
        raise InputError(
            f"--{name} {value}: {path} belongs to a run that started from "
            f"{before or 'random weights'}. It resumes with its own weights. To resume it, leave "
            f"out --{name}. {NEW_RUN}."
        )


def require_resumable(task: Task, lists: dict[str, str], state: dict, path: Path) -> dict[str, str]:
    """Raises InputError if a run cannot resume from the checkpoint `state` in `path`.

    lists: descriptions of the lists of the run. Returns them, together with the descriptions of
    lists that only earlier parts of the run had, because these lists may not change later either.
    """
    require_same_data(task, lists, state, path)
    require_same_criterion(task, state, path)
    require_applicable(task, state, path)
    return state.get("lists", {}) | lists


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
    trials = {before[name] for name in TRIALS if name in before}
    for name, found in lists.items():
        expected = before.get(name, found)
        if name in TRIALS and trials:
            # The same trials may be given in both formats.
            expected = found if found in trials else trials.pop()
        place = getattr(options, name)
        place = place[0] if isinstance(place, list) else place
        if found != expected:
            raise InputError(
                f"{place}: {path} was trained with another --{name}. Expected {expected}, found "
                f"{found}. To resume this run, give the same lines in the same order. {NEW_RUN}; "
                f"--initial_model {path} takes over the weights."
            )


def require_same_criterion(task: Task, state: dict, path: Path) -> None:
    """Raises InputError if another kind of number would choose the best checkpoint than before.

    state: the checkpoint in `path`.
    """
    results = state.get("result", {})
    before = next((name for name in CRITERIA if name in results), None)
    now = before
    if task.tests and task.tests[0][0].label is not None:
        now = "EER"
    elif task.valid:
        now = "valid_loss"
    if before not in (now, None):
        raise InputError(
            f"{path}: this run chooses its best checkpoint by the {CRITERIA[before]}, and these "
            f"options choose it by the {CRITERIA[now]}, which cannot be compared. To resume this "
            f"run, give the same lists. {NEW_RUN}; --initial_model {path} takes over the weights."
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
    names += [*names_of("optimizer", options), *names_of("scheduler", options)]
    return [name for name in names if getattr(options, name) != stored.get(name)]


def names_of(part: str, options: argparse.Namespace) -> list[str]:
    """Returns the names of the options of a component."""
    return [option.name for option in options_of(part, getattr(options, part))]


def changes(options: argparse.Namespace, stored: dict, names: Iterable[str]) -> dict[str, object]:
    """Returns {name: value before} of the options that differ from a checkpoint's options.

    Checkpoints of earlier versions lack new options. They were trained with the default.
    """
    declared = [option for group in OPTIONS.values() for option in group]
    declared += options_of_network(vars(options))
    for part in UPDATING_PARTS:
        declared += options_of(part, getattr(options, part))
    before = {option.name: option.default for option in declared} | stored
    return {name: before[name] for name in names if getattr(options, name) != before[name]}


def refuse_late_changes(options: argparse.Namespace, state: dict, path: Path) -> None:
    """Raises InputError if options of the updates have changed and the run has no update left.

    state: the checkpoint in `path`.
    """
    names = [*OF_UPDATES, "scheduler", "head_weight_decay"]
    for part in UPDATING_PARTS:
        names += names_of(part, options)
    model = find("model", options.model)
    names += [*model.training_options, *model.update_options]
    found = changes(options, state["options"], names)
    if found:
        changed = ", ".join(f"--{name} {getattr(options, name)}" for name in found)
        raise InputError(
            f"{path}: this run has ended at step {state['step']}, so that {changed} would have no "
            "effect. To train on, raise --max_epoch, --max_steps or --early_stopping. "
            f"{NEW_RUN}."
        )


def position_now(state: dict, accumulate: int) -> int:
    """Returns the number of batches of the epoch that are done, if an update has `accumulate`.

    state: a checkpoint, in which an update may have another number of batches.
    """
    before = state["options"].get("accumulate", accumulate)
    return math.ceil(state["position"] / before) * accumulate


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
