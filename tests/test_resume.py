"""Resumed runs: what a change of options does, and what is refused because it would do nothing."""

import json
import shutil

import pytest
import torch
from conftest import small_run
from test_run_folders import contents, refused, run  # noqa: F401

from training.resume import position_now


# ---------------------------------------------------------------- changes without an effect
@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["--lr", 0.5], "--lr 0.5"),
        (["--clip", 3], "--clip 3.0"),
        (["--ema", 0.9], "--ema 0.9"),
        (["--seed", 1, "--max_frames", 41], "--seed 1, --max_frames 41"),
        (["--lr_decay", 0.5, "--spec_augment"], "--lr_decay 0.5, --spec_augment True"),
    ],
)
def test_a_run_that_has_ended_refuses_changes(words, shown, run, refused):  # noqa: F811
    message = refused(run, *words)
    assert (
        f"error: {run}/model/last.model: this run has ended at step 12, so that {shown} would"
        in (message)
    )
    assert "raise --max_epoch" in message


def test_a_run_that_has_ended_accepts_what_no_update_depends_on(run, corpus, program):  # noqa: F811
    """A checkpoint of an earlier version lacks new options. Their defaults are no change."""
    last = run / "model" / "last.model"
    state = torch.load(last, weights_only=True)
    for name in ("rawboost_probability", "augment_probability", "lr_decay_interval", "margin"):
        state["options"].pop(name, None)
    del state["checksum"]
    torch.save(state, last)
    words = ["--print_every", 1, "--keep", 5, "--test_interval", 2]
    code, _, err = program(*small_run(corpus, run, *words))
    assert code == 0, err


@pytest.mark.parametrize(
    ("name", "value", "before"), [("init_w", "20.0", "10.0"), ("init_b", "-1.0", "-5.0")]
)
def test_first_values_of_weights_are_refused(name, value, before, run, refused):  # noqa: F811
    """They are learned since the run began, so the option would change nothing."""
    message = refused(run, "--max_epoch", 3, f"--{name}", value)
    assert f"--{name} {value} contradicts {run}/model/last.model" in message
    assert f"give --{name} {before}. To start a new run" in message


def test_a_run_does_not_start_again_from_other_weights(run, refused, corpus, program):  # noqa: F811
    last = run / "model" / "last.model"
    other = shutil.copy(last, run.parent / "other.model")
    message = refused(run, "--max_epoch", 3, "--initial_model", other)
    assert f"error: --initial_model {other}: {last} belongs to a run that started from random" in (
        message
    )
    assert "leave out --initial_model" in message
    # The run resumes from this file anyway.
    assert program(*small_run(corpus, run, "--initial_model", last))[0] == 0


def test_a_fine_tuning_resumes_by_the_same_command(run, corpus, tmp_path, program):  # noqa: F811
    first = run / "model" / "last.model"
    words = ["--initial_model", first, "--max_epoch"]
    for epochs in (1, 2):
        code, out, err = program(*small_run(corpus, tmp_path / "tuned", *words, epochs))
        assert code == 0, err
    assert "Resuming" in out
    words = ["--initial_model", run / "model" / "best.model", "--max_epoch", 3]
    code, _, err = program(*small_run(corpus, tmp_path / "tuned", *words))
    assert code == 2 and f"belongs to a run that started from {first}." in err


# ---------------------------------------------------------------- batches of another size
@pytest.mark.parametrize(
    ("position", "before", "now", "expected"),
    [(4, 2, 1, 2), (4, 1, 2, 8), (5, 2, 1, 3), (0, 4, 1, 0), (6, 2, 3, 9), (7, 1, 1, 7)],
)
def test_the_position_counts_updates(position, before, now, expected):
    """5 batches with two in an update: the third update, the last one of its epoch, had one."""
    state = {"position": position, "options": {"accumulate": before}}
    assert position_now(state, now) == expected


def test_accumulation_changes_within_an_epoch(corpus, tmp_path, program):
    """Larger batches make the same number of updates. Every epoch keeps its six updates."""
    steps = ["--max_steps", 8, "--batch_size", 2, "--accumulate", 2]
    assert program(*small_run(corpus, tmp_path, *steps))[0] == 0
    more = ["--max_epoch", 3, "--batch_size", 4, "--accumulate", 1]
    code, out, err = program(*small_run(corpus, tmp_path, *more))
    assert code == 0, err
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["epoch"], line["step"]) for line in lines] == [(1, 6), (2, 12), (3, 18)]


# ---------------------------------------------------------------- the choice of the best checkpoint
def without_trials(corpus, folder, *words):
    """The words of a run whose best checkpoint has the lowest loss on its own train list."""
    named = small_run(corpus, folder)
    for name in ("--test_list", "--test_path"):
        place = named.index(name)
        del named[place : place + 2]
    lists = ["--valid_list", corpus / "train_list.txt", "--valid_path", corpus / "wav"]
    return [*named, *lists, *words]


def test_a_loss_and_an_eer_are_not_compared(run, corpus, tmp_path, program):  # noqa: F811
    """A loss of 3 would always be better than an EER of 40 %, and never be replaced by one."""
    code, _, err = program(*without_trials(corpus, run, "--max_epoch", 3))
    assert code == 2
    assert "chooses its best checkpoint by the EER of trials, and these options choose it by" in err
    assert program(*without_trials(corpus, tmp_path / "b", "--max_epoch", 1))[0] == 0
    code, _, err = program(*small_run(corpus, tmp_path / "b"))
    assert (
        code == 2 and "by the loss on --valid_list, and these options choose it by the EER" in err
    )
    # Without trials there is no evaluation, and the best checkpoint stays.
    words = without_trials(corpus, run, "--max_epoch", 3)
    words = words[: words.index("--valid_list")] + ["--max_epoch", 3]
    best = (run / "model" / "best.model").read_bytes()
    assert program(*words)[0] == 0
    assert (run / "model" / "best.model").read_bytes() == best
    # The trials of the first two epochs are still the ones of the run.
    swapped = tmp_path / "trials.txt"
    swapped.write_text("\n".join((corpus / "trials.txt").read_text().splitlines()[:30]) + "\n")
    code, _, err = program(*small_run(corpus, run, "--max_epoch", 4, "--test_list", swapped))
    assert code == 2 and "was trained with another --test_list. Expected 60 lines" in err


# ---------------------------------------------------------------- numbers that are not finite
@pytest.mark.parametrize("part", ["trained", "optimizer"])
def test_a_state_that_is_not_finite_is_refused(part, corpus, tmp_path, program):
    """The evaluated weights are the average, and they are finite."""
    words = ["--ema", 0.9, "--max_epoch"]
    assert program(*small_run(corpus, tmp_path, *words, 1))[0] == 0
    last = tmp_path / "model" / "last.model"
    state = torch.load(last, weights_only=True)
    tensors = state["trained"] if part == "trained" else state["optimizer"]["state"][0]
    name = "model.fc.weight" if part == "trained" else "exp_avg"
    assert tensors[name].shape[0] > 1
    tensors[name][1] = float("nan")
    del state["checksum"]
    torch.save(state, last)
    before = contents(tmp_path)
    code, _, err = program(*small_run(corpus, tmp_path, *words, 2))
    assert code == 2 and f"{last}: expected finite weights, found NaN or infinity in 1 of" in err
    assert f"{part}." in err and contents(tmp_path) == before
