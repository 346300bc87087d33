"""Averages of weights, and classifiers of fewer speakers.

--ema: evaluations and checkpoints have the moving average; training continues from the weights that
are averaged. --average: the mean of checkpoints. Fine-tuning on some of the speakers keeps the rows
of the classifier that belong to these speakers.
"""

import copy

import numpy as np
import pytest
import torch
from conftest import small_run
from hypothesis import given, settings
from hypothesis import strategies as st
from kill_resume import end_of, equal
from small_world import with_published_names
from test_distributed import close, processes, vector_run, vectors, weights  # noqa: F401
from test_trainer import batch, trainer

from common.errors import InputError
from inference.averaging import average
from inference.scorer import Scorer
from loss import aamsoftmax, aamsoftmax_subcenter, amsoftmax, hamsoftmax, softmaxproto, sphereface2
from models._linear import Identity
from network.checkpoints import load_weights, read_checkpoint, write_checkpoint
from network.classifier import with_head_for
from SpeakerNet import SpeakerNet


# ---------------------------------------------------------------- the average in training
def numbers(net):
    return {name: value.double().numpy().copy() for name, value in net.state_dict().items()}


def weights_of(net):
    return dict(net.state_dict())


@settings(deadline=None, max_examples=20)
@given(decay=st.floats(0.01, 0.9999), steps=st.integers(1, 12), accumulate=st.integers(1, 2))
def test_average_equals_its_definition(decay, steps, accumulate):
    """The average is over parameters and batch statistics; the expected one is in float64.

    Training with an average does not differ from training without it.
    """
    made = trainer(ema=decay, accumulate=accumulate)
    plain = trainer(accumulate=accumulate)
    want = numbers(made.net)
    batches = [batch(i) for i in range(steps * accumulate)]
    for n, _ in enumerate(made.train_epoch(batches)):
        keep = min(decay, (1 + n) / (10 + n))
        for name, value in numbers(made.net).items():
            want[name] = keep * want[name] + (1 - keep) * value
    list(plain.train_epoch(batches))
    got = numbers(made.eval_net)
    for name, value in want.items():
        if "num_batches" not in name:
            assert np.allclose(got[name], value, rtol=1e-5, atol=1e-7), name
    assert got["model.bn.num_batches_tracked"] == steps * accumulate
    assert equal(weights_of(made.net), weights_of(plain.net))
    assert equal(weights_of(plain.eval_net), weights_of(plain.net))


def test_a_skipped_update_does_not_change_the_average():
    made = trainer(ema=0.1, skip_nonfinite=2)
    clean = trainer(ema=0.1)
    list(made.train_epoch([batch(1), batch(2, float("nan")), batch(3)]))
    list(clean.train_epoch([batch(1), batch(3)]))
    assert made.skipped == 1
    assert equal(weights_of(made.eval_net), weights_of(clean.eval_net))


def test_the_average_is_used():
    """Extraction, validation and a network that is loaded from a checkpoint use the average."""
    made = trainer(ema=0.9)
    x = batch(9)["x"]
    list(made.train_epoch([batch(1), batch(2)]))
    fresh = trainer()
    load_weights(fresh.net, made.state(), "a.model")
    fresh.start_average()
    ((_, got),) = Scorer(made.eval_net).represent([(torch.arange(8), x)])
    ((_, want),) = Scorer(fresh.eval_net).represent([(torch.arange(8), x)])
    not_averaged = made.net.eval().model(x.flatten(0, 1)).unflatten(0, (8, 2))
    assert torch.equal(got, want)
    assert not torch.allclose(got, not_averaged)
    assert made.validate([batch(9)]) == fresh.validate([batch(9)])


