"""--ema: evaluations and checkpoints have the average, training goes on from the weights behind it. --average: the mean of checkpoints. Fine-tuning on some of
the speakers keeps what the classifier knows of them."""

import numpy as np
import pytest
import torch
from conftest import small_run
from hypothesis import given, settings
from hypothesis import strategies as st
from kill_resume import end_of, equal
from test_distributed import close, processes, vector_run, vectors, weights  # noqa: F401
from test_trainer import batch, trainer

from common.errors import InputError
from inference.averaging import average
from inference.scorer import Scorer
from loss import aamsoftmax, aamsoftmax_subcenter, amsoftmax, softmaxproto
from models._linear import Identity
from network.checkpoints import load_weights, read_checkpoint, with_head_for, write_checkpoint
from SpeakerNet import SpeakerNet


# ---------------------------------------------------------------- the average in training
def numbers(net):
    return {name: value.double().numpy().copy() for name, value in net.state_dict().items()}


@settings(deadline=None, max_examples=20)
@given(decay=st.floats(0.01, 0.9999), steps=st.integers(1, 12), accumulate=st.integers(1, 2))
def test_average_equals_its_definition(decay, steps, accumulate):
    """Of parameters and batch statistics, in float64; plain training is as without it."""
    made, plain = trainer(ema=decay, accumulate=accumulate), trainer(accumulate=accumulate)
    want, batches = numbers(made.net), [batch(i) for i in range(steps * accumulate)]
    for n, _ in enumerate(made.train_epoch(batches)):
        keep = min(decay, (1 + n) / (10 + n))
        want = {
            name: keep * want[name] + (1 - keep) * value
            for name, value in numbers(made.net).items()
        }
    list(plain.train_epoch(batches))
    got = numbers(made.eval_net)
    assert all(
        np.allclose(got[name], want[name], rtol=1e-5, atol=1e-7)
        for name in want
        if "num_batches" not in name
    )
    assert got["model.bn.num_batches_tracked"] == steps * accumulate
    assert equal(dict(made.net.state_dict()), dict(plain.net.state_dict())) and equal(
        dict(plain.eval_net.state_dict()), dict(plain.net.state_dict())
    )


def test_an_update_that_is_left_out_leaves_the_average_alone():
    made, clean = trainer(ema=0.1, skip_nonfinite=2), trainer(ema=0.1)
    list(made.train_epoch([batch(1), batch(2, float("nan")), batch(3)]))
    list(clean.train_epoch([batch(1), batch(3)]))
    assert made.skipped == 1 and equal(
        dict(made.eval_net.state_dict()), dict(clean.eval_net.state_dict())
    )


def test_the_average_is_used():
    """By extraction, validation and whoever reads a checkpoint."""
    made, x = trainer(ema=0.9), batch(9)["x"]
    list(made.train_epoch([batch(1), batch(2)]))
    fresh = trainer()
    load_weights(fresh.net, made.state(), "a.model")
    fresh.start_average()
    ((_, got),) = Scorer(made.eval_net).represent([(torch.arange(8), x)])
    ((_, want),) = Scorer(fresh.eval_net).represent([(torch.arange(8), x)])
    assert torch.equal(got, want) and not torch.allclose(
        got, made.net.eval().model(x.flatten(0, 1)).unflatten(0, (8, 2))
    )
    assert made.validate([batch(9)]) == fresh.validate([batch(9)])


@pytest.mark.parametrize("stop", range(1, 6))
def test_goes_on_bit_for_bit(stop, tmp_path):
    whole, first, then = trainer(ema=0.9), trainer(ema=0.9), trainer(ema=0.9)
    list(whole.train_epoch([batch(i) for i in range(6)]))
    list(first.train_epoch([batch(i) for i in range(stop)]))
    write_checkpoint(first.state() | {"options": {}}, tmp_path / "a.model")
    state = read_checkpoint(tmp_path / "a.model")
    load_weights(then.net, state, "a.model")
    then.start_average()
    then.resume(state)
    list(then.train_epoch([batch(i) for i in range(stop, 6)]))
    assert equal(then.state(), whole.state())


