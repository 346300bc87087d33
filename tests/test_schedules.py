"""Schedulers against the reference implementations; optimizers; the contracts of both folders.

The contract tests run over all files of both folders.

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
    parameters = inspect.signature(entry).parameters
    accepted = {key: value for key, value in supplied.items() if key in parameters}
    return entry(optimizer, **accepted, **options)


def rates(name, steps, lr=1e-3, **options):
    """Returns the learning rate of every update."""
    optimizer = optimizer_of(lr)
    schedule = scheduler(name, optimizer, **options)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return np.array(values)


def reference_cases():
    for file in ("sched_clova_steplr.npz", "sched_ska.npz"):
        for case in golden.load_cases(REFERENCE / file):
            yield pytest.param(case, id=case.name)


@pytest.mark.parametrize("case", reference_cases())
def test_parity(case):
    """An epoch has three updates.

    In the cases "zero_then_auto" the reference is stepped without the number of the epoch. Then its
    cycles lengthen differently.
    """
    own = {"lr_tmul_of": "descent"} if case.hparams.get("calls") == "zero_then_auto" else {}
    got = rates(case.hparams["scheduler"], 180, case.hparams["lr"], **case.hparams["init"], **own)
    assert np.allclose(got, np.repeat(case.arrays["lr"], 3), rtol=1e-6, atol=1e-14)


def wespeaker_options(init):
    """Returns our options for the settings of wespeaker's or of 3D-Speaker's schedule."""
    if "min_lr" in init:
        return "cosine_annealing_warmup_restarts", {
            "steps_per_epoch": init["step_per_epoch"],
            "max_epoch": 10,
            "lr": init["max_lr"],
            "lr_min": init["min_lr"],
            "lr_wstep": init["warmup_epoch"],
            "lr_t0": init["fix_epoch"],
            "lr_per_step": True,
            "lr_restart": False,
        }
    scale = init["scale_ratio"]
    return "exponential_decrease", {
        "steps_per_epoch": init["epoch_iter"],
        "max_epoch": init["num_epochs"],
        "lr": scale * init["initial_lr"],
        "lr_final": scale * init["final_lr"],
        "lr_wstep": init["warm_up_epoch"],
        "lr_start": 0.0 if init["warm_from_zero"] else init["initial_lr"],
    }


def wespeaker_cases():
    for case in golden.load_cases(REFERENCE / "sched_wespeaker.npz"):
        if "lr" in case.arrays:
            yield pytest.param(case, id=case.name)


@pytest.mark.parametrize("case", wespeaker_cases())
def test_parity_with_wespeaker_and_3d_speaker(case):
    """All settings of the cases have a meaning here."""
    name, options = wespeaker_options(case.hparams["init"])
    got = rates(name, case.hparams["steps"], **options)
    assert np.allclose(got, case.arrays["lr"], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize(
    "option, value", [("lr_final", 2e-3), ("lr_start", 2e-3), ("lr_wstep", 60.0)]
)
def test_exponential_decrease_refuses_what_has_no_meaning(option, value):
    with pytest.raises(ValueError, match=f"--{option}: "):
        scheduler("exponential_decrease", optimizer_of(), **{option: value})


def test_a_warm_up_may_have_a_part_of_an_epoch():
    """2.5 epochs of four updates are ten updates."""
    got = rates(
        "exponential_decrease",
        12,
        lr=1.0,
        steps_per_epoch=4,
        max_epoch=3,
        lr_final=1.0,
        lr_wstep=2.5,
    )
    assert np.allclose(got, np.minimum(np.arange(12) / 10, 1.0))


def test_triangles_of_half_the_height_at_every_update():
    """Triangles of four epochs with two updates each, from 0.1 to 0.9, then to half of it."""
    got = rates(
        "cycliclr",
        16,
        steps_per_epoch=2,
        lr_cyclic_min=0.1,
        lr_cyclic_max=0.9,
        lr_up_size=2,
        lr_down_size=2,
        lr_mode="triangular2",
        lr_per_step=True,
    )
    triangle = np.array([0, 1, 2, 3, 4, 3, 2, 1])
    assert np.allclose(got, 0.1 + 0.8 * np.r_[triangle / 4, triangle / 8])


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedule_is_a_function_of_the_step(name):
    """A schedule can be saved and loaded anywhere. It then continues as if nothing had happened."""
    want = rates(name, 40, max_epoch=12)
    optimizer = optimizer_of()
    first = scheduler(name, optimizer, max_epoch=12)
    for _ in range(17):
        optimizer.step()
        first.step()
    resumed = optimizer_of()
    second = scheduler(name, resumed, max_epoch=12)
    resumed.load_state_dict(optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    got = []
    for _ in range(17, 40):
        got.append(resumed.param_groups[0]["lr"])
        resumed.step()
        second.step()
    assert np.array_equal(got, want[17:]), (
        f"scheduler/{name}.py: the learning rates after a resume differ from an "
        "undisturbed run: compute the rate from the step alone, and keep all state in state_dict()"
    )


def test_steplr_interval_replaces_test_interval():
    got = rates(
        "steplr", 12, lr=1.0, steps_per_epoch=2, test_interval=5, lr_decay=0.5, lr_decay_interval=2
    )
    assert np.allclose(got, [1] * 4 + [0.5] * 4 + [0.25] * 4)


def test_cosine_is_one_cycle_from_lr_by_default():
    got = rates(COSINE, 30, lr=0.1, max_epoch=10)
    assert got[0] == pytest.approx(0.1) and np.all(np.diff(got) <= 1e-12) and 0 < got[-1] < 0.01
    # The rate is constant over an epoch.
    assert np.allclose(got.reshape(10, 3), got[::3, None])


def test_cosine_per_step_is_smooth_and_passes_through_the_values_of_whole_epochs():
    options = {"lr": 0.1, "max_epoch": 10, "lr_wstep": 2.0, "lr_min": 1e-3}
    whole = rates(COSINE, 30, **options)
    smooth = rates(COSINE, 30, lr_per_step=True, **options)
    assert np.allclose(smooth[::3], whole[::3])
    assert np.all(np.diff(smooth[:7]) > 0)
    assert smooth[6] == pytest.approx(0.1)
    assert np.all(np.diff(smooth[6:]) < 0)
    assert np.abs(np.diff(smooth)).max() < 0.02


def test_cosine_restarts_on_time_when_logarithms_round():
    """log(243, 3) is computed as slightly below 5. The restart must not be late: (243 - 1) / 2."""
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


def follow(schedule, optimizer, losses):
    """Returns the learning rate after every epoch of three updates, with these losses."""
    got = []
    for loss in losses:
        for _ in range(3):
            optimizer.step()
            schedule.step()
        schedule.watch({"loss": loss} if loss else {})
        got.append(optimizer.param_groups[0]["lr"])
    return got


def test_plateau_falls_after_the_patience_and_is_restored():
    losses = [1.0, 0.9, 0.9, 0.95, 0.9, 0.8, 0.9, 0.9, 0.9, 0.9]
    optimizer = optimizer_of(1.0)
    want = follow(scheduler("plateau", optimizer, lr_patience=2), optimizer, losses)
    assert want == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])
    optimizer = optimizer_of(1.0)
    resumed = optimizer_of(1.0)
    first = scheduler("plateau", optimizer, lr_patience=2)
    second = scheduler("plateau", resumed, lr_patience=2)
    follow(first, optimizer, losses[:4])
    resumed.load_state_dict(optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert follow(second, resumed, losses[4:]) == pytest.approx(want[4:])


def test_plateau_without_evaluations_keeps_the_rate():
    optimizer = optimizer_of(1.0)
    schedule = scheduler("plateau", optimizer, lr_follows="EER", lr_patience=0)
    assert follow(schedule, optimizer, [1.0, 0.9, 0.9, 0.95])[-1] == 1.0


# ---------------------------------------------------------------------- optimizers
def step_from_random_weights(name, gradient):
    """Returns weights [4, 3, 2, 2] after one update with the gradient gradient(weights)."""
    torch.manual_seed(0)
    x = nn.Parameter(torch.randn(4, 3, 2, 2).contiguous(memory_format=torch.channels_last))
    x.grad = gradient(x.detach())
    optimizer(name, [x], lr=0.01).step()
    return x.detach()


def random_gradient_across(x):
    """Returns a random gradient that is orthogonal to the weights of every output channel."""
    g = torch.randn_like(x)
    unit = x.flatten(1) / x.flatten(1).norm(dim=1, keepdim=True)
    return g - ((g.flatten(1) * unit).sum(1, keepdim=True) * unit).view_as(x)


def test_adam_p_is_adam_for_weights_that_are_not_scale_invariant():
    """Such weights have a gradient along the weights."""
    torch.testing.assert_close(
        step_from_random_weights("adamP", torch.clone),
        step_from_random_weights("adam", torch.clone),
    )


@pytest.mark.parametrize("name, lengthens", [("adamP", False), ("adam", True)])
def test_adam_p_does_not_lengthen_scale_invariant_weights(name, lengthens):
    """Such weights have a gradient orthogonal to the weights."""
    start = step_from_random_weights("adamP", torch.zeros_like)
    moved = step_from_random_weights(name, random_gradient_across) - start
    along = (moved * start).flatten(1).sum(1).abs() / start.flatten(1).norm(dim=1)
    assert (along.max() > 1e-3) == lengthens, along


def test_muon_updates_kernels_by_the_polynomial_of_their_singular_values():
    """Five times a x + b x^3 + c x^5 of each singular value, with numpy in float64."""
    torch.manual_seed(0)
    x = nn.Parameter(torch.zeros(4, 3, 2, 2))
    x.grad = torch.randn(4, 3, 2, 2)
    optimizer("muon", [x], lr=0.01).step()
    # The first momentum is 0.05 g, and the look-ahead 0.05 g + 0.95 * 0.05 g.
    u, s, vt = np.linalg.svd(x.grad.double().flatten(1).numpy(), full_matrices=False)
    s /= np.linalg.norm(s)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    assert 0.6 < s.min() < s.max() < 1.3
    expected = -0.01 * 0.2 * 12**0.5 * (u * s @ vt)
    np.testing.assert_allclose(x.detach().flatten(1), expected, rtol=1e-4, atol=1e-6)


def test_muon_updates_kernels_as_torch_updates_matrices():
    """The Muon of torch is for matrices only, and computes in bfloat16."""
    torch.manual_seed(0)
    kernel = nn.Parameter(torch.randn(6, 2, 5))
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    ours = optimizer("muon", [kernel], lr=0.02, weight_decay=0.1)
    reference = torch.optim.Muon(
        [matrix], lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    for _ in range(5):
        kernel.grad = torch.randn(6, 2, 5)
        matrix.grad = kernel.grad.flatten(1).clone()
        ours.step()
        reference.step()
    torch.testing.assert_close(kernel.flatten(1), matrix, rtol=0, atol=2e-3)


def test_muon_is_adam_w_for_matrices_and_vectors():
    torch.manual_seed(0)
    for shape in ((3, 4), (4,)):
        start = torch.randn(shape)
        found = []
        for name in ("muon", "adamW"):
            torch.manual_seed(1)
            x = nn.Parameter(start.clone())
            it = optimizer(name, [x], lr=0.01, weight_decay=0.1)
            for _ in range(3):
                x.grad = torch.randn(shape)
                it.step()
            found.append(x.detach())
        torch.testing.assert_close(found[0], found[1])


def optimizer(name, params, **options):
    return importlib.import_module(f"optimizer.{name}").Optimizer(params, **options)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_lowers_a_loss_with_the_given_rate(name):
    x = nn.Parameter(torch.tensor([3.0, -2.0]))
    it = optimizer(name, [x], lr=0.02)
    group = it.param_groups[0]
    assert group["lr"] == 0.02 and group["weight_decay"] == 0, (
        f"optimizer/{name}.py must use the options lr and weight_decay, which is 0 by default"
    )
    for _ in range(300):
        it.zero_grad()
        x.square().sum().backward()
        it.step()
    assert x.detach().norm() < 0.5, (
        f"optimizer/{name}.py: 300 updates did not lower the loss: check the sign of the update"
    )


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_shrinks_weights(name):
    with_decay = nn.Parameter(torch.tensor([3.0]))
    without = nn.Parameter(torch.tensor([3.0]))
    for x, weight_decay in ((with_decay, 0.5), (without, 0.0)):
        it = optimizer(name, [x], lr=0.01, weight_decay=weight_decay)
        for _ in range(5):
            it.zero_grad()
            (0.0 * x).sum().backward()
            it.step()
    assert with_decay.item() < without.item() == 3.0, (
        f"optimizer/{name}.py: weight_decay must shrink weights whose gradient is 0"
    )


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
    resumed = optimizer(name, [y], lr=1e-3)
    resumed.load_state_dict(copy.deepcopy(it.state_dict()))
    run(range(3, 6), x, it)
    run(range(3, 6), y, resumed)
    assert torch.equal(x, y), (
        f"optimizer/{name}.py: after a resume the updates differ: keep all state in state_dict()"
    )


def test_adam_w_may_spare_vectors():
    matrix = nn.Parameter(torch.ones(2, 2))
    vector = nn.Parameter(torch.ones(2))
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