@pytest.mark.parametrize("stop", range(1, 6))
def test_resumes_bit_for_bit(stop, tmp_path):
    whole = trainer(ema=0.9)
    list(whole.train_epoch([batch(i) for i in range(6)]))
    first = trainer(ema=0.9)
    list(first.train_epoch([batch(i) for i in range(stop)]))
    write_checkpoint(first.state() | {"options": {}}, tmp_path / "a.model")
    second = trainer(ema=0.9)
    state = read_checkpoint(tmp_path / "a.model")
    load_weights(second.net, state, "a.model")
    second.start_average()
    second.resume(state)
    list(second.train_epoch([batch(i) for i in range(stop, 6)]))
    assert equal(second.state(), whole.state())


def part_of_trained(state, part):
    """Returns the trained weights of `model` or `loss` in a checkpoint with an average."""
    weights = {}
    for name, value in state["trained"].items():
        if name.startswith(f"{part}."):
            weights[name.removeprefix(f"{part}.")] = value
    return weights


@pytest.fixture
def run(vectors, tmp_path, program):  # noqa: F811
    """run(folder, *words) -> (stdout, last checkpoint) of a training run."""

    def call(name, *more):
        words = vector_run(vectors, tmp_path / name, "softmax", "--batch_size", 8, *more)
        code, out, err = program(*words)
        assert code == 0, err
        return out, end_of(tmp_path / name)[0]

    return call


def test_training_does_not_depend_on_the_average(run):
    _, plain = run("plain")
    _, whole = run("whole", "--ema", 0.9)
    assert equal(plain["loss"], part_of_trained(whole, "loss"))
    assert not close(plain["model"], whole["model"])
    run("parts", "--ema", 0.9, "--max_steps", 7)
    _, parts = run("parts", "--ema", 0.9)
    for name in ("model", "loss", "trained", "optimizer", "rng", "result"):
        assert equal(parts[name], whole[name]), name
    run("off", "--ema", 0.9, "--max_steps", 7)
    out, off = run("off")
    assert equal(off["model"], plain["model"])
    assert "trained" not in off
    assert "--ema was 0.9 before and is 0.0 from now on." in out


def test_the_average_begins_where_it_is_switched_on(run):
    _, seven = run("on", "--max_steps", 7)
    _, on = run("on", "--max_steps", 8, "--ema", 0.75)
    first = seven["model"]
    last = part_of_trained(on, "model")
    keep = min(0.75, (1 + 7) / (10 + 7))
    for name, value in first.items():
        want = keep * value + (1 - keep) * last[name]
        assert torch.allclose(on["model"][name], want, atol=1e-7), name


def test_evaluation_has_the_scores_of_the_run(run, vectors, tmp_path, program):  # noqa: F811
    run("whole", "--ema", 0.9)
    scores = tmp_path / "whole" / "result" / "scores.txt"
    words = ["--test_list", vectors / "trials.txt", "--test_path", vectors]
    words += ["--initial_model", tmp_path / "whole" / "model" / "last.model"]
    assert program("--eval", *words, "--output", tmp_path / "s.txt")[0] == 0
    assert (tmp_path / "s.txt").read_text() == scores.read_text()


def test_a_decay_of_one_is_refused(vectors, tmp_path, program):  # noqa: F811
    code, _, err = program(*vector_run(vectors, tmp_path / "bad", "softmax", "--ema", 1))
    assert code == 2 and "expected a decay below 1" in err
    assert not (tmp_path / "bad").exists()


@pytest.mark.forks
def test_two_processes_average_as_one(vectors, tmp_path):  # noqa: F811
    one = vector_run(vectors, tmp_path / "one", "softmax", "--batch_size", 8, "--ema", 0.9)
    two = vector_run(vectors, tmp_path / "two", "softmax", "--batch_size", 4, "--ema", 0.9)
    assert processes(1, *one) == [0]
    assert processes(2, *two) == [0, 0]
    assert close(weights(tmp_path / "one"), weights(tmp_path / "two"))