def test_runs_go_on_with_and_without(vectors, tmp_path, program):  # noqa: F811
    """Training does not depend on the average, which begins where it is switched on; --eval has the scores of the run."""

    def run(name, *more):
        code, out, err = program(
            *vector_run(vectors, tmp_path / name, "softmax", "--batch_size", 8, *more)
        )
        assert code == 0, err
        return out, end_of(tmp_path / name)[0]

    _, plain = run("plain")
    _, whole = run("whole", "--ema", 0.9)
    assert equal(
        plain["loss"],
        {name[5:]: value for name, value in whole["trained"].items() if name.startswith("loss.")},
    )
    assert not close(plain["model"], whole["model"])
    run("parts", "--ema", 0.9, "--max_steps", 7)
    _, parts = run("parts", "--ema", 0.9)
    assert all(
        equal(parts[name], whole[name])
        for name in ("model", "loss", "trained", "optimizer", "rng", "result")
    )
    run("off", "--ema", 0.9, "--max_steps", 7)
    out, off = run("off")
    assert (
        equal(off["model"], plain["model"])
        and "trained" not in off
        and "changed since: --ema 0.9 -> 0.0" in out
    )
    _, seven = run("on", "--max_steps", 7)
    _, on = run("on", "--max_steps", 8, "--ema", 0.75)
    first, last = (
        seven["model"],
        {name[6:]: value for name, value in on["trained"].items() if name.startswith("model.")},
    )
    keep = min(0.75, (1 + 7) / (10 + 7))
    assert all(
        torch.allclose(on["model"][name], keep * first[name] + (1 - keep) * last[name], atol=1e-7)
        for name in first
    )
    scores = tmp_path / "whole" / "result" / "scores.txt"
    assert (
        program(
            "--eval",
            "--initial_model",
            tmp_path / "whole" / "model" / "last.model",
            "--test_list",
            vectors / "trials.txt",
            "--test_path",
            vectors,
            "--output",
            tmp_path / "s.txt",
        )[0]
        == 0
        and (tmp_path / "s.txt").read_text() == scores.read_text()
    )
    code, _, err = program(*vector_run(vectors, tmp_path / "bad", "softmax", "--ema", 1))
    assert code == 2 and "want a decay below 1" in err and not (tmp_path / "bad").exists()


def test_two_processes_average_as_one(vectors, tmp_path):  # noqa: F811
    assert processes(
        1, *vector_run(vectors, tmp_path / "one", "softmax", "--batch_size", 8, "--ema", 0.9)
    ) == [0]
    assert processes(
        2, *vector_run(vectors, tmp_path / "two", "softmax", "--batch_size", 4, "--ema", 0.9)
    ) == [0, 0]
    assert close(weights(tmp_path / "one"), weights(tmp_path / "two"))


# ---------------------------------------------------------------- the mean of checkpoints
def made_checkpoint(path, seed, **changes):
    made = trainer(ema=0.9)
    list(made.train_epoch([batch(10 * seed + i) for i in range(seed)]))
    options = {"model": "ResNetSE34L", "trainfunc": "softmax", "nOut": 4, "lr": seed}
    write_checkpoint(
        made.state() | {"options": options, "classes": {"a": 0}, "result": {"EER": 1.0}} | changes,
        path,
    )
    return path


def test_mean_of_checkpoints(tmp_path):
    files = [made_checkpoint(tmp_path / f"{seed}.model", seed) for seed in (1, 2, 3)]
    states = [torch.load(file, weights_only=True) for file in files]
    made = average(files)
    # neither EER nor threshold, nor what goes on
    assert made.keys() == {"model", "loss", "options", "classes"} and made["options"]["lr"] == 3
    for name, value in made["model"].items():
        values = [state["model"][name].numpy() for state in states]
        want = values[-1] if "num_batches" in name else np.mean(np.array(values, np.float64), 0)
        assert value.dtype == states[0]["model"][name].dtype and np.allclose(
            value, want, rtol=1e-6, atol=1e-9
        ), name
    assert made["model"]["bn.num_batches_tracked"] == 3


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"options": {"model": "ResNetSE34L", "trainfunc": "softmax", "nOut": 5}},
            "it has --nOut 5, that one --nOut 4",
        ),
        (
            {"options": {"model": "ResNetSE34L", "trainfunc": "proto", "nOut": 4}},
            "it has --trainfunc proto, that one --trainfunc softmax",
        ),
        ({"classes": {"b": 0}}, "1 speakers, that one 1 or others"),
        ({"model": {"fc.weight": torch.zeros(4, 6)}}, "it has model.fc.bias missing, that one [4]"),
        ({"loss": {"w": torch.zeros(3)}}, "it has loss.w [3], that one missing"),
    ],
)
def test_checkpoints_of_other_networks_are_refused(changes, message, tmp_path):
    files = [
        made_checkpoint(tmp_path / "1.model", 1),
        made_checkpoint(tmp_path / "2.model", 2, **changes),
    ]
    with pytest.raises(InputError) as error:
        average(files)
    assert str(files[1]) in str(error.value) and message in str(error.value)


