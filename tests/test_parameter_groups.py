"""Groups of parameters: rates and decays of their own, and a front end that is frozen at first.

The network here is small, with a front end like the self-supervised ones.
"""

import argparse
import functools

import pytest
import torch
from conftest import small_run
from kill_resume import end_of, equal
from test_distributed import close, processes, vector_run, vectors, weights  # noqa: F401
from test_schedules import OPTIMIZERS, SCHEDULERS
from torch import nn

import models.MyLinearNetv2
from common.errors import InputError
from common.parameter_groups import Group
from loss import angleproto, softmax
from models import SpeakerModel
from models._fine_tuning import FINE_TUNING, UPDATE_OPTIONS, FineTuning
from network.checkpoints import load_weights, read_checkpoint, write_checkpoint
from network.components import build
from network.parameter_groups import REST, Freezing, for_optimizer, parameter_groups_of
from options.plugins import options_of
from SpeakerNet import SpeakerNet, Trainer

LAYERS = 3
OWN = FineTuning(ssl_lr=0.02, layer_decay=0.5, freeze_epochs=1)
# By hand: the last layer has 0.02, every part below half of it.
RATES = {"all others": 0.1, "ssl 0": 0.005, "ssl 1": 0.01, "ssl 2": 0.02}


class Layer(nn.Sequential):
    """A layer with everything that behaves differently in training."""

    def __init__(self, size, plain):
        parts = [nn.Linear(size, size), nn.BatchNorm1d(size), nn.ReLU(), nn.Dropout(0.3)]
        super().__init__(*(parts[:1] if plain else parts))


class WithFrontEnd(SpeakerModel):
    """Three layers that are the front end, and a linear layer: embeddings [N, nOut] to [N, nOut].

    nOut: size of the embedding
    plain: leave out batch statistics and dropout
    """

    takes = "embeddings"
    update_options = UPDATE_OPTIONS

    def __init__(
        self, *, nOut: int = 16, plain: bool = False, fine_tuning: FineTuning = FINE_TUNING
    ):
        super().__init__()
        self.dim = nOut
        self.fine_tuning = fine_tuning
        self.front = nn.Sequential(*[Layer(nOut, plain) for _ in range(LAYERS)])
        self.fc = nn.Linear(nOut, nOut)

    def forward(self, x):
        return self.fc(self.front(x))

    def parameter_groups(self):
        return self.fine_tuning.groups(
            {f"ssl {number}": layer.parameters() for number, layer in enumerate(self.front)}
        )


def batch(seed, scale=1.0):
    x = torch.randn(8, 2, 16, generator=torch.Generator().manual_seed(seed)) * scale
    return {
        "x": x,
        "label": torch.arange(8),
        "spoof": torch.zeros(8, dtype=torch.bool),
        "index": torch.arange(16).view(8, 2),
    }


def component(part, name, **supplied):
    """Builds an optimizer or a scheduler. Options that are not given have their defaults."""
    values = {option.name: option.default for option in options_of(part, name)}
    return build(part, argparse.Namespace(**{part: name} | values | supplied), **supplied)


def trainer(
    own=OWN,
    optimizer="sgd",
    scheduler="exponentiallr",
    head_weight_decay=None,
    model=None,
    steps_per_epoch=3,
    **settings,
):
    """Returns a trainer that was made as by the program, with --lr 0.1 and --weight_decay 0.01."""
    torch.manual_seed(0)
    net = SpeakerNet(model or WithFrontEnd(fine_tuning=own), softmax.LossFunction(16, 8))
    made = Trainer(net, **settings)
    groups = parameter_groups_of(net.model, net.loss, head_weight_decay)
    made.freezing = Freezing(net, groups)
    made.optimizer = component(
        "optimizer", optimizer, params=for_optimizer(groups, 0.1), lr=0.1, weight_decay=0.01
    )
    made.scheduler = component(
        "scheduler",
        scheduler,
        optimizer=made.optimizer,
        steps_per_epoch=steps_per_epoch,
        max_epoch=8,
        test_interval=2,
    )
    return made


def train(made, batches):
    """Trains from the position of a trainer over all epochs of three batches."""
    for number in range(made.step, len(batches)):
        epoch, position = divmod(number, 3)
        if position == 0 and epoch:
            made.next_epoch({"loss": 1.0})
        list(made.train_epoch(batches[number : number + 1]))