# ---------------------------------------------------------------- the mean of checkpoints
def made_checkpoint(path, seed, **changes):
    """Writes a checkpoint of a short training. changes: entries of the state to replace."""
    made = trainer(ema=0.9)
    list(made.train_epoch([batch(10 * seed + i) for i in range(seed)]))
    options = {"model": "ResNetSE34L", "trainfunc": "softmax", "nOut": 4, "lr": seed}
    state = made.state() | {"options": options, "classes": {"a": 0}, "result": {"EER": 1.0}}
    write_checkpoint(state | changes, path)
    return path


def test_mean_of_checkpoints(tmp_path):
    files = [made_checkpoint(tmp_path / f"{seed}.model", seed) for seed in (1, 2, 3)]
    states = [torch.load(file, weights_only=True) for file in files]
    made = average(files)
    # The mean has no EER, no threshold, and nothing that a resume needs.
    assert made.keys() == {"model", "loss", "options", "classes"}
    assert made["options"]["lr"] == 3
    for name, value in made["model"].items():
        values = [state["model"][name].numpy() for state in states]
        want = values[-1] if "num_batches" in name else np.mean(np.array(values, np.float64), 0)
        assert value.dtype == states[0]["model"][name].dtype, name
        assert np.allclose(value, want, rtol=1e-6, atol=1e-9), name
    assert made["model"]["bn.num_batches_tracked"] == 3


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"options": {"model": "ResNetSE34L", "trainfunc": "softmax", "nOut": 5}},
            "--nOut 5 instead of 4",
        ),
        (
            {"options": {"model": "ResNetSE34L", "trainfunc": "proto", "nOut": 4}},
            "--trainfunc proto instead of softmax",
        ),
        ({"classes": {"b": 0}}, "other speakers (1 instead of 1)"),
        ({"model": {"fc.weight": torch.zeros(4, 6)}}, "model.fc.bias missing instead of [4]"),
        ({"loss": {"w": torch.zeros(3)}}, "loss.w [3] instead of missing"),
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


@pytest.fixture
def trained(vectors, tmp_path, program):  # noqa: F811
    """The folder of a run with three numbered checkpoints."""
    folder = tmp_path / "run"
    assert program(*vector_run(vectors, folder, "softmax", "--batch_size", 8))[0] == 0
    return folder


def test_average_from_the_command_line(trained, vectors, tmp_path, program):  # noqa: F811
    mean = tmp_path / "mean.model"
    code, out, err = program("--average", trained, "--output", mean)
    files = []
    for number in (1, 2, 3):
        name = f"model00000000{number}.model"
        assert code == 0 and name in out, err
        files.append(torch.load(trained / "model" / name, weights_only=True)["model"])
    want = {}
    for name in files[0]:
        want[name] = sum(file[name] for file in files) / 3
    assert close(want, read_checkpoint(mean)["model"])
    words = ["--test_list", vectors / "trials.txt", "--test_path", vectors]
    words += ["--output", tmp_path / "s.txt"]
    assert program("--eval", "--initial_model", mean, *words)[0] == 0
    names = (vectors / "trials.txt").read_text().split()[1:3]
    code, out, _ = program("--verify", *names, "--test_path", vectors, "--initial_model", mean)
    # The thresholds of the averaged checkpoints do not fit the mean.
    assert code == 0 and "none: the checkpoint was not evaluated on trials" in out
    words = ["--batch_size", 8, "--max_steps", 1, "--initial_model", mean]
    assert program(*vector_run(vectors, tmp_path / "on", "softmax", *words))[0] == 0


def test_what_average_refuses(trained, tmp_path, program):
    mean = tmp_path / "mean.model"
    last = trained / "model" / "last.model"
    published = tmp_path / "published.model"
    other = ["--output", tmp_path / "x"]
    assert program("--average", trained, "--output", mean)[0] == 0
    torch.save({"fc.weight": torch.zeros(1)}, published)
    before = mean.read_bytes()
    for words, message in (
        ([trained, "--output", mean], "exists and is not overwritten"),
        ([trained], "--average needs --output FILE"),
        ([last, *other], "expected at least two checkpoints"),
        ([last, published, *other], "published weights"),
        ([trained, tmp_path / "none.model", *other], "there is no such checkpoint"),
    ):
        code, _, err = program("--average", *words)
        assert code == 2 and message in err, err
    assert mean.read_bytes() == before and not (tmp_path / "x").exists()