def test_average_from_the_command_line(vectors, tmp_path, program):  # noqa: F811
    run, mean, use = (
        tmp_path / "run",
        tmp_path / "mean.model",
        [
            "--test_list",
            vectors / "trials.txt",
            "--test_path",
            vectors,
            "--output",
            tmp_path / "s.txt",
        ],
    )
    assert program(*vector_run(vectors, run, "softmax", "--batch_size", 8))[0] == 0
    code, out, err = program("--average", run, "--output", mean)
    assert code == 0 and all(f"model00000000{n}.model" in out for n in (1, 2, 3)), err
    files = [
        torch.load(run / "model" / f"model00000000{n}.model", weights_only=True)["model"]
        for n in (1, 2, 3)
    ]
    assert close(
        {name: sum(file[name] for file in files) / 3 for name in files[0]},
        read_checkpoint(mean)["model"],
    )
    assert program("--eval", "--initial_model", mean, *use)[0] == 0
    names = (vectors / "trials.txt").read_text().split()[1:3]
    code, out, _ = program("--verify", *names, "--test_path", vectors, "--initial_model", mean)
    # the thresholds of others are not its own
    assert code == 0 and "no decision: the checkpoint has seen no trials" in out
    assert (
        program(
            *vector_run(
                vectors,
                tmp_path / "on",
                "softmax",
                "--batch_size",
                8,
                "--max_steps",
                1,
                "--initial_model",
                mean,
            )
        )[0]
        == 0
    )
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "published.model")
    before = mean.read_bytes()
    for words, message in (
        (["--average", run, "--output", mean], "is there already"),
        (["--average", run], "want --output FILE"),
        (
            ["--average", run / "model" / "last.model", "--output", tmp_path / "x"],
            "want two checkpoints or more",
        ),
        (
            [
                "--average",
                run / "model" / "last.model",
                tmp_path / "published.model",
                "--output",
                tmp_path / "x",
            ],
            "published weights",
        ),
        (
            ["--average", run, tmp_path / "none.model", "--output", tmp_path / "x"],
            "there is no such checkpoint",
        ),
    ):
        code, _, err = program(*words)
        assert code == 2 and message in err, err
    assert mean.read_bytes() == before and not (tmp_path / "x").exists()


# ---------------------------------------------------------------- what a classifier knows of some speakers
KNOWN = {"a": 0, "a@0.9": 1, "b": 2, "b@0.9": 3, "c": 4, "c@0.9": 5}


@pytest.mark.parametrize(
    "make",
    [
        lambda n: aamsoftmax.LossFunction(8, n),
        lambda n: aamsoftmax_subcenter.LossFunction(8, n, subcenters=2),
        lambda n: amsoftmax.LossFunction(8, n, pre_layer=True),
        lambda n: softmaxproto.LossFunction(8, n),
    ],
)
def test_the_rows_of_the_speakers_are_kept(make):
    torch.manual_seed(0)
    before, after, x = make(6), make(3), torch.randn(5, 8)
    state = {"model": {}, "loss": before.state_dict(), "options": {}, "classes": KNOWN}
    after.load_state_dict(
        with_head_for({"c": 0, "a": 1, "b": 2}, state, SpeakerNet(Identity(), after))["loss"]
    )
    if hasattr(before, "softmax"):
        assert torch.allclose(
            after.softmax.fc(x), before.softmax.fc(x)[:, [4, 0, 2]]
        ) and torch.equal(after.angleproto.w, before.angleproto.w)
    else:
        assert torch.allclose(after.cosine(x), before.cosine(x)[:, [4, 0, 2]])


def test_other_classes_are_left_as_they_are():
    net = SpeakerNet(Identity(), aamsoftmax.LossFunction(8, 3))
    state = {
        "model": {},
        "loss": aamsoftmax.LossFunction(8, 6).state_dict(),
        "options": {},
        "classes": KNOWN,
    }
    for classes in (
        KNOWN,
        {"a": 0, "b": 1, "d": 2},
        {name: i for i, name in enumerate([*KNOWN, "d"])},
    ):
        assert with_head_for(classes, state, net) is state
    # published weights know no speakers
    assert with_head_for({"a": 0}, {"model": {}, "loss": {}}, net)["loss"] == {}


def test_fine_tuning_on_the_original_speakers(corpus, tmp_path, program):
    """After training with copies at other speeds, without --partial."""
    assert (
        program(
            *small_run(
                corpus,
                tmp_path / "many",
                "--speed_perturb",
                "--speed_factors",
                0.9,
                "--max_steps",
                2,
            )
        )[0]
        == 0
    )
    code, out, err = program(
        *small_run(
            corpus,
            tmp_path / "few",
            "--initial_model",
            tmp_path / "many" / "model" / "last.model",
            "--lr",
            0,
            "--max_steps",
            1,
        )
    )
    assert code == 0 and "left out" not in out, err
    many, few = (end_of(tmp_path / name)[0] for name in ("many", "few"))
    rows = [many["classes"][name] for name in few["classes"]]
    assert (
        len(rows) == 8
        and rows != list(range(8))
        and torch.equal(few["loss"]["softmax.fc.weight"], many["loss"]["softmax.fc.weight"][rows])
    )
