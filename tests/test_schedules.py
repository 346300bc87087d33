"""Schedulers against the reference implementations; optimizers; the contract of both folders.

pytest tests/test_schedules.py
"""

import copy
import importlib
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import golden
from torch import nn

ROOT = Path(__file__).parent.parent
REFERENCE = Path(__file__).with_name("reference")
SCHEDULERS = [path.stem for path in sorted((ROOT / "scheduler").glob("[!_]*.py"))]
OPTIMIZERS = [path.stem for path in sorted((ROOT / "optimizer").glob("[!_]*.py"))]
COSINE = "cosine_annealing_warmup_restarts"


def optimizer_of(lr=1e-3):
    return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)


def scheduler(name, optimizer, steps_per_epoch=3, max_epoch=60, test_interval=10, **options):
    entry = importlib.import_module(f"scheduler.{name}").Scheduler
    supplied = {
        "steps_per_epoch": steps_per_epoch,
        "max_epoch": max_epoch,
        "test_interval": test_interval,
    }
    return entry(
        optimizer,
        **{k: v for k, v in supplied.items() if k in inspect.signature(entry).parameters},
        **options,
    )


def rates(name, steps, lr=1e-3, **options):
    """Learning rate of every update."""
    optimizer = optimizer_of(lr)
    schedule, values = scheduler(name, optimizer, **options), []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array(values)


def reference_cases():
    return [
        pytest.param(case, id=case.name)
        for file in ("sched_clova_steplr.npz", "sched_ska.npz")
        for case in golden.load_cases(REFERENCE / file)
    ]


@pytest.mark.parametrize("case", reference_cases())
def test_parity(case):
    """Three updates an epoch. Stepping without the epoch ("zero_then_auto") lengthens cycles otherwise than stepping to it."""
    own = {"lr_tmul_of": "descent"} if case.hparams.get("calls") == "zero_then_auto" else {}
    got = rates(case.hparams["scheduler"], 180, case.hparams["lr"], **case.hparams["init"], **own)
    assert np.allclose(got, np.repeat(case.arrays["lr"], 3), rtol=1e-6, atol=1e-14)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedule_is_a_function_of_the_step(name):
    """Saved and loaded anywhere, even into an optimizer whose rate has moved on, it continues as if nothing had happened."""
    want = rates(name, 40, max_epoch=12)
    optimizer = optimizer_of()
    first = scheduler(name, optimizer, max_epoch=12)
    for _ in range(17):
        optimizer.step()
        first.step()
    again = optimizer_of()
    second = scheduler(name, again, max_epoch=12)
    again.load_state_dict(optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    got = []
    for _ in range(17, 40):
        got.append(again.param_groups[0]["lr"])
        again.step()
        second.step()
    assert np.array_equal(got, want[17:])


def test_steplr_interval_replaces_test_interval():
    got = rates(
        "steplr", 12, lr=1.0, steps_per_epoch=2, test_interval=5, lr_decay=0.5, lr_decay_interval=2
    )
    assert np.allclose(got, [1] * 4 + [0.5] * 4 + [0.25] * 4)


def test_cosine_is_one_cycle_from_lr_by_default():
    got = rates(COSINE, 30, lr=0.1, max_epoch=10)
    assert got[0] == pytest.approx(0.1) and np.all(np.diff(got) <= 1e-12) and 0 < got[-1] < 0.01
    # constant over an epoch
    assert np.allclose(got.reshape(10, 3), got[::3, None])


def test_cosine_per_step_is_smooth_and_passes_through_the_values_of_whole_epochs():
    options = {"lr": 0.1, "max_epoch": 10, "lr_wstep": 2.0, "lr_min": 1e-3}
    whole, smooth = rates(COSINE, 30, **options), rates(COSINE, 30, lr_per_step=True, **options)
    assert np.allclose(smooth[::3], whole[::3])
    assert (
        np.all(np.diff(smooth[:7]) > 0)
        and smooth[6] == pytest.approx(0.1)
        and np.all(np.diff(smooth[6:]) < 0)
    )
    assert np.abs(np.diff(smooth)).max() < 0.02


def test_cosine_restarts_on_time_when_logarithms_round():
    """log(243, 3) comes out just below 5: the restart at (243 - 1) / 2 must not come late."""
    got = rates(COSINE, 122, lr=1.0, steps_per_epoch=1, lr_t0=1, lr_tmul=3.0)
    assert got[121] == pytest.approx(1.0) and got[120] < 0.01


@pytest.mark.parametrize(
    "option, value", [("lr_tmul", 0.5), ("lr_wstep", 60.0), ("lr_wstep", -1.0)]
)
def test_cosine_refuses_what_has_no_meaning(option, value):
    with pytest.raises(ValueError, match=f"--{option}: "):
        scheduler(COSINE, optimizer_of(), **{option: value})


def test_cosine_needs_a_rate():
    with pytest.raises(ValueError, match="--lr: "):
        scheduler(COSINE, optimizer_of(0.0))


def test_plateau_falls_after_the_patience_and_is_restored():
    losses = [1.0, 0.9, 0.9, 0.95, 0.9, 0.8, 0.9, 0.9, 0.9, 0.9]

    def run(schedule, optimizer, losses):
        got = []
        for loss in losses:
            for _ in range(3):
                optimizer.step()
                schedule.step()
            schedule.watch({"loss": loss} if loss else {})
            got.append(optimizer.param_groups[0]["lr"])
        return got

    optimizer = optimizer_of(1.0)
    want = run(scheduler("plateau", optimizer, lr_patience=2), optimizer, losses)
    assert want == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])
    optimizer, again = optimizer_of(1.0), optimizer_of(1.0)
    first, second = (scheduler("plateau", o, lr_patience=2) for o in (optimizer, again))
    run(first, optimizer, losses[:4])
    again.load_state_dict(optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert run(second, again, losses[4:]) == pytest.approx(want[4:])
    other = optimizer_of(1.0)
    # never evaluated
    assert (
        run(scheduler("plateau", other, lr_follows="EER", lr_patience=0), other, losses)[-1] == 1.0
    )


# ---------------------------------------------------------------------- optimizers
def test_adam_p_is_adam_where_weights_do_not_turn_with_their_length():
    """A gradient along the weights is followed as by Adam; one across scale-free weights leaves their length alone."""

    def one_step(name, gradient):
        torch.manual_seed(0)
        x = nn.Parameter(torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last))
        x.grad = gradient(x.detach())
        optimizer(name, [x], lr=0.01).step()
        return x.detach()

    torch.testing.assert_close(one_step("adamP", torch.clone), one_step("adam", torch.clone))

    def across(x):
        g = torch.randn_like(x)
        unit = x.flatten(1) / x.flatten(1).norm(dim=1, keepdim=True)
        return g - ((g.flatten(1) * unit).sum(1, keepdim=True) * unit).view_as(x)

    start = one_step("adamP", torch.zeros_like)
    for name, moves in (("adamP", False), ("adam", True)):
        along = ((one_step(name, across) - start) * start).flatten(1).sum(1).abs() / start.flatten(
            1
        ).norm(dim=1)
        assert (along.max() > 1e-3) == moves, along