# ---------------------------------------------------------------- classifiers of fewer speakers
# Classes of a checkpoint that was trained with copies at another speed.
ALL_CLASSES = {"a": 0, "a@0.9": 1, "b": 2, "b@0.9": 3, "c": 4, "c@0.9": 5}


HEADS = [
    lambda n: aamsoftmax.LossFunction(8, n),
    lambda n: aamsoftmax_subcenter.LossFunction(8, n, subcenters=2),
    lambda n: amsoftmax.LossFunction(8, n, pre_layer=True),
    lambda n: softmaxproto.LossFunction(8, n),
    lambda n: sphereface2.LossFunction(8, n),
    lambda n: hamsoftmax.LossFunction(8, n),
]


def logits(loss, x):
    """The output of a classifier for embeddings x."""
    return loss.softmax.fc(x) if hasattr(loss, "softmax") else loss.cosine(x)


@pytest.mark.parametrize("make", HEADS)
def test_the_rows_of_the_speakers_are_kept(make):
    torch.manual_seed(0)
    before = make(6)
    after = make(3)
    x = torch.randn(5, 8)
    state = {"model": {}, "loss": before.state_dict(), "options": {}, "classes": ALL_CLASSES}
    classes = {"c": 0, "a": 1, "b": 2}
    changed, text = with_head_for(classes, state, SpeakerNet(Identity(), after), make)
    assert "3 of 3 speakers are in the checkpoint, and 0 start with random weights" in text
    after.load_state_dict(changed["loss"])
    if hasattr(before, "softmax"):
        assert torch.allclose(after.softmax.fc(x), before.softmax.fc(x)[:, [4, 0, 2]])
        assert torch.equal(after.angleproto.w, before.angleproto.w)
    else:
        assert torch.allclose(after.cosine(x), before.cosine(x)[:, [4, 0, 2]])


@pytest.mark.parametrize("make", HEADS)
@pytest.mark.parametrize("names", ["dfa", "dcfb@0.9", "xyz", "dabcfe", "abcdef"])
def test_new_speakers_start_with_random_rows(make, names):
    """Rows are given by name, with as many speakers as before, fewer and more."""
    torch.manual_seed(0)
    old_names = [*"abcdef"]
    new_names = ["b@0.9", *"dcf"] if "@" in names else [*names]
    before = make(6)
    after = make(len(new_names))
    old = {name: i for i, name in enumerate(old_names)}
    new = {name: i for i, name in enumerate(new_names)}
    state = {"model": {}, "loss": before.state_dict(), "options": {}, "classes": old}
    x = torch.randn(5, 8)
    fresh = copy.deepcopy(after)
    layers = {name: value for name, value in before.state_dict().items() if "preLayer" in name}
    fresh.load_state_dict(layers, strict=False)
    expected = logits(fresh, x).clone()
    for name, row in new.items():
        if name in old:
            expected[:, row] = logits(before, x)[:, old[name]]
    changed, text = with_head_for(new, state, SpeakerNet(Identity(), after), make)
    after.load_state_dict(changed["loss"])
    assert torch.allclose(logits(after, x), expected, atol=1e-6)
    known = len(set(old_names) & set(new_names))
    if new != old:
        numbers = f"{known} of {len(new)} speakers are in the checkpoint, and {len(new) - known} "
        assert numbers in text


def test_a_square_classifier_is_not_transposed():
    """With as many speakers as numbers in an embedding, the axis of the speakers is known."""
    torch.manual_seed(0)
    old = {name: i for i, name in enumerate("abcdefgh")}
    new = {name: i for i, name in enumerate("hgfedcba")}
    for module in (amsoftmax, aamsoftmax):
        before, after = (module.LossFunction(8, 8) for _ in range(2))
        state = {"model": {}, "loss": before.state_dict(), "options": {}, "classes": old}
        net = SpeakerNet(Identity(), after)
        changed, _ = with_head_for(new, state, net, lambda n, m=module: m.LossFunction(8, n))
        after.load_state_dict(changed["loss"])
        x = torch.randn(5, 8)
        assert torch.allclose(after.cosine(x), before.cosine(x).flip(1))


