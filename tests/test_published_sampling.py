"""The sampling rule of voxceleb_trainer: draws, and runs whose epochs differ in length."""

import math
from pathlib import Path

import numpy as np
import pytest
from conftest import small_run
from kill_resume import end_of, equal
from reference import golden
from torch.optim.lr_scheduler import LambdaLR

from common.errors import InputError
from corpus.lists import Utterance
from network.checkpoints import read_checkpoint, write_checkpoint
from training.published_sampling import PublishedSampler, first_in_their_batch

CASES = golden.load_cases(Path(__file__).parent / "reference" / "sampler_clova.npz")


def sampler_of(case):
    """The sampler of a case of the fixture. Its files have the labels 0, 1, ..."""
    labels = case.inputs["data_label"]
    utterances = [Utterance(f"{label:02d}", str(row)) for row, label in enumerate(labels)]
    processes = (case.hparams["rank"], case.hparams["world_size"])
    return PublishedSampler(utterances, **case.hparams["init"], processes=processes)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_draws_equal_the_original(case):
    expected = case.arrays["indices"]
    if not len(expected):
        with pytest.raises(InputError, match="--batch_size 30: expected at least 30 speakers"):
            sampler_of(case)
        return
    sampler = sampler_of(case)
    sampler.set_epoch(case.hparams["epoch"])
    drawn = [rows for _, rows in sampler]
    assert len(sampler) == len(drawn)
    assert np.array_equal(np.concatenate(drawn), expected)
    sampler.set_epoch(case.hparams["epoch"], skip=2)
    assert [rows for _, rows in sampler] == drawn[2:]


def test_a_speaker_of_the_current_batch_is_dropped():
    """Batches of 2: (0, 1), then (1, 0), then 2 alone, because 2 follows itself."""
    owner = np.array([0, 0, 1, 1, 1, 0, 2, 2])
    assert first_in_their_batch(owner, 2).tolist() == [0, 2, 3, 5, 6]


# Six of eight speakers in a batch: epochs 1, 2, ... of the corpus of the tests differ in length.
UNEVEN = (
    *("--batch_size", 6, "--nPerSpeaker", 1, "--trainfunc", "softmax"),
    *("--sampling", "published", "--max_epoch", 3, "--test_interval", 3),
)


def lengths_of(log):
    """The number of updates of every epoch of a log with one line per epoch."""
    return np.diff([0, *[line["step"] for line in log]]).tolist()


def test_runs_resume_anywhere(corpus, tmp_path, program):
    """A run that is stopped after several steps ends like an undisturbed run.

    The schedule changes the rate at the ends of epochs, which differ in length.
    """
    words = [*UNEVEN, "--lr_decay", 0.5, "--lr_decay_interval", 1]
    code, out, err = program(*small_run(corpus, tmp_path / "whole", *words))
    assert code == 0, err
    whole, whole_log = end_of(tmp_path / "whole")
    lengths = lengths_of(whole_log)
    assert len(lengths) == 3
    assert len({*lengths}) > 1
    assert all(5 <= length <= 8 for length in lengths)
    assert f"about {lengths[0]} updates per epoch" in out
    assert whole["step"] == sum(lengths)
    assert [line["lr"] for line in whole_log] == pytest.approx([0.001 / 2**n for n in range(3)])
    for steps in (lengths[0] + 2, 1000):
        assert program(*small_run(corpus, tmp_path / "parts", *words, "--max_steps", steps))[0] == 0
    state, log = end_of(tmp_path / "parts")
    for key in ("model", "optimizer", "scheduler", "step", "rng"):
        assert equal(state[key], whole[key]), key
    assert [line["step"] for line in log[-2:]] == [line["step"] for line in whole_log[-2:]]
    # The run is complete.
    assert program(*small_run(corpus, tmp_path / "parts", *words))[0] == 0
    assert read_checkpoint(tmp_path / "parts" / "model" / "last.model")["step"] == whole["step"]


def test_a_schedule_per_update_spreads_over_every_epoch(corpus, tmp_path, program, monkeypatch):
    """After k of n updates of an epoch the schedule is at k/n of the epoch, whatever n is."""
    positions = []
    original = LambdaLR.step

    def step(scheduler, *args):
        original(scheduler, *args)
        positions.append(scheduler.last_epoch)

    monkeypatch.setattr(LambdaLR, "step", step)
    words = [*UNEVEN, "--scheduler", "cosine_annealing_warmup_restarts", "--lr_per_step"]
    assert program(*small_run(corpus, tmp_path, *words, "--accumulate", 2))[0] == 0
    lengths = lengths_of(end_of(tmp_path)[1])
    expected = []
    for epoch, length in enumerate(lengths):
        for done in range(1, length + 1):
            expected.append(lengths[0] * (epoch + done / length))
    assert math.isclose(expected[-1], 3 * lengths[0])
    # The first call is of the constructor. Then each update has one, and one that corrects it.
    assert positions[2::2] == pytest.approx(expected)


@pytest.mark.parametrize(
    "more, message",
    [
        (
            ("--num_spk", 2),
            "--sampling published: expected no --num_spk, because this rule of voxceleb_trainer "
            "has no quota of bona fide speech, found --num_spk 2. Leave out one",
        ),
        (("--batch_size", 9), "--batch_size 9: expected at least 9 speakers"),
    ],
)
def test_refused(more, message, corpus, tmp_path, program):
    code, _, err = program(*small_run(corpus, tmp_path, *UNEVEN, *more))
    assert code == 2
    assert message in err


def test_a_run_keeps_its_rule(checkpoint, corpus, tmp_path, program):
    """Also a run of an earlier version, whose checkpoint does not name the rule."""
    state = read_checkpoint(checkpoint)
    del state["options"]["sampling"]
    (tmp_path / "model").mkdir()
    write_checkpoint(state, tmp_path / "model" / "last.model")
    code, _, err = program(*small_run(corpus, tmp_path, "--sampling", "published"))
    assert code == 2
    assert "which was trained with --sampling complete. To resume this run, give --sampling" in err