def numbers(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


# ---------------------------------------------------------------------- groups
def test_layers_near_the_input_have_lower_rates():
    groups = parameter_groups_of(WithFrontEnd(fine_tuning=OWN), softmax.LossFunction(16, 8))
    assert {group.name: group.rate(0.1) for group in groups} == pytest.approx(RATES)
    without_rate = parameter_groups_of(
        WithFrontEnd(fine_tuning=FineTuning(layer_decay=0.5)), softmax.LossFunction(16, 8)
    )
    assert [group.rate(0.1) for group in without_rate] == pytest.approx([0.1, 0.025, 0.05, 0.1])
    assert not any(group.frozen_epochs for group in without_rate)


def test_a_run_without_these_options_has_the_optimizer_state_of_before():
    made = trainer(FINE_TUNING)
    train(made, [batch(0)])
    state = made.optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [list(range(16))]
    assert "name" not in state["param_groups"][0]
    names = [name for name, _ in made.net.named_parameters()]
    shapes = [state["state"][number]["momentum_buffer"].shape for number in range(16)]
    assert shapes == [made.net.get_parameter(name).shape for name in names]


@pytest.mark.parametrize("option", ["ssl_lr", "layer_decay", "freeze_epochs"])
def test_values_without_a_meaning_are_refused(option):
    with pytest.raises(ValueError, match=f"--{option}: expected .* found -1"):
        FineTuning(**{option: -1})


def test_a_parameter_in_two_groups_is_refused():
    model = WithFrontEnd()
    model.parameter_groups = lambda: [Group("a", [model.fc.bias]), Group("b", [model.fc.bias])]
    with pytest.raises(InputError, match="found one in the groups 'a' and 'b'"):
        parameter_groups_of(model, softmax.LossFunction(16, 8))


def test_a_network_that_would_not_train_is_refused():
    model = WithFrontEnd(fine_tuning=OWN)
    model.fc.requires_grad_(False)
    loss = angleproto.LossFunction()
    assert len(parameter_groups_of(model, loss)) == 1 + LAYERS
    loss.requires_grad_(False)
    with pytest.raises(InputError, match="--freeze_epochs: expected 0, because"):
        parameter_groups_of(model, loss)


# ---------------------------------------------------------------------- rates and decays
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_ratios_are_kept_at_every_step(optimizer, scheduler):
    """The first group has the rates of a run without groups; the others their ratio to it."""
    made = trainer(optimizer=optimizer, scheduler=scheduler)
    plain = trainer(FINE_TUNING, optimizer=optimizer, scheduler=scheduler)
    changed = 0
    for step in range(24):
        rates = {group["name"]: group["lr"] for group in made.optimizer.param_groups}
        first = plain.optimizer.param_groups[0]["lr"]
        want = {name: first * rate / 0.1 for name, rate in RATES.items()}
        assert rates == pytest.approx(want, rel=1e-12), step
        for each in (made, plain):
            each.optimizer.step()
            each.scheduler.step()
            each.follow({"loss": 1.0})
        changed += first != plain.optimizer.param_groups[0]["lr"]
    assert changed


def test_a_plateau_lowers_small_rates_too():
    """Torch would keep rates that fall by less than 1e-8."""
    made = trainer(FineTuning(ssl_lr=1e-7, layer_decay=0.1), scheduler="plateau")
    for _ in range(20):
        made.follow({"loss": 1.0})
    rates = [group["lr"] for group in made.optimizer.param_groups]
    # Two reductions, after seven results without improvement each.
    assert rates == pytest.approx([1e-3, 1e-11, 1e-10, 1e-9], rel=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_updates_have_the_ratio_of_the_rates(optimizer):
    """Equal weights with equal gradients move by a tenth in a group with a tenth of the rate."""
    start = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).double()
    fast, slow = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    groups = [Group(REST, [fast]), Group("slow", [slow], lr_scale=0.1)]
    made = component("optimizer", optimizer, params=for_optimizer(groups, 0.1), lr=0.1)
    for p in (fast, slow):
        p.grad = start.cos()
    made.step()
    assert (fast - start).abs().max() > 1e-3
    torch.testing.assert_close(10 * (slow - start), fast - start)


def test_decay_of_the_head_is_as_computed_by_hand():
    made = trainer(FINE_TUNING, head_weight_decay=0.05)
    before = numbers(made.net)
    made.net.train()
    made.net(batch(1))["loss"].backward()
    grads = {name: p.grad.clone() for name, p in made.net.named_parameters()}
    made.optimizer.step()
    for name, p in made.net.named_parameters():
        decay = 0.05 if name in ("loss.fc.weight", "loss.fc.bias") else 0.01
        # The first update with momentum is an update without it.
        want = before[name] - 0.1 * (grads[name] + decay * before[name])
        torch.testing.assert_close(p.detach(), want, rtol=1e-6, atol=1e-8)


def test_adam_w_spares_vectors_of_every_group():
    groups = parameter_groups_of(WithFrontEnd(fine_tuning=OWN), softmax.LossFunction(16, 8), 0.05)
    made = component(
        "optimizer",
        "adamW",
        params=for_optimizer(groups, 0.1),
        weight_decay=0.01,
        decay_vectors=False,
    )
    for group in made.param_groups:
        matrices = {p.dim() > 1 for p in group["params"]}
        decay = 0.05 if group["name"] == "classifier" else 0.01
        assert matrices in ({True}, {False})
        assert group["weight_decay"] == (decay if matrices == {True} else 0.0), group["name"]
    assert len(made.param_groups) == 2 * len(groups)


# ---------------------------------------------------------------------- frozen epochs
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_frozen_front_end_does_not_change(optimizer):
    """Neither weights nor batch statistics, in spite of weight decay. Afterwards it learns."""
    made = trainer(optimizer=optimizer, ema=0.5, accumulate=1)
    front = made.net.model.front
    before = numbers(front)
    head = numbers(made.net.model.fc)
    train(made, [batch(n) for n in range(3)])
    assert equal(numbers(front), before) and equal(numbers(made.eval_net.model.front), before)
    assert not equal(numbers(made.net.model.fc), head)
    frozen = set(front.parameters())
    assert not frozen & made.optimizer.state.keys()
    train(made, [batch(n) for n in range(4)])
    for name, value in numbers(front).items():
        assert not torch.equal(value, before[name]), name
    assert frozen < made.optimizer.state.keys()


def test_a_frozen_front_end_is_in_eval_mode_and_gets_no_gradient():
    made = trainer()
    seen = []

    def look(module, inputs, output):
        seen.append((module.training, output.requires_grad, made.net.model.fc.training))

    made.net.model.front.register_forward_hook(look)
    train(made, [batch(n) for n in range(6)])
    assert seen == [(False, False, True)] * 3 + [(True, True, True)] * 3


def test_parameters_that_never_learn_stay_as_they_are():
    """A model may have parameters without gradient in its front end."""
    model = WithFrontEnd(fine_tuning=OWN)
    model.front[0].requires_grad_(False)
    made = trainer(model=model)
    assert [group["name"] for group in made.optimizer.param_groups] == [REST, "ssl 1", "ssl 2"]
    before = numbers(model.front[0][0])
    train(made, [batch(n) for n in range(6)])
    assert equal(numbers(model.front[0][0]), before)
    assert not any(p.requires_grad for p in model.front[0].parameters())


def without_dropout():
    model = WithFrontEnd(fine_tuning=OWN)
    for layer in model.front:
        layer[3].p = 0.0
    return model


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("bad", [0, 3])
def test_a_skipped_first_update_leaves_no_trace(optimizer, bad):
    """The first update of the run, and the first one of the front end."""
    runs = []
    for skipped in (True, False):
        torch.manual_seed(0)
        made = trainer(
            optimizer=optimizer, model=without_dropout(), skip_nonfinite=1, steps_per_epoch=1000
        )
        for number in range(6):
            if number == 3:
                made.next_epoch({})
            if number != bad:
                list(made.train_epoch([batch(number)]))
            elif skipped:
                list(made.train_epoch([batch(number, float("nan"))]))
        runs.append(numbers(made.net))
    for name, value in runs[1].items():
        assert value.isfinite().all(), name
        torch.testing.assert_close(runs[0][name], value, msg=name)


def test_frozen_epochs_work_with_the_loss_scaler():
    made = trainer()
    made.scaler = torch.amp.GradScaler("cpu", enabled=True)
    plain = trainer()
    for each in (made, plain):
        # The same dropout.
        torch.manual_seed(1)
        train(each, [batch(n) for n in range(6)])
    for name, value in made.net.state_dict().items():
        torch.testing.assert_close(value, plain.net.state_dict()[name], rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------------- resume
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumes_bit_for_bit(optimizer, tmp_path):
    """From a step before, at and after the end of the frozen epoch, with an average."""
    batches = [batch(n) for n in range(8)]
    settings = {"optimizer": optimizer, "ema": 0.9, "head_weight_decay": 0.05}
    whole = trainer(**settings)
    train(whole, batches)
    for stop in (2, 3, 5):
        first = trainer(**settings)
        train(first, batches[:stop])
        write_checkpoint(first.state() | {"options": {}}, tmp_path / "a.model")
        second = trainer(**settings)
        state = read_checkpoint(tmp_path / "a.model")
        load_weights(second.net, state, "a.model")
        second.start_average()
        second.resume(state)
        train(second, batches)
        assert equal(second.state(), whole.state()), stop


# ---------------------------------------------------------------------- the program
@pytest.fixture
def run(vectors, tmp_path, program, monkeypatch):  # noqa: F811
    """run(folder, *words) -> (exit code, output, errors) of a run of a network with a front end."""
    monkeypatch.setattr(models.MyLinearNetv2, "MainModel", WithFrontEnd)

    def call(name, *more, loss="softmax"):
        words = vector_run(vectors, tmp_path / name, loss, "--batch_size", 4, *more)
        return program(*words)

    return call


SETTINGS = ["--ssl_lr", 0.002, "--layer_decay", 0.5, "--freeze_epochs", 1, "--ema", 0.9]
SETTINGS += ["--head_weight_decay", 0.05]


def end(tmp_path, name):
    return end_of(tmp_path / name)[0]


def test_the_program_says_how_groups_are_trained(run):
    _, out, err = run("a", *SETTINGS)
    assert (
        "Groups      ssl 0 to ssl 2: learning rate 0.0005 to 0.002, not trained in the first "
        "1 epoch\n" in out
    ), out + err
    assert "Groups      classifier: learning rate 0.01, weight decay 0.05\n" in out
    assert "From epoch 2 on, training includes ssl 0 to ssl 2.\n" in out
    _, out, _ = run("b")
    assert "Groups " not in out


def test_runs_resume_bit_for_bit(run, tmp_path):
    """An epoch has six updates, so these runs stop in the first epoch and in the second one."""
    run("whole", *SETTINGS)
    whole = end(tmp_path, "whole")
    assert whole["step"] > 10
    for steps in (2, 9):
        run("parts", *SETTINGS, "--max_steps", steps)
    run("parts", *SETTINGS)
    parts = end(tmp_path, "parts")
    for name in ("model", "loss", "trained", "optimizer", "scheduler", "rng", "result"):
        assert equal(parts[name], whole[name]), name


def test_changed_options_are_used(run, tmp_path):
    run("a", *SETTINGS, "--max_epoch", 2)
    changes = ["--ssl_lr", 0.004, "--head_weight_decay", 0.1, "--lr_decay", 0.5]
    code, out, err = run("a", *SETTINGS, *changes)
    assert code == 0, err
    assert "--ssl_lr was 0.002 before and is 0.004 from now on." in out
    groups = {group["name"]: group for group in end(tmp_path, "a")["optimizer"]["param_groups"]}
    # After three epochs, the rate has fallen three times.
    assert groups[REST]["lr"] == pytest.approx(0.01 / 8)
    assert groups["ssl 2"]["lr"] == pytest.approx(0.004 / 8)
    assert groups["ssl 0"]["lr"] == pytest.approx(0.001 / 8)
    assert groups["classifier"]["weight_decay"] == 0.1


def test_changed_options_are_used_by_a_schedule_that_follows_results(run, tmp_path):
    # No result is an improvement, so every epoch halves the rates.
    words = ["--scheduler", "plateau", "--lr_patience", 0, "--lr_threshold", 1, "--lr_decay", 0.5]
    run("a", *SETTINGS, *words, "--max_epoch", 2)
    before = end(tmp_path, "a")["optimizer"]["param_groups"]
    assert before[0]["lr"] == pytest.approx(0.01 / 4)
    code, _, err = run("a", *SETTINGS, *words, "--ssl_lr", 0.004, "--lr", 0.1)
    assert code == 0, err
    groups = {group["name"]: group for group in end(tmp_path, "a")["optimizer"]["param_groups"]}
    assert groups[REST]["lr"] == pytest.approx(0.1 / 8)
    assert groups["ssl 1"]["lr"] == pytest.approx(0.002 / 8)


def test_other_groups_are_refused(run):
    run("a", "--head_weight_decay", 0.1, "--max_epoch", 1)
    code, _, err = run("a", "--ssl_lr", 0.1, "--max_epoch", 1)
    assert code == 2
    assert "To resume this run, give --head_weight_decay 0.1, --ssl_lr 0.0. To start" in err
    run("b", "--max_epoch", 1)
    code, _, err = run("b", "--head_weight_decay", 0.1, "--max_epoch", 1)
    assert code == 2
    assert "To resume this run, leave out --head_weight_decay. To start a new run" in err


def test_a_loss_without_a_classifier_warns(run):
    _, out, _ = run("a", "--head_weight_decay", 0.1, "--max_steps", 1, loss="angleproto")
    text = "warning: --head_weight_decay has no effect with --trainfunc angleproto, which has no "
    assert out.count(text) == 1, out


def test_options_of_a_front_end_have_no_effect_with_other_models(run, corpus, tmp_path, program):
    words = ["--ssl_lr", 0.1, "--max_steps", 1]
    _, out, _ = program(*small_run(corpus, tmp_path / "a", *words))
    text = "warning: --ssl_lr has no effect with --model ResNetSE34L. It is an option of --model "
    assert out.count(text) == 1, out


def test_a_new_run_from_a_checkpoint_is_not_frozen(run, tmp_path):
    """The options of the updates are not taken from a checkpoint, like --lr."""
    run("a", *SETTINGS, "--max_epoch", 1)
    last = tmp_path / "a" / "model" / "last.model"
    code, out, err = run("b", "--initial_model", last, "--max_epoch", 1)
    assert code == 0 and "Groups " not in out, err
    assert end(tmp_path, "b")["options"]["freeze_epochs"] == 0
    code, out, _ = run("c", "--initial_model", last, "--max_epoch", 1, "--ssl_lr", 0.003)
    assert code == 0 and "ssl 2: learning rate 0.003\n" in out


def test_options_of_a_run_can_be_read_back(run, tmp_path):
    """--freeze_epochs 0 is allowed, although whole numbers of networks are sizes."""
    run("a", "--max_steps", 1)
    code, _, err = run("b", "--config", tmp_path / "a" / "config.yaml", "--max_steps", 1)
    assert code == 0, err
    code, _, err = run("c", "--layer_decay", 0)
    assert code == 2
    assert "--model MyLinearNetv2: --layer_decay: expected more than 0, found 0." in err


# ---------------------------------------------------------------------- processes and compilation
@pytest.mark.slow
@pytest.mark.forks
def test_two_processes_train_as_one(run, vectors, tmp_path):  # noqa: F811
    """The trained parameters change during the run, and both processes know it.

    Without batch statistics and dropout, the result does not depend on the number of processes.
    """
    words = [*SETTINGS, "--plain"]
    one_run = vector_run(vectors, tmp_path / "one", "softmax", "--batch_size", 8, *words)
    assert processes(1, *one_run) == [0]
    two_run = vector_run(vectors, tmp_path / "two", "softmax", "--batch_size", 4, *words)
    # Stops in the frozen epoch and after it.
    for steps in (2, 5):
        assert processes(2, *two_run, "--max_steps", steps) == [0, 0]
    assert processes(2, *two_run) == [0, 0]
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert close(one, two)


@pytest.mark.slow
@pytest.mark.forks
def test_two_processes_resume_bit_for_bit(run, vectors, tmp_path):  # noqa: F811
    """With batch statistics and dropout, which differ between the processes."""
    for name, steps in (("whole", [100]), ("parts", [2, 5, 100])):
        for number in steps:
            words = [*SETTINGS, "--batch_size", 4, "--max_steps", number]
            words = vector_run(vectors, tmp_path / name, "softmax", *words)
            assert processes(2, *words) == [0, 0]
    whole, parts = end(tmp_path, "whole"), end(tmp_path, "parts")
    for name in ("model", "loss", "trained", "optimizer", "rng", "result"):
        assert equal(whole[name], parts[name]), name


@pytest.mark.slow
def test_a_compiled_network_is_compiled_again_for_the_front_end(monkeypatch):
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="aot_eager"))
    runs = []
    for compiled in (False, True):
        torch.manual_seed(0)
        made = trainer(model=WithFrontEnd(plain=True, fine_tuning=OWN))
        if compiled:
            made.compile()
        train(made, [batch(n) for n in range(6)])
        runs.append(numbers(made.net))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 1
    for name, value in runs[0].items():
        torch.testing.assert_close(runs[1][name], value, msg=name)
