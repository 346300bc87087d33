"""Run folders: what a run refuses, and what it leaves unchanged."""

import argparse
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import small_run
from torch import nn

from common.errors import InputError
from common.writing import write_atomically
from corpus.lists import Trials, Utterance
from network.checkpoints import write_checkpoint
from network.components import build
from options.plugins import find, options_of
from SpeakerNet import Trainer
from training.best import is_of_evaluation, repair_best
from training.resume import (
    apply_changes,
    described_utterances,
    digest_of_trials,
    settings_of,
)
from training.run_folder import RunFolder


def contents(folder):
    """Returns {path: bytes} of all files below a folder."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def run(checkpoint, tmp_path):
    """A copy of the folder of a finished run of two epochs."""
    shutil.copytree(checkpoint.parent.parent, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def refused(corpus, program):
    """refused(folder, *words) -> the message of a training that may not change the folder."""

    def call(folder, *words):
        before = contents(folder)
        code, _, err = program(*small_run(corpus, folder, *words))
        assert code == 2, err
        assert contents(folder) == before
        return err

    return call


# ---------------------------------------------------------------- files of other programs
def other_run(folder):
    """Makes a folder with the files of a run of voxceleb_trainer."""
    (folder / "model").mkdir(parents=True)
    (folder / "result").mkdir()
    for epoch in range(1, 7):
        torch.save({"__S__.w": torch.zeros(epoch)}, folder / f"model/model{epoch:09d}.model")
    (folder / "result" / "scores.txt").write_text("Epoch 1, TEER/TAcc 2.00\n")
    return folder


def test_a_folder_of_another_program_is_refused(refused, tmp_path):
    theirs = other_run(tmp_path / "theirs")
    message = refused(theirs)
    assert f"error: {theirs}: expected a new folder or a run of this program" in message
    assert "model/model000000001.model" in message and "result/scores.txt" in message
    assert "Choose another --save_path." in message
    assert f"--initial_model {theirs}/model/model000000006.model" in message


@pytest.mark.parametrize(
    "name", ["config.yaml", "command.txt", "log.jsonl", "result/scores.txt", "model/last.model"]
)
def test_no_file_of_another_program_is_replaced(name, refused, tmp_path):
    path = tmp_path / "run" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine\n")
    assert f"did not write. A run in this folder would replace them: {name}." in refused(
        tmp_path / "run"
    )


def test_a_foreign_checkpoint_in_a_run_is_refused(run, refused):
    torch.save({"w": torch.zeros(1)}, run / "model" / "model000000007.model")
    assert "replace them: model/model000000007.model." in refused(run)


def test_files_beside_the_run_are_no_obstacle(corpus, tmp_path, program):
    """An evaluation has written scores to the folder, and the user has written notes."""
    for name in ("notes.txt", "result/scores_best_trials.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine\n")
    assert program(*small_run(corpus, tmp_path, "--max_steps", 1))[0] == 0
    assert (tmp_path / "notes.txt").read_text() == "mine\n"


def test_keep_counts_and_removes_own_checkpoints_only(run):
    """Another program may write to the folder during the run."""
    torch.save({"w": torch.zeros(1)}, run / "model" / "model000000000.model")
    torch.save({"w": torch.zeros(1)}, run / "model" / "model000000009.model")
    folder = RunFolder.__new__(RunFolder)
    folder.path = run
    folder.options = argparse.Namespace(keep=1)
    folder.remove_old_checkpoints()
    left = sorted(path.name for path in (run / "model").glob("model*"))
    assert left == ["model000000000.model", "model000000002.model", "model000000009.model"]


def test_the_newest_checkpoint_of_another_program_is_evaluated(program, tmp_path):
    """The file fits no network here. The message names the file that was chosen."""
    theirs = other_run(tmp_path / "theirs")
    _, out, err = program("--extract", "a.wav", "--save_path", theirs)
    chosen = theirs / "model" / "model000000006.model"
    assert f"--initial_model {chosen}" in out and "Traceback" not in err


# ---------------------------------------------------------------- best.model
def with_entries(path, **entries):
    """Changes entries of a checkpoint, and writes it with its new checksum."""
    state = torch.load(path, weights_only=True) | entries
    del state["checksum"]
    write_checkpoint(state, path)


def resumed(program, corpus, folder):
    """Resumes a finished run, which trains nothing. Returns the warnings."""
    code, out, err = program(*small_run(corpus, folder))
    assert code == 0, err
    return [line for line in out.splitlines() if line.startswith("warning: ")]


def test_best_model_is_written_again(run, corpus, program):
    """The run ended between last.model and best.model of its second evaluation."""
    best, last = run / "model" / "best.model", run / "model" / "last.model"
    with_entries(last, best=12.5, result={"EER": 12.5})
    with_entries(best, best=50.0, result={"EER": 50.0})
    (warning,) = resumed(program, corpus, run)
    assert f"{best}: its best evaluation had 50, and" in warning
    assert "had 12.5. It was written again from" in warning and str(last) in warning
    assert best.read_bytes() == last.read_bytes()
    assert not resumed(program, corpus, run)


def test_best_model_comes_from_the_checkpoint_of_its_evaluation(run, caplog):
    """last.model has later weights than the best evaluation. A numbered checkpoint has its own."""
    model = run / "model"
    (model / "best.model").unlink()
    with_entries(model / "last.model", result={"EER": 12.5}, evaluated=6)
    with_entries(model / "model000000001.model", result={"EER": 12.5})
    repair_best(run, 12.5)
    assert "is missing" in caplog.text and "from " in caplog.text
    assert (model / "best.model").read_bytes() == (model / "model000000001.model").read_bytes()


def test_a_lost_best_model_is_reported(run, caplog):
    before = contents(run)
    repair_best(run, 0.5)
    assert "No other checkpoint of the run has these weights." in caplog.text
    assert contents(run) == before


def test_checkpoints_of_earlier_versions_repair_best_model(run):
    """They do not store the step of the evaluation. At the end of an epoch it is the last step."""
    last = torch.load(run / "model" / "last.model", weights_only=True)
    del last["evaluated"]
    error = last["result"]["EER"]
    assert is_of_evaluation(last, error)
    assert not is_of_evaluation(last | {"position": 3}, error)
    assert is_of_evaluation(last | {"position": 3, "validated": last["step"]}, error)


# ---------------------------------------------------------------- two runs in one folder
# Locks the file that is its argument, prints whether this was possible, and waits.
LOCKING = """
import fcntl, sys
file = open(sys.argv[1], "a")
try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    print("locked", flush=True)
    input()
