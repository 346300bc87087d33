"""A network that diverges: the message says since when and what to do, and the log line is kept."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import Tiny, small_run

import optimizer
from inference.evaluation import NonFiniteScores
from network.checkpoints import read_checkpoint
from SpeakerNet import NonFiniteLoss
from training.divergence import evaluation_error, explained, non_finite_text, require_finite_weights


@pytest.fixture(autouse=True)
def any_rate(monkeypatch):
    """Learning rates that make huge weights at once are refused otherwise."""
    monkeypatch.setitem(optimizer.BOUNDS, "lr", (0, 1e38))


def lines_of(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_a_loss_that_is_not_finite(corpus, tmp_path, program):
    """The first update makes huge weights, so the loss of the second one overflows."""
    run = tmp_path / "run"
    code, out, err = program(*small_run(corpus, run, "--lr", 1e30))
    assert code == 2
    assert err.startswith(
        "error: The loss or its gradient is not finite at step 1, in epoch 1. The largest weight "
        "is 1e+30, so the network has diverged. Lower --lr, or limit the gradient with --clip. "
    )
    (line,) = lines_of(run)
    assert (line["epoch"], line["step"]) == (1, 1) and 0 < line["loss"] < 100
    # The terminal shows the line, too.
    assert "epoch 1/2  step" in out and not (run / "model" / "last.model").exists()


def test_skipped_updates_and_an_evaluation_of_what_is_left(corpus, tmp_path, program):
    run = tmp_path / "run"
    scores = run / "result" / "scores.txt"
    code, out, err = program(*small_run(corpus, run, "--lr", 1e30, "--skip_nonfinite", 1000))
    assert code == 2
    assert "warning: all updates since step 1 were skipped" in out
    assert err.startswith("error: The evaluation at step 6 is not possible. Since step 1 the loss ")
    assert "Expected finite scores, found NaN or infinity in 60 of 60 trials, first in '" in err
    assert "The largest weight is 1e+30" in err
    assert [(line["step"], "loss" in line) for line in lines_of(run)] == [(6, True)]
    assert not scores.exists()


def trainer(**more):
    """What the functions read of a Trainer."""
    net = torch.nn.ModuleDict({"model": Tiny()})
    state = {"net": net, "eval_net": net, "step": 7, "epoch": 2, "bad_since": None}
    return SimpleNamespace(**state | more)


def test_a_wrong_file_is_no_divergence():
    """A batch with NaN changes the batch statistics before its loss is known."""
    made = trainer()
    made.net["model"].conv[1].running_mean[:] = float("nan")
    text = non_finite_text(NonFiniteLoss(7, [0]), made, ["a.wav", "b.wav"])
    assert "at step 7, in epoch 2. The weights are still finite." in text
    assert "2 files: a.wav, b.wav. Check these files" in text and "diverged" not in text


def test_weights_that_are_not_finite_are_not_evaluated():
    made = trainer(bad_since=5)
    require_finite_weights(made)
    with torch.no_grad():
        made.net["model"].fc.bias[0] = float("inf")
    with pytest.raises(Exception, match="NaN or infinity is in 1 of 10 weights") as error:
        require_finite_weights(made)
    text = str(error.value)
    assert text.startswith("The evaluation at step 7 is not possible. Since step 5 the loss ")
    assert "first in model.fc.bias, so the network has diverged." in text


def test_other_errors_of_an_evaluation_stay():
    made = trainer()
    other = evaluation_error(made, "x.")
    assert explained(other, made) is other
    scores = NonFiniteScores(np.array([0.1, np.nan, np.inf]), ["a b", "c d", "e f"])
    assert "in 2 of 3 trials, first in 'c d'." in str(explained(scores, made))


def test_eval_writes_no_scores_that_are_not_finite(corpus, checkpoint, tmp_path, program):
    """Finite weights can overflow, too."""
    contents = read_checkpoint(checkpoint)
    contents["model"] = {
        name: torch.full_like(value, 1e38) if value.is_floating_point() else value
        for name, value in contents["model"].items()
    }
    torch.save(contents, tmp_path / "x.model")
    words = ["--eval", "--initial_model", tmp_path / "x.model", "--save_path", tmp_path / "out"]
    trials = ["--test_list", corpus / "trials.txt", "--test_path", corpus / "wav"]
    code, _, err = program(*words, *trials)
    assert code == 2 and "found NaN or infinity in 60 of 60 trials" in err
    assert "No scores file was written. Give another checkpoint" in err
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