def optimizer(name, params, **options):
    return importlib.import_module(f"optimizer.{name}").Optimizer(params, **options)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_goes_downhill_with_the_given_rate(name):
    x = nn.Parameter(torch.tensor([3.0, -2.0]))
    it = optimizer(name, [x], lr=0.02)
    assert it.param_groups[0]["lr"] == 0.02 and it.param_groups[0]["weight_decay"] == 0
    for _ in range(300):
        it.zero_grad()
        x.square().sum().backward()
        it.step()
    assert x.detach().norm() < 0.5


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_shrinks_weights(name):
    with_decay, without = (nn.Parameter(torch.tensor([3.0])) for _ in range(2))
    for x, weight_decay in ((with_decay, 0.5), (without, 0.0)):
        it = optimizer(name, [x], lr=0.01, weight_decay=weight_decay)
        for _ in range(5):
            it.zero_grad()
            (0.0 * x).sum().backward()
            it.step()
    assert with_decay.item() < without.item() == 3.0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_continues_from_its_state(name):
    def run(steps, x, it):
        for step in steps:
            it.zero_grad()
            (x - step).pow(4).sum().backward()
            it.step()

    x = nn.Parameter(torch.tensor([3.0, -2.0]))
    it = optimizer(name, [x], lr=1e-3)
    run(range(3), x, it)
    y = nn.Parameter(x.detach().clone())
    again = optimizer(name, [y], lr=1e-3)
    again.load_state_dict(copy.deepcopy(it.state_dict()))
    run(range(3, 6), x, it)
    run(range(3, 6), y, again)
    assert torch.equal(x, y)


def test_adam_w_may_spare_vectors():
    matrix, vector = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    it = optimizer("adamW", iter([matrix, vector]), lr=0.1, weight_decay=0.5, decay_vectors=False)
    (0.0 * matrix.sum() + 0.0 * vector.sum()).backward()
    it.step()
    assert torch.allclose(matrix, torch.tensor(0.95)) and torch.equal(vector, torch.ones(2))


def test_sgd_has_nesterov_momentum():
    x = nn.Parameter(torch.tensor([1.0]))
    it = optimizer("sgd", [x], lr=0.1, momentum=0.5, nesterov=True)
    x.sum().backward()
    it.step()
    assert x.item() == pytest.approx(1.0 - 0.1 * 1.5)