except BlockingIOError:
    print("in use", flush=True)
"""


def locking(run):
    """Starts a process that locks a run folder."""
    return subprocess.Popen(
        [sys.executable, "-c", LOCKING, run / "command.txt"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_folder_in_use_is_refused_until_the_other_process_dies(run, refused, corpus, program):
    with locking(run) as process:
        assert process.stdout.readline() == "locked\n"
        message = refused(run)
        assert f"error: {run}: another process is training in this folder" in message
        assert "choose another --save_path" in message
        process.kill()
    assert not resumed(program, corpus, run)


def options_of_run(folder):
    """The options that a RunFolder reads."""
    names = ("test_list", "test_path", "test_list_libri", "valid_clients", "valid_impostors")
    values = dict.fromkeys((*names, "score_norm", "tensorboard"))
    return argparse.Namespace(**values, save_path=folder, requeue=True)


def test_a_run_locks_its_folder_and_releases_it(run):
    folder = RunFolder(options_of_run(run))
    with locking(run) as process:
        assert process.stdout.readline() == "in use\n"
    folder.close()
    with locking(run) as process:
        assert process.stdout.readline() == "locked\n"
        process.kill()


def test_a_run_that_began_in_the_meantime_is_not_replaced(run, tmp_path):
    """The folder was new when it was checked, and another run has come and gone since then."""
    folder = RunFolder(options_of_run(tmp_path / "new"))
    run.rename(tmp_path / "new")
    before = contents(tmp_path / "new")
    with pytest.raises(InputError, match="another process has trained in this folder"):
        folder.open([])
    folder.close()
    assert contents(tmp_path / "new") == before


def test_two_processes_may_write_one_file(tmp_path, monkeypatch):
    """While the file is written, another process writes it completely."""
    path = tmp_path / "last.model"
    (tmp_path / "last.model.part").write_bytes(b"of somebody else")
    writers = [b"second"]

    def fsync(_):
        if writers:
            write_atomically(path, writers.pop())
            assert path.read_bytes() == b"second"

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(path, b"first")
    assert path.read_bytes() == b"first"
    assert sorted(tmp_path.iterdir()) == [path, tmp_path / "last.model.part"]


def test_parts_of_a_killed_run_are_removed(run, corpus, program):
    part = run / "model" / "last.model.0123abcd.part"
    part.write_bytes(b"PK")
    kept = run / "model" / "notes.part"
    kept.write_text("mine")
    assert not resumed(program, corpus, run)
    assert not part.exists() and kept.exists()


# ---------------------------------------------------------------- what a resumed run refuses
@pytest.mark.parametrize(
    ("name", "value", "before"),
    [
        ("trainfunc", "aamsoftmax", "softmaxproto"),
        ("optimizer", "sgd", "adam"),
        ("optimizer", "adamW", "adam"),
        ("model", "RawNet3", "ResNetSE34L"),
    ],
)
def test_other_components_are_refused(name, value, before, run, refused):
    assert (
        f"--{name} {value} contradicts {run}/model/last.model, which was trained with "
        f"--{name} {before}. To resume this run, give --{name} {before}. To start a new run, give "
        "a new --save_path." in refused(run, f"--{name}", value)
    )


def test_another_train_list_is_refused(run, refused, corpus, tmp_path):
    """The list has the same speakers, and one file less."""
    lines = (corpus / "train_list.txt").read_text().splitlines(keepends=True)
    shorter = tmp_path / "list.txt"
    shorter.write_text("".join(lines[:-1]))
    message = refused(run, "--train_list", shorter)
    assert (
        f"error: {shorter}: {run}/model/last.model was trained with another --train_list" in message
    )
    assert "Expected 48 lines with" in message and "found 47 lines with" in message
    assert f"--initial_model {run}/model/last.model" in message


def test_other_trials_are_refused(run, refused, corpus, tmp_path):
    """One label was corrected, so the EERs of the run cannot be compared."""
    first, rest = (corpus / "trials.txt").read_text().split("\n", 1)
    swapped = tmp_path / "trials.txt"
    swapped.write_text(f"{1 - int(first[0])}{first[1:]}\n{rest}")
    assert "was trained with another --test_list. Expected 60 lines with" in refused(
        run, "--test_list", swapped
    )


def test_descriptions_of_lists_see_every_change():
    a = Utterance("s", "a")
    b = Utterance("s", "b")
    c = Utterance("t", "c")
    lists = [[a, b, c], [b, a, c], [a, b], [Utterance("t", "a"), b, c], [a, b, Utterance("sc", "")]]
    assert len({described_utterances(utterances) for utterances in lists}) == len(lists)
    assert described_utterances([a, b]) == described_utterances([a, b])
    pairs = [("a", "b"), ("a", "c")]
    label = np.array([True, False])
    trials = [Trials.of_pairs(pairs), Trials.of_pairs(pairs, label=label)]
    trials += [Trials.of_pairs(pairs, label=~label), Trials.of_pairs(pairs[::-1], label=label)]
    assert len({digest_of_trials(listed) for listed in trials}) == len(trials)


def test_a_checkpoint_without_descriptions_of_lists_resumes(run, corpus, program):
    """Earlier versions did not store them."""
    last = run / "model" / "last.model"
    state = torch.load(last, weights_only=True)
    for name in ("lists", "evaluated", "checksum"):
        del state[name]
    torch.save(state, last)
    assert not resumed(program, corpus, run)


@pytest.mark.parametrize("left", ["checkpoints", "log"])
def test_a_missing_last_checkpoint_is_no_new_run(left, run, refused):
    """Two evaluations in the log show that a checkpoint has existed."""
    names = ["last.model"]
    if left == "log":
        names = os.listdir(run / "model")
    for name in names:
        (run / "model" / name).unlink()
    message = refused(run)
    assert f"error: {run}/model/last.model: there is no such checkpoint" in message
    hint = f"--initial_model {run}/model/model000000002.model"
    assert (hint in message) == (left == "checkpoints")


def test_a_run_that_died_before_its_first_checkpoint_begins_again(run, corpus, program):
    """The log has an evaluation, but there is no checkpoint."""
    shutil.rmtree(run / "model")
    first = (run / "log.jsonl").read_text().splitlines(keepends=True)[0]
    (run / "log.jsonl").write_text(first + '{"epoch": 2, "st')
    assert program(*small_run(corpus, run, "--max_steps", 1))[0] == 0
    (line,) = (run / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["step"] == 1


@pytest.mark.parametrize("damage", ["\0\0\0\n", "[]\n", '{"epoch": 1}\n', "17\n"])
def test_a_damaged_line_of_the_log_is_named(damage, run, refused):
    log = run / "log.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text(lines[0] + damage + lines[1])
    assert f"error: {log}:2: expected a line of the log with epoch and step, found" in refused(run)


# ---------------------------------------------------------------- changed optimizer and schedule
def test_changed_options_of_the_optimizer_are_used(run, corpus, program):
    """The first update after the change has the new rate, and the checkpoint the new settings."""
    words = ["--lr", 0.00001, "--weight_decay", 0.5, "--max_epoch", 3, "--lr_decay", 0.5]
    code, out, err = program(*small_run(corpus, run, *words))
    assert code == 0, err
    assert "--lr was 0.001 before and is 1e-05 from now on." in out
    line = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    # Two epochs have ended, and the rate falls after every epoch.
    assert line["epoch"] == 3 and line["lr"] == pytest.approx(0.00001 * 0.5**2, rel=1e-9)
    state = torch.load(run / "model" / "last.model", weights_only=True)
    (group,) = state["optimizer"]["param_groups"]
    assert group["weight_decay"] == 0.5 and group["initial_lr"] == 0.00001
    assert group["lr"] == pytest.approx(0.00001 * 0.5**3, rel=1e-9)


def test_another_number_of_updates_per_epoch_is_refused(run, refused):
    message = refused(run, "--batch_size", 2)
    assert "this run has 6 updates per epoch, and these options make 12" in message
    assert f"--initial_model {run}/model/last.model takes over the weights" in message


def test_a_schedule_of_another_kind_is_refused(run, refused):
    message = refused(run, "--scheduler", "plateau")
    assert "To resume this run, give --scheduler steplr" in message


def small_trainer(optimizer, scheduler, **settings):
    """Returns a trainer of one weight, whose schedule has two updates per epoch."""
    net = nn.Linear(1, 1, bias=False)
    made = Trainer(net)
    lr = settings.pop("lr")
    momentum = {"momentum": settings.pop("momentum")} if "momentum" in settings else {}
    made.optimizer = find("optimizer", optimizer)(net.parameters(), lr=lr, **momentum)
    made.scheduler = build(
        "scheduler",
        argparse.Namespace(scheduler=scheduler, **scheduler_options(scheduler) | settings),
        optimizer=made.optimizer,
        steps_per_epoch=2,
        max_epoch=10,
        test_interval=1,
    )
    return made


def scheduler_options(name):
    """Returns the options of a scheduler with their defaults."""
    return {option.name: option.default for option in options_of("scheduler", name)}


def changed(optimizer, scheduler, before, now):
    """Returns a trainer that was resumed after six updates with other options."""
    old = small_trainer(optimizer, scheduler, **before)
    for _ in range(6):
        old.optimizer.step()
        old.scheduler.step()
        old.follow({"loss": 1.0})
    made = small_trainer(optimizer, scheduler, **now)
    settings = settings_of(made.optimizer)
    made.optimizer.load_state_dict(old.optimizer.state_dict())
    made.scheduler.load_state_dict(old.scheduler.state_dict())
    names = dict(optimizer=optimizer, scheduler=scheduler, max_epoch=10, test_interval=1)
    values = names | {"weight_decay": 0.0, "momentum": 0.9, "nesterov": False}
    values |= {"model": "VGGVox", "head_weight_decay": None}
    values |= scheduler_options(scheduler)
    apply_changes(made, settings, argparse.Namespace(**values | now), values | before)
    return made


@pytest.mark.parametrize(
    ("scheduler", "before", "now", "rate"),
    [
        # After three epochs.
        ("exponentiallr", {"lr": 1.0}, {"lr": 0.1, "lr_decay": 0.5}, 0.1 * 0.5**3),
        ("cycliclr", {"lr": 1.0}, {"lr": 0.1, "lr_cyclic_max": 2.0, "lr_cyclic_min": 0.0}, 0.6),
        # The last five results were no improvement over the first one: one reduction to a half.
        ("plateau", {"lr": 1.0, "lr_patience": 4, "lr_decay": 0.5}, {"lr": 0.1}, 0.05),
    ],
)
def test_a_changed_rate_is_the_rate_of_the_new_options(scheduler, before, now, rate):
    made = changed("sgd", scheduler, before, now | {"momentum": 0.5})
    (group,) = made.optimizer.param_groups
    assert group["lr"] == pytest.approx(rate, rel=1e-9)
    assert made.scheduler.get_last_lr() == [group["lr"]]
    assert group["momentum"] == 0.5


def test_a_plateau_takes_changed_options():
    made = changed("sgd", "plateau", {"lr": 1.0}, {"lr": 1.0, "lr_patience": 2, "lr_decay": 0.3})
    assert (made.scheduler.patience, made.scheduler.factor) == (2, 0.3)
    assert made.scheduler.best == 1.0 and made.scheduler.num_bad_epochs == 5
    made = changed("sgd", "plateau", {"lr": 1.0}, {"lr": 1.0, "lr_follows": "EER"})
    assert made.scheduler.best == float("inf") and made.scheduler.num_bad_epochs == 0