def test_a_checkpoint_without_other_speakers_is_unchanged():
    net = SpeakerNet(Identity(), aamsoftmax.LossFunction(8, 6))

    def make(n):
        return aamsoftmax.LossFunction(8, n)

    state = {"model": {}, "loss": make(6).state_dict(), "options": {}, "classes": ALL_CLASSES}
    drawn = torch.random.get_rng_state()
    same = with_head_for(dict(ALL_CLASSES), state, net, make)
    # Published weights have no names of speakers.
    published = {"model": {}, "loss": {}}
    unknown = with_head_for({"a": 0}, published, net, make)
    assert same == (state, "") and unknown == (published, "")
    # A classifier of another loss is left as it is.
    other = state | {"loss": {"W": torch.zeros(8, 6)}}
    assert with_head_for({"a": 0}, other, net, make) == (other, "")
    with_head_for({"a": 0, "b": 1}, state, net, make)
    assert torch.equal(drawn, torch.random.get_rng_state())


def test_fine_tuning_on_other_speakers(corpus, tmp_path, program):
    """Both lists have six speakers. Four are in both, under other numbers. --lr is 0."""
    lines = (corpus / "train_list.txt").read_text().splitlines()
    names = sorted({line.split()[0] for line in lines})

    def run(folder, chosen, *words):
        path = tmp_path / f"{folder}.txt"
        path.write_text("".join(f"{line}\n" for line in lines if line.split()[0] in chosen))
        words = ["--train_list", path, "--lr", 0, "--max_steps", 1, "--batch_size", 2, *words]
        code, out, err = program(*small_run(corpus, tmp_path / folder, *words))
        assert code == 0, err
        return end_of(tmp_path / folder)[0], out

    before, _ = run("before", names[:6])
    checkpoint = tmp_path / "before" / "model" / "last.model"
    after, out = run("after", names[2:], "--initial_model", checkpoint, "--seed", 5)
    assert "4 of 6 speakers are in the checkpoint, and 2 start with random weights" in out
    old_rows = before["loss"]["softmax.fc.weight"]
    new_rows = after["loss"]["softmax.fc.weight"]
    for name in names[2:6]:
        assert torch.equal(new_rows[after["classes"][name]], old_rows[before["classes"][name]])
    for name in names[6:]:
        assert not (new_rows[after["classes"][name]] == old_rows).all(1).any()
    published = with_published_names(before)
    torch.save(published, tmp_path / "published.model")
    _, out = run("third", names[2:], "--initial_model", tmp_path / "published.model")
    assert "published.model: the file does not name its speakers." in out


def test_fine_tuning_on_the_original_speakers(corpus, tmp_path, program):
    """The checkpoint was trained with copies at other speeds. --partial is not needed."""
    words = ["--speed_perturb", "--speed_factors", 0.9, "--max_steps", 2]
    assert program(*small_run(corpus, tmp_path / "many", *words))[0] == 0
    last = tmp_path / "many" / "model" / "last.model"
    words = ["--initial_model", last, "--lr", 0, "--max_steps", 1]
    code, out, err = program(*small_run(corpus, tmp_path / "few", *words))
    assert code == 0 and "left out" not in out, err
    many, _ = end_of(tmp_path / "many")
    few, _ = end_of(tmp_path / "few")
    rows = [many["classes"][name] for name in few["classes"]]
    assert len(rows) == 8
    assert rows != list(range(8))
    kept = many["loss"]["softmax.fc.weight"][rows]
    assert torch.equal(few["loss"]["softmax.fc.weight"], kept)
