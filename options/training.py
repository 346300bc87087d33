"""Options of the training: batches, epochs, updates."""

from typing import Literal

from options.option import Option
from options.plugins import components


def number_or_auto(word: str) -> int | str:
    """Reads an integer, or the word auto."""
    return word if word == "auto" else int(word)


TRAINING = [
    Option(
        "batch_size",
        number_or_auto,
        200,
        "number of different speakers in a batch of each process (auto: chosen from the memory)",
        1,
        daily=True,
    ),
    Option("nPerSpeaker", int, 1, "number of utterances of each speaker in a batch", 1, daily=True),
    Option(
        "num_spk",
        int,
        None,
        "number of bona fide speakers in a batch; batch_size then counts utterances, and spoofed "
        "speech fills the rest",
        1,
    ),
    Option(
        "balance_attacks",
        bool,
        False,
        "draw equal numbers of spoofed groups of every attack",
    ),
    Option(
        "sampling",
        Literal["complete", "published"],
        "complete",
        "rule for batches: complete fills as many as possible, published is the rule of "
        "voxceleb_trainer, which drops groups, so that epochs differ in length",
    ),
    Option("max_seg_per_spk", int, 500, "maximum number of utterances of a speaker per epoch", 1),
    Option("max_epoch", int, 500, "number of epochs", 1, daily=True),
    Option("max_steps", int, None, "number of updates after which the run stops", 1),
    Option(
        "test_interval",
        int,
        10,
        "epochs between evaluations; each writes a checkpoint",
        1,
        daily=True,
    ),
    Option(
        "validate_every",
        int,
        0,
        "number of updates between evaluations (0: evaluate every test_interval epochs)",
        0,
    ),
    Option(
        "early_stopping",
        int,
        0,
        "stop after N evaluations without a lower EER (0: never)",
        0,
        daily=True,
    ),
    Option("eval_first", bool, False, "also evaluate before the first update"),
    Option("save_minutes", float, 30.0, "maximum time between checkpoints, in minutes", 0),
    Option("requeue", bool, True, "resume the run in save_path; --no-requeue makes it an error"),
    Option(
        "print_every",
        int,
        0,
        "print the losses every N updates (0: once per epoch, if there is no terminal)",
        0,
    ),
    Option(
        "tensorboard",
        bool,
        False,
        "also write the log, DET curves and embeddings to save_path/tensorboard",
    ),
    Option("keep", int, 3, "number of numbered checkpoints to keep", 1),
    Option("seed", int, 10, "seed of all random draws", 0, daily=True, most=2**63 - 1),
    Option(
        "optimizer",
        Literal[tuple(components("optimizer"))],
        "adam",
        "optimizer, a file of optimizer/",
        daily=True,
    ),
    Option(
        "scheduler",
        Literal[tuple(components("scheduler"))],
        "steplr",
        "learning-rate schedule, a file of scheduler/",
        daily=True,
    ),
    Option(
        "head_weight_decay",
        float,
        None,
        "weight decay of the classifier of the loss (if not given: --weight_decay)",
        0,
    ),
    Option("accumulate", int, 1, "number of batches per update", 1),
    Option("clip", float, 0.0, "maximum norm of the gradient (0: no limit)", 0),
    Option(
        "skip_nonfinite",
        int,
        0,
        "number of updates with a non-finite loss or gradient that are skipped before the run "
        "stops",
        0,
    ),
    Option(
        "ema",
        float,
        0.0,
        "decay of the moving average of the weights that is evaluated and saved, for instance "
        "0.999 (0: none)",
        0,
    ),
]
